"""One peer's WebSocket as a room's outlet: a bounded queue, and the task that writes it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter, deque
from typing import TYPE_CHECKING

from websockets.exceptions import ConnectionClosed

from perdure.eventlog import log_event
from perdure.signaling.frames import Deliver, RefusalCode, Refused, encode_frame
from perdure.signaling.standing import Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    from websockets.asyncio.server import ServerConnection

    from perdure.eventlog import Field
    from perdure.signaling.frames import ServerFrame
    from perdure.signaling.rooms import RendezvousLimits

_logger = logging.getLogger("perdure.rendezvous")

_OCCUPANT_TIMEOUT = 2.0
"""Seconds that a room's gateway has to answer a ping when another one with its key comes: ten round trips."""


_SHARES = 64
"""Into which the last half of the bytes is divided: 16 KiB hold any message that begins a carrier."""


class SocketOutlet:
    """An `Outlet`. One whose queue exceeds `limits` is closed.

    Args:
        closed_for: counts the connections that the rendezvous ended, by the refusal's code, or `slow`.
        on_standing: hears what the peer has proved.
    """

    def __init__(
        self,
        websocket: ServerConnection,
        limits: RendezvousLimits,
        closed_for: Counter[str],
        *,
        on_standing: Callable[[Standing], None],
    ) -> None:
        self._websocket = websocket
        self._limits = limits
        self._closed_for = closed_for
        self._on_standing = on_standing
        self.names: dict[str, Field] = {}
        """What a refusal's line in the log names."""
        self._queue: deque[tuple[str, str]] = deque()
        """Each with its sender, where it is what another peer says."""
        self._queued_of: Counter[str] = Counter()
        """What takes of its share, by sender."""
        self._queued_bytes = 0
        self._is_closing = False
        self._wake = asyncio.Event()

    def push(self, frame: ServerFrame) -> None:
        if self._is_closing:
            return
        text = encode_frame(frame)
        sender = frame.sender if isinstance(frame, Deliver) else ""
        self._queue.append((sender, text))
        self._count(sender, len(text), 1)
        self._wake.set()
        limits = self._limits
        if len(self._queue) > limits.max_outgoing_frames or self._queued_bytes > limits.max_outgoing_bytes:
            log_event(_logger, logging.WARNING, "slow-peer-closed", queued_bytes=self._queued_bytes)
            self._closed_for["slow"] += 1
            self.supersede()

    def has_room_for(self, frame: Deliver) -> bool:
        most_bytes, most_frames = self._limits.max_outgoing_bytes, self._limits.max_outgoing_frames
        if 8 * self._queued_bytes >= 7 * most_bytes or 8 * len(self._queue) >= 7 * most_frames:
            return False  # many clients together must not have the peer cut off, either
        if 2 * self._queued_bytes < most_bytes and 4 * len(self._queue) < 3 * most_frames:
            return True
        return self._queued_of[frame.sender] + self._weight(len(frame.body) * 4 // 3) <= self._share

    def refuse(self, code: RefusalCode, reason: str) -> None:
        if self._is_closing:
            return
        log_event(_logger, logging.WARNING, "refused", code=code.value, **self.names)
        self._closed_for[code.value] += 1
        self.push(Refused(code, reason))
        self._is_closing = True
        self._on_standing(Standing.NEW)

    def supersede(self) -> None:
        self._is_closing = True
        self._on_standing(Standing.NEW)
        self._queue.clear()
        self._queued_of.clear()
        self._queued_bytes = 0
        self._websocket.transport.abort()

    def stands(self, standing: Standing) -> None:
        if not self._is_closing:
            self._on_standing(standing)

    async def answers(self) -> bool:
        """Whether the peer answers a ping soon."""
        try:
            async with asyncio.timeout(_OCCUPANT_TIMEOUT):
                await (await self._websocket.ping())
        except (TimeoutError, ConnectionClosed):
            return False
        return True

    async def write(self) -> None:
        """Write what is queued; after a refusal, close. Ends with the connection."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                while self._queue:
                    sender, text = self._queue.popleft()
                    self._count(sender, len(text), -1)
                    await self._websocket.send(text)
                if self._is_closing:
                    await self._websocket.close()
                    return
                self._wake.clear()
                await self._wake.wait()

    @property
    def _share(self) -> int:
        """Bytes that each client may have here where half of the bytes, or three quarters of the frames, are taken."""
        return self._limits.max_outgoing_bytes // 2 // _SHARES

    def _weight(self, size: int) -> int:
        """What a frame takes of its sender's share: two short ones are all of it, as there is a bound of frames too."""
        return max(size, self._share // 2)

    def _count(self, sender: str, size: int, change: int) -> None:
        self._queued_bytes += change * size
        self._queued_of[sender] += change * self._weight(size)
        if not self._queued_of[sender]:
            del self._queued_of[sender]
