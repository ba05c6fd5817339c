"""What is made of a run's facts: quantiles, and what a silence belongs to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure_lab.scenario.results import (
    NetworkEvent,
    Quantiles,
    RunResult,
    Silence,
    StateSpan,
    Throughput,
    attribute,
    quantiles,
)

EVENTS = (NetworkEvent(3.0, "off", True), NetworkEvent(5.0, "other", False), NetworkEvent(8.0, "off again", True))

RUN = RunResult(
    scenario="example",
    subject="perdure",
    seed=1,
    seconds=10.0,
    impairment="none",
    events=EVENTS,
    states=(StateSpan(0.0, "connected"),),
    actions_taken=(),
    silences=(),
    throughput=Throughput(0.1, (1.0,), (2.0,)),
    connections=2,
    connections_kept=2,
    bytes_sent=100,
    bytes_lost=0,
    bytes_wrong=0,
)


def silent(*silences: Silence) -> RunResult:
    return replace(RUN, silences=attribute(silences, EVENTS))


def test_a_silence_belongs_to_the_measured_event_that_is_nearest_to_its_beginning() -> None:
    silences = [Silence(2.99, 3.2, "up"), Silence(3.05, 9.0, "up"), Silence(7.99, 8.1, "up"), Silence(1.0, 1.1, "up")]
    assert [silence.event for silence in attribute(silences, EVENTS)] == [0, 0, 2, None]


def test_a_silence_that_ends_while_a_step_is_still_being_applied_is_that_steps() -> None:
    events = (NetworkEvent(3.0, "off", True), NetworkEvent(8.0, "off again", True, took=0.12))
    within, over, alone = Silence(7.9, 7.99, "up"), Silence(7.8, 7.9, "up"), Silence(7.89, 7.95, "down")
    assert [silence.event for silence in attribute([within, over, alone], events)] == [1, 1, 1]
    assert attribute([alone], events[1:])[0].event == 0
    run = replace(RUN, events=events, silences=attribute([within], events))
    assert [(each.event, round(each.silence, 6), each.after) for each in run.outcomes if each.direction == "up"] == [
        (0, 0.0, 0.0),
        (1, 0.09, 0.0),
    ]


def test_a_step_that_is_applied_within_a_silence_of_an_earlier_one_is_not_free_of_charge() -> None:
    events = (NetworkEvent(7.8, "off", True), NetworkEvent(8.0, "off again", True, took=0.12))
    run = replace(RUN, events=events, silences=attribute([Silence(7.81, 7.95, "up")], events))
    assert [(each.event, round(each.silence, 6)) for each in run.outcomes if each.direction == "up"] == [
        (0, 0.14),
        (1, 0.14),
    ]


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


def test_quantiles_are_samples_by_their_rank() -> None:
    assert quantiles([float(n) for n in range(1, 21)]) == Quantiles(20, 10.0, 19.0, 20.0)
    assert quantiles([7.0]) == Quantiles(1, 7.0, 7.0, 7.0)
    assert quantiles([]) is None


def test_a_run_that_could_not_be_made_had_no_connection_to_drop() -> None:
    unmade = replace(RUN, connections_kept=0, bytes_sent=0, problem="the gateway ended with exit code 1")
    assert unmade.losses == ("the gateway ended with exit code 1",)
    assert replace(unmade, bytes_sent=100).losses == (*unmade.losses, "2 of 2 connections dropped")
