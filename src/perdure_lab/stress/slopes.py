"""Whether something grew in hours of work: the slope of what was least held in each few minutes. Pure."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_lab.stress.stage import Stage

WINDOW = 300.0
"""Seconds, of whose samples the lowest counts: a recovery and a busy neighbour add for seconds, and never take away.
A fault each half minute leaves most samples of five minutes beside one."""

FEWEST_WINDOWS = 4
"""From which a slope is judged; below it is only told."""


@dataclass(frozen=True, slots=True)
class Bound:
    """How much something may grow."""

    unit: str
    an_hour: float
    one_step: float
    """That may come once and stay: a short soak would take it for a slope."""

    def over(self, hours: float) -> float:
        """An hour, in samples of so many: one step amid them looks like a slope of 1.5 steps over their time."""
        return max(self.an_hour, 1.5 * self.one_step / hours)


BOUNDS = {
    "descriptors": Bound("an hour", 2.0, 4.0),
    "threads": Bound("an hour", 0.5, 1.0),
    "tasks": Bound("an hour", 2.0, 2.0),
    "event loop's lag, p99": Bound("ms/h", 1.0, 2.0),
}
"""One fault in a hundred that leaves one descriptor, thread or task behind is 1.2 of them an hour, at two faults a
minute. The steps: a carrier has four descriptors; asyncio starts a thread of its pool when it first needs one more; a
carrier has two tasks at most; a machine's clock and other work move the lag by 2 ms. The lag may grow by what would
reach its bound of 20 ms within a day."""


def lowest(samples: Sequence[tuple[float, float]], window: float = WINDOW) -> list[tuple[float, float]]:
    """The lower envelope: of each `window` seconds the lowest value, at the middle of the window. A last one that is
    not whole is left out."""
    if not samples:
        return []
    began_at, ended_at = samples[0][0], samples[-1][0]
    found: dict[int, float] = {}
    for at, value in samples:
        number = int((at - began_at) // window)
        found[number] = min(value, found.get(number, value))
    return [
        (began_at + (number + 0.5) * window, value)
        for number, value in found.items()
        if began_at + (number + 1) * window <= ended_at + window / 10
    ]


def slope_an_hour(points: Sequence[tuple[float, float]]) -> float:
    """Of instants in seconds and values, by least squares."""
    times, values = zip(*points, strict=True)
    return statistics.linear_regression(times, values).slope * 3600


def expect_flat(stage: Stage, name: str, samples: Sequence[tuple[float, float]]) -> None:
    """That what `BOUNDS` calls `name` does not grow: instants in seconds, and what there was of it."""
    bound, points = BOUNDS[name], lowest(samples)
    if len(points) < 2:
        return
    hours = (points[-1][0] - points[0][0]) / 3600
    at_most = bound.over(hours) if len(points) >= FEWEST_WINDOWS else None
    stage.measured(f"{name}, growth of the least in 5 min", slope_an_hour(points), bound.unit, at_most=at_most)
