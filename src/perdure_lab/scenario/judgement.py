"""Whether a scenario's runs were what it expects: judged by the same figures that the table shows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from perdure.core.decision import RecoveryAction
from perdure_lab.scenario import figures
from perdure_lab.scenario.expectation import Expectation
from perdure_lab.scenario.results import Finding, RunResult, ScenarioReport

Verdict = Literal["passed", "missed", "failed", "measured"]
"""failed: something was lost, or there was no run. missed: nothing lost, an expectation not met. measured: of a peer,
which is not judged, whatever it lost."""

_RESTARTS = (RecoveryAction.ICE_RESTART, RecoveryAction.REBUILD, RecoveryAction.SPARE)
"""What `Expectation.max_restarts` limits: each takes an offer and an answer, which a switch does not."""


def verdict(report: ScenarioReport) -> Verdict:
    if not figures.is_own(report):
        return "measured"
    if report.losses or not report.runs:
        return "failed"
    return "missed" if misses(report) else "passed"


def is_clean(reports: Sequence[ScenarioReport], *, strict: bool) -> bool:
    """Whether every scenario was run and nothing was lost, by a peer neither; if `strict`, also nothing missed."""
    return all(report.runs and not report.losses and not (strict and misses(report)) for report in reports)


def misses(report: ScenarioReport) -> tuple[Finding, ...]:
    """Expectations that were not met. A peer has none: what is asked of perdure was never asked of it."""
    if not figures.is_own(report):
        return ()
    expect = report.scenario.expectation
    silence, after = figures.spread(report, "silence"), figures.spread(report, "after")
    above = [
        *_above("silence", silence, expect.silence_p50, expect.silence_worst),
        *_above("after the network is back", after, expect.after_p50, expect.after_worst),
    ]
    of_runs = (Finding(miss, number) for number, run in enumerate(report.runs, 1) for miss in _misses_of(run, expect))
    return (*map(Finding, above), *of_runs)


def most_spares_a_minute(run: RunResult) -> int:
    """How many spares both ends have begun in the minute that saw most of them."""
    begun = [taken.at for taken in run.actions_taken if taken.action == RecoveryAction.SPARE.value and taken.at >= 0]
    return max((sum(at <= other < at + 60.0 for other in begun) for at in begun), default=0)


def _above(name: str, measured: figures.Spread | None, median: float | None, worst: float | None) -> Iterator[str]:
    if measured is None:
        return
    for which, figure, allowed in (("median", measured.p50, median), ("worst", measured.worst, worst)):
        if allowed is not None and (figure.at_least or figure.seconds > allowed):
            reached = f"{'≥ ' if figure.at_least else ''}{figure.seconds * 1000:,.0f} ms"
            yield f"{name}, {which}: {reached}, expected at most {allowed * 1000:,.0f} ms"


def _misses_of(run: RunResult, expect: Expectation) -> Iterator[str]:
    restarts = sum(map(run.decided, _RESTARTS))
    if expect.max_restarts is not None and restarts > expect.max_restarts:
        yield f"{restarts} ICE restarts, rebuilds and spares, expected at most {expect.max_restarts}"
    spares = most_spares_a_minute(run)
    if expect.spares_a_minute is not None and spares > expect.spares_a_minute:
        yield f"{spares} spares within a minute, expected at most {expect.spares_a_minute}"
    shown = {span.state for span in run.states}
    for state in expect.states:
        if state not in shown:
            yield f"the state {state} was not shown"
    for state in expect.states_never:
        if state in shown:
            yield f"the state {state} was shown"
    if not all(each.recovered for each in run.outcomes):
        yield "no byte came any more"
