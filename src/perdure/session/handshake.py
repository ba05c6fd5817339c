"""The handshake of each carrier: both ends prove that they own the session that they resume.

CarrierState, by what has happened on the current carrier:

    ABSENT ── carrier opened ──→ OPEN ── our RESUME is framed ──→ TOLD
                                  │                                │ the peer's RESUME is proved
              the peer's RESUME is proved                          ↓
                                  ↓                              RESUMED
                                HEARD ── our RESUME is framed ─────↑

    any ── carrier lost, or the protocol broken on it ──→ ABSENT

Each carrier has a handshake of its own, also one that is begun beside the current carrier.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import Enum, auto
from typing import TYPE_CHECKING

from perdure.errors import ProtocolError
from perdure.wire import (
    DEFAULT_PARAMETERS,
    MAX_MESSAGE_BYTES,
    PROTOCOL_VERSION,
    Close,
    CloseCode,
    Hello,
    Parameters,
    Resume,
    encode_frame,
    encode_varint,
)

if TYPE_CHECKING:
    from perdure.wire import StreamPosition

_CLOSES_WITHOUT_PROOF = {CloseCode.UNKNOWN_SESSION, CloseCode.VERSION}
"""How an acceptor may end a session of which it has no key, and so no proof."""


class CarrierState(Enum):
    ABSENT = auto()
    """There is no carrier, or it cannot be used."""
    OPEN = auto()
    """Neither end has proved anything on it."""
    TOLD = auto()
    """Our RESUME is out."""
    HEARD = auto()
    """The peer has proved itself; our RESUME goes before anything else."""
    RESUMED = auto()
    """Streams flow both ways."""


class Handshake:
    """What was proved on one carrier, and what is due."""

    __slots__ = (
        "_binding",
        "_key",
        "_peer_knows_us",
        "generation",
        "is_initiator",
        "is_resumed",
        "max_message_bytes",
        "peer",
        "session_id",
        "state",
    )

    def __init__(self, *, session_id: bytes, initiator: bool, key: bytes | None) -> None:
        self.session_id = session_id
        self.generation = 0
        self.state = CarrierState.ABSENT
        self.is_resumed = False
        """Whether the peer has proved itself on the current carrier. Asked for each frame, so not derived each time."""
        self.is_initiator = initiator
        self.max_message_bytes = MAX_MESSAGE_BYTES
        """The longest message that the peer takes on this carrier, as far as it has said."""
        self.peer = DEFAULT_PARAMETERS
        """What the peer said of itself in its last RESUME."""
        self._key = key
        self._binding = b""
        self._peer_knows_us = False

    def learn_id(self, session_id: bytes) -> None:
        """The session, which was made without an id, has this one."""
        if self.session_id:
            raise ValueError("the session has an id")
        self.session_id = session_id

    def carrier_opened(self, generation: int, binding: bytes, max_message_bytes: int) -> None:
        """A new carrier, named by its generation and its DTLS connection."""
        self.generation = generation
        self._binding = binding
        self.max_message_bytes = min(max_message_bytes, self.peer.max_message_bytes)
        self._enter(CarrierState.OPEN)

    def beside(self, generation: int, binding: bytes, max_message_bytes: int) -> Handshake:
        """The handshake of another carrier of the same session, at the same time."""
        other = Handshake(session_id=self.session_id, initiator=self.is_initiator, key=self._key)
        other.peer = self.peer
        other._peer_knows_us = self._peer_knows_us
        other.carrier_opened(generation, binding, max_message_bytes)
        return other

    def carrier_lost(self) -> None:
        """Nothing is proved any more."""
        self._enter(CarrierState.ABSENT)

    @property
    def is_due(self) -> bool:
        """Whether our RESUME can go out now, and has not."""
        return (self.state is CarrierState.OPEN or self.state is CarrierState.HEARD) and self._key is not None

    def take(self, positions: tuple[StreamPosition, ...]) -> bytes:
        """What this end says first on the current carrier. Only where `is_due`."""
        if self._key is None:
            raise RuntimeError("an end without the session's key has nothing to prove")
        proof = self._proof(self._key, by_initiator=self.is_initiator)
        self._enter(CarrierState.RESUMED if self.is_resumed else CarrierState.TOLD)
        resume = encode_frame(Resume(self.session_id, self.generation, proof, positions))
        if self.is_initiator and not self._peer_knows_us:
            return encode_frame(Hello(self.session_id, self._key)) + resume
        return resume

    def receive_hello(self, hello: Hello) -> Close | None:
        """Learn the session's key from its first HELLO; how the session must end where that cannot be."""
        if self.is_initiator or hello.session_id != self.session_id:
            raise ProtocolError("a HELLO for another session")
        if self._key is None:
            if (refusal := version_refusal(hello.parameters)) is not None:
                return refusal
            self._key = hello.key
        elif not hmac.compare_digest(hello.key, self._key):
            raise ProtocolError("a HELLO with another key than the one that began this session")
        return None

    def receive_resume(self, resume: Resume) -> Close | None:
        """Check the peer's proof; how the session must end where this end does not know it."""
        if self.is_resumed:
            raise ProtocolError("a second RESUME on one carrier")
        if self._key is None:
            return Close(CloseCode.UNKNOWN_SESSION, "the other end does not know the session; it was restarted")
        if (
            resume.session_id != self.session_id
            or resume.generation != self.generation
            or not hmac.compare_digest(resume.proof, self._proof(self._key, by_initiator=not self.is_initiator))
        ):
            raise ProtocolError("a RESUME that does not prove ownership of the session")
        if (refusal := version_refusal(resume.parameters)) is not None:
            return refusal
        self.peer = resume.parameters
        self.max_message_bytes = min(self.max_message_bytes, self.peer.max_message_bytes)
        self._enter(CarrierState.RESUMED if self.state is CarrierState.TOLD else CarrierState.HEARD)
        self._peer_knows_us = True
        return None

    def receive_close(self, close: Close) -> str:
        """Why the peer ends the session. Raises `ProtocolError` where it may not, having proved nothing."""
        if not self.is_resumed and not (self.is_initiator and close.code in _CLOSES_WITHOUT_PROOF):
            raise ProtocolError("a CLOSE by an end that has not proved that it owns the session")
        refusal = version_refusal(close.parameters) if close.code is CloseCode.VERSION else None
        return close.reason if refusal is None else refusal.reason

    def _enter(self, state: CarrierState) -> None:
        self.state = state
        if state in (CarrierState.ABSENT, CarrierState.RESUMED):
            self._binding = b""  # nothing is left to be proved with it
        self.is_resumed = state in (CarrierState.HEARD, CarrierState.RESUMED)

    def _proof(self, key: bytes, *, by_initiator: bool) -> bytes:
        return ownership_proof(key, self.session_id, self.generation, self._binding, by_initiator=by_initiator)


def version_refusal(peer: Parameters) -> Close | None:
    """How a session must end whose ends speak no common version; `None`: they do. This end speaks one."""
    if peer.lowest_version <= PROTOCOL_VERSION <= peer.highest_version:
        return None
    lowest, highest = peer.lowest_version, peer.highest_version
    theirs = f"{lowest}" if lowest == highest else f"{lowest} to {highest}"
    reason = f"one end speaks version {PROTOCOL_VERSION} of perdure's protocol, the other one {theirs}"
    return Close(CloseCode.VERSION, reason)


def channel_binding(one_certificate: bytes, other_certificate: bytes) -> bytes:
    """64 bytes that name a DTLS connection at both ends: the SHA-256 of each end's certificate, the lower one first."""
    return b"".join(sorted((one_certificate, other_certificate)))


def ownership_proof(key: bytes, session_id: bytes, generation: int, binding: bytes, *, by_initiator: bool) -> bytes:
    """HMAC-SHA256 (RFC 2104) with the session's key, over who says it, which session, and on which carrier.

    Args:
        binding: names the DTLS connection, so that a proof cannot be relayed onto another one: `channel_binding`.
    """
    role = b"initiator" if by_initiator else b"acceptor"
    message = b"perdure resume 2 " + role + b"\0" + session_id + encode_varint(generation) + binding
    return hmac.new(key, message, hashlib.sha256).digest()
