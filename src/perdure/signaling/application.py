"""Signaling that the application carries itself: a tube's channel, and the texts that pass from one end to the other.

1. The peer's end must know to which session a description belongs, and to which carrier. Both travel inside the SDP, as
   one session-level attribute that other readers ignore (RFC 8866 §5.13):
   `a=x-perdure:1 <session id, 32 hex digits> <generation> <generation whose ICE it restarts, or 0> <cause or ->`.
2. `describe` writes the line, `read_description` takes it out again: an engine sees only its own SDP.
3. Nothing here is sealed. Who can alter what the application carries, can put its own DTLS fingerprint in.
"""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeVar, assert_never

import msgspec

from perdure.errors import ProtocolError
from perdure.eventlog import log_event
from perdure.nesting import check_json
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.messages import (
    MAX_SDP_BYTES,
    MAX_WORD_BYTES,
    Answer,
    Candidate,
    Message,
    Offer,
    decode_message,
    encode_message,
)
from perdure.wire import SESSION_ID_BYTES, printable

if TYPE_CHECKING:
    from perdure.signaling.base import SignalingListener

_logger = logging.getLogger("perdure.signaling")

MAX_LINE_BYTES = 100 + MAX_WORD_BYTES
"""What `describe` adds to an SDP at most: 13 for the name, 32 for the session, 10 for each number, and the cause."""

MAX_TEXT_LENGTH = 4 * MAX_SDP_BYTES
"""Characters of a text that is read: JSON escapes each line's end of an SDP, and no more than doubles it."""

MAX_SHOWN = 20
"""Characters of a wrong word that an error repeats."""

_M = TypeVar("_M", Offer, Answer, Candidate, Message)

_LINE = re.compile(r"^a=x-perdure(?=[:\s]|\Z)([^\n]*)(?:\n|\Z)", re.MULTILINE)
_VALUE = re.compile(r":1 ([0-9A-Fa-f]{32}) ([0-9]{1,10}) ([0-9]{1,10}) ([^\r\n]+)")
_VERSION = re.compile(r":([0-9]+) ")
_VERSION_LINE = re.compile(r"v=0\r?\n")
_TIME_LINE = re.compile(r"^t=[^\n]*?(\r?\n)", re.MULTILINE)
_ACTPASS = re.compile(r"^a=setup:actpass\s*$", re.MULTILINE)
_MEDIA_LINE = re.compile(r"^m=", re.MULTILINE)


class ApplicationChannel:
    """A `SignalingChannel` whose other side is the application: what the tube sends is handed over, in order.

    What the application receives goes to the tube's manager directly.

    Args:
        on_message: given what the tube sends. What it raises is logged, and the message lost.
    """

    __slots__ = ("_is_closed", "_listener", "_on_message", "_waiting", "available")

    def __init__(self, on_message: Callable[[Message], None]) -> None:
        self.available = True
        """Whether the application can reach the peer: so it is, until the application says otherwise."""
        self._on_message = on_message
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

    def close(self) -> None:
        """Forget what waits, and deliver nothing more. Twice is fine."""
        self._is_closed = True
        self._listener = None
        self._waiting = None

    def _hand_over(self, message: Message) -> None:
        try:
            self._on_message(message)
        except Exception as error:
            kind = type(message).__name__
            log_event(_logger, logging.WARNING, "message-not-taken", kind=kind, why=type(error).__qualname__)


def describe(session_id: bytes, message: Offer | Answer) -> str:
    """The SDP of `message`, with the line that says what it belongs to: what `read_description` reads.

    The cause is cut to what can be printed in one line; "-" becomes empty.

    Raises:
        ValueError: the session's id has not 16 bytes, or the peer would not read the message.
    """
    if len(session_id) != SESSION_ID_BYTES:
        raise ValueError(f"a session's id has {SESSION_ID_BYTES} bytes, not {len(session_id)}")
    match message:
        case Offer(generation, sdp, restarts, cause):
            kind: Literal["offer", "answer"] = "offer"
            value = f"{generation} {restarts} {printable(cause).strip() or '-'}"
        case Answer(generation, sdp):
            kind = "answer"
            value = f"{generation} 0 -"
        case _:
            assert_never(message)
    time_line = _TIME_LINE.search(sdp)
    if time_line is None:
        raise ValueError("a session description has a time line (t=)")
    at = time_line.end()
    text = f"{sdp[:at]}a=x-perdure:1 {session_id.hex()} {value}{time_line[1]}{sdp[at:]}"
    try:
        read_description(text, kind)
    except ProtocolError as error:
        raise ValueError(str(error)) from error
    return text


def read_description(sdp: str, kind: Literal["offer", "answer"]) -> tuple[bytes, Offer | Answer]:
    """The session's id and the message of a text that `describe` made at the other end.

    Raises:
        ValueError: `kind` is neither; it is not shown where it may be an SDP, which has a password in it.
        ProtocolError: it is not such a text.
    """
    if kind not in ("offer", "answer"):
        shown = repr(kind) if isinstance(kind, str) and len(kind) <= MAX_SHOWN else type(kind).__name__
        raise ValueError(f"a description's kind comes behind its SDP: an offer or an answer, not {shown}")
    media = _check_is_sdp(sdp)
    lines = list(_LINE.finditer(sdp))
    if not lines:
        raise ProtocolError(f"this {kind} has no x-perdure line: it was made by something else than perdure")
    if len(lines) > 1:
        raise ProtocolError(f"this {kind} has {len(lines)} x-perdure lines")
    (line,) = lines
    content = line[1].rstrip()
    if (version := _VERSION.match(content)) is not None and version[1] != "1":
        raise ProtocolError(f"the x-perdure line of this {kind} is of a version that this perdure does not know")
    value = _VALUE.fullmatch(content)
    if value is None or line.start() > media:
        raise ProtocolError(f"the x-perdure line of this {kind} is malformed")
    session_id, generation, restarts = bytes.fromhex(value[1]), int(value[2]), int(value[3])
    cause = "" if value[4] == "-" else value[4]
    rest = sdp[: line.start()] + sdp[line.end() :]
    if kind == "offer":
        return session_id, _checked(Offer(generation, rest, restarts, cause))
    if restarts or cause:
        raise ProtocolError("an answer cannot restart ICE, as the x-perdure line of this one says")
    return session_id, _checked(Answer(generation, rest))


class _Text(msgspec.Struct, frozen=True):
    session: str
    message: Message


_text_decoder = msgspec.json.Decoder(_Text)


def write_text(session_id: bytes, message: Message) -> str:
    """JSON of `message` for the other end: `{"session": 32 hex digits, "message": {"type": …}}`."""
    return msgspec.json.encode(_Text(session_id.hex(), message)).decode()


def read_text(text: str | bytes) -> tuple[bytes, Message]:
    """The session's id and the message of a text that `write_text` made.

    Raises:
        ProtocolError: it is not such a text, or a field is out of its bounds.
    """
    if not isinstance(text, str | bytes):
        raise ProtocolError(f"a signaling message is a text, not {type(text).__name__}")
    if len(text) > MAX_TEXT_LENGTH:
        raise ProtocolError(f"a signaling message of {len(text)} characters is over {MAX_TEXT_LENGTH}")
    try:
        check_json(text)
        read = _text_decoder.decode(text)
        session_id = bytes.fromhex(read.session)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"a signaling message cannot be read: {error}") from error
    if len(session_id) != SESSION_ID_BYTES:
        raise ProtocolError(f"a session's id has {SESSION_ID_BYTES} bytes, not {len(session_id)}")
    return session_id, _checked(read.message)


def is_offer(sdp: str) -> bool:
    """Whether `sdp` leaves the DTLS role open, as offers do and answers must not (RFC 8842 §5.2, §5.3)."""
    return _ACTPASS.search(sdp) is not None


def read_candidate(data: Mapping[str, object] | str) -> Candidate:
    """The candidate in an `icecandidate` signal's data: `candidate`, `sdp_mid`, `sdp_mline_index`, `generation`.

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
        own = {name: fields[name] for name in Candidate.__struct_fields__ if name in fields}
        candidate = msgspec.convert({"type": "candidate", **own}, Candidate)
    except (msgspec.MsgspecError, ValueError) as error:
        hint = "; pass the icecandidate signal's data" if isinstance(error, msgspec.ValidationError) else ""
        raise ProtocolError(f"this is not an ICE candidate: {error}{hint}") from error
    return _checked(candidate)


def _check_is_sdp(sdp: object) -> int:
    """Where its first media section begins; `ProtocolError` where it is no SDP, or too long a one."""
    if not isinstance(sdp, str):
        raise ProtocolError(f"a session description is text, not {type(sdp).__name__}")
    if not sdp.strip():
        raise ProtocolError("the session description is empty")
    if len(sdp) > MAX_SDP_BYTES + MAX_LINE_BYTES:
        raise ProtocolError(f"a session description of {len(sdp)} characters is over {MAX_SDP_BYTES} bytes")
    media = _MEDIA_LINE.search(sdp)
    if _VERSION_LINE.match(sdp) is None or media is None:
        raise ProtocolError("this is not a session description: it has no v=0 line first, or no media line (m=)")
    return media.start()


def _checked(message: _M) -> _M:
    """`message`, whose bounds are those of any other message of a peer."""
    try:
        decode_message(encode_message(message))
    except ValueError as error:  # a lone surrogate, or a number of more digits than Python turns into text
        raise ProtocolError(f"this cannot be sent: {error}") from error
    return message
