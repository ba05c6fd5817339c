"""`perdure stress` and `tests/manual_stress_tests.py`: which tests there are, one of them, and an early end."""

from __future__ import annotations

import asyncio
import io
import json
import re
import signal
import sys
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner
from rich.console import Console

from perdure_lab.cli.stress import exit_code, stress
from perdure_lab.stress.catalogue import LIMITED_BY
from perdure_lab.stress.course import Course
from perdure_lab.stress.display import Display
from perdure_lab.stress.inside import Progress
from perdure_lab.stress.results import Measurement, TestResult
from perdure_lab.stress.sizes import LEVELS, Level, Machine, fitted
from support.pages import DOCS

SCRIPT = Path(__file__).parent.parent / "manual_stress_tests.py"

ASKED_FOR = [
    "test_resource_cleanup_under_stress",
    "test_concurrent_registry_operations",
    "test_memory_cleanup_verification",
    "test_system_resource_adaptation",
    "test_performance_under_stress",
    "test_many_tubes",
    "test_chaos_under_load",
    "test_rendezvous_reconnect_herd",
    "test_hostile_neighbour",
]


def test_the_tests_are_listed() -> None:
    lines = CliRunner().invoke(stress, ["--list"]).stdout.splitlines()
    assert lines[::2] == ASKED_FOR
    assert all(line.strip() for line in lines[1::2])


def test_the_page_names_the_tests_in_their_order() -> None:
    assert re.findall(r"^\| `(test_\w+)` \|", (DOCS / "stress.md").read_text(), re.MULTILINE) == ASKED_FOR


def test_an_unknown_test_is_refused_with_the_nearest() -> None:
    result = CliRunner().invoke(stress, ["--test", "test_many_tube"])
    assert result.exit_code == 2
    assert "did you mean test_many_tubes?" in " ".join(result.stderr.split())


def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(tmp_path: Path) -> None:
    result = CliRunner().invoke(stress, ["--json", str(tmp_path)])
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_a_soak_is_no_test_among_others() -> None:
    result = CliRunner().invoke(stress, ["--soak", "1", "--test", "test_many_tubes"])
    assert result.exit_code == 2
    assert "leave --test out" in result.stderr


def test_extreme_asks_first() -> None:
    result = CliRunner().invoke(stress, ["--extreme", "--test", "test_many_tubes"], input="n\n")
    assert result.exit_code == 130
    assert "Go on?" in result.stdout
    assert "no test was run" in result.stdout
    assert "passed" not in result.stdout


async def test_one_test_from_the_script_passes_and_its_figures_are_written(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    name = "test_concurrent_registry_operations"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--light", "--test", name, "--json", str(figures)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()
    assert said.decode().startswith(f"{name}: passed in ")
    assert said.decode().count("passed in") == 1
    written = json.loads(figures.read_text())
    assert written["date"].startswith("20")
    assert written["machine"]["cores"] >= 1
    assert written["sizes"]["seconds"] == LEVELS[Level.LIGHT].seconds
    (test,) = written["tests"]
    assert (test["name"], test["verdict"], test["shortfalls"]) == (name, "passed", [])
    assert next(each["value"] for each in test["measurements"] if each["name"] == "calls") > 100


async def test_ctrl_c_leaves_no_process_behind() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--light", "--test", "test_many_tubes"), stdout=asyncio.subprocess.PIPE
    )
    started = await _descendants(process.pid, at_least=4)  # the test, a rendezvous, a gateway, an echo, and clients
    process.send_signal(signal.SIGINT)
    said, _ = await process.communicate()
    assert process.returncode == 130, said.decode()
    assert "test_many_tubes: interrupted in " in said.decode()
    _, alive = psutil.wait_procs(started, timeout=30)
    assert not alive


async def test_a_soak_that_ctrl_c_ends_tells_what_it_has_found(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(SCRIPT), "--light", "--soak", "0.05", "--json", str(figures)),
        stdout=asyncio.subprocess.PIPE,
    )
    (worker,) = await _descendants(process.pid, at_least=1)
    async with asyncio.timeout(60):
        while len(worker.net_connections("udp")) < 8:  # noqa: ASYNC110  until its tubes are there; the system tells nobody
            await asyncio.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = await process.communicate()
    assert process.returncode == 130, said.decode()
    assert said.decode().startswith("soak: interrupted in ")
    (soak,) = json.loads(figures.read_text())["tests"]
    assert "streams" in [each["name"] for each in soak["measurements"]]


def test_a_run_of_which_nothing_passed_is_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    passed, skipped, short = (TestResult("test", verdict, 1.0) for verdict in ("passed", "skipped", "fell short"))
    assert exit_code([passed, passed]) == 0
    assert capsys.readouterr().out == ""
    assert exit_code([passed, skipped]) == 0
    assert capsys.readouterr().out == "skipped: 1 of 2 tests, which cannot run on this machine\n"
    assert exit_code([skipped, skipped]) == 1
    assert exit_code([passed, short]) == 1


def test_a_size_that_the_machine_makes_smaller_belongs_to_a_test_that_has_it() -> None:
    assert set(LIMITED_BY) <= set(ASKED_FOR)
    _, cuts = fitted(Level.EXTREME, Machine(1, 0, 0))
    assert set(cuts) == set(LIMITED_BY.values())


def test_without_a_terminal_progress_is_a_line_each_half_minute_and_a_result_stands_once() -> None:
    now, said = [0.0], io.StringIO()
    display = Display(Console(file=said, width=100), clock=lambda: now[0])
    course = Course(["one", "two"], LEVELS[Level.LIGHT], seed=1)
    display.watch(course)
    one, two = course.plan
    for second in range(61):
        now[0] = float(second)
        one.progress = Progress("tubes", second, 60)
        display.changed()
    one.result = TestResult("one", "passed", 61.0, (Measurement("tubes", 60, ""),))
    display.changed()
    two.result = TestResult("two", "interrupted", 1.0)
    display.summarise(course.results)
    lines = [line.rstrip() for line in said.getvalue().splitlines() if line.strip()]
    assert lines == [
        "one: tubes: 30 of 60",
        "one: tubes: 60 of 60",
        "one: passed in 61 s",
        "  tubes  60",
        "two: interrupted in 1 s",
    ]


async def test_a_test_whose_process_dies_falls_short() -> None:
    me = psutil.Process()
    before = set(me.children(recursive=True))
    course = Course(["test_many_tubes"], LEVELS[Level.LIGHT], seed=1)
    running = asyncio.ensure_future(course.run())
    while not (worker := set(me.children()) - before):  # noqa: ASYNC110  the system does not tell
        await asyncio.sleep(0.05)
    worker.pop().kill()
    await running
    (result,) = course.results
    assert result.verdict == "fell short"
    assert result.shortfalls == ("its process ended: it said nothing",)


async def _descendants(pid: int, *, at_least: int) -> list[psutil.Process]:
    """Wait until there are so many."""
    async with asyncio.timeout(60):
        while True:
            found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
            if len(found) >= at_least:
                return found
            await asyncio.sleep(0.05)
