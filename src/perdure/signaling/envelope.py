"""Envelopes: what two peers say through the rendezvous, sealed end to end. Pure: randomness comes as an argument.

1. A client KNOCKs with the first message of a Noise handshake (`noise`): it knows the gateway's public key by its
   ticket, and proves its own. Inside are the session's id, which ticket it holds, and a number that rises with each
   knock of the session: the gateway takes a number once, so a recorded KNOCK opens nothing.
2. The gateway's WELCOME is the second message, with the ticket's secret as the pre-shared key. A REFUSAL is the same
   with 32 zero bytes in its place, as the gateway may not know the ticket; it opens nothing but its reason.
3. Both give `DataKeys`, one for each direction, so that a reflected envelope does not open. They are fresh with each
   knock: who records all and gets ticket and keys later, opens nothing.
4. DATA carries its counter 1, 2, 3 … in clear; a receiver takes only what is above the highest it opened.
5. The clear header is a byte for version and type, and but for a KNOCK a tag of four bytes, which tells a stale
   envelope from a forged one. That of DATA is associated data of what is sealed.
"""

from __future__ import annotations

import enum
import hashlib
import struct
from collections.abc import Callable
from typing import Annotated, TypeVar

import msgspec
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.nesting import check_json
from perdure.signaling.messages import RTCIceServers
from perdure.signaling.noise import (
    KEY_BYTES,
    TAG_BYTES,
    Initiator,
    Keys,
    NoiseError,
    Responder,
    open_sealed,
    seal,
)

VERSION = 2

MAX_ENVELOPE_BYTES = 48 * 1024
"""The longest message (an offer of 16 KiB, escaped) fits; 4/3 of it in base64 is the rendezvous' 64 KiB."""

ID_BYTES = 16
"""Session ids and instance ids: 128 random bits do not collide."""

TICKET_ID_BYTES = 16

PROLOGUE = b"perdure 2"
"""Both ends of a handshake must have this one."""

_NO_TICKET = bytes(32)
"""The pre-shared key of a REFUSAL."""

_TAG = struct.Struct(">B4s")
_DATA = struct.Struct(">B4sQ")
_MAX_COUNTER = 2**53 - 1
"""As for every number on the wire; a signaling channel sends some thousands."""

MAX_PLAINTEXT_BYTES = MAX_ENVELOPE_BYTES - _DATA.size - TAG_BYTES

MAX_DETAIL_CHARACTERS = 200


class EnvelopeType(enum.IntEnum):
    """The lower half of an envelope's first byte."""

    KNOCK = 1
    WELCOME = 2
    DATA = 3
    REFUSAL = 4


class EnvelopeRefusal(enum.Enum):
    """Why an envelope was not opened, or not taken."""

    MALFORMED = "malformed"
    FORGED = "forged"
    REPLAYED = "replayed"
    WRONG_SESSION = "wrong-session"
    STALE = "stale"
    """Sealed under keys that are not in use, or an answer to an earlier knock."""
    UNEXPECTED = "unexpected"
    """Well-formed, but not what this end takes at all: a WELCOME at the gateway, a KNOCK at the client."""
    CROWDED = "crowded"
    """A KNOCK that was not opened, as more came than there is time for."""


class EnvelopeRefusedError(Exception):
    """An envelope was refused for `refusal`; never leaves the signaling package."""

    def __init__(self, refusal: EnvelopeRefusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


Bytes16 = Annotated[bytes, msgspec.Meta(min_length=ID_BYTES, max_length=ID_BYTES)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]


class Knock(msgspec.Struct, frozen=True):
    """A client asks for keys of `session`, as a holder of `ticket`. `number` rises with each knock of a session."""

    session: Bytes16
    ticket: Bytes16
    number: Number


class Welcome(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway lets a client in. `instance` names the gateway's process; `known`: it has this session's state
    already. `ice_servers` are those that a client of this gateway needs."""

    instance: Bytes16
    known: bool = False
    ice_servers: RTCIceServers = msgspec.field(default=(), name="iceServers")


class RefusalReason(enum.Enum):
    """Why a gateway does not let a client in."""

    FULL = "full"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    REVOKED = "revoked"
    USED_UP = "used-up"
    NOT_AUTHORIZED = "not-authorized"

    @property
    def is_final(self) -> bool:
        """Whether knocking again would only fail again."""
        return self is not RefusalReason.FULL


class Refusal(msgspec.Struct, frozen=True, omit_defaults=True):
    """The gateway does not let a client in; `detail` is for a person: at most 200 characters, or empty."""

    reason: RefusalReason
    detail: Annotated[str, msgspec.Meta(max_length=MAX_DETAIL_CHARACTERS)] = ""


InsideT = TypeVar("InsideT", Knock, Welcome, Refusal)

_encoder = msgspec.json.Encoder()


def read_type(envelope: bytes) -> EnvelopeType:
    """Read the clear first byte, and check the length.

    Raises:
        EnvelopeRefusedError: MALFORMED: too short, too long, another version, an unknown type.
    """
    if not 1 + TAG_BYTES <= len(envelope) <= MAX_ENVELOPE_BYTES or envelope[0] >> 4 != VERSION:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    if envelope[0] & 15 not in _TYPES:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    return EnvelopeType(envelope[0] & 15)


def ephemeral_of(knock: bytes) -> bytes:
    """The key that the sender of a KNOCK made for it alone."""
    return knock[1 : 1 + KEY_BYTES]


class KnockingClient:
    """A client's end of one handshake. `envelope` is the KNOCK.

    Args:
        key: the client's.
        gateway: the gateway's public key.
        ephemeral: made for this knock alone.

    Raises:
        EnvelopeRefusedError: the gateway's key cannot be one.
    """

    def __init__(
        self, key: X25519PrivateKey, gateway: bytes, secret: bytes, knock: Knock, *, ephemeral: X25519PrivateKey
    ) -> None:
        self._secret = secret
        self._initiator = Initiator(key, gateway, ephemeral=ephemeral, prologue=PROLOGUE)
        self.envelope = _head(EnvelopeType.KNOCK) + _guarded(lambda: self._initiator.write(_encoder.encode(knock)))
        self._tag = _tag_of(self.envelope)

    def open(self, envelope: bytes) -> tuple[Welcome, DataKeys] | Refusal:
        """Open the answer to this knock.

        Raises:
            EnvelopeRefusedError: it answers another one (STALE), or was altered.
        """
        kind = read_type(envelope)
        if kind not in (EnvelopeType.WELCOME, EnvelopeType.REFUSAL):
            raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        if envelope[1 : _TAG.size] != self._tag:
            raise EnvelopeRefusedError(EnvelopeRefusal.STALE)
        sealed = envelope[_TAG.size :]
        if kind is EnvelopeType.REFUSAL:
            inside, _ = _guarded(lambda: self._initiator.read(sealed, _NO_TICKET))
            return _read(inside, _refusal_decoder)
        inside, keys = _guarded(lambda: self._initiator.read(sealed, self._secret))
        return _read(inside, _welcome_decoder), DataKeys(keys)


class AnsweringGateway:
    """A gateway's end of one handshake: opens a KNOCK, and answers it once.

    Raises:
        EnvelopeRefusedError: it was not made for this gateway, or was altered.
    """

    def __init__(self, key: X25519PrivateKey, envelope: bytes) -> None:
        if read_type(envelope) is not EnvelopeType.KNOCK:
            raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        self._responder = Responder(key, prologue=PROLOGUE)
        self._tag = _tag_of(envelope)
        self.knock: Knock = _read(_guarded(lambda: self._responder.read(envelope[1:])), _knock_decoder)
        self.client_key = self._responder.remote_static
        """The client's public key. It may be a replay of what that client sent once."""

    def welcome(self, secret: bytes, welcome: Welcome, *, ephemeral: X25519PrivateKey) -> tuple[bytes, DataKeys]:
        """The WELCOME, and the keys; `secret` is the ticket's. `ephemeral` is made for this answer alone."""
        message, keys = self._responder.write(_encoder.encode(welcome), secret, ephemeral=ephemeral)
        return _TAG.pack(_head_byte(EnvelopeType.WELCOME), self._tag) + message, DataKeys(keys)

    def refuse(self, refusal: Refusal, *, ephemeral: X25519PrivateKey) -> bytes:
        """The REFUSAL."""
        message, _ = self._responder.write(_encoder.encode(refusal), _NO_TICKET, ephemeral=ephemeral)
        return _TAG.pack(_head_byte(EnvelopeType.REFUSAL), self._tag) + message


class DataKeys:
    """One end's keys of one handshake, its sending counter and the highest counter it opened."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        self._sealed = 0
        self._opened = 0

    @property
    def sealed(self) -> int:
        """Envelopes sealed so far."""
        return self._sealed

    def opens(self, envelope: bytes) -> bool:
        """Whether `envelope` says that it was sealed under these keys, which only `open` proves."""
        return envelope[1 : _TAG.size] == self._keys.handshake_hash[:4]

    def seal(self, plain: bytes) -> bytes:
        """Seal `plain` under the next counter.

        Raises:
            ValueError: `plain` is over `MAX_PLAINTEXT_BYTES`.
            RuntimeError: 2^53 envelopes were sealed; a new knock gives new keys.
        """
        if len(plain) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"an envelope holds at most {MAX_PLAINTEXT_BYTES} bytes, not {len(plain)}")
        if self._sealed == _MAX_COUNTER:
            raise RuntimeError("these keys are used up")
        self._sealed += 1
        head = _DATA.pack(_head_byte(EnvelopeType.DATA), self._keys.handshake_hash[:4], self._sealed)
        return head + seal(self._keys.sealing, self._sealed, plain, head)

    def open(self, envelope: bytes) -> bytes:
        """Open what the other end sealed, each once and in rising order.

        Raises:
            EnvelopeRefusedError: see `EnvelopeRefusal`; nothing changed.
        """
        if read_type(envelope) is not EnvelopeType.DATA:
            raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
        if len(envelope) < _DATA.size + TAG_BYTES:
            raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
        if not self.opens(envelope):
            raise EnvelopeRefusedError(EnvelopeRefusal.STALE)
        head, sealed = envelope[: _DATA.size], envelope[_DATA.size :]
        _, _, counter = _DATA.unpack(head)
        plain = _guarded(lambda: open_sealed(self._keys.opening, counter, sealed, head))
        if counter <= self._opened:
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)
        self._opened = counter
        return plain


_TYPES = frozenset(EnvelopeType)

_knock_decoder = msgspec.json.Decoder(Knock)
_welcome_decoder = msgspec.json.Decoder(Welcome)
_refusal_decoder = msgspec.json.Decoder(Refusal)

ReadT = TypeVar("ReadT")


def _head_byte(kind: EnvelopeType) -> int:
    return VERSION << 4 | kind


def _head(kind: EnvelopeType) -> bytes:
    return bytes([_head_byte(kind)])


def _tag_of(knock: bytes) -> bytes:
    return hashlib.sha256(knock).digest()[:4]


def _guarded(call: Callable[[], ReadT]) -> ReadT:
    try:
        return call()
    except NoiseError:
        raise EnvelopeRefusedError(EnvelopeRefusal.FORGED) from None


def _read(inside: bytes, decoder: msgspec.json.Decoder[InsideT]) -> InsideT:
    try:
        check_json(inside)
        return decoder.decode(inside)
    except (msgspec.MsgspecError, ValueError):
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED) from None
