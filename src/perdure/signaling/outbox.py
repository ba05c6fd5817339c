"""What a link has sent and is not acknowledged yet, and what its connection has still to write, at a bounded rate."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from typing import TYPE_CHECKING

from perdure.signaling.frames import GATEWAY, Got, Send, encode_frame
from perdure.signaling.rate import TokenBucket

if TYPE_CHECKING:
    from perdure.signaling.socket import Socket

MAX_UNACKED_MESSAGES = 512
MAX_UNACKED_BYTES = 4 * 1024 * 1024
"""Kept for all receivers together; beyond, the oldest goes (the layer above seals it again, or it is too old)."""

MAX_UNWRITTEN_FRAMES = 4096
"""Acknowledgements and messages a connection has not taken yet; beyond, the connection is given up as stuck."""

_FRAMES_PER_SECOND = 80.0
_FRAME_BURST = 300
"""Below the rendezvous' limits (100 and 400), so that sending much again never earns a refusal."""


class Outbox:
    """Keeps each message until its receiver has it, and sends all of them again on each new connection, in order."""

    def __init__(self) -> None:
        self._next_seq = 1
        self._unacked: OrderedDict[int, Send] = OrderedDict()
        self._unacked_bytes = 0
        self._unwritten: deque[int | Got] = deque()
        self._writable = asyncio.Event()
        self._all_acked = asyncio.Event()
        self.dropped = 0
        """Messages that the bound on the unacknowledged threw away."""

    @property
    def is_empty(self) -> bool:
        """Whether every message is acknowledged."""
        return not self._unacked

    @property
    def is_stuck(self) -> bool:
        """Whether the connection has not taken more than it may leave."""
        return len(self._unwritten) > MAX_UNWRITTEN_FRAMES

    def add(self, to: str, body: bytes) -> int:
        """Keep a message; its number."""
        seq = self._next_seq
        self._next_seq += 1
        self._unacked[seq] = Send(to, seq, body)
        self._unacked_bytes += len(body)
        while len(self._unacked) > MAX_UNACKED_MESSAGES or self._unacked_bytes > MAX_UNACKED_BYTES:
            self._drop(next(iter(self._unacked)))
            self.dropped += 1
        return seq

    def acknowledged(self, receiver: str, seq: int) -> None:
        """The link of the peer id `receiver` has the message."""
        send = self._unacked.get(seq)
        if send is not None and send.to in {receiver, GATEWAY}:
            self._drop(seq)

    def forget(self, to: str) -> None:
        """Do not send again what `to` has not acknowledged."""
        for seq in [seq for seq, send in self._unacked.items() if send.to == to]:
            self._drop(seq)

    async def emptied(self) -> None:
        """Wait until every message is acknowledged."""
        self._all_acked.clear()
        if self._unacked:
            await self._all_acked.wait()

    # What the present connection writes.

    def begin_again(self) -> None:
        """A new connection: it writes all that is not acknowledged, and no acknowledgement of the one before."""
        self._unwritten = deque(self._unacked)
        self._writable.set()

    def write(self, item: int | Got) -> None:
        """Have the connection write an acknowledgement, or the message of that number unless it is acknowledged."""
        self._unwritten.append(item)
        self._writable.set()

    async def write_to(self, socket: Socket) -> None:
        """Write to `socket` what there is, and what comes, until cancelled. Raises what the socket does."""
        now = asyncio.get_running_loop().time
        bucket = TokenBucket(_FRAMES_PER_SECOND, _FRAME_BURST, now=now())
        while True:
            while self._unwritten:
                item = self._unwritten.popleft()
                frame = item if isinstance(item, Got) else self._unacked.get(item)
                if frame is None:
                    continue
                if not bucket.take(now()):
                    await asyncio.sleep(bucket.delay(now()))
                    bucket.take(now())
                await socket.send(encode_frame(frame))
            self._writable.clear()
            await self._writable.wait()

    def _drop(self, seq: int) -> None:
        self._unacked_bytes -= len(self._unacked.pop(seq).body)
        if not self._unacked:
            self._all_acked.set()
