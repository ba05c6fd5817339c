"""What a scenario asks of the tunnel that lives through it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

from perdure.fields import number

MAX_SECONDS = 3600.0
"""The longest scenario."""

SHORTEST_LIMIT = 0.05
"""Seconds that may be asked for at least: whoever plays a scenario need not see shorter silences, and whatever is not
seen would pass."""

State: TypeAlias = Literal["connected", "degraded", "reconnecting"]

STATES: tuple[State, ...] = get_args(State)
"""States that a scenario may ask for."""

_Limit: TypeAlias = Annotated[float, number("s", SHORTEST_LIMIT, MAX_SECONDS)]


@dataclass(frozen=True, slots=True)
class Expectation:
    """Every field is optional; that no byte and no connection is lost is asked of every scenario.

    A silence is the time without a byte delivered; "after" counts from the measured step instead, for steps that bring
    a network back: the time before it was no tunnel's fault. All in seconds, of the direction that waited longer.
    """

    silence_p50: _Limit | None = None
    silence_worst: _Limit | None = None
    after_p50: _Limit | None = None
    after_worst: _Limit | None = None
    max_restarts: Annotated[int, number("", 0, 1000)] | None = None
    """ICE restarts, rebuilds and spares of one run, together."""
    states: tuple[State, ...] = ()
    """States that the client's tube must have shown, such as `degraded`."""
    states_never: tuple[State, ...] = ()
    """States that it must not have shown, such as `reconnecting`."""
    spares_a_minute: Annotated[int, number("", 0, 1000)] | None = None
    """Spare carriers that both ends together may begin within any minute."""
