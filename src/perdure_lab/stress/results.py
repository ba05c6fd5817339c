"""What a stress test found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passed", "fell short", "skipped", "interrupted"]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure of a test; without a bound it is only told."""

    name: str
    value: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def is_met(self) -> bool:
        too_high = self.at_most is not None and self.value > self.at_most
        too_low = self.at_least is not None and self.value < self.at_least
        return not (too_high or too_low)

    @property
    def bound(self) -> str:
        """`at most 20 ms`."""
        if self.at_most is not None:
            return f"at most {shown(self.at_most)} {self.unit}".rstrip()
        return "" if self.at_least is None else f"at least {shown(self.at_least)} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class TestResult:
    """One test, once."""

    __test__ = False  # no test of pytest's

    name: str
    verdict: Verdict
    seconds: float
    measurements: tuple[Measurement, ...] = ()
    shortfalls: tuple[str, ...] = ()
    """What was not as it must be, in words; of a test that was skipped, why."""


def verdict_of(measurements: tuple[Measurement, ...], shortfalls: tuple[str, ...]) -> Verdict:
    """Of a test that ran to its end."""
    return "fell short" if shortfalls or not all(each.is_met for each in measurements) else "passed"


def shown(value: float) -> str:
    """Three significant digits, without an exponent: `0.123`, `12.3`, `1,234`."""
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
