"""What a link's connection has still to write, at a bounded rate."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from perdure.signaling.frames import Send, Vouch, encode_frame
from perdure.signaling.rate import TokenBucket

if TYPE_CHECKING:
    from perdure.signaling.socket import Socket

MAX_UNWRITTEN_FRAMES = 4096
MAX_UNWRITTEN_BYTES = 8 * 1024 * 1024
"""Beyond, the connection is given up as stuck: a gateway's 256 sessions have a window of 32 messages each."""

_FRAMES_PER_SECOND = 80.0
_FRAME_BURST = 300
"""Below the rendezvous' limits (100 and 400), so that sending much again never earns a refusal."""


class Outgoing:
    """One connection's frames, in order."""

    def __init__(self) -> None:
        self._unwritten: deque[Send] = deque()
        self._for_proved: deque[Send] = deque()
        """What is for peers that have proved themselves goes first."""
        self._vouch: Vouch | None = None
        """The latest, which goes before all: who has proved itself must not have to go."""
        self._unwritten_bytes = 0
        self._writable = asyncio.Event()

    @property
    def is_stuck(self) -> bool:
        """Whether the connection has not taken more than it may leave."""
        return (
            len(self._unwritten) + len(self._for_proved) > MAX_UNWRITTEN_FRAMES
            or self._unwritten_bytes > MAX_UNWRITTEN_BYTES
        )

    def add(self, frame: Send, *, is_proved: bool = False) -> None:
        (self._for_proved if is_proved else self._unwritten).append(frame)
        self._unwritten_bytes += len(frame.body)
        self._writable.set()

    def vouch(self, frame: Vouch) -> None:
        self._vouch = frame
        self._writable.set()

    async def write_to(self, socket: Socket) -> None:
        """Write to `socket` what there is, and what comes, until cancelled. Raises what the socket does."""
        now = asyncio.get_running_loop().time
        bucket = TokenBucket(_FRAMES_PER_SECOND, _FRAME_BURST, now=now())
        while True:
            while self._vouch is not None or self._for_proved or self._unwritten:
                if not bucket.take(now()):
                    await asyncio.sleep(bucket.delay(now()))
                    bucket.take(now())
                await socket.send(encode_frame(self._next()))
            self._writable.clear()
            await self._writable.wait()

    def _next(self) -> Send | Vouch:
        if (vouch := self._vouch) is not None:
            self._vouch = None
            return vouch
        frame = (self._for_proved or self._unwritten).popleft()
        self._unwritten_bytes -= len(frame.body)
        return frame
