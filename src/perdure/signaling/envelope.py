"""Envelopes: what two peers say through the rendezvous, sealed end to end. Pure: randomness comes as an argument.

1. Every key comes from the ticket's secret by HKDF-SHA256, with the ticket's expiry in the info: who edits the expiry
   derives other keys and another room. Every seal is ChaCha20-Poly1305 with the whole header as associated data.
2. The client KNOCKs with a random epoch and a number that rises; the gateway takes a number once, so a recorded KNOCK
   opens nothing.
3. The gateway's WELCOME is sealed under a key of that knock's epoch and carries a fresh epoch of its own. Were the
   gateway's epoch fixed for its process, a replayed knock would bring old keys, old nonces and old DATA back to life.
4. Both epochs give two DATA keys, one for each direction, so that a reflected envelope does not open.
5. DATA counts 1, 2, 3 … in its nonce, and a receiver takes only what is above the highest it opened.
6. A session's id is in every header, so that an envelope cannot be moved to another session.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

if TYPE_CHECKING:
    from perdure.ticket import Ticket

VERSION = 1

MAX_ENVELOPE_BYTES = 48 * 1024
"""The longest message (an offer of 16 KiB, escaped) fits; 4/3 of it in base64 is the rendezvous' 64 KiB."""

ID_BYTES = 16
"""Session ids, epochs and instance ids: 128 random bits do not collide."""

NONCE_BYTES = 12
"""ChaCha20-Poly1305's (RFC 8439 §2.8). Random for KNOCK and WELCOME, whose keys seal a handful each."""

_TAG_BYTES = 8
"""Names the epochs whose keys sealed an envelope, to tell a stale one from a forged one. Not a proof."""

_HEADER = struct.Struct(f">BB{ID_BYTES}s{_TAG_BYTES}s{NONCE_BYTES}s")
_KNOCK = struct.Struct(f">{ID_BYTES}sQ")
_WELCOME = struct.Struct(f">{ID_BYTES}s{ID_BYTES}s?B")
_COUNTER = struct.Struct(">4xQ")
_MAX_COUNTER = 2**64 - 1
_MAC_BYTES = 16
_NO_TAG = bytes(_TAG_BYTES)

MAX_PLAINTEXT_BYTES = MAX_ENVELOPE_BYTES - _HEADER.size - _MAC_BYTES


class EnvelopeType(enum.IntEnum):
    """The second byte of every envelope."""

    KNOCK = 1
    WELCOME = 2
    DATA = 3


class EnvelopeRefusal(enum.Enum):
    """Why an envelope was not opened, or not taken."""

    MALFORMED = "malformed"
    FORGED = "forged"
    REPLAYED = "replayed"
    WRONG_SESSION = "wrong-session"
    UNKNOWN_EPOCH = "unknown-epoch"
    UNEXPECTED = "unexpected"
    """Well-formed, but not what this end takes at all: a WELCOME at the gateway, a KNOCK at the client."""


class EnvelopeRefusedError(Exception):
    """An envelope was refused for `refusal`; never leaves the signaling package."""

    def __init__(self, refusal: EnvelopeRefusal) -> None:
        super().__init__(refusal.value)
        self.refusal = refusal


class WelcomeStatus(enum.IntEnum):
    """The gateway's answer to a knock."""

    OK = 0
    EXPIRED = 1
    FULL = 2


class Header(NamedTuple):  # a tuple, as there is one for each envelope
    """The clear start of an envelope: read before any key is known, trusted only after opening."""

    type: EnvelopeType
    session_id: bytes
    epoch_tag: bytes
    nonce: bytes


@dataclass(frozen=True, slots=True)
class Knock:
    """A client asks for keys. `number` rises with each knock of a session."""

    client_epoch: bytes
    number: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The gateway's answer. `instance` names the gateway's process; `known`: it has this session's state already."""

    gateway_epoch: bytes
    instance: bytes
    known: bool
    status: WelcomeStatus


def room_id(ticket: Ticket) -> str:
    """The room in which the holders of `ticket` meet: 32 hexadecimal digits that tell nothing of the secret."""
    return _derive(ticket, b"room", b"", ID_BYTES).hex()


def read_header(envelope: bytes) -> Header:
    """Read the clear header.

    Raises:
        EnvelopeRefusedError: MALFORMED: too short, too long, another version, an unknown type.
    """
    if not _HEADER.size + _MAC_BYTES <= len(envelope) <= MAX_ENVELOPE_BYTES:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    version, kind, session_id, tag, nonce = _HEADER.unpack_from(envelope)
    if version != VERSION or kind not in _TYPES:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    return Header(EnvelopeType(kind), session_id, tag, nonce)


def seal_knock(ticket: Ticket, session_id: bytes, knock: Knock, *, nonce: bytes) -> bytes:
    """Seal a client's knock with 12 random bytes as `nonce`."""
    header = _header(EnvelopeType.KNOCK, session_id, _NO_TAG, nonce)
    return _seal(_derive(ticket, b"knock", session_id, 32), header, _KNOCK.pack(knock.client_epoch, knock.number))


def open_knock(ticket: Ticket, envelope: bytes) -> Knock:
    """Open a knock.

    Raises:
        EnvelopeRefusedError: it was not sealed by a holder of this ticket, or was altered.
    """
    header = _expect(envelope, EnvelopeType.KNOCK)
    plain = _open(_derive(ticket, b"knock", header.session_id, 32), envelope)
    if len(plain) != _KNOCK.size:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    return Knock(*_KNOCK.unpack(plain))


def seal_welcome(ticket: Ticket, session_id: bytes, client_epoch: bytes, welcome: Welcome, *, nonce: bytes) -> bytes:
    """Seal the gateway's answer to the knock of `client_epoch`, with 12 random bytes as `nonce`."""
    key, tag = _welcome_key(ticket, session_id, client_epoch)
    plain = _WELCOME.pack(welcome.gateway_epoch, welcome.instance, welcome.known, welcome.status)
    return _seal(key, _header(EnvelopeType.WELCOME, session_id, tag, nonce), plain)


def open_welcome(ticket: Ticket, session_id: bytes, client_epoch: bytes, envelope: bytes) -> Welcome:
    """Open the answer to the knock of `client_epoch`.

    Raises:
        EnvelopeRefusedError: for another session, an answer to another knock (UNKNOWN_EPOCH), or altered.
    """
    header = _expect(envelope, EnvelopeType.WELCOME)
    if header.session_id != session_id:
        raise EnvelopeRefusedError(EnvelopeRefusal.WRONG_SESSION)
    key, tag = _welcome_key(ticket, session_id, client_epoch)
    if header.epoch_tag != tag:
        raise EnvelopeRefusedError(EnvelopeRefusal.UNKNOWN_EPOCH)
    plain = _open(key, envelope)
    if len(plain) != _WELCOME.size or plain[-1] not in _STATUSES:
        raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
    gateway_epoch, instance, known, status = _WELCOME.unpack(plain)
    return Welcome(gateway_epoch, instance, known, WelcomeStatus(status))


class DataKeys:
    """One end's DATA keys of one pair of epochs, its sending counter and the highest counter it opened."""

    def __init__(
        self, ticket: Ticket, session_id: bytes, client_epoch: bytes, gateway_epoch: bytes, *, initiator: bool
    ) -> None:
        salt = session_id + client_epoch + gateway_epoch
        to_gateway = _derive(ticket, b"data client to gateway", salt, 32)
        to_client = _derive(ticket, b"data gateway to client", salt, 32)
        self._sealing_key, self._opening_key = (to_gateway, to_client) if initiator else (to_client, to_gateway)
        self._session_id = session_id
        self.epoch_tag = _derive(ticket, b"data tag", salt, _TAG_BYTES)
        self._sealed = 0
        self._opened = 0

    def seal(self, plain: bytes) -> bytes:
        """Seal `plain` under the next counter.

        Raises:
            ValueError: `plain` is over `MAX_PLAINTEXT_BYTES`.
            RuntimeError: 2^64 envelopes were sealed; a new knock gives new keys.
        """
        if len(plain) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"an envelope holds at most {MAX_PLAINTEXT_BYTES} bytes, not {len(plain)}")
        if self._sealed == _MAX_COUNTER:
            raise RuntimeError("this epoch's counter is used up")
        self._sealed += 1
        header = _header(EnvelopeType.DATA, self._session_id, self.epoch_tag, _COUNTER.pack(self._sealed))
        return _seal(self._sealing_key, header, plain)

    def open(self, envelope: bytes) -> bytes:
        """Open what the other end sealed, each once and in rising order.

        Raises:
            EnvelopeRefusedError: see `EnvelopeRefusal`; nothing changed.
        """
        header = _expect(envelope, EnvelopeType.DATA)
        if header.session_id != self._session_id:
            raise EnvelopeRefusedError(EnvelopeRefusal.WRONG_SESSION)
        if header.epoch_tag != self.epoch_tag:
            raise EnvelopeRefusedError(EnvelopeRefusal.UNKNOWN_EPOCH)
        plain = _open(self._opening_key, envelope)
        (counter,) = _COUNTER.unpack(header.nonce)
        if counter <= self._opened:
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)
        self._opened = counter
        return plain


_TYPES = frozenset(EnvelopeType)
_STATUSES = frozenset(WelcomeStatus)


def _derive(ticket: Ticket, label: bytes, salt: bytes, length: int) -> bytes:
    info = b"perdure v1 " + label + b"\0" + struct.pack(">Q", ticket.expires_at)
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(ticket.secret)


def _welcome_key(ticket: Ticket, session_id: bytes, client_epoch: bytes) -> tuple[bytes, bytes]:
    salt = session_id + client_epoch
    return _derive(ticket, b"welcome", salt, 32), _derive(ticket, b"welcome tag", salt, _TAG_BYTES)


def _header(kind: EnvelopeType, session_id: bytes, tag: bytes, nonce: bytes) -> bytes:
    if len(session_id) != ID_BYTES or len(nonce) != NONCE_BYTES:
        raise ValueError(f"a session id has {ID_BYTES} bytes and a nonce {NONCE_BYTES}")
    return _HEADER.pack(VERSION, kind, session_id, tag, nonce)


def _expect(envelope: bytes, kind: EnvelopeType) -> Header:
    header = read_header(envelope)
    if header.type is not kind:
        raise EnvelopeRefusedError(EnvelopeRefusal.UNEXPECTED)
    return header


def _seal(key: bytes, header: bytes, plain: bytes) -> bytes:
    return header + ChaCha20Poly1305(key).encrypt(header[-NONCE_BYTES:], plain, header)


def _open(key: bytes, envelope: bytes) -> bytes:
    header, sealed = envelope[: _HEADER.size], envelope[_HEADER.size :]
    try:
        return ChaCha20Poly1305(key).decrypt(header[-NONCE_BYTES:], sealed, header)
    except InvalidTag:
        raise EnvelopeRefusedError(EnvelopeRefusal.FORGED) from None
