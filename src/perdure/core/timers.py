"""The named timers of a tube, in one table."""

from __future__ import annotations

import math
from enum import IntEnum


class Timer(IntEnum):
    """In the order in which those of one instant are served."""

    ATTEMPT = 0
    """An offer is out; by then the path must work again."""
    NEXT_ATTEMPT = 1
    """The next attempt begins."""
    REJUDGE = 2
    """A network event that had to wait is judged again."""
    LIVENESS = 3
    """The path's silence is judged."""
    HEALTH = 4
    """The engine's statistics are read."""
    ABANDON = 5
    """A peer that never came back is given up."""
    LIFETIME = 6
    """A session's warning or end is due."""
    GOODBYE = 7
    """What is held has had its time to be delivered, and the last message behind it."""
    FAREWELL = 8
    """The last message has had its time to leave."""
    SPARE = 9
    """A carrier is begun beside a suspect one, or has had its time to open."""
    RETIRE = 10
    """The carrier before the current one has been read long enough."""
    WARM = 11
    """A warm spare is begun, or it is seen whether it is still of use."""


class Timers:
    """Deadlines by name."""

    __slots__ = ("_deadlines", "earliest")

    def __init__(self) -> None:
        self._deadlines = _NONE.copy()
        self.earliest = math.inf
        """The next deadline; infinite where nothing is set."""

    def set(self, timer: Timer, at: float) -> None:
        """(Re)arm `timer`."""
        before, self._deadlines[timer] = self._deadlines[timer], at
        if at <= self.earliest:
            self.earliest = at
        elif before == self.earliest:
            self.earliest = min(self._deadlines)

    def cancel(self, *timers: Timer) -> None:
        for timer in timers:
            if self._deadlines[timer] != math.inf:
                self.set(timer, math.inf)

    def clear(self) -> None:
        self._deadlines = _NONE.copy()
        self.earliest = math.inf

    def deadline(self, timer: Timer) -> float:
        """Infinity where `timer` is not set."""
        return self._deadlines[timer]

    def take(self) -> Timer:
        """Cancel the timer that is due first, and tell which it was. One must be set."""
        timer = _TIMERS[self._deadlines.index(self.earliest)]
        self.set(timer, math.inf)
        return timer


_TIMERS = tuple(Timer)
_NONE = [math.inf] * len(Timer)
