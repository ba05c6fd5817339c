"""What a scenario asks of the tunnel that lives through it."""

from __future__ import annotations

from dataclasses import dataclass

SHORTEST_LIMIT = 0.05
"""Seconds that may be asked for at least: whoever plays a scenario need not see shorter silences, and whatever is not
seen would pass."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """Every field is optional; that no byte and no connection is lost is asked of every scenario.

    A silence is the time without a byte delivered; "after" counts from the measured step instead, for steps that bring
    a network back: the time before it was no tunnel's fault. All in seconds, of the direction that waited longer.
    """

    silence_p50: float | None = None
    silence_worst: float | None = None
    after_p50: float | None = None
    after_worst: float | None = None
    max_restarts: int | None = None
    """ICE restarts and rebuilds of one run, together."""
    states: tuple[str, ...] = ()
    """States that the client's tube must have shown, such as `degraded`."""
