"""The frame codec of a tube: what one data-channel message holds. Pure: bytes in, frames out, and back.

A message is one or more frames, at most `MAX_MESSAGE_BYTES` and `MAX_MESSAGE_FRAMES` in all. A frame is a type byte and
its fields; integers are RFC 9000 §16 variable-length integers, at most 2^53 - 1. A frame of a type from
`FIRST_SKIPPABLE_TYPE` on has a length, and is skipped by who does not know it. docs/protocol.md has each frame.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, assert_never

from perdure.errors import ProtocolError
from perdure.wire.frames import (
    FIRST_SKIPPABLE_TYPE,
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    MAX_REASON_BYTES,
    MAX_SIGNAL_BYTES,
    MAX_STREAMS,
    MAX_TARGET_BYTES,
    PROOF_BYTES,
    SESSION_ID_BYTES,
    SESSION_KEY_BYTES,
    Accept,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    FrameType,
    Gone,
    Hello,
    Open,
    Padding,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Resume,
    Signal,
    StreamPosition,
    Unknown,
    Window,
)
from perdure.wire.integers import decode_integers, decode_varint, encode_integers, encode_varint, take
from perdure.wire.parameters import decode_parameters, encode_parameters

if TYPE_CHECKING:
    from collections.abc import Iterator


def encode_data_header(stream_id: int, offset: int, length: int) -> bytes:
    """What stands before a DATA frame's payload of `length` bytes."""
    return b"\x04" + encode_varint(stream_id) + encode_varint(offset) + encode_varint(length)


def encode_frame(frame: Frame) -> bytes:
    """The bytes of one frame; a message is any concatenation of them up to `MAX_MESSAGE_BYTES`."""
    match frame:
        case Hello(session_id, key, parameters):
            return b"\x01" + session_id + key + encode_parameters(parameters)
        case Resume(session_id, generation, proof, positions, parameters):
            head = [b"\x02", session_id, encode_varint(generation), proof, encode_parameters(parameters)]
            listed = [encode_integers(p.stream_id, p.received, p.window, p.is_accepted) for p in positions]
            return b"".join([*head, encode_varint(len(positions)), *listed])
        case Open(stream_id, window, target):
            return b"\x03" + encode_integers(stream_id, window, len(target)) + target
        case Accept(stream_id, limit):
            return b"\x0d" + encode_integers(stream_id, limit)
        case Data(stream_id, offset, payload):
            return encode_data_header(stream_id, offset, len(payload)) + payload
        case Ack(stream_id, received):
            return b"\x05" + encode_integers(stream_id, received)
        case Window(stream_id, limit):
            return b"\x06" + encode_integers(stream_id, limit)
        case Fin(stream_id, offset):
            return b"\x07" + encode_integers(stream_id, offset)
        case Reset(stream_id, code):
            return b"\x08" + encode_integers(stream_id, code)
        case Gone(stream_id):
            return b"\x09" + encode_varint(stream_id)
        case Ping(token):
            return b"\x0a" + encode_varint(token)
        case Pong(token):
            return b"\x0b" + encode_varint(token)
        case Close(code, reason, parameters):
            text = reason.encode()[:MAX_REASON_BYTES]
            return b"\x0c" + encode_integers(code, len(text)) + text + encode_parameters(parameters)
        case Signal(body):
            return b"\x40" + encode_varint(len(body)) + body
        case Padding(length):
            return b"\x41" + encode_varint(length) + bytes(length)
        case Unknown(frame_type):
            return bytes((frame_type, 0))
        case _:
            assert_never(frame)


_ACK, _DATA = int(FrameType.ACK), int(FrameType.DATA)
"""A member of an enumeration takes longer to compare."""


def decode_message(message: bytes, at: int = 0, frames: int = 0) -> Iterator[Frame]:
    """The frames of one data-channel message, in order; a `Data.payload` is a view into `message`.

    Args:
        at: where to begin, behind so many `frames`.

    Raises:
        ProtocolError: at the first byte that does not follow the format. The frames before it were yielded.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message of {len(message)} bytes is over {MAX_MESSAGE_BYTES}")
    if not message:
        raise ProtocolError("an empty message")
    view = memoryview(message)
    end = len(message)
    while at < end:
        kind = message[at]
        at += 1
        frames += 1
        if frames > MAX_MESSAGE_FRAMES:
            raise ProtocolError(f"a message of more than {MAX_MESSAGE_FRAMES} frames")
        if kind == FrameType.DATA:
            (stream_id, offset, length), at = decode_integers(message, at, 3)
            payload, at = take(view, at, length)
            yield Data(stream_id, offset, payload)
        elif kind == FrameType.ACK:
            (stream_id, received), at = decode_integers(message, at, 2)
            yield Ack(stream_id, received)
        elif kind == FrameType.WINDOW:
            (stream_id, limit), at = decode_integers(message, at, 2)
            yield Window(stream_id, limit)
        elif kind >= FIRST_SKIPPABLE_TYPE:
            length, at = decode_varint(message, at)
            body, at = take(view, at, length)
            yield _skippable(kind, body)
        else:
            frame, at = _decode_rare(kind, message, view, at)
            yield frame


class StreamBytes(NamedTuple):
    """DATA of one stream, behind that stream's ACK or without one: what most messages are."""

    stream_id: int
    acknowledged: int
    """Of the ACK; -1 where there is none."""
    offset: int
    begins_at: int
    """Where in the message the payload begins."""
    ends_at: int


def decode_stream_bytes(message: bytes, at: int) -> StreamBytes | None:
    """DATA at `at`, behind its stream's ACK or without one, in half of the time of `decode_message`. `None`: there is
    something else, or something broken; `decode_message` says what."""
    try:
        kind, acknowledged, acknowledges = message[at], -1, 0
        if kind == _ACK:
            acknowledges, at = decode_varint(message, at + 1)
            acknowledged, at = decode_varint(message, at)
            kind = message[at]
        if kind != _DATA:
            return None
        stream_id, at = decode_varint(message, at + 1)
        offset, at = decode_varint(message, at)
        length, at = decode_varint(message, at)
    except (IndexError, ProtocolError):
        return None
    if at + length > len(message) or (acknowledged >= 0 and acknowledges != stream_id):
        return None
    return StreamBytes(stream_id, acknowledged, offset, at, at + length)


def _decode_rare(kind: int, message: bytes, view: memoryview, at: int) -> tuple[Frame, int]:
    match kind:
        case FrameType.HELLO:
            session_id, at = take(view, at, SESSION_ID_BYTES)
            key, at = take(view, at, SESSION_KEY_BYTES)
            parameters, at = decode_parameters(message, view, at)
            return Hello(bytes(session_id), bytes(key), parameters), at
        case FrameType.RESUME:
            return _decode_resume(message, view, at)
        case FrameType.OPEN:
            (stream_id, window, length), at = decode_integers(message, at, 3)
            if length > MAX_TARGET_BYTES:
                raise ProtocolError(f"an OPEN names a target of {length} bytes, over {MAX_TARGET_BYTES}")
            target, at = take(view, at, length)
            return Open(stream_id, window, bytes(target)), at
        case FrameType.ACCEPT:
            (stream_id, limit), at = decode_integers(message, at, 2)
            return Accept(stream_id, limit), at
        case FrameType.FIN:
            (stream_id, offset), at = decode_integers(message, at, 2)
            return Fin(stream_id, offset), at
        case FrameType.RESET:
            (stream_id, code), at = decode_integers(message, at, 2)
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
            (code, length), at = decode_integers(message, at, 2)
            if length > MAX_REASON_BYTES:
                raise ProtocolError(f"a CLOSE gives a reason of {length} bytes, over {MAX_REASON_BYTES}")
            reason, at = take(view, at, length)
            parameters, at = decode_parameters(message, view, at)
            text = printable(bytes(reason).decode("utf-8", "replace"))
            return Close(_close_code(code), text, parameters), at
        case _:
            raise ProtocolError(f"unknown frame type 0x{kind:02x}")


def _skippable(kind: int, body: memoryview) -> Signal | Padding | Unknown:
    if kind == FrameType.PADDING:
        return Padding(len(body))
    if kind != FrameType.SIGNAL:
        return Unknown(kind)
    if len(body) > MAX_SIGNAL_BYTES:
        raise ProtocolError(f"a SIGNAL of {len(body)} bytes, over {MAX_SIGNAL_BYTES}")
    return Signal(bytes(body))


def _decode_resume(message: bytes, view: memoryview, at: int) -> tuple[Resume, int]:
    session_id, at = take(view, at, SESSION_ID_BYTES)
    generation, at = decode_varint(message, at)
    proof, at = take(view, at, PROOF_BYTES)
    parameters, at = decode_parameters(message, view, at)
    count, at = decode_varint(message, at)
    if count > 2 * MAX_STREAMS:
        raise ProtocolError(f"a RESUME lists {count} streams, over {2 * MAX_STREAMS}")
    positions = []
    for _ in range(count):
        (stream_id, received, window, flags), at = decode_integers(message, at, 4)
        positions.append(StreamPosition(stream_id, received, window, bool(flags & 1)))
    return Resume(bytes(session_id), generation, bytes(proof), tuple(positions), parameters), at


def printable(text: str) -> str:
    """`text` of a peer, fit for a terminal: each control character, and what was no UTF-8, is a question mark. It takes
    no more bytes than the peer's own."""
    return "".join(character if character.isprintable() and character != _NO_UTF8 else "?" for character in text)


_NO_UTF8 = "\ufffd"
"""What "replace" puts in place of bytes that are none."""


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
