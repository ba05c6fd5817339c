"""The named timers of a tube, in one table."""

from __future__ import annotations

from enum import Enum, auto


class Timer(Enum):
    ATTEMPT = auto()
    """An offer is out; by then the session must have resumed."""
    NEXT_ATTEMPT = auto()
    """The next attempt begins."""
    LIVENESS = auto()
    """The path's silence is judged."""
    ABANDON = auto()
    """A peer that never came back is given up."""


class Timers:
    """Deadlines by name."""

    __slots__ = ("_deadlines",)

    def __init__(self) -> None:
        self._deadlines: dict[Timer, float] = {}

    def set(self, timer: Timer, at: float) -> None:
        """(Re)arm `timer`."""
        self._deadlines[timer] = at

    def cancel(self, *timers: Timer) -> None:
        for timer in timers:
            self._deadlines.pop(timer, None)

    def clear(self) -> None:
        self._deadlines.clear()

    def is_set(self, timer: Timer) -> bool:
        return timer in self._deadlines

    def next_deadline(self) -> float | None:
        return min(self._deadlines.values(), default=None)

    def pop_due(self, now: float) -> list[tuple[Timer, float]]:
        """The timers that are due, earliest first, with their deadlines; they are no longer set."""
        due = sorted(
            ((timer, at) for timer, at in self._deadlines.items() if at <= now),
            key=lambda pair: (pair[1], pair[0].value),
        )
        self.cancel(*(timer for timer, _ in due))
        return due
