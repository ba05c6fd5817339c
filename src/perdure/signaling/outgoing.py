"""What a link's connection has still to write, at a bounded rate.

1. Receivers take turns, so that one whose gateway has much to answer delays nobody but itself.
2. Those that have proved themselves, and the others, take turns too: neither of them can shut out the other.
3. Of a gateway's client no more than `MAX_UNWRITTEN_FOR_ONE` frames wait: the oldest is dropped, as if it had been lost
   on its way. Where that was a message, it is sent again (`reliable_channel`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

from perdure.signaling.frames import GATEWAY, Send, Vouch, encode_frame
from perdure.signaling.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.signaling.socket import Socket

MAX_UNWRITTEN_FRAMES = 64 * 1024
MAX_UNWRITTEN_BYTES = 16 * 1024 * 1024
"""Beyond, the connection is given up as stuck: so many frames are all that wait for 1,024 clients
(`MAX_UNWRITTEN_FOR_ONE`), so that they make no connection look stuck."""

MAX_UNWRITTEN_FOR_ONE = 64
"""Frames: two windows of messages. A client may say 100 frames a second, each of which is answered, and 80 are
written."""

_FRAMES_PER_SECOND = 80.0
_FRAME_BURST = 300
"""Below the rendezvous' limits (100 and 400), so that sending much again never earns a refusal. A gateway may say as
many more a second for each guest."""


class Outgoing:
    """One connection's frames, in order for each receiver."""

    def __init__(self) -> None:
        self._is_joined = False
        self._vouched: frozenset[str] = frozenset()
        self._guests: set[str] = set()
        """Who is vouched for and there: each lets a gateway say more. Of others the rendezvous may name any number, so
        nothing is kept of them."""
        self._others = _Turns()
        self._proved = _Turns()
        """What is for peers that have proved themselves."""
        self._is_turn_of_others = False
        self._vouch: Vouch | None = None
        """The latest, which goes before all: who has proved itself must not have to go."""
        self._writable = asyncio.Event()

    @property
    def is_stuck(self) -> bool:
        """Whether the connection has not taken more than it may leave."""
        return (
            self._others.frames + self._proved.frames > MAX_UNWRITTEN_FRAMES
            or self._others.bytes + self._proved.bytes > MAX_UNWRITTEN_BYTES
        )

    def add(self, frame: Send, *, is_proved: bool = False) -> None:
        (self._proved if is_proved else self._others).add(frame)
        self._writable.set()

    def vouch(self, frame: Vouch) -> None:
        self._vouch = frame
        before, self._vouched = self._vouched, frozenset(frame.peers)
        self._guests &= self._vouched
        if self._is_joined:
            self._guests |= self._vouched - before  # who has proved itself just now is there
        self._writable.set()

    def joined(self, peers: Iterable[str]) -> None:
        """These are there."""
        self._is_joined = True
        self._guests = set(self._vouched.intersection(peers))

    def presence(self, peer_id: str, present: bool) -> None:
        """One has come or gone."""
        (self._guests.add if present and peer_id in self._vouched else self._guests.discard)(peer_id)

    async def write_to(self, socket: Socket) -> None:
        """Write to `socket` what there is, and what comes, until cancelled. Raises what the socket does."""
        now = asyncio.get_running_loop().time
        bucket = TokenBucket(_FRAMES_PER_SECOND, _FRAME_BURST, now=now())
        while True:
            while self._vouch is not None or self._proved.frames or self._others.frames:
                bucket.set_rate(_FRAMES_PER_SECOND * (1 + len(self._guests)), now())
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
        turns = self._others if self._is_turn_of_others else self._proved
        if not turns.frames:
            turns = self._proved if self._is_turn_of_others else self._others
        self._is_turn_of_others = turns is self._proved
        return turns.take()


class _Turns:
    """Frames by receiver; of each its oldest goes in its turn."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Send]] = {}
        """The receiver whose turn it is first."""
        self.frames = 0
        self.bytes = 0

    def add(self, frame: Send) -> None:
        waiting = self._waiting.setdefault(frame.to, deque())
        if frame.to != GATEWAY and len(waiting) == MAX_UNWRITTEN_FOR_ONE:
            self._count(waiting.popleft(), -1)
        waiting.append(frame)
        self._count(frame, 1)

    def take(self) -> Send:
        """The next one; there is one."""
        receiver = next(iter(self._waiting))
        waiting = self._waiting.pop(receiver)
        frame = waiting.popleft()
        if waiting:
            self._waiting[receiver] = waiting
        self._count(frame, -1)
        return frame

    def _count(self, frame: Send, change: int) -> None:
        self.frames += change
        self.bytes += change * len(frame.body)
