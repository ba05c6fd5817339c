"""How long an answer takes, and how long it may take: RFC 6298."""

from __future__ import annotations

INITIAL_RTO = 1.0
"""Seconds before the first sample: RFC 6298 §2.1."""

GRANULARITY = 0.001
"""Seconds: G of RFC 6298 §2; an event loop's turn."""

_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4
"""RFC 6298 §2.3."""


class RttEstimator:
    """Smoothed round-trip time and its variation, from samples in seconds.

    Unlike RFC 6298 §2.4 the result has no lower bound of 1 s: who uses it has its own.
    """

    __slots__ = ("srtt", "variation")

    def __init__(self) -> None:
        self.srtt: float | None = None
        """Smoothed round-trip time in seconds, the peer's delay of acknowledgements included; `None` before one."""
        self.variation = 0.0

    def sample(self, seconds: float) -> None:
        """RFC 6298 §2.2 for the first sample, §2.3 for the others."""
        if self.srtt is None:
            self.srtt = seconds
            self.variation = seconds / 2
        else:
            self.variation = (1 - _BETA) * self.variation + _BETA * abs(self.srtt - seconds)
            self.srtt = (1 - _ALPHA) * self.srtt + _ALPHA * seconds

    @property
    def timeout(self) -> float:
        """RTO: seconds after which an answer is overdue."""
        return INITIAL_RTO if self.srtt is None else self.srtt + max(GRANULARITY, _K * self.variation)
