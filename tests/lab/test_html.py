"""The lab's page: complete in itself, small, safe against what scenarios and logs say, with the right runs drawn."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

from perdure_lab.lab.html import page
from perdure_lab.lab.timeline import LEVELS, MOST_BINS, happenings, timeline
from perdure_lab.scenario.results import ActionTaken, NetworkEvent, StateSpan, Throughput
from support.lab_runs import made_up_report, made_up_run

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Outline(HTMLParser):
    """The tags of a page, whether they nest, and what its elements point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def drawn(text: str) -> list[dict[str, Any]]:
    return [json.loads(each) for each in re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)]


class TestPage:
    def test_it_is_well_formed_and_asks_for_nothing(self) -> None:
        outline = Outline(page([made_up_report(made_up_run(0.1), made_up_run(0.2))], about={"kernel": "6.18"}))
        assert outline.open == []
        assert all("src" not in attributes for _, attributes in outline.tags)
        links = [each["href"] for tag in ("a", "link") for each in outline.all(tag)]
        assert set(links) <= {"#scenario-1", "data:,"}

    def test_its_style_and_script_load_nothing_either(self) -> None:
        text = page([made_up_report(made_up_run(0.1))])
        for word in ("@import", "url(", "fetch(", "XMLHttpRequest", "WebSocket", "import("):
            assert word not in text

    def test_the_chart_library_is_in_it_with_its_licence_named(self) -> None:
        text = page([])
        assert "var uPlot=" in text
        assert "uPlot, MIT licence" in text

    def test_a_stranger_sees_the_title_the_figures_and_the_verdict(self) -> None:
        text = page([made_up_report(made_up_run(0.08), title="Ethernet is unplugged", silence_p50=0.1)])
        for part in (
            "Ethernet is unplugged",
            "80 ms",
            "≤ 100 ms",
            "2 of 2",
            "✓ passed",
            "1 scenario, 1 run of perdure",
        ):
            assert part in text

    def test_what_was_lost_stands_in_the_section(self) -> None:
        text = page([made_up_report(made_up_run(0.08, bytes_lost=4096))])
        assert "run 1: 4,096 bytes lost" in text
        assert "✗ failed" in text

    def test_every_text_from_outside_is_escaped(self) -> None:
        evil = "</script><img src=x onerror=alert(1)>"
        run = made_up_run(
            0.1,
            scenario=evil,
            subject=evil,
            text=evil,
            problem=evil,
            impairment=evil,
            states=(StateSpan(0.0, evil),),
            actions_taken=(ActionTaken(1.0, "client", evil, evil, evil),),
        )
        text = page([made_up_report(run, title=evil, text=evil), made_up_report(made_up_run(0.1))], about={evil: evil})
        outline = Outline(text)
        assert outline.open == []
        assert outline.all("img") == []
        assert "<img" not in text

    def test_a_scenario_is_run_again_by_the_command_that_is_known_or_none_is_shown(self) -> None:
        commands = {"unplugged": "perdure lab run ../<own>/unplugged.toml --peer socat.toml"}
        report = made_up_report(made_up_run(0.1))
        assert "perdure lab run ../&lt;own&gt;/unplugged.toml --peer socat.toml" in page([report], commands=commands)
        assert "perdure lab run" not in page([report])

    def test_the_median_and_the_worst_run_are_open_and_the_others_are_not(self) -> None:
        outline = Outline(page([made_up_report(*(made_up_run(silence) for silence in (0.4, 0.1, 0.3, 0.2)))]))
        runs = [attributes for attributes in outline.all("details") if attributes.get("class") == "run"]
        assert ["open" in run for run in runs] == [True, True, False, False]

    def test_only_the_kept_runs_are_drawn_and_the_figures_are_of_all(self) -> None:
        text = page([made_up_report(*(made_up_run(number / 10) for number in range(1, 21)))], kept_runs=2)
        assert [round(run["silences"][0][1] - run["silences"][0][0], 3) for run in drawn(text)] == [1.0, 2.0]
        assert "18 more runs in the figures, not drawn" in text
        assert "20 runs" in text

    def test_a_failed_run_is_kept_as_the_worst(self) -> None:
        report = made_up_report(made_up_run(0.1), made_up_run(0.2, problem="it ended"), made_up_run(0.9))
        text = page([report], kept_runs=2)
        assert "Run 2, the median run, and the worst" in text

    def test_peers_share_a_section_with_their_ratio(self) -> None:
        text = page([made_up_report(made_up_run(0.1)), made_up_report(made_up_run(5.0, subject="fowl"))])
        assert len(Outline(text).all("section")) == 1
        assert "50 × perdure’s median" in text
        assert "measured" in text

    def test_a_scenario_without_a_run_and_one_without_an_event_have_a_section(self) -> None:
        text = page([made_up_report(), made_up_report(made_up_run(scenario="quiet"))])
        assert "It was not run." in text
        assert len(drawn(text)) == 1

    def test_twenty_scenarios_of_twenty_runs_stay_small(self) -> None:
        calm = [made_up_run(0.1, scenario=f"calm {number}", seconds=30.0) for number in range(16)]
        busy = [made_up_run(*[0.1] * 10, scenario=f"busy {number}", seconds=90.0, every=8.0) for number in range(4)]
        reports = [made_up_report(*[run] * 20) for run in (*calm, *busy)]
        assert len(page(reports).encode()) < 2_000_000
        assert len(page(reports, kept_runs=2).encode()) < 300_000


class TestTimeline:
    def test_a_bin_is_nothing_only_where_no_byte_came(self) -> None:
        run = made_up_run(throughput=Throughput(0.05, (100_000.0, 1.0, 0.0), (100_000.0, 100_000.0, 100_000.0)))
        assert [LEVELS.index(letter) for letter in timeline(run)["up"]] == [21, 1, 0]

    def test_a_burst_is_cut_off_so_that_the_rest_is_still_seen(self) -> None:
        run = made_up_run(throughput=Throughput(0.05, (100_000.0,) * 9 + (9e7,), (100_000.0,) * 10))
        assert LEVELS.index(timeline(run)["up"][-1]) == len(LEVELS) - 1
        assert LEVELS.index(timeline(run)["up"][0]) == 21

    def test_fine_bins_are_put_together_to_fifty_milliseconds(self) -> None:
        found = timeline(made_up_run(throughput=Throughput(0.01, (50.0,) * 100, (50.0,) * 100)))
        assert found["bin"] == 0.05
        assert len(found["up"]) == len(found["down"]) == 20

    def test_a_long_run_has_wider_bins_instead_of_more(self) -> None:
        found = timeline(made_up_run(throughput=Throughput(0.05, (50.0,) * 13_000, (50.0,) * 13_000)))
        assert len(found["up"]) <= MOST_BINS
        assert found["bin"] * len(found["up"]) >= 650.0

    def test_a_run_that_never_carried_anything_is_a_flat_line(self) -> None:
        assert timeline(made_up_run(throughput=Throughput(0.05, (0.0,), (0.0,))))["up"] == "A"
        assert timeline(made_up_run(throughput=Throughput(0.05, (), ())))["up"] == ""

    def test_what_happened_is_in_order_with_the_numbers_of_the_drawing(self) -> None:
        run = made_up_run(
            events=(NetworkEvent(1.0, "down", True), NetworkEvent(3.0, "up", False)),
            states=(StateSpan(0.0, "connected"), StateSpan(1.0, "reconnecting")),
            actions_taken=(ActionTaken(1.0, "client", "interface change", "wait", "no network"),),
        )
        assert [(each.at, each.kind, each.event) for each in happenings(run)] == [
            (0.0, "state", None),
            (1.0, "network", 1),
            (1.0, "decision", None),
            (1.0, "state", None),
            (3.0, "network", 2),
        ]

    def test_a_step_stands_before_what_it_led_to_while_it_was_applied(self) -> None:
        run = made_up_run(
            events=(NetworkEvent(1.02, "down", True, took=0.03),),
            states=(StateSpan(1.0, "reconnecting"),),
            actions_taken=(),
        )
        assert [each.kind for each in happenings(run)] == ["network", "state"]

    def test_a_decision_taken_again_and_again_is_one_line(self) -> None:
        hold = [ActionTaken(1.0 + each, "client", "request", "hold", "the path carries data") for each in range(9)]
        texts = [each.text for each in happenings(made_up_run(actions_taken=tuple(hold), states=()))]
        assert texts == ["client: hold, because the path carries data (request), 9 times"]
