"""A token bucket: how many frames or bytes a second, and how many at once. Pure: the time is an argument."""

from __future__ import annotations


class TokenBucket:
    """Holds up to `burst` tokens and gains `rate` a second."""

    __slots__ = ("_burst", "_filled_at", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, *, now: float) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = burst
        self._filled_at = now

    def set_rate(self, rate: float, now: float) -> None:
        """Gain `rate` a second from `now` on."""
        if rate != self._rate:
            self._fill(now)
            self._rate = rate

    def take(self, now: float, tokens: int = 1) -> bool:
        """Take so many tokens, if there are as many."""
        self._fill(now)
        if self._tokens < tokens:
            return False
        self._tokens -= tokens
        return True

    def delay(self, now: float, wanted: int = 1) -> float:
        """Seconds from `now` until `take` of so many succeeds."""
        tokens = self._tokens + (now - self._filled_at) * self._rate
        return max(0.0, (wanted - tokens) / self._rate)

    def _fill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
