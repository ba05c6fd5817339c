"""When to look at the network after hints that it changed. Pure.

1. The first hint after a quiet time is looked at once.
2. One that follows soon after a look is part of a burst (an address, its route, the old link): it waits until nothing
   more has come for `SETTLE` seconds, `MAX_HOLD` at most.
3. Each look of a burst keeps the next one farther away, so that an interface that flaps without end costs a few looks
   a second.
"""

from __future__ import annotations

SETTLE = 0.02
"""Seconds. Between the steps of one change (address, route) `ip` and DHCP clients leave 1 to 10 ms."""

MAX_HOLD = 0.5
"""Seconds from the first hint that waits, however many follow: a change has its effect within this time."""

FIRST_SPACING = 0.025
LAST_SPACING = 0.4
"""Seconds between the looks of a burst, doubled with each: 25, 50 … 400 ms. Six looks in the first second, then
under three."""

QUIET = 1.0
"""Seconds without a look after which a burst is over. More than the distance between the looks of one."""


class Debounce:
    """Says at `due_at` when to look; instants are seconds on one clock that does not go back."""

    __slots__ = ("_first_hint_at", "_last_hint_at", "_looked_at", "_spacing")

    def __init__(self) -> None:
        self._looked_at: float | None = None
        self._spacing = FIRST_SPACING
        self._first_hint_at: float | None = None
        """Of those that no look has answered yet."""
        self._last_hint_at = 0.0

    @property
    def due_at(self) -> float | None:
        """When to look; `None`: nothing asks for it."""
        if self._first_hint_at is None:
            return None
        if self._looked_at is None or self._first_hint_at - self._looked_at >= QUIET:
            return self._first_hint_at
        settled_at = min(self._last_hint_at + SETTLE, self._first_hint_at + MAX_HOLD)
        return max(settled_at, self._looked_at + self._spacing)

    def hinted(self, now: float) -> None:
        """Something may have changed; or what was seen is half a change, and deserves another look."""
        if self._first_hint_at is None:
            self._first_hint_at = now
        self._last_hint_at = now

    def looked(self, now: float) -> None:
        """The network was looked at, for whatever reason."""
        is_of_burst = self._looked_at is not None and now - self._looked_at < QUIET
        self._spacing = min(self._spacing * 2, LAST_SPACING) if is_of_burst else FIRST_SPACING
        self._looked_at = now
        self._first_hint_at = None
