"""When to ask a provider for new ICE servers. Pure: the time and the randomness are arguments.

| what happened | next fetch |
| --- | --- |
| nothing yet | at once |
| fetched, lifetime known | at two thirds of the lifetime ± 10 %, or after `interval`, whichever is first |
| fetched, lifetime not known | after `interval` |
| failed n times in a row | after 1, 2, 4 … 60 s, and up to a tenth more; also when the old ones have expired |
| a server refused new credentials n times in a row | at once, then as after failures |
| a path is sought, and those in use were refused or have expired | at once, but 5 s after the one before; waited for |
| the same, but they were refused within 5 s of their fetch, and have not expired | as after refusals; not waited for |
| the network has changed, or the machine slept, and the last fetch failed | at once |
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perdure.doubling import doubled

if TYPE_CHECKING:
    from random import Random

REFRESH_AT = 2 / 3
"""Of the lifetime: a third is left for retries, and for an allocation that is refreshed just before."""

JITTER = 0.1
"""Of that time, either way: what began together does not come back together."""

FIRST_RETRY_DELAY = 1.0
"""Seconds; doubled after each further failure."""

LONGEST_RETRY_DELAY = 60.0
"""Seconds. Once a minute finds a service soon after it is back, and costs neither side anything."""

SHORTEST_DELAY = 1.0
"""Seconds between two fetches, whatever lifetimes a provider names."""


LONGEST_WAIT = 2.0
"""Seconds that whoever seeks a path waits for new credentials: many a path needs no TURN server."""

SOUGHT_INTERVAL = 5.0
"""Seconds between two fetches that are made because a path is sought: as the first wait between two attempts. Those
that are refused within it have not grown old: the secret, or the clock, is another one at the server."""


class RefreshSchedule:
    """One provider's.

    Args:
        interval: seconds between two fetches, at most.
        random: for jitter.
    """

    def __init__(self, interval: float, random: Random, *, now: float) -> None:
        self._interval = interval
        self._random = random
        self._asked_at = -math.inf
        self._failures = 0
        self._refusals = 0
        self._was_refused = False
        self._were_fresh = False
        """Whether those that were refused had just been fetched."""
        self._is_asking = False
        self.next_at = now
        """When to ask."""
        self.expires_at: float | None = None
        """When those in use expire; `None`: there are none, or nobody knows."""

    def asked(self, now: float) -> None:
        """The provider is being asked; `succeeded` or `failed` follows."""
        self._asked_at = now
        self._is_asking = True

    def succeeded(self, lifetime: float | None, now: float) -> None:
        """There are new ones. `lifetime`: seconds from `asked`; `None`: not known."""
        self._is_asking = False
        self._failures = 0
        self._refusals = self._refusals if self._was_refused else 0
        self._was_refused = False
        delay = self._interval
        if lifetime is not None:
            delay = min(delay, REFRESH_AT * lifetime * self._random.uniform(1 - JITTER, 1 + JITTER))
        self.expires_at = None if lifetime is None else self._asked_at + lifetime
        self.next_at = max(self._asked_at + delay, now + SHORTEST_DELAY)

    def failed(self, now: float) -> None:
        """There are none now; those in use stay in use."""
        self._is_asking = False
        self.next_at = now + self._retry_delay(self._failures)
        self._failures += 1

    def refused(self, now: float) -> None:
        """A TURN server does not take those in use."""
        if self._was_refused:
            return
        self._were_fresh = now < self._asked_at + SOUGHT_INTERVAL
        if not self._were_fresh:  # they were taken until now
            self._refusals = 0
        soonest = self._asked_at + (self._retry_delay(self._refusals - 1) if self._refusals else SHORTEST_DELAY)
        self._refusals += 1
        self._was_refused = True
        self.next_at = min(self.next_at, max(now, soonest))

    def network_moved(self, now: float) -> None:
        """The machine's network has changed, or it slept: a provider that could not be reached may be now."""
        if self._failures:
            self.next_at = min(self.next_at, max(now, self._asked_at + SHORTEST_DELAY))

    def path_sought(self, now: float) -> float | None:
        """A path is about to be sought. Until when new credentials are waited for, if a fetch does not end before;
        `None`: not at all, as those in use are good, no others will come soon, or others will not help."""
        has_expired = self.expires_at is not None and now >= self.expires_at
        if not has_expired and (not self._was_refused or self._were_fresh):
            return None
        if self._is_asking:
            until = self._asked_at + LONGEST_WAIT
            return until if now < until else None
        self.next_at = min(self.next_at, max(now, self._asked_at + SOUGHT_INTERVAL))
        return now + LONGEST_WAIT if self.next_at < now + LONGEST_WAIT else None

    def expires_in(self, now: float) -> float | None:
        """Seconds until those in use expire, below 0 where they have; `None`: not known."""
        return None if self.expires_at is None else self.expires_at - now

    def _retry_delay(self, failures: int) -> float:
        return doubled(FIRST_RETRY_DELAY, failures, LONGEST_RETRY_DELAY) * self._random.uniform(1, 1 + JITTER)
