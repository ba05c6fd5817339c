"""The demo's traffic: position-coded bytes over TCP, there and back."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from time import monotonic

from perdure.lab.position import TICK_SECONDS, WORD_BYTES, coded


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
