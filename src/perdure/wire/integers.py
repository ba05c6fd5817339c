"""RFC 9000 §16's variable-length integers, as far as JavaScript's numbers reach, and parts of a message. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_INTEGER = 2**53 - 1
"""The largest integer that a JavaScript number holds exactly."""


def encode_varint(value: int) -> bytes:
    """RFC 9000 §16. Raises `ValueError` outside 0 … 2^53 - 1."""
    if value < 0:
        raise ValueError(f"{value} is negative")
    if value < 0x40:
        return value.to_bytes(1, "big")
    if value < 0x4000:
        return (value | 0x4000).to_bytes(2, "big")
    if value < 0x4000_0000:
        return (value | 0x8000_0000).to_bytes(4, "big")
    if value <= MAX_INTEGER:
        return (value | 0xC000_0000_0000_0000).to_bytes(8, "big")
    raise ValueError(f"{value} does not fit into 53 bits")


def decode_varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    """The integer at `at`, and the index behind it. Raises `ProtocolError` where `data` ends too early, or where the
    integer is over 2^53 - 1."""
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
    value = int.from_bytes(data[at:end], "big") & ((1 << (8 * length - 2)) - 1)
    if value > MAX_INTEGER:
        raise ProtocolError(f"an integer over 2^53 - 1: {value}")
    return value, end


def encode_integers(*values: int) -> bytes:
    """One behind the other."""
    return b"".join([encode_varint(value) for value in values])


def decode_integers(data: bytes, at: int, count: int) -> tuple[Sequence[int], int]:
    """`count` integers from `at` on, and the index behind them. Raises as `decode_varint`."""
    values = []
    for _ in range(count):
        value, at = decode_varint(data, at)
        values.append(value)
    return values, at


def take(view: memoryview, at: int, length: int) -> tuple[memoryview, int]:
    """`length` bytes from `at` on, and the index behind them. Raises `ProtocolError` where there are fewer."""
    end = at + length
    if end > len(view):
        raise ProtocolError(f"a frame ends {end - len(view)} bytes too early")
    return view[at:end], end
