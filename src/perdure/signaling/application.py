"""Signaling that the application carries itself: a tube's channel, and the texts that pass from one end to the other.

1. A text is the same JSON that the rendezvous carries sealed (`reliable_channel.Body`), and whose it is: `session`,
   the session's id; `sender`, an id of the end that wrote it; and `receiver`, that of the end whose numbers it
   acknowledges, once that was heard. Each has 32 hexadecimal digits. An end that was restarted has another id.
2. A description or a candidate that is passed on step by step has no numbers: `{"session": …, "message": {…}}`.
   `message` is what a browser's `setRemoteDescription` takes; the SDP in it is the engine's own.
3. Nothing here is sealed. Who can alter what the application carries, can put its own DTLS fingerprint in.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

import msgspec

from perdure.errors import ProtocolError
from perdure.eventlog import log_event
from perdure.nesting import check_json
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.messages import (
    MAX_SDP_BYTES,
    Answer,
    Candidate,
    ChannelMessage,
    Message,
    Offer,
    UnknownMessage,
    check_message,
    read_message,
)
from perdure.signaling.reliable_channel import Body, check_body
from perdure.wire import SESSION_ID_BYTES

if TYPE_CHECKING:
    from perdure.signaling.base import SignalingListener

_logger = logging.getLogger("perdure.signaling")

SENDER_BYTES = 16

MAX_TEXT_LENGTH = 4 * MAX_SDP_BYTES
"""Characters of a text that is read: JSON escapes each line's end of an SDP, and no more than doubles it."""

MAX_SHOWN = 20
"""Characters of a wrong word that an error repeats."""

_VERSION_LINE = re.compile(r"v=0\r?\n")
_ACTPASS = re.compile(r"^a=setup:actpass\s*$", re.MULTILINE)
_MEDIA_LINE = re.compile(r"^m=", re.MULTILINE)

HexId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{32}\Z", max_length=32)]


class Application(Protocol):
    """What the tube's messages are handed to. An object, not a function: a bound method costs each tube 64 bytes."""

    def said(self, message: Message) -> None:
        """The tube sends `message`."""


class ApplicationChannel:
    """A `SignalingChannel` whose other side is the application: what the tube sends is handed over, in order.

    What the application receives goes to the tube's manager directly.

    Args:
        application: given what the tube sends. What it raises is logged, and the message lost.
    """

    __slots__ = ("_application", "_is_closed", "_listener", "_waiting", "available")

    def __init__(self, application: Application) -> None:
        self.available = True
        """Whether the application can reach the peer: so it is, until the application says otherwise."""
        self._application = application
        self._listener: SignalingListener | None = None
        self._waiting: deque[Message] | None = None
        self._is_closed = False

    def attach(self, listener: SignalingListener) -> None:
        """`listener` is told when `available` changes."""
        self._listener = listener

    def send(self, message: Message) -> None:
        """Hand `message` to the application: at once, or once it can reach the peer again; after `close`, not at all.

        Bounded: when 256 messages wait, the oldest is dropped.
        """
        if self._is_closed:
            return
        if self.available:
            self._hand_over(message)
            return
        if self._waiting is None:
            self._waiting = deque(maxlen=MAX_WAITING_MESSAGES)
        self._waiting.append(message)

    def set_available(self, available: bool) -> None:
        """Whether the application can reach the peer now; while it cannot, what the tube sends waits."""
        if self._is_closed or available == self.available:
            return
        self.available = available
        while self.available and self._waiting:
            self._hand_over(self._waiting.popleft())
        if self._listener is not None:
            self._listener.signaling_available(available)

    def doubt(self) -> None:
        """Nothing: what carries the messages is the application's, which `set_available` says the state of."""

    def close(self) -> None:
        """Forget what waits, and deliver nothing more. Twice is fine."""
        self._is_closed = True
        self._listener = None
        self._waiting = None

    def _hand_over(self, message: Message) -> None:
        try:
            self._application.said(message)
        except Exception as error:
            kind = type(message).__name__
            log_event(_logger, logging.WARNING, "message-not-taken", kind=kind, why=type(error).__qualname__)


_NO_MESSAGE = msgspec.Raw()


class _Text(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one end sends to the other; unknown fields are ignored."""

    session: HexId
    sender: HexId | None = None
    receiver: HexId | None = None
    seq: int = 0
    first: int = 0
    ack: int = 0
    missing: bool = False
    message: msgspec.Raw = _NO_MESSAGE


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Text)


def write_text(session_id: bytes, sender: bytes, body: Body, *, receiver: bytes = b"") -> str:
    """JSON of `body` for the other end, whose id is `receiver` as far as it is known."""
    text = _Text(
        session_id.hex(),
        sender.hex(),
        receiver.hex() or None,
        body.seq,
        body.first,
        body.ack,
        body.missing,
        _written(body.message),
    )
    return _encoder.encode(text).decode()


def read_text(text: str | bytes, *, receiver: bytes) -> tuple[bytes, bytes, Body]:
    """The session's id, the sender's, and the body of a text that `write_text` made. What it acknowledges to another
    `receiver` than this end is left out.

    Raises:
        ProtocolError: it is not such a text, or a field is out of its bounds.
    """
    read, message = _read(text, "a signaling message")
    if read.sender is None:
        raise ProtocolError("a signaling message does not say who sent it")
    body = Body(read.seq, read.first, read.ack, message, read.missing)
    check_body(body)
    if read.receiver not in (None, receiver.hex()):
        body = Body(body.seq, body.first, 0, body.message)
    return bytes.fromhex(read.session), bytes.fromhex(read.sender), body


def describe(session_id: bytes, message: Offer | Answer) -> str:
    """JSON of `message` and of the session that it belongs to: what `read_description` reads.

    Raises:
        ValueError: the session's id has not 16 bytes, or the peer would not read the message.
    """
    if len(session_id) != SESSION_ID_BYTES:
        raise ValueError(f"a session's id has {SESSION_ID_BYTES} bytes, not {len(session_id)}")
    try:
        check_message(message)
        _check_is_sdp(message.sdp)
    except ProtocolError as error:
        raise ValueError(str(error)) from error
    return _encoder.encode(_Text(session_id.hex(), message=_written(message))).decode()


def read_description(text: str, kind: Literal["offer", "answer"]) -> tuple[bytes, Offer | Answer]:
    """The session's id and the message of a text that `describe` made at the other end.

    Raises:
        ValueError: `kind` is neither; it is not shown where it may be a description, which has a password in it.
        ProtocolError: it is not such a text.
    """
    if kind not in ("offer", "answer"):
        shown = repr(kind) if isinstance(kind, str) and len(kind) <= MAX_SHOWN else type(kind).__name__
        raise ValueError(f"a description's kind comes behind it: an offer or an answer, not {shown}")
    read, message = _read(text, f"an {kind}")
    if not isinstance(message, Offer if kind == "offer" else Answer):
        other = f", but of type {message.type[:MAX_SHOWN]!r}" if isinstance(message, UnknownMessage) else ""
        raise ProtocolError(f"this is not the description of an {kind}{other}")
    check_message(message)
    _check_is_sdp(message.sdp)
    return bytes.fromhex(read.session), message


def is_offer(sdp: str) -> bool:
    """Whether `sdp` leaves the DTLS role open, as offers do and answers must not (RFC 8842 §5.2, §5.3)."""
    return _ACTPASS.search(sdp) is not None


def read_candidate(data: Mapping[str, object] | str) -> Candidate:
    """The candidate in an `icecandidate` signal's data: `candidate`, `sdp_mid`, `sdp_mline_index`, `generation`. The
    W3C's `sdpMid` and `sdpMLineIndex` are read too.

    Args:
        data: the dict, or its JSON; other keys are ignored.

    Raises:
        ProtocolError: it is not such data, or a field is out of its bounds.
    """
    try:
        fields = data
        if isinstance(data, str):
            check_json(data)
            fields = msgspec.json.decode(data)
        if not isinstance(fields, Mapping):
            raise ProtocolError(f"an ICE candidate comes as a dict, not as {type(fields).__name__}")
        own = {_W3C_NAMES.get(name, name): value for name, value in fields.items() if isinstance(name, str)}
        candidate = msgspec.convert({**own, "type": "candidate"}, Candidate)
    except (msgspec.MsgspecError, ValueError) as error:
        hint = "; pass the icecandidate signal's data" if isinstance(error, msgspec.ValidationError) else ""
        raise ProtocolError(f"this is not an ICE candidate: {error}{hint}") from error
    check_message(candidate)
    return candidate


_W3C_NAMES = {"sdp_mid": "sdpMid", "sdp_mline_index": "sdpMLineIndex"}


def _written(message: ChannelMessage | UnknownMessage | None) -> msgspec.Raw:
    return _NO_MESSAGE if message is None else msgspec.Raw(_encoder.encode(message))


def _read(text: str | bytes, what: str) -> tuple[_Text, ChannelMessage | UnknownMessage | None]:
    if not isinstance(text, str | bytes):
        raise ProtocolError(f"{what} is a text, not {type(text).__name__}")
    if len(text) > MAX_TEXT_LENGTH:
        raise ProtocolError(f"{what} of {len(text)} characters is over {MAX_TEXT_LENGTH}")
    if not text.strip():
        raise ProtocolError(f"{what} is empty")
    try:
        check_json(text)
        read = _decoder.decode(text)
        return read, read_message(read.message)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"{what} cannot be read: {error}") from error


def _check_is_sdp(sdp: str) -> None:
    if _VERSION_LINE.match(sdp) is None or _MEDIA_LINE.search(sdp) is None:
        raise ProtocolError("this is not a session description: it has no v=0 line first, or no media line (m=)")
