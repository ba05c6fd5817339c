"""When to look at the network after hints that it changed. Pure.

1. A hint is looked at at once, unless there was a look just before.
2. If there was, the hint is part of a burst (an address, its route, the old link): it waits until nothing more has come
   for `SETTLE` seconds, `MAX_HOLD` at most.
3. Looks come from a bucket: `LOOKS_AT_ONCE`, and one more each `LOOK_INTERVAL`. So an interface that flaps without end
   costs a few looks a second, and the steps of an ordinary change are never put off by it.
"""

from __future__ import annotations

SETTLE = 0.02
"""Seconds. Between the steps of one change (address, route) `ip` and DHCP clients leave 1 to 10 ms."""

BURST = 0.1
"""Seconds after a look in which a hint belongs to what was looked at."""

MAX_HOLD = 0.5
"""Seconds that a hint waits for others to end, however many follow: a change has its effect within this time."""

LOOKS_AT_ONCE = 8
"""A change of Wi-Fi takes about 6, over two seconds: the old link's end, the new one's begin, an address and its
route, and IPv6's, which come one after another."""

LOOK_INTERVAL = 0.25
"""Seconds. A look costs 2 ms; at 4 a second that is 0.8 % of a core while the network does not come to rest."""


class Debounce:
    """Says at `due_at` when to look; instants are seconds on one clock that does not go back."""

    __slots__ = ("_first_hint_at", "_full_at", "_last_hint_at", "_looked_at")

    def __init__(self) -> None:
        self._looked_at = float("-inf")
        self._first_hint_at: float | None = None
        """Of those that no look has answered yet."""
        self._last_hint_at = 0.0
        self._full_at = float("-inf")
        """When the bucket is full again; each look puts it off by one interval."""

    @property
    def due_at(self) -> float | None:
        """When to look; `None`: nothing asks for it."""
        if self._first_hint_at is None:
            return None
        due_at = self._first_hint_at
        if due_at - self._looked_at < BURST:
            due_at = min(self._last_hint_at + SETTLE, due_at + MAX_HOLD)
        return max(due_at, self._full_at - (LOOKS_AT_ONCE - 1) * LOOK_INTERVAL)

    def hinted(self, now: float) -> None:
        """Something may have changed; or what was seen is half a change, and deserves another look."""
        if self._first_hint_at is None:
            self._first_hint_at = now
        self._last_hint_at = now

    def looked(self, now: float) -> None:
        """The network was looked at, for whatever reason."""
        self._full_at = max(self._full_at, now) + LOOK_INTERVAL
        self._looked_at = now
        self._first_hint_at = None
