"""When to stop asking a service that keeps failing, and when to ask it again."""

from __future__ import annotations

FAILURES = 5
"""In a row, until it opens: one lost answer or a restart of the service is less, and five say that it is down."""

OPEN_SECONDS = 30.0
"""Of peace: a service comes back from a restart or a failover within about as long, and is then not met by a crowd."""


class CircuitBreaker:
    """Closed, it lets everything through; open, nothing; half-open, one trial at a time.

    1. Closed: `failures` in a row open it. A success starts the count anew.
    2. Open: `open_for` seconds later it is half-open. What fails meanwhile had begun before, and is no news.
    3. Half-open: one is let through. Its success closes the breaker, its failure opens it again. One whose end nobody
       reports holds the next up for `open_for`, not for ever.
    """

    __slots__ = ("_failed", "_failures", "_is_trying", "_open_for", "_open_until")

    def __init__(self, failures: int = FAILURES, open_for: float = OPEN_SECONDS) -> None:
        if failures < 1 or open_for <= 0:
            raise ValueError("a breaker opens after at least one failure, for longer than no time")
        self._failures = failures
        self._open_for = open_for
        self._failed = 0
        self._open_until: float | None = None
        self._is_trying = False

    @property
    def open_until(self) -> float | None:
        """When the next one is let through; `None` where it is closed."""
        return self._open_until

    def allows(self, now: float) -> bool:
        """Whether to ask now. True promises that `failed` or `succeeded` follows."""
        if self._open_until is None:
            return True
        if now < self._open_until:
            return False
        self._open_until = now + self._open_for
        self._is_trying = True
        return True

    def failed(self, now: float) -> None:
        """What was let through failed."""
        self._failed += 1
        opens = self._failed >= self._failures if self._open_until is None else self._is_trying
        if opens:
            self._open_until = now + self._open_for
            self._is_trying = False

    def succeeded(self) -> None:
        """What was let through succeeded."""
        self._failed = 0
        self._open_until = None
        self._is_trying = False
