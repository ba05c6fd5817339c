"""When the next attempt to build a carrier begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.state import Reason

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy

JITTER = 0.1
"""The share by which a wait is lengthened at random, so that a gateway's many clients do not come back in step."""

SHORT_LIFE_SECONDS = 0.25
"""A carrier that lived less was no success: what lost it may lose the next one too."""

SHORT_LIVES_FORGIVEN = 5
"""Short lives in a row that are rebuilt at once; one more counts as a failed attempt, so nothing spins."""


class RestartSchedule:
    """Counts attempts that failed in a row, and says how long to wait before the next."""

    __slots__ = ("_policy", "_random", "_short_lives", "_succeeded_at", "attempt")

    def __init__(self, policy: RestartPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self.attempt = 0
        """Attempts that failed in a row."""
        self._short_lives = 0
        self._succeeded_at: float | None = None

    def failed(self) -> float | None:
        """An attempt failed: seconds until the next, or `None` where that was the last."""
        self.attempt += 1
        if self.attempt >= self._policy.max_restart_attempts:
            return None
        delay = self._policy.restart_backoff_base * 2.0 ** (self.attempt - 1)
        return min(self._policy.restart_backoff_max, delay * (1 + JITTER * self._random.random()))

    def succeeded(self, now: float) -> None:
        """The session resumed."""
        self.attempt = 0
        self._succeeded_at = now

    def lost(self, now: float) -> bool:
        """A working carrier was lost: whether to build the next one at once."""
        short = self._succeeded_at is not None and now - self._succeeded_at < SHORT_LIFE_SECONDS
        self._short_lives = self._short_lives + 1 if short else 0
        return self._short_lives <= SHORT_LIVES_FORGIVEN


def renewal_delay(policy: RestartPolicy, reason: Reason, failures: int, random: Random) -> float:
    """Seconds until a new session replaces one that ended for `reason`.

    Args:
        failures: sessions in a row that never worked, this one included; 0 where it did.

    A peer that answered "I do not know this session" is there, so the first new one begins at once.
    """
    is_there = reason in {Reason.PEER_RESTARTED, Reason.UNKNOWN_SESSION, Reason.CLOSED_BY_PEER}
    if is_there and failures <= 1:
        return 0.0
    delay = policy.restart_backoff_base * 2.0 ** min(max(0, failures - 1), 16)
    return min(policy.restart_backoff_max, delay * (1 + JITTER * random.random()))
