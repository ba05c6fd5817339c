"""How long a link to the rendezvous waits before it connects again. Pure but for its dice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.doubling import doubled

if TYPE_CHECKING:
    from random import Random

BACKOFF_BASE = 0.2
BACKOFF_MAX = 2.0
"""Seconds. Who waits for a rendezvous to come back waits half of that on average; 1000 peers of one that is away make
1000 attempts a second."""

URGENT_BACKOFF_MAX = 0.4
URGENT_SECONDS = 30.0
"""While a tube waits for the rendezvous, and how long that counts: one that is restarted is back within seconds, and
one that is away for longer is spared."""

REFUSED_BACKOFF_BASE = 5.0
REFUSED_BACKOFF_MAX = 60.0
"""Seconds, likewise, after a refusal that would end a link without tubes, or where another gateway has the room."""


class RetryWait:
    """Instants are seconds on the event loop's clock."""

    __slots__ = ("_random", "_urgent_until")

    def __init__(self, random: Random) -> None:
        self._random = random
        self._urgent_until = 0.0

    def hurry(self, now: float) -> bool:
        """A tube waits for the link: the network has moved, or a path is doubted. Whether that was known."""
        was_urgent, self._urgent_until = now < self._urgent_until, now + URGENT_SECONDS
        return was_urgent

    def seconds(self, failures: int, refusals: int, now: float) -> float:
        """Until the next attempt.

        Args:
            failures: attempts in a row that failed.
            refusals: those after which it waits long.
        """
        if refusals:
            longest = doubled(REFUSED_BACKOFF_BASE, refusals - 1, REFUSED_BACKOFF_MAX)
            return self._random.uniform(longest / 2, longest)
        if failures == 0:
            return 0.0
        most = URGENT_BACKOFF_MAX if now < self._urgent_until else BACKOFF_MAX
        return self._random.uniform(0, doubled(BACKOFF_BASE, failures - 1, most))
