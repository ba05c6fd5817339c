"""Whether the process slept: seen from clocks that should go together, and from a look at them that came late. Pure.

A machine that wakes up on the network that it fell asleep on gives no link event, so nothing else tells of it.
"""

from __future__ import annotations

from typing import NamedTuple

SHORTEST_SUSPENSION = 0.25
"""Seconds. A busy machine may pass some milliseconds between two clocks' readings; no suspension is this short."""

SHORTEST_STOP = 2.0
"""Seconds. An event loop that is held up by its own work, or a machine that is overloaded, is late by less."""


class Sleep(NamedTuple):
    """Seconds that this process did not live through."""

    suspended: float = 0.0
    """The machine slept."""
    stopped: float = 0.0
    """Only the process did not run (SIGSTOP, a frozen container, a paused virtual machine), or the machine slept and
    its clocks do not tell."""

    @property
    def seconds(self) -> float:
        return self.suspended + self.stopped


class SleepWatch:
    """Is shown two clocks at least every `interval` seconds: one stands still during sleep, the other runs on."""

    __slots__ = ("_awake_at", "_interval", "_offset", "_shortest_stop")

    def __init__(self, interval: float, *, shortest_stop: float = SHORTEST_STOP) -> None:
        self._interval = interval
        self._shortest_stop = shortest_stop
        self._awake_at: float | None = None
        self._offset = 0.0

    def read(self, awake_clock: float, always_clock: float) -> Sleep:
        """How long the process slept since the last reading; nothing at the first one."""
        before, offset = self._awake_at, always_clock - awake_clock
        suspended = offset - self._offset
        self._awake_at, self._offset = awake_clock, offset
        if before is None:
            return Sleep()
        stopped = awake_clock - before - self._interval
        return Sleep(
            suspended if suspended >= SHORTEST_SUSPENSION else 0.0,
            stopped if stopped >= self._shortest_stop else 0.0,
        )
