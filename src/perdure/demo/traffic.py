"""Position-coded traffic over TCP: each eight bytes say which connection, direction and position they belong to.

A byte lost, doubled, swapped or taken from another connection shows at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from array import array
from dataclasses import dataclass, field
from time import monotonic

WORD_BYTES = 8
TICK_SECONDS = 0.01
"""How often a source writes; silence shorter than this cannot be told from a pause between two writes."""

_STREAM_SHIFT = 40
"""A word is the stream's number above 40 bits of position: 8 TiB before a stream repeats itself."""


def coded(stream: int, offset: int, count: int) -> bytes:
    """The bytes of `stream` from `offset` on."""
    first = offset // WORD_BYTES
    words = (offset % WORD_BYTES + count + WORD_BYTES - 1) // WORD_BYTES
    base = (stream << _STREAM_SHIFT) + first
    block = array("Q", range(base, base + words))
    if sys.byteorder == "little":
        block.byteswap()
    return block.tobytes()[offset % WORD_BYTES :][:count]


@dataclass
class Direction:
    """One direction of one connection: what was sent into it and what came out."""

    stream: int
    sent_bytes: int = 0
    received_bytes: int = 0
    wrong_bytes: int = 0
    ended: bool = False
    """The end of the stream arrived as a proper end, not as a reset."""
    last_at: float = field(default_factory=monotonic)
    longest_gap: float = 0.0
    """Seconds without a byte, the longest since `take_gap`."""

    def arrived(self, data: bytes) -> None:
        now = monotonic()
        self.longest_gap = max(self.longest_gap, now - self.last_at)
        self.last_at = now
        expected = coded(self.stream, self.received_bytes, len(data))
        if data != expected:
            self.wrong_bytes += sum(map(int.__ne__, data, expected))
        self.received_bytes += len(data)

    def take_gap(self) -> float:
        """The longest gap so far, one that is still open included; the count starts over."""
        gap = max(self.longest_gap, self.current_gap)
        self.longest_gap = 0.0
        return gap

    @property
    def current_gap(self) -> float:
        return 0.0 if self.ended else monotonic() - self.last_at

    @property
    def lost_or_wrong_bytes(self) -> int:
        return abs(self.sent_bytes - self.received_bytes) + self.wrong_bytes


async def run_side(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    outgoing: Direction,
    incoming: Direction,
    *,
    bytes_per_second: int,
    stop: asyncio.Event,
) -> None:
    """Send `outgoing` until `stop`, half-close, and read `incoming` to its end.

    Raises:
        OSError: the connection was dropped.
    """

    async def send() -> None:
        block = max(WORD_BYTES, int(bytes_per_second * TICK_SECONDS))
        while not stop.is_set():
            writer.write(coded(outgoing.stream, outgoing.sent_bytes, block))
            outgoing.sent_bytes += block
            await writer.drain()
            await asyncio.sleep(TICK_SECONDS)
        writer.write_eof()

    async def receive() -> None:
        while data := await reader.read(256 * 1024):
            incoming.arrived(data)
        incoming.ended = True

    incoming.last_at = monotonic()
    try:
        await asyncio.gather(send(), receive())
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
