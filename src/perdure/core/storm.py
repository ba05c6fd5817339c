"""How many restarts a flapping network may cause."""

from __future__ import annotations

STORM_WINDOW = 60.0
"""Seconds over which the budget counts."""


class StormBudget:
    """At most `budget` restarts in any `STORM_WINDOW`."""

    __slots__ = ("_budget", "_restarts")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._restarts: tuple[float, ...] = ()
        """The last ones, the oldest first."""

    def spend(self, now: float) -> None:
        """A restart begins; one more than the budget is counted like any other, as it may be the peer's."""
        self._restarts = (*self._restarts, now)[-self._budget :]

    def empty_until(self, now: float) -> float | None:
        """When the next restart may begin; `None`: now."""
        if len(self._restarts) < self._budget:
            return None
        until = self._restarts[0] + STORM_WINDOW
        return until if now < until else None
