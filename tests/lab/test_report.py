"""The lab's report: figures with exact ranks, verdicts, peers as ratios, a table for people and JSON for machines."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from rich.console import Console

from perdure_lab.lab.report import losses, misses, summary, terminal_table, to_json
from perdure_lab.scenario import figures
from perdure_lab.scenario.figures import Figure, duration
from perdure_lab.scenario.judgement import verdict
from perdure_lab.scenario.results import ActionTaken, ScenarioReport
from support.lab_runs import made_up_report, made_up_run


def shown(*reports: ScenarioReport, width: int = 100) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        console.print(terminal_table(reports))
    return capture.get()


def decision(action: str, trigger: str = "connection timeout") -> ActionTaken:
    return ActionTaken(5.1, "client", trigger, action, "an answer is overdue")


class TestFigures:
    def test_a_percentile_is_the_smallest_sample_that_so_many_do_not_exceed(self) -> None:
        report = made_up_report(*(made_up_run(number / 10, seed=number) for number in range(1, 21)))
        found = figures.spread(report, "silence", "up")
        assert found is not None
        assert found.count == 20
        assert [round(each.seconds, 6) for each in (found.p50, found.p95, found.worst)] == [1.0, 1.9, 2.0]

    def test_of_one_run_every_percentile_is_its_silence(self) -> None:
        found = figures.spread(made_up_report(made_up_run(0.25)), "silence")
        assert found is not None
        assert round(found.p50.seconds, 6) == round(found.worst.seconds, 6) == 0.25

    def test_every_measured_event_of_a_run_is_a_sample(self) -> None:
        found = figures.spread(made_up_report(made_up_run(0.1, 0.2, 0.3)), "silence", "up")
        assert found is not None
        assert (found.count, round(found.p50.seconds, 6)) == (3, 0.2)

    def test_both_directions_together_are_the_one_that_waited_longer(self) -> None:
        report = made_up_report(made_up_run(0.2))
        both, up, down = (figures.spread(report, "silence", each) for each in (None, "up", "down"))
        assert both == up
        assert down is not None
        assert round(down.worst.seconds, 6) == 0.19

    def test_a_silence_that_never_ended_is_longer_than_every_one_that_did(self) -> None:
        endless = made_up_run(1.0, seconds=10.0, ended=False)
        found = figures.spread(made_up_report(made_up_run(8.0), endless), "silence", "up")
        assert found is not None
        assert not found.p50.at_least
        assert found.worst.at_least

    def test_without_a_measured_event_there_is_no_figure(self) -> None:
        assert figures.spread(made_up_report(made_up_run()), "silence") is None
        assert figures.spread(made_up_report(), "silence") is None

    def test_the_time_after_an_event_does_not_count_what_was_silent_before_it(self) -> None:
        found = figures.spread(made_up_report(made_up_run(0.5)), "after", "up")
        assert found is not None
        assert round(found.worst.seconds, 6) == 0.502

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            (0.0624, "62 ms"),
            (0.9996, "1.00 s"),
            (1.254, "1.25 s"),
            (12.54, "12.5 s"),
            (600.2, "600 s"),
        ],
    )
    def test_a_duration_has_three_digits_that_matter(self, seconds: float, text: str) -> None:
        assert duration(seconds) == text

    def test_a_figure_below_what_the_lab_can_tell_says_so(self) -> None:
        assert str(Figure(0.0)) == "< 50 ms"
        assert str(Figure(0.0, at_least=True)) == "≥ 0 ms"
        assert str(Figure(55.0, at_least=True)) == "≥ 55.0 s"

    def test_what_both_ends_did_is_called_as_they_decided_it(self) -> None:
        first, second = (
            made_up_run(0.1, actions_taken=tuple(map(decision, actions)))
            for actions in (["spare", "hold", "switch"], ["rebuild", "ICE restart", "spare", "wait"])
        )
        found = figures.recoveries(made_up_report(first, second))
        assert str(found) == "1 × rebuild, 2 × spare, 1 × switch, 1 × ICE restart"

    def test_a_run_held_when_the_policy_said_so_and_nothing_else_was_needed(self) -> None:
        runs = (made_up_run(0.1, actions_taken=tuple(map(decision, each))) for each in (["hold"], ["hold", "switch"]))
        assert str(figures.recoveries(made_up_report(*runs))) == "1 × switch, 1 × hold"

    def test_setting_up_and_doing_nothing_recovers_nothing(self) -> None:
        runs = (made_up_run(0.1, actions_taken=()), made_up_run(0.1, actions_taken=(decision("rebuild", "set-up"),)))
        assert str(figures.recoveries(made_up_report(*runs))) == "none"

    def test_the_median_run_is_the_lower_of_two_in_the_middle(self) -> None:
        report = made_up_report(*(made_up_run(silence) for silence in (0.4, 0.1, 0.3, 0.2)))
        assert figures.median_run(report) == 3

    def test_a_run_that_lost_a_byte_is_worse_than_the_longest_silence(self) -> None:
        report = made_up_report(made_up_run(0.3), made_up_run(0.1, bytes_lost=1), made_up_run(0.2))
        assert figures.best_to_worst(report) == [2, 0, 1]


class TestVerdict:
    def test_what_is_as_fast_as_expected_passed(self) -> None:
        report = made_up_report(made_up_run(0.08), silence_p50=0.1, silence_worst=0.5)
        assert (verdict(report), losses(report), misses(report)) == ("passed", [], [])

    def test_what_is_slower_missed_and_says_by_how_much(self) -> None:
        report = made_up_report(made_up_run(0.612), silence_p50=0.7, silence_worst=0.5)
        assert verdict(report) == "missed"
        assert misses(report) == ["silence, worst: 612 ms, expected at most 500 ms"]

    @pytest.mark.parametrize(
        ("changed", "text"),
        [
            ({"bytes_lost": 4096}, "run 2: 4,096 bytes lost"),
            ({"bytes_wrong": 1}, "run 2: 1 bytes wrong"),
            ({"connections_kept": 1}, "run 2: 1 of 2 connections dropped"),
            ({"problem": "the gateway ended with exit code 1"}, "run 2: the gateway ended with exit code 1"),
        ],
    )
    def test_one_loss_in_one_run_fails_the_scenario_loudly(self, changed: dict[str, Any], text: str) -> None:
        report = made_up_report(made_up_run(0.06), made_up_run(0.06, **changed))
        assert verdict(report) == "failed"
        assert losses(report) == [text]
        assert f"failed: unplugged: {text}" in shown(report)

    def test_the_same_loss_of_several_runs_is_one_line(self) -> None:
        report = made_up_report(*(made_up_run(0.06, bytes_lost=lost) for lost in (7, 0, 7)))
        assert losses(report) == ["runs 1, 3: 7 bytes lost"]

    def test_a_scenario_that_was_not_run_failed(self) -> None:
        assert losses(made_up_report()) == ["it was not run"]
        assert "it was not run" in shown(made_up_report())

    def test_a_peer_is_not_held_to_what_is_asked_of_perdure(self) -> None:
        peer = made_up_report(made_up_run(5.0, subject="fowl"), silence_p50=0.1, max_restarts=0, states=("degraded",))
        assert (verdict(peer), misses(peer)) == ("measured", [])
        assert json.loads(to_json([peer]))["reports"][0]["verdict"] == "measured"
        assert "measured" in shown(peer)
        assert "missed" not in shown(peer)
        assert summary([peer]) == "1 scenario, 1 run of fowl"

    def test_what_a_peer_lost_is_told_but_not_judged(self) -> None:
        peer = made_up_report(made_up_run(0.1, subject="fowl", bytes_lost=7))
        assert (verdict(peer), losses(peer)) == ("measured", ["run 1: 7 bytes lost"])
        assert "failed: unplugged with fowl: run 1: 7 bytes lost" in shown(peer)

    def test_the_last_line_names_a_peer_that_failed_beside_perdure_that_passed(self) -> None:
        peer = made_up_report(made_up_run(0.1, subject="fowl", bytes_lost=7))
        reports = [peer, made_up_report(made_up_run(0.1))]
        expected = "1 scenario, 1 run of perdure: 1 passed; 1 scenario, 1 run of fowl: 1 failed"
        assert summary(reports) == expected
        assert shown(*reports).rstrip().endswith(expected)

    def test_without_a_report_nothing_was_run(self) -> None:
        assert summary([]) == "nothing was run"


class TestPeers:
    def test_a_peer_is_a_ratio_of_the_medians(self) -> None:
        own, peer = made_up_report(made_up_run(0.1)), made_up_report(made_up_run(5.0, subject="fowl"))
        assert str(figures.ratio(peer, own)) == "50 ×"

    def test_a_peer_that_never_came_back_is_at_least_so_many_times_slower(self) -> None:
        own = made_up_report(made_up_run(0.1))
        peer = made_up_report(made_up_run(1.0, subject="fowl", seconds=60.0, ended=False))
        assert str(figures.ratio(peer, own)) == "≥ 550 ×"

    def test_beside_a_silence_too_short_to_see_the_ratio_is_a_lower_bound(self) -> None:
        own = made_up_report(made_up_run(0.0, silences=()))
        peer = made_up_report(made_up_run(1.0, subject="fowl"))
        assert str(figures.ratio(peer, own)) == "≥ 20 ×"
        assert figures.ratio(own, own) is None

    def test_without_a_measured_event_there_is_no_ratio(self) -> None:
        assert figures.ratio(made_up_report(made_up_run(1.0)), made_up_report(made_up_run())) is None

    def test_perdure_comes_first_and_the_scenarios_keep_their_order(self) -> None:
        reports = [
            made_up_report(made_up_run(1.0, scenario="b", subject="fowl")),
            made_up_report(made_up_run(1.0, scenario="a")),
            made_up_report(made_up_run(1.0, scenario="b")),
        ]
        ordered = [[figures.subject(each) for each in group] for group in figures.by_scenario(reports)]
        assert ordered == [["perdure", "fowl"], ["perdure"]]


class TestTerminal:
    def test_a_scenario_shows_its_figures_and_its_verdict(self) -> None:
        text = shown(made_up_report(*(made_up_run(0.08, seed=seed) for seed in range(20)), silence_p50=0.1))
        for part in ("unplugged", "20 × rebuild", "80 ms", "70 ms", "40/40", "passed"):
            assert part in text
        assert text.rstrip().endswith("1 scenario, 20 runs of perdure: 1 passed")

    def test_where_something_was_missed_a_line_says_what_that_means(self) -> None:
        line = "missed is not lost: a busy machine adds silence; repeat it (--repeat 5)"
        assert line in shown(made_up_report(made_up_run(0.3), silence_p50=0.1))
        assert line not in shown(made_up_report(made_up_run(0.3, bytes_lost=1), silence_p50=0.5))

    def test_the_time_after_the_network_is_back_is_shown_where_it_is_what_counts(self) -> None:
        assert "after" in shown(made_up_report(made_up_run(0.3), after_p50=0.5))
        assert "after" not in shown(made_up_report(made_up_run(0.3), silence_p50=0.5))

    def test_it_fits_into_eighty_columns(self) -> None:
        run = made_up_run(55.0, scenario="ethernet-to-wifi", seconds=70.0, ended=False, bytes_lost=12)
        text = shown(made_up_report(run), width=80)
        assert "failed" in text.split("failed: ")[0]

    def test_brackets_in_a_reason_are_text(self) -> None:
        assert "[bold]no[/bold]" in shown(made_up_report(made_up_run(0.1, problem="[bold]no[/bold]")))

    def test_peers_stand_beside_perdure(self) -> None:
        text = shown(made_up_report(made_up_run(0.1)), made_up_report(made_up_run(5.0, subject="fowl")))
        assert "fowl" in text
        assert "50 ×" in text

    def test_of_very_many_losses_the_first_are_shown_and_the_others_counted(self) -> None:
        report = made_up_report(*(made_up_run(0.1, bytes_lost=number) for number in range(1, 101)))
        assert "88 more of these" in shown(report)


class TestJson:
    def test_every_fact_of_a_scenario_and_its_runs_is_in_it(self) -> None:
        reports = [
            made_up_report(made_up_run(0.1), made_up_run(0.3, bytes_lost=3), silence_p50=0.1),
            made_up_report(made_up_run(5.0, subject="fowl")),
        ]
        assert msgspec.convert(json.loads(to_json(reports))["reports"], list[ScenarioReport]) == reports

    def test_runs_of_version_1_are_read_and_called_as_they_were_decided(self) -> None:
        run = made_up_run(0.1, actions_taken=(decision("spare"),))
        (report,) = json.loads(to_json([made_up_report(run)]))["reports"]
        report["runs"][0] |= {"restarts": 0, "rebuilds": 1}  # which counted spares
        assert str(figures.recoveries(msgspec.convert(report, ScenarioReport))) == "1 × spare"

    def test_losses_and_misses_are_texts_with_their_run(self) -> None:
        lossy = made_up_report(made_up_run(0.1, bytes_lost=3), made_up_run(0.3, bytes_lost=3), silence_p50=0.05)
        (report,) = json.loads(to_json([lossy]))["reports"]
        assert report["losses"] == ["run 1: 3 bytes lost", "run 2: 3 bytes lost"]
        assert report["misses"] == ["silence, median: 100 ms, expected at most 50 ms"]

    def test_the_keys_are_these(self) -> None:
        own = made_up_report(made_up_run(0.25), silence_p50=0.1)
        peer = made_up_report(made_up_run(5.0, subject="fowl"))
        document = json.loads(to_json([own, peer]))
        assert document["version"] == 2
        first, second = document["reports"]
        assert set(first) == {"scenario", "subject", "verdict", "losses", "misses", "figures", "runs"}
        assert (first["subject"], first["verdict"], first["scenario"]["name"]) == ("perdure", "missed", "unplugged")
        found = first["figures"]
        assert set(found) == {"silence", "after", "recoveries", "totals", "ratio_to_perdure"}
        assert set(found["silence"]) == set(found["after"]) == {"both", "up", "down"}
        assert set(found["silence"]["up"]) == {"count", "p50", "p95", "worst"}
        assert found["silence"]["up"]["p50"] == {"seconds": pytest.approx(0.25), "at_least": False}
        assert found["recoveries"] == {"held_runs": 0, "restarts": 0, "rebuilds": 1, "spares": 0, "switches": 0}
        assert found["totals"]["connections_kept"] == 2
        assert found["ratio_to_perdure"] is None
        assert second["figures"]["ratio_to_perdure"] == {"times": pytest.approx(20.0), "at_least": False}

    def test_seconds_are_numbers_and_what_was_not_measured_is_null(self) -> None:
        report = json.loads(to_json([made_up_report(made_up_run())]))["reports"][0]
        assert report["figures"]["silence"] == {"both": None, "up": None, "down": None}
        assert isinstance(report["runs"][0]["seconds"], float)
