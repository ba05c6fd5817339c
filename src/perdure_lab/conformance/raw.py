"""Frames as no honest peer would encode them, and those with parameters of a case's own. Pure."""

from __future__ import annotations

from perdure.wire import encode_varint

VERSIONS, INITIAL_CREDIT, MAX_MESSAGE, MAX_ACK_DELAY, CARRIERS = 1, 2, 3, 4, 5
"""Ids of parameters."""

NO_PARAMETERS = b"\0"
"""All have their defaults."""

Position = tuple[int, int, int]
"""A stream, what was received of it, and the limit that is granted."""


def integers(*values: int) -> bytes:
    return b"".join(encode_varint(value) for value in values)


def long_integer(value: int) -> bytes:
    """In eight bytes, however small it is; also beyond 2^53 - 1."""
    return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")


def parameters(*said: tuple[int, bytes]) -> bytes:
    """Their length, and each with its id and its length."""
    listed = b"".join(integers(name, len(value)) + value for name, value in said)
    return encode_varint(len(listed)) + listed


def hello(session_id: bytes, key: bytes, listed: bytes) -> bytes:
    return b"\x01" + session_id + key + listed


def resume(session_id: bytes, generation: int, proof: bytes, listed: bytes, positions: list[Position]) -> bytes:
    head = b"\x02" + session_id + encode_varint(generation) + proof + listed + encode_varint(len(positions))
    return head + b"".join(integers(*position, 0) for position in positions)


def skippable(frame_type: int, payload: bytes) -> bytes:
    """A frame of a later version."""
    return bytes((frame_type,)) + encode_varint(len(payload)) + payload


def open_frame(stream_id: int, target: bytes = b"echo.test:7") -> bytes:
    """OPEN without credit."""
    return b"\x03" + integers(stream_id, 0, len(target)) + target
