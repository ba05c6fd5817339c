"""The frame codec of a tube: what one data-channel message holds. Pure: bytes in, frames out, and back.

A message is one or more frames, at most `MAX_MESSAGE_BYTES` in all. A frame is a type byte and its fields; integers are
RFC 9000 §16 variable-length integers. docs/wire.md draws each frame.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import assert_never

from perdure.errors import ProtocolError

PROTOCOL_VERSION = 1

MAX_MESSAGE_BYTES = 64 * 1024
"""Larger messages delay other streams and are refused by some WebRTC stacks; libwebrtc itself takes 256 KiB."""

MAX_TARGET_BYTES = 512
"""A DNS name has at most 253 characters, a port 5."""

MAX_REASON_BYTES = 200
MAX_VARINT = 2**62 - 1

SESSION_ID_BYTES = 16
SESSION_KEY_BYTES = 32
PROOF_BYTES = 32

MAX_DATA_OVERHEAD_BYTES = 1 + 8 + 8 + 4
"""The header of a DATA frame at its largest: type, stream, offset, length."""

MAX_POSITION_BYTES = 3 * 8
MAX_RESUME_OVERHEAD_BYTES = 1 + SESSION_ID_BYTES + 8 + PROOF_BYTES + 8
MAX_RESUME_POSITIONS = (MAX_MESSAGE_BYTES - MAX_RESUME_OVERHEAD_BYTES) // MAX_POSITION_BYTES
"""How many streams one RESUME can list."""

MAX_STREAMS = 1024
"""Streams of one session at a time; both ends' together stay below what a RESUME can list."""


class FrameType(IntEnum):
    HELLO = 0x01
    RESUME = 0x02
    OPEN = 0x03
    DATA = 0x04
    ACK = 0x05
    WINDOW = 0x06
    FIN = 0x07
    RESET = 0x08
    GONE = 0x09
    PING = 0x0A
    PONG = 0x0B
    CLOSE = 0x0C


class ResetCode(IntEnum):
    """Why a stream ended before its time. Codes that a later version adds read as `ABORTED`."""

    ABORTED = 0
    """One end's TCP connection was reset, or its program gave up."""
    NOT_ALLOWED = 1
    """The gateway's `--allow` list does not name the target; nothing was dialled."""
    REFUSED = 2
    """The target refused the TCP connection."""
    TIMED_OUT = 3
    """The target did not answer in time."""
    UNREACHABLE = 4
    """The target's name or address has no route or does not resolve."""
    LIMIT = 5
    """A limit on streams was reached."""
    SESSION_LOST = 6
    """The session that carried the stream is gone."""


class CloseCode(IntEnum):
    """Why a session ended. Codes that a later version adds read as `PROTOCOL`."""

    DONE = 0
    UNKNOWN_SESSION = 1
    """The receiver of a RESUME has no such session: it was restarted, or the session ended there."""
    PROTOCOL = 2
    VERSION = 3
    """The peer speaks another version of this protocol."""
    TIMED_OUT = 4
    """The session's time is over: nobody used it for the session timeout, or its duration limit was reached."""
    SHUT_DOWN = 5
    """The application at that end is ending."""


@dataclass(frozen=True, slots=True)
class Hello:
    version: int
    session_id: bytes
    key: bytes

    def __repr__(self) -> str:
        return f"Hello(version={self.version}, session_id={self.session_id.hex()}, key=<hidden>)"


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """How far the sender of a RESUME has received `stream_id` (a FIN counts as one), and the credit that it grants."""

    stream_id: int
    received: int
    window: int


@dataclass(frozen=True, slots=True)
class Resume:
    session_id: bytes
    generation: int
    proof: bytes
    positions: tuple[StreamPosition, ...]


@dataclass(frozen=True, slots=True)
class Open:
    stream_id: int
    window: int
    target: bytes


@dataclass(frozen=True, slots=True)
class Data:
    stream_id: int
    offset: int
    payload: memoryview


@dataclass(frozen=True, slots=True)
class Ack:
    stream_id: int
    received: int


@dataclass(frozen=True, slots=True)
class Window:
    stream_id: int
    limit: int


@dataclass(frozen=True, slots=True)
class Fin:
    stream_id: int
    offset: int


@dataclass(frozen=True, slots=True)
class Reset:
    stream_id: int
    code: ResetCode


@dataclass(frozen=True, slots=True)
class Gone:
    stream_id: int


@dataclass(frozen=True, slots=True)
class Ping:
    token: int


@dataclass(frozen=True, slots=True)
class Pong:
    token: int


@dataclass(frozen=True, slots=True)
class Close:
    code: CloseCode
    reason: str


Frame = Hello | Resume | Open | Data | Ack | Window | Fin | Reset | Gone | Ping | Pong | Close


def encode_varint(value: int) -> bytes:
    """RFC 9000 §16. Raises `ValueError` outside 0 … 2^62 - 1."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value <= MAX_VARINT:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError(f"{value} does not fit into 62 bits")


def decode_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The integer at `at` and the index behind it. Raises `ProtocolError` where `data` ends too early."""
    try:
        first = data[at]
    except IndexError:
        raise ProtocolError("a frame ends within an integer") from None
    if first < 0x40:
        return first, at + 1
    length = 1 << (first >> 6)
    end = at + length
    if end > len(data):
        raise ProtocolError("a frame ends within an integer")
    return int.from_bytes(data[at:end], "big") & ((1 << (8 * length - 2)) - 1), end


def encode_data_header(stream_id: int, offset: int, length: int) -> bytes:
    """What stands before a DATA frame's payload of `length` bytes."""
    return b"\x04" + encode_varint(stream_id) + encode_varint(offset) + encode_varint(length)


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame; a message is any concatenation of them up to `MAX_MESSAGE_BYTES`."""
    match frame:
        case Hello(version, session_id, key):
            return b"\x01" + encode_varint(version) + session_id + key
        case Resume(session_id, generation, proof, positions):
            return b"".join(
                [b"\x02", session_id, encode_varint(generation), proof, encode_varint(len(positions))]
                + [_integers(p.stream_id, p.received, p.window) for p in positions]
            )
        case Open(stream_id, window, target):
            return b"\x03" + _integers(stream_id, window, len(target)) + target
        case Data(stream_id, offset, payload):
            return encode_data_header(stream_id, offset, len(payload)) + payload
        case Ack(stream_id, received):
            return b"\x05" + _integers(stream_id, received)
        case Window(stream_id, limit):
            return b"\x06" + _integers(stream_id, limit)
        case Fin(stream_id, offset):
            return b"\x07" + _integers(stream_id, offset)
        case Reset(stream_id, code):
            return b"\x08" + _integers(stream_id, code)
        case Gone(stream_id):
            return b"\x09" + encode_varint(stream_id)
        case Ping(token):
            return b"\x0a" + encode_varint(token)
        case Pong(token):
            return b"\x0b" + encode_varint(token)
        case Close(code, reason):
            text = reason.encode()[:MAX_REASON_BYTES]
            return b"\x0c" + _integers(code, len(text)) + text
        case _:
            assert_never(frame)


def decode_message(message: bytes) -> Iterator[Frame]:
    """The frames of one data-channel message, in order; a `Data.payload` is a view into `message`.

    Raises:
        ProtocolError: at the first byte that does not follow the format. The frames before it were yielded.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(message)} bytes is over {MAX_MESSAGE_BYTES}")
    if not message:
        raise ProtocolError("an empty message")
    view = memoryview(message)
    at, end = 0, len(message)
    while at < end:
        kind = message[at]
        at += 1
        if kind == FrameType.DATA:
            (stream_id, offset, length), at = _decode_integers(message, at, 3)
            payload, at = _take(view, at, length)
            yield Data(stream_id, offset, payload)
        elif kind == FrameType.ACK:
            (stream_id, received), at = _decode_integers(message, at, 2)
            yield Ack(stream_id, received)
        elif kind == FrameType.WINDOW:
            (stream_id, limit), at = _decode_integers(message, at, 2)
            yield Window(stream_id, limit)
        else:
            frame, at = _decode_rare(kind, message, view, at)
            yield frame


def _decode_rare(kind: int, message: bytes, view: memoryview, at: int) -> tuple[Frame, int]:
    match kind:
        case FrameType.HELLO:
            version, at = decode_varint(message, at)
            session_id, at = _take(view, at, SESSION_ID_BYTES)
            key, at = _take(view, at, SESSION_KEY_BYTES)
            return Hello(version, bytes(session_id), bytes(key)), at
        case FrameType.RESUME:
            return _decode_resume(message, view, at)
        case FrameType.OPEN:
            (stream_id, window, length), at = _decode_integers(message, at, 3)
            if length > MAX_TARGET_BYTES:
                raise ProtocolError(f"an OPEN names a target of {length} bytes, over {MAX_TARGET_BYTES}")
            target, at = _take(view, at, length)
            return Open(stream_id, window, bytes(target)), at
        case FrameType.FIN:
            (stream_id, offset), at = _decode_integers(message, at, 2)
            return Fin(stream_id, offset), at
        case FrameType.RESET:
            (stream_id, code), at = _decode_integers(message, at, 2)
            return Reset(stream_id, _reset_code(code)), at
        case FrameType.GONE:
            stream_id, at = decode_varint(message, at)
            return Gone(stream_id), at
        case FrameType.PING:
            token, at = decode_varint(message, at)
            return Ping(token), at
        case FrameType.PONG:
            token, at = decode_varint(message, at)
            return Pong(token), at
        case FrameType.CLOSE:
            (code, length), at = _decode_integers(message, at, 2)
            if length > MAX_REASON_BYTES:
                raise ProtocolError(f"a CLOSE gives a reason of {length} bytes, over {MAX_REASON_BYTES}")
            reason, at = _take(view, at, length)
            known = _close_code(code)
            return Close(known, printable(bytes(reason).decode("utf-8", "replace"))), at
        case _:
            raise ProtocolError(f"unknown frame type 0x{kind:02x}")


def _decode_resume(message: bytes, view: memoryview, at: int) -> tuple[Resume, int]:
    session_id, at = _take(view, at, SESSION_ID_BYTES)
    generation, at = decode_varint(message, at)
    proof, at = _take(view, at, PROOF_BYTES)
    count, at = decode_varint(message, at)
    if count > MAX_RESUME_POSITIONS:
        raise ProtocolError(f"a RESUME lists {count} streams, over {MAX_RESUME_POSITIONS}")
    positions = []
    for _ in range(count):
        (stream_id, received, window), at = _decode_integers(message, at, 3)
        positions.append(StreamPosition(stream_id, received, window))
    return Resume(bytes(session_id), generation, bytes(proof), tuple(positions)), at


def _integers(*values: int) -> bytes:
    return b"".join([encode_varint(value) for value in values])


def _decode_integers(data: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    values = []
    for _ in range(count):
        value, at = decode_varint(data, at)
        values.append(value)
    return values, at


def _take(view: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    end = at + length
    if end > len(view):
        raise ProtocolError(f"a frame ends {end - len(view)} bytes too early")
    return view[at:end], end


def printable(text: str) -> str:
    """`text` of a peer, fit for a terminal: each control character is a question mark."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _reset_code(code: int) -> ResetCode:
    try:
        return ResetCode(code)
    except ValueError:
        return ResetCode.ABORTED


def _close_code(code: int) -> CloseCode:
    try:
        return CloseCode(code)
    except ValueError:
        return CloseCode.PROTOCOL
