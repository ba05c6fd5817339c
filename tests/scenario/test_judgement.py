"""Verdicts: what was lost fails, and what was expected is held against the figures that the table shows."""

from __future__ import annotations

from dataclasses import replace

from perdure_lab.scenario.judgement import is_clean, misses, most_spares_a_minute, verdict
from perdure_lab.scenario.results import ActionTaken, Finding, StateSpan
from support.lab_runs import made_up_report, made_up_run


def test_what_was_lost_fails_the_scenario_and_names_its_run() -> None:
    lost = made_up_report(made_up_run(0.1), made_up_run(0.1, bytes_lost=7, connections_kept=1))
    assert verdict(lost) == "failed"
    assert lost.losses == (Finding("1 of 2 connections dropped", 2), Finding("7 bytes lost", 2))
    assert verdict(made_up_report(made_up_run(problem="the client ended"))) == "failed"
    assert verdict(made_up_report(made_up_run(bytes_wrong=1))) == "failed"
    assert verdict(made_up_report()) == "failed"


def test_a_missed_expectation_is_no_loss() -> None:
    run = made_up_run(0.4)
    missed = made_up_report(run, silence_p50=0.5, silence_worst=0.3, max_restarts=0, states=("degraded",))
    assert verdict(missed) == "missed"
    assert misses(missed) == (
        Finding("silence, worst: 400 ms, expected at most 300 ms"),
        Finding("1 ICE restarts, rebuilds and spares, expected at most 0", 1),
        Finding("the state degraded was not shown", 1),
    )
    assert verdict(made_up_report(made_up_run(0.4))) == "passed"


def test_silence_to_the_end_is_a_miss() -> None:
    never = made_up_report(made_up_run(1.0, ended=False))
    assert misses(never) == (Finding("no byte came any more", 1),)


def test_a_silence_that_the_runs_end_cut_short_is_not_within_what_was_expected() -> None:
    never = made_up_report(made_up_run(1.0, seconds=5.3, ended=False), silence_p50=0.5, after_worst=0.5)
    assert misses(never) == (
        Finding("silence, median: ≥ 298 ms, expected at most 500 ms"),
        Finding("after the network is back, worst: ≥ 300 ms, expected at most 500 ms"),
        Finding("no byte came any more", 1),
    )


def test_a_peer_is_measured_and_has_no_misses() -> None:
    peer = made_up_report(made_up_run(5.0, subject="wrtc"), silence_p50=0.1, max_restarts=0, states=("degraded",))
    assert (verdict(peer), misses(peer)) == ("measured", ())
    assert verdict(made_up_report(made_up_run(0.1, subject="wrtc", bytes_lost=1))) == "measured"


def test_what_a_peer_lost_is_not_clean_and_what_only_perdure_was_asked_for_is() -> None:
    own, peer = (made_up_report(made_up_run(5.0, subject=name), silence_p50=0.1) for name in ("perdure", "wrtc"))
    assert is_clean([own, peer], strict=False)
    assert is_clean([peer], strict=True)
    assert not is_clean([own], strict=True)
    assert not is_clean([peer, made_up_report(made_up_run(0.1, subject="wrtc", bytes_lost=1))], strict=False)
    assert not is_clean([made_up_report()], strict=False)


def test_a_switch_is_no_restart_and_a_spare_is_one() -> None:
    actions = ("spare", "rebuild", "switch", "ICE restart", "hold")
    taken = tuple(ActionTaken(at, "client", "silence", action, "why") for at, action in enumerate(actions))
    run = made_up_run(0.1, actions_taken=taken)
    assert misses(made_up_report(run, max_restarts=3)) == ()
    assert misses(made_up_report(run, max_restarts=2)) == (
        Finding("3 ICE restarts, rebuilds and spares, expected at most 2", 1),
    )


def test_spares_are_counted_by_the_minute_and_a_state_may_be_forbidden() -> None:
    run = made_up_run(0.1)
    spares = tuple(ActionTaken(at, "client", "silence", "spare", "why") for at in (1.0, 60.9, 61.0, 90.0))
    busy = replace(run, actions_taken=spares, states=(StateSpan(0.0, "connected"), StateSpan(3.0, "reconnecting")))
    assert most_spares_a_minute(busy) == 3
    assert misses(made_up_report(busy, spares_a_minute=3)) == ()
    assert misses(made_up_report(busy, spares_a_minute=2, states_never=("reconnecting",))) == (
        Finding("3 spares within a minute, expected at most 2", 1),
        Finding("the state reconnecting was shown", 1),
    )
