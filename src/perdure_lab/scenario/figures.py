"""The figures of a report: silences that may not have ended, recoveries, runs from best to worst, peers as ratios.

A run that ended before the bytes came back knows only that its silence was at least so long. Such a figure says so, and
counts as longer than every silence that did end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

from perdure.core.decision import RecoveryAction
from perdure_lab.scenario.expectation import Expectation
from perdure_lab.scenario.results import SILENCE_FLOOR, Direction, Outcome, RunResult, ScenarioReport, quantiles

Measure = Literal["silence", "after"]
"""`silence`: seconds without a byte. `after`: seconds from the measured event to the first byte after its silence."""

_RECOVERIES = (
    RecoveryAction.ICE_RESTART,
    RecoveryAction.REBUILD,
    RecoveryAction.SPARE,
    RecoveryAction.SWITCH,
)
"""What a tube does to get another path."""

OWN_SUBJECT = "perdure"
"""Peers are compared with it."""


@dataclass(frozen=True, slots=True)
class Figure:
    seconds: float
    at_least: bool = False
    """It was still silent when the run ended."""

    def __str__(self) -> str:
        if self.seconds < SILENCE_FLOOR and not self.at_least:
            return f"< {SILENCE_FLOOR * 1000:.0f} ms"
        return f"{'≥ ' if self.at_least else ''}{duration(self.seconds)}"


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `count` samples, one a measured event of a run. Nearest rank: the k-th smallest, k = ⌈share × count⌉."""

    count: int
    p50: Figure
    p95: Figure
    worst: Figure


@dataclass(frozen=True, slots=True)
class Recoveries:
    """What both ends decided in the runs of a report, added up."""

    held_runs: int
    """Runs in which the policy decided to hold, and nothing else was needed."""
    restarts: int
    rebuilds: int
    spares: int
    switches: int

    def __str__(self) -> str:
        counts = (
            (self.rebuilds, RecoveryAction.REBUILD.value),
            (self.spares, RecoveryAction.SPARE.value),
            (self.switches, RecoveryAction.SWITCH.value),
            (self.restarts, RecoveryAction.ICE_RESTART.value),
            (self.held_runs, RecoveryAction.HOLD.value),
        )
        return ", ".join(f"{count} × {name}" for count, name in counts if count) or "none"


@dataclass(frozen=True, slots=True)
class Totals:
    """What the runs of a report carried, added up."""

    connections: int
    connections_kept: int
    bytes_sent: int
    bytes_lost: int
    bytes_wrong: int


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as long as perdure's median a peer's is."""

    times: float
    at_least: bool

    def __str__(self) -> str:
        shown = f"{self.times:,.0f}" if self.times >= 10 else f"{self.times:.1f}"
        return f"{'≥ ' if self.at_least else ''}{shown} ×"


def spread(report: ScenarioReport, measure: Measure, direction: Direction | None = None) -> Spread | None:
    """Without a direction of the one that waited longer; `None` where no event was measured."""
    samples = [
        max((_figure(outcome, measure) for outcome in outcomes), key=_length)
        for run in report.runs
        for outcomes in _by_event(run, direction)
    ]
    known = quantiles([sample.seconds for sample in samples])
    ordered = quantiles([_length(sample) for sample in samples])
    if known is None or ordered is None:
        return None

    # With an endless sample at a rank, what is known at that rank is what its silence reached at least.
    def figure(length: float, reached: float) -> Figure:
        return Figure(reached, at_least=True) if math.isinf(length) else Figure(length)

    return Spread(
        known.count,
        figure(ordered.p50, known.p50),
        figure(ordered.p95, known.p95),
        figure(ordered.worst, known.worst),
    )


def recoveries(report: ScenarioReport) -> Recoveries:
    counts = [Counter({action: run.decided(action) for action in RecoveryAction}) for run in report.runs]
    held = [each for each in counts if each[RecoveryAction.HOLD] and not any(each[action] for action in _RECOVERIES)]
    taken = sum(counts, Counter[RecoveryAction]())
    return Recoveries(
        held_runs=len(held),
        restarts=taken[RecoveryAction.ICE_RESTART],
        rebuilds=taken[RecoveryAction.REBUILD],
        spares=taken[RecoveryAction.SPARE],
        switches=taken[RecoveryAction.SWITCH],
    )


def totals(report: ScenarioReport) -> Totals:
    runs = report.runs
    return Totals(
        sum(run.connections for run in runs),
        sum(run.connections_kept for run in runs),
        sum(run.bytes_sent for run in runs),
        sum(run.bytes_lost for run in runs),
        sum(run.bytes_wrong for run in runs),
    )


def main_measure(expect: Expectation) -> Measure:
    """What a scenario is about: where it expects something of the time after an event, that."""
    return "silence" if expect.after_p50 is None and expect.after_worst is None else "after"


def best_to_worst(report: ScenarioReport) -> list[int]:
    """Indices of the runs; one that lost something is worse than every silence."""
    return sorted(range(len(report.runs)), key=lambda index: (bool(report.runs[index].losses), _worst(report, index)))


def median_run(report: ScenarioReport) -> int:
    """Index of the run whose worst silence is the median of the runs', nearest rank; of at least one run."""
    ranked = sorted(range(len(report.runs)), key=lambda index: _worst(report, index))
    return ranked[math.ceil(len(ranked) / 2) - 1]


def subject(report: ScenarioReport) -> str:
    return report.runs[0].subject if report.runs else OWN_SUBJECT


def is_own(report: ScenarioReport) -> bool:
    """Of perdure, not of a peer."""
    return subject(report) == OWN_SUBJECT


def by_scenario(reports: Sequence[ScenarioReport]) -> list[list[ScenarioReport]]:
    """Reports of one scenario together, perdure's first; scenarios in the order of their first report."""
    order = {name: index for index, name in reversed(list(enumerate(each.scenario.name for each in reports)))}
    ordered = sorted(reports, key=lambda each: (order[each.scenario.name], not is_own(each)))
    return [list(group) for _, group in groupby(ordered, key=lambda each: each.scenario.name)]


def ratio(peer: ScenarioReport, own: ScenarioReport) -> Ratio | None:
    """The peer's median over perdure's; `None` where there is nothing to compare, or both are too short to tell."""
    measure = main_measure(own.scenario.expectation)
    theirs, ours = spread(peer, measure), spread(own, measure)
    if theirs is None or ours is None or ours.p50.at_least:
        return None
    is_short = ours.p50.seconds < SILENCE_FLOOR
    if is_short and theirs.p50.seconds < SILENCE_FLOOR:
        return None
    # What is too short to be seen is taken as the longest that it can be.
    return Ratio(theirs.p50.seconds / max(ours.p50.seconds, SILENCE_FLOOR), theirs.p50.at_least or is_short)


def duration(seconds: float) -> str:
    """`62 ms`, `1.25 s`, `12.5 s`, `600 s`."""
    if round(seconds, 3) < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s" if seconds < 100 else f"{seconds:.0f} s"


def _by_event(run: RunResult, direction: Direction | None) -> Iterator[list[Outcome]]:
    chosen = [outcome for outcome in run.outcomes if direction in (None, outcome.direction)]
    for _, group in groupby(chosen, key=lambda outcome: outcome.event):
        yield list(group)


def _worst(report: ScenarioReport, index: int) -> tuple[float, float]:
    """Of a run, to sort by: endless ones last, among them the longest."""
    measure = main_measure(report.scenario.expectation)
    found = [_figure(outcome, measure) for outcome in report.runs[index].outcomes]
    return max(((_length(each), each.seconds) for each in found), default=(0.0, 0.0))


def _figure(outcome: Outcome, measure: Measure) -> Figure:
    seconds = outcome.silence if measure == "silence" else outcome.after
    return Figure(seconds, at_least=not outcome.recovered)


def _length(figure: Figure) -> float:
    return math.inf if figure.at_least else figure.seconds
