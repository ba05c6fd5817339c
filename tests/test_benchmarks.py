"""What becomes of the benchmarks' figures: tables, plots, and what is beyond noise."""

from __future__ import annotations

import argparse
import json
import re
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from benchmarks import __main__ as command
from benchmarks import installed, report, results, throughput, tubes
from benchmarks.peers import child, tunnels
from benchmarks.results import Measured, Part, Run


def run(*rounds: float, less_is_better: bool = True) -> Run:
    part = Part("python3 -m benchmarks.small", "load average 0.1")
    part.add(json.dumps({"head": ["what", "ms"]}))
    part.add(json.dumps({"row": ["echo", f"{rounds[0]}"]}))
    part.figures.append(Measured("echo", "perdure", "ms", list(rounds), less_is_better))
    return Run("2026-12-01", {"python": "3.11"}, {"small": part})


@pytest.mark.parametrize(
    ("before", "after", "less_is_better", "said"),
    [
        ((1.0, 1.1, 1.2), (1.3, 1.4, 1.5), True, "WORSE"),
        ((1.0, 1.1, 1.2), (1.3, 1.4, 1.5), False, "better"),
        ((1.0, 1.1, 1.2), (0.7, 0.8, 0.9), True, "better"),
        ((1.0, 1.1, 1.2), (0.7, 0.8, 0.9), False, "WORSE"),
        ((1.0, 1.1, 1.2), (1.1, 1.4, 1.5), True, "within noise"),
        ((1.0, 1.1), (1.3, 1.4, 1.5), True, "too few rounds"),
    ],
)
def test_a_difference_counts_where_no_two_rounds_agree(
    before: tuple[float, ...], after: tuple[float, ...], less_is_better: bool, said: str
) -> None:
    rows = results.compare(run(*before, less_is_better=less_is_better), run(*after, less_is_better=less_is_better))
    assert [row[-1] for row in rows] == [said]


def test_a_comparison_that_is_worse_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    run(1.0, 1.1, 1.2).write(before)
    run(2.0, 2.1, 2.2).write(after)
    assert command.compare(before, after) == 1
    assert command.compare(before, before) == 0
    assert "| echo | perdure | 1.1 ms (1 to 1.2) | 2.1 ms (2 to 2.2) | 1.91 | WORSE |" in capsys.readouterr().out


def test_a_file_that_is_none_of_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / "wrong.json").write_text('{"parts": 3}')
    with pytest.raises(ValueError, match=r"wrong\.json is no file of `python -m benchmarks`"):
        results.read(tmp_path / "wrong.json")


def test_a_table_takes_the_place_of_the_one_before_and_nothing_else_changes() -> None:
    text = "# Title\n<!-- made: small -->\nold\n<!-- end -->\n<!-- made: other -->\nkept\n<!-- end -->\n"
    made = results.update_readme(run(1.0), text)
    assert "old" not in made
    assert "kept" in made
    assert "`python3 -m benchmarks.small` on 2026-12-01, load average 0.1 before it." in made
    assert "| what | ms |\n| --- | --- |\n| echo | 1.0 |" in made
    assert results.update_readme(run(1.0), made) == made


def test_a_plot_is_drawn_with_a_bar_for_each_peer() -> None:
    figures = [Measured("a < b", peer, "ms", [1.0, 2.0], less_is_better=True) for peer in ("perdure", "ssh -L")]
    root = ElementTree.fromstring(results.plot(figures))
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 2


def test_what_is_printed_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "records"
    monkeypatch.setenv(report.RECORDS, str(file))
    report.print_head("what", "ms")
    report.print_row("echo", "1")
    report.measured("echo", "perdure", "ms", [1.0], less_is_better=True)
    part = Part("", "")
    for line in file.read_text().splitlines():
        part.add(line)
    assert part.tables() == "| what | ms |\n| --- | --- |\n| echo | 1 |"
    assert part.figures == [Measured("echo", "perdure", "ms", [1.0], less_is_better=True)]


def test_every_part_is_a_benchmark() -> None:
    for name in command.PARTS:
        assert (results.HERE / f"{name}.py").exists()


TABLE = "from benchmarks import report; report.print_head('what', 'ms'); report.print_row('echo', '1'); "


@pytest.mark.parametrize("end", ["raise ValueError", "raise SystemExit('this needs keeper')", "import os; os._exit(9)"])
def test_of_a_benchmark_that_failed_midway_nothing_is_kept(end: str) -> None:
    assert command.run_part([sys.executable, "-c", TABLE + end], "midway") is None


def test_a_benchmark_that_missed_what_was_asked_for_is_whole() -> None:
    part = command.run_part([sys.executable, "-c", TABLE + f"raise SystemExit({report.MISSED})"], "missed")
    assert part is not None
    assert not part.is_met
    assert part.tables().endswith("| echo | 1 |")


def test_a_run_with_a_benchmark_that_fails_ends_with_1_and_leaves_its_old_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    readme, made = tmp_path / "README.md", run(1.0)
    made.parts.clear()
    readme.write_text("<!-- made: small -->\nold\n<!-- end -->\n<!-- made: frames -->\nold too\n<!-- end -->\n")
    plan = {"small": ["--no-such-option"], "frames": ["--rounds", "1"]}
    assert command.run(plan, made, tmp_path / "figures.json") == 1
    assert "small failed" in capsys.readouterr().err
    assert list(results.read(tmp_path / "figures.json").parts) == ["frames"]
    command.publish(made, readme, tmp_path / "figures")
    assert "\nold\n" in readme.read_text()
    assert "old too" not in readme.read_text()
    assert not (tmp_path / "figures" / "small.svg").exists()


def test_files_that_have_no_figure_in_common_are_told_and_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, after, other = tmp_path / "before.json", tmp_path / "after.json", run(1.0)
    run(1.0, 1.1, 1.2).write(before)
    other.parts = {"frames": other.parts["small"]}
    other.write(after)
    assert command.compare(before, after) == 1
    assert "have no figure in common" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["", "no folder/figures.json", "."])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(argparse.ArgumentTypeError, match=r"cannot be written|is missing"):
        report.writable(name)
    assert list(tmp_path.iterdir()) == []


def test_versions_stand_above_a_table() -> None:
    made = run(1.0)
    made.parts["small"].versions = installed.shown({"python": "3.11.2", "perdure": "0.2.0", "Redis": "7"}, ["Redis"])
    text = results.update_readme(made, "<!-- made: small -->\n<!-- end -->")
    assert "load average 0.1 before it. Python 3.11.2, perdure 0.2.0, Redis 7." in text


def test_every_version_that_a_table_wants_is_asked_for() -> None:
    found = installed.versions()
    for benchmark in command.PARTS.values():
        assert set(benchmark.uses) <= set(found)


def test_every_benchmark_has_a_place_for_its_table() -> None:
    readme = results.README.read_text()
    assert [name for name in command.PARTS if f"<!-- made: {name} -->" not in readme] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(18471.3, "18,470"), (1312.4, "1,312"), (761.42, "761.4"), (0.33741, "0.3374"), (1e-5, "0.00001")],
)
def test_figures_have_four_digits_and_no_exponent(value: float, text: str) -> None:
    assert report.figure(value) == text


def test_a_sink_counts_the_connection_that_brings_bytes_and_not_one_that_only_looks() -> None:
    sink = throughput.Sink(100)
    socket.create_connection(sink.address).close()
    with socket.create_connection(sink.address) as source:
        source.sendall(bytes(100))
        assert sink.wait() > 0


def test_a_peer_that_is_not_installed_is_named() -> None:
    with pytest.raises(SystemExit, match="this peer needs no_such_package"):
        child.require("no_such_package")


def test_peers_of_two_programs_are_left_out_where_both_ends_share_a_process() -> None:
    wanted = list(tunnels.TUNNELS)
    assert tunnels.names(2, wanted) == wanted
    assert set(wanted) - set(tunnels.names(1, wanted)) == {"ssh -L", "iroh"}


def test_several_rounds_of_idle_tubes_are_a_row_and_figures_that_can_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "records"
    monkeypatch.setenv(report.RECORDS, str(file))
    costs = [tubes.Cost(300.0 + n, 4.0, 10, 2.0, 60.0, 14.0) for n in range(3)]
    tubes.show("100 tubes", 100, costs)
    part = Part("", "")
    for line in file.read_text().splitlines():
        part.add(line)
    assert part.rows[0][:2] == ["100", "301 KiB (300 to 302)"]
    (memory,) = (each for each in part.figures if each.work == "memory of an idle tube")
    assert memory.rounds == [300.0, 301.0, 302.0]


def test_each_step_of_the_hot_path_is_found_and_costs_something() -> None:
    command = [sys.executable, "-m", "benchmarks.steps", "--round-trips", "50"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    rows = [line.split(" | ") for line in said.splitlines() if re.match(r"\| \d: ", line)]
    assert [row[0].split(":")[0] for row in rows] == [f"| {number}" for number in range(1, 8)]
    assert all(float(row[1].rstrip(" |")) > 0 for row in rows)
