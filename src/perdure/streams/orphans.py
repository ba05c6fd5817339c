"""Streams that were closed here, and that the peer has not finished: after a while they are reset, as TCP does it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from perdure.tube.clock import clock

ORPHAN_TIMEOUT = 60.0
"""Seconds: Linux's tcp_fin_timeout. A peer that never finishes could else fill `max_streams` with streams that nobody
here knows any more."""


class Orphans:
    """Those of one tube, with one timer for all.

    Args:
        reset: ends a stream.
        peer_hears: whether the peer could answer now; their time begins anew where it could not.
        call_later: the event loop's.
    """

    __slots__ = ("_call_later", "_closed_at", "_peer_hears", "_reset", "_timer")

    def __init__(
        self,
        reset: Callable[[int], None],
        peer_hears: Callable[[], bool],
        call_later: Callable[[float, Callable[[], None]], asyncio.TimerHandle],
    ) -> None:
        self._reset = reset
        self._peer_hears = peer_hears
        self._call_later = call_later
        self._closed_at: dict[int, float] = {}
        """The oldest first."""
        self._timer: asyncio.TimerHandle | None = None

    def add(self, stream_id: int) -> None:
        """It was closed here now."""
        self._closed_at[stream_id] = clock()
        if self._timer is None:
            self._arm(ORPHAN_TIMEOUT)

    def discard(self, stream_id: int) -> None:
        """It has ended both ways."""
        self._closed_at.pop(stream_id, None)

    def close(self) -> None:
        """The tube has ended."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self, seconds: float) -> None:
        self._timer = self._call_later(seconds, self._look)

    def _look(self) -> None:
        """Reset those whose time is over."""
        self._timer = None
        if not self._peer_hears():
            self._closed_at = dict.fromkeys(self._closed_at, clock())
        while self._closed_at:
            stream_id, closed_at = next(iter(self._closed_at.items()))
            left = closed_at + ORPHAN_TIMEOUT - clock()
            if left > 0:
                self._arm(left)
                return
            del self._closed_at[stream_id]
            self._reset(stream_id)
