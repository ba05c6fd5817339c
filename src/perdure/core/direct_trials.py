"""When a path through a TURN server is tried without one: after a network event, and then less and less often."""

from __future__ import annotations

SETTLE_SECONDS = 5.0
"""From a network event on. What it changes is known by then, and a recovery that it began is over."""

SHORTEST_INTERVAL = 60.0
"""Seconds between two trials, however often the network changes."""

LONGEST_INTERVAL = 86400.0
"""Seconds. A trial costs both ends a new carrier and an allocation."""


class DirectTrials:
    """Of one tube whose path is relayed. Made when that is first known.

    Args:
        interval: seconds until the first trial (`direct_retry_interval`); doubled with each.
    """

    __slots__ = ("_first", "_interval", "_next_at", "_tried_at")

    def __init__(self, interval: float, now: float) -> None:
        self._first = self._interval = interval
        self._next_at = now + interval
        self._tried_at = -SHORTEST_INTERVAL

    def network_moved(self, now: float) -> float:
        """The network is another one now; when to look again."""
        self._interval = self._first
        self._next_at = min(self._next_at, max(now + SETTLE_SECONDS, self._tried_at + SHORTEST_INTERVAL))
        return self._next_at

    def path_changed(self, now: float) -> None:
        """A new carrier is in use: it was tried direct a moment ago."""
        self._next_at = max(self._next_at, now + self._interval)

    def is_due(self, now: float) -> bool:
        return now >= self._next_at

    def tried(self, now: float) -> None:
        self._interval = min(LONGEST_INTERVAL, 2 * self._interval)
        self._tried_at = now
        self._next_at = now + self._interval
