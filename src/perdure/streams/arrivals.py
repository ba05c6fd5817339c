"""Streams that a peer opened, given to their taker a few at a time.

To take one costs as much as some hundred frames: a task, a look at the allow list, a connection. A message can open
512.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.tube.clock import clock

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from perdure.streams.transport import StreamTransport

TAKEN_AT_ONCE = 8
"""Streams of one tube: together they take some 3 ms (measured). A browser opens 6 connections to a host at once."""

TAKE_INTERVAL = 0.001
"""Seconds from eight to the next eight, in which other tubes have their turns. 1024 streams, as many as there may be,
take 0.13 s and what they cost themselves. With 5 ms a tube had at most 1,600 connections a second, and others waited
no less beside a hostile one (measured)."""


class Arrivals:
    """Those that wait, in order; as many as the tube may have streams.

    Args:
        take: what becomes of one; it does not raise.
    """

    __slots__ = ("_again_at", "_is_scheduled", "_loop", "_take", "_taken", "_waiting")

    def __init__(self, take: Callable[[StreamTransport], None], loop: asyncio.AbstractEventLoop) -> None:
        self._take = take
        self._loop = loop
        self._taken = 0
        """Since the last interval began."""
        self._again_at = 0.0
        """When the next one may begin."""
        self._waiting: list[StreamTransport] = []
        self._is_scheduled = False

    def add(self, stream: StreamTransport) -> None:
        """Take it now, or let it wait behind others."""
        self._waiting.append(stream)
        if not self._is_scheduled:
            self._take_some()

    def drop(self, stream: StreamTransport) -> bool:
        """Forget one that ended; whether it still waited."""
        try:
            self._waiting.remove(stream)
        except ValueError:
            return False
        return True

    def close(self) -> None:
        """Take no more."""
        self._waiting.clear()

    def _take_some(self) -> None:
        self._is_scheduled = False
        now = clock()
        if now >= self._again_at:
            self._taken, self._again_at = 0, now + TAKE_INTERVAL
        while self._waiting and self._taken < TAKEN_AT_ONCE:
            self._taken += 1
            self._take(self._waiting.pop(0))
        if self._waiting:
            self._is_scheduled = True
            self._loop.call_later(self._again_at - now, self._take_some)
