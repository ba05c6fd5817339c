"""What is made of a run's facts: quantiles, what a silence belongs to, and verdicts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure.lab.results import (
    NetworkEvent,
    Quantiles,
    RunResult,
    ScenarioFacts,
    ScenarioReport,
    Silence,
    StateSpan,
    Throughput,
    attribute,
    decode,
    encode,
    quantiles,
)
from perdure.scenario.expectation import Expectation

EVENTS = (NetworkEvent(3.0, "off", True), NetworkEvent(5.0, "other", False), NetworkEvent(8.0, "off again", True))

RUN = RunResult(
    scenario="example",
    subject="perdure",
    seed=1,
    seconds=10.0,
    impairment="none",
    events=EVENTS,
    states=(StateSpan(0.0, "connected"),),
    rungs=(),
    silences=(),
    throughput=Throughput(0.1, (1.0,), (2.0,)),
    connections=2,
    connections_kept=2,
    bytes_sent=100,
    bytes_lost=0,
    bytes_wrong=0,
    restarts=0,
    rebuilds=1,
)


def silent(*silences: Silence) -> RunResult:
    return replace(RUN, silences=attribute(silences, EVENTS))


def report(*runs: RunResult, expect: Expectation | None = None) -> ScenarioReport:
    return ScenarioReport(ScenarioFacts("example", "Example", "Text.", 10.0, expect or Expectation()), runs)


def test_a_silence_belongs_to_the_measured_event_that_is_nearest_to_its_beginning() -> None:
    silences = [Silence(2.99, 3.2, "up"), Silence(3.05, 9.0, "up"), Silence(7.99, 8.1, "up"), Silence(1.0, 1.1, "up")]
    assert [silence.event for silence in attribute(silences, EVENTS)] == [0, 0, 2, None]


def test_an_event_costs_its_longest_silence_and_counts_from_itself() -> None:
    run = silent(Silence(2.9, 3.5, "up"), Silence(3.6, 3.7, "up"), Silence(3.0, 4.0, "down", ended=False))
    first_up, first_down, second_up, _ = run.outcomes
    assert first_up.silence == pytest.approx(0.6)
    assert first_up.after == pytest.approx(0.5)
    assert first_up.recovered
    assert not first_down.recovered
    assert (second_up.silence, second_up.after, second_up.recovered) == (0.0, 0.0, True)


def test_an_event_after_whose_longest_silence_another_one_never_ended_did_not_recover() -> None:
    first_up, *_ = silent(Silence(3.0, 6.0, "up"), Silence(9.0, 10.0, "up", ended=False)).outcomes
    assert first_up.recovered
    *_, second_up, _ = silent(Silence(7.0, 9.0, "up"), Silence(9.0, 10.0, "up", ended=False)).outcomes
    assert second_up.silence == 2.0
    assert not second_up.recovered


def test_an_event_in_the_middle_of_a_silence_does_not_count_as_free_of_charge() -> None:
    run = silent(Silence(3.0, 8.5, "up"))
    assert [each.silence for each in run.outcomes if each.direction == "up"] == [5.5, 5.5]
    assert [each.after for each in run.outcomes if each.direction == "up"] == [5.5, 0.5]


def test_figures_are_over_every_event_of_every_run_and_the_direction_that_waited_longer() -> None:
    runs = [silent(Silence(3.0, 3.0 + 0.1 * n, "up"), Silence(3.0, 3.2, "down")) for n in range(1, 6)]
    silence, up = report(*runs).silence(), report(*runs).silence("up")
    assert silence is not None
    assert up is not None
    assert silence.count == up.count == 10
    assert silence.worst == pytest.approx(0.5)
    assert up.p50 == 0.0
    assert report().silence() is None


def test_quantiles_are_samples_by_their_rank() -> None:
    assert quantiles([float(n) for n in range(1, 21)]) == Quantiles(20, 10.0, 19.0, 20.0)
    assert quantiles([7.0]) == Quantiles(1, 7.0, 7.0, 7.0)
    assert quantiles([]) is None


def test_what_was_lost_fails_the_scenario_and_names_its_run() -> None:
    lost = report(RUN, replace(RUN, bytes_lost=7, connections_kept=1))
    assert lost.verdict == "failed"
    assert lost.losses == ("run 2: 1 of 2 connections dropped", "run 2: 7 bytes lost")
    assert report(replace(RUN, problem="the client ended")).verdict == "failed"
    assert report(replace(RUN, bytes_wrong=1)).verdict == "failed"
    assert report().verdict == "failed"


def test_a_missed_expectation_is_no_loss() -> None:
    run = silent(Silence(3.0, 3.4, "up"))
    expect = Expectation(silence_p50=0.5, silence_worst=0.3, max_restarts=0, states=("degraded",))
    missed = report(run, expect=expect)
    assert missed.verdict == "missed"
    assert missed.misses == (
        "silence, worst: 400 ms, expected at most 300 ms",
        "run 1: 1 restarts and rebuilds, expected at most 0",
        "run 1: the state degraded was not shown",
    )
    assert report(RUN).verdict == "passed"


def test_silence_to_the_end_is_a_miss() -> None:
    never = report(silent(Silence(3.0, 10.0, "down", ended=False)))
    assert never.misses == ("run 1: no byte came any more",)


def test_json_gives_back_what_was_put_in() -> None:
    reports = (report(silent(Silence(3.0, 3.4, "up")), expect=Expectation(silence_p50=0.1)),)
    assert decode(encode(reports)) == reports
    with pytest.raises(ValueError, match="version 9"):
        decode(b'{"version": 9, "reports": []}')
