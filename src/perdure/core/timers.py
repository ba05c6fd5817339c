"""The named timers of a tube, in one table."""

from __future__ import annotations

from enum import IntEnum


class Timer(IntEnum):
    """In the order in which those of one instant are served."""

    ATTEMPT = 0
    """An offer is out; by then the path must work again."""
    NEXT_ATTEMPT = 1
    """The next attempt begins."""
    REJUDGE = 2
    """The grace after a hand-over is over."""
    LIVENESS = 3
    """The path's silence is judged."""
    HEALTH = 4
    """The engine's statistics are read."""
    ABANDON = 5
    """A peer that never came back is given up."""
    LIFETIME = 6
    """A session's warning or end is due."""
    FAREWELL = 7
    """The last message has had its time to leave."""


class Timers:
    """Deadlines by name."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: list[float | None] = [None] * len(Timer)

    def set(self, timer: Timer, at: float) -> None:
        """(Re)arm `timer`."""
        self._deadlines[timer] = at

    def cancel(self, *timers: Timer) -> None:
        for timer in timers:
            self._deadlines[timer] = None

    def clear(self) -> None:
        self.cancel(*Timer)

    def deadline(self, timer: Timer) -> float | None:
        return self._deadlines[timer]

    def next_deadline(self) -> float | None:
        return min((at for at in self._deadlines if at is not None), default=None)

    def pop_due(self, now: float) -> list[tuple[Timer, float]]:
        """The timers that are due, earliest first, with their deadlines; they are no longer set."""
        due = [(timer, at) for timer, at in zip(Timer, self._deadlines, strict=True) if at is not None and at <= now]
        self.cancel(*(timer for timer, _ in due))
        return sorted(due, key=lambda pair: (pair[1], pair[0]))
