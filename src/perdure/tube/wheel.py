"""Wakes many tubes with few timers: far deadlines are rounded up to a tick, and those of one tick share a handle."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from perdure.tube.clock import clock

if TYPE_CHECKING:
    from perdure.tube.driver import Driver

TICK_SECONDS = 0.25
"""A far deadline (keepalive, health check, warning) is none the worse for being 0.25 s late, and the core excuses a
whole second. 100,000 idle tubes act 1,300 times a second: that is 4 wake-ups of the event loop instead of 500, each of
which finds the processor's caches cold."""

FAR_SECONDS = 1.0
"""A deadline that is nearer, such as that of silence or of an acknowledgement, has a handle of its own."""


class Wheel:
    """For the tubes of one registry.

    The event loop's timers stand still while the machine sleeps, and the tubes' clock does not: after a sleep each
    handle would be late by all of it, for who was put to sleep before and for who joins the same tick later.
    """

    __slots__ = ("_ahead", "_handles", "_ticks")

    def __init__(self) -> None:
        self._ticks: dict[int, dict[Driver, None]] = {}
        self._handles: dict[int, asyncio.TimerHandle] = {}
        self._ahead: float | None = None
        """By how much the tubes' clock was ahead of the event loop's when the handles were set."""

    def sleep(self, driver: Driver, until: float) -> int:
        """Wake `driver` at `until` or at most a tick later; the tick, for `forget`."""
        self.set_right()
        tick = math.ceil(until / TICK_SECONDS)
        sleepers = self._ticks.get(tick)
        if sleepers is None:
            self._ticks[tick] = {driver: None}
            self._set_handle(tick)
        else:
            sleepers[driver] = None
        return tick

    def set_right(self) -> None:
        """Where the machine has slept since the handles were set, set them anew. Called when a sleep is noticed, and
        before each use."""
        ahead = clock() - asyncio.get_running_loop().time()
        if self._ahead is None or abs(ahead - self._ahead) > TICK_SECONDS:
            self._ahead = ahead
            for tick, handle in list(self._handles.items()):
                handle.cancel()
                self._set_handle(tick)

    def _set_handle(self, tick: int) -> None:
        delay = max(0.0, tick * TICK_SECONDS - clock())
        self._handles[tick] = asyncio.get_running_loop().call_later(delay, self._turn, tick)

    def forget(self, driver: Driver, tick: int) -> None:
        """Let `driver` sleep on."""
        sleepers = self._ticks.get(tick)
        if sleepers is not None:
            sleepers.pop(driver, None)

    def _turn(self, tick: int) -> None:
        del self._handles[tick]
        for driver in self._ticks.pop(tick):
            # One that an earlier one's act has woken, ended or put to sleep anew is not waiting for this tick any more.
            if driver.tick == tick:
                driver.wake()
