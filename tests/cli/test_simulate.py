"""`perdure simulate`: figures of many histories, one of them again, and what becomes of a violation."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner

from perdure_lab.cli.simulate import simulate
from perdure_lab.sim import course
from perdure_lab.sim.chaos import Chaos
from perdure_lab.sim.course import Outcome


def simulated(*arguments: str) -> str:
    """Standard output of a `perdure simulate` that succeeds."""
    result = CliRunner().invoke(simulate, arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal_of(*arguments: str) -> str:
    """Standard error of one that is refused, in one line."""
    result = CliRunner().invoke(simulate, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_several_processes_come_to_what_one_comes_to(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    simulated("--seeds", "12", "--jobs", "1", "--json", str(one))
    said = simulated("--seeds", "12", "--jobs", "2", "--json", str(two))
    assert said.startswith("12 histories of chaos (seeds 1 to 12), 4.5 hours of a tunnel in ")
    assert re.search(r"95 % within [\d.]+ (ms|s|min)", said)
    assert said.endswith("nothing was violated\n")
    first, second = (json.loads(path.read_text()) for path in (one, two))
    assert first.pop("took_seconds") > 0 < second.pop("took_seconds")
    assert json.dumps(first) == json.dumps(second)
    assert first["recoveries"]["rebuild"] > 10
    assert (first["wanted"], first["failure"], first["fingerprint"]) == ({"seeds": 12}, None, None)


def test_what_is_as_frequent_is_told_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = [
        Outcome(seed, 60.0, 1, (f"{seed} is wrong",), (), "", Counter({action: 1}), (9.0,), (), Counter({kind: 1}))
        for seed, action, kind in ((2, "rebuild", "unplugged"), (1, "ICE restart", "asleep"))
    ]
    monkeypatch.setattr(course, "run", lambda *_, **__: (outcome for outcome in outcomes))
    said = CliRunner().invoke(simulate, ["--seeds", "2"]).stdout
    assert "\nrecoveries: 1 × ICE restart, 1 × rebuild\n" in said
    assert "\nfaults: 2 of 2 kinds: asleep 1, unplugged 1\n" in said
    assert "the longest 9.0 s (seed 1)\n" in said
    assert said.index("VIOLATED in seed 1: ") < said.index("VIOLATED in seed 2: ")


def test_one_history_is_shown_and_is_the_same_each_time(tmp_path: Path) -> None:
    said = simulated("--seed", "3", "--trace", "--json", str(tmp_path / "figures.json")).splitlines()
    again = simulated("--seed", "3", "--trace").splitlines()
    assert said[0].endswith("client is connecting: started")
    end = next(place for place, line in enumerate(said) if line.startswith("fingerprint "))
    assert said[: end + 1] == again[: end + 1]
    assert said[end] == f"fingerprint {json.loads((tmp_path / 'figures.json').read_text())['fingerprint']}"
    assert said[end + 1].startswith("1 history of chaos (seed 3), 23.1 minutes of a tunnel in ")


PAIRS = Counter({("metric", "metric"): 1})


def of_outages(monkeypatch: pytest.MonkeyPatch, *outages: float) -> str:
    """What is said of a history with these."""

    def outcome(scenario: str, seed: int, *, whole_trace: bool) -> Outcome:
        return Outcome(seed, 60.0, 1, (), (), "", Counter(), outages, (), Counter(metric=1), PAIRS)

    monkeypatch.setattr("perdure_lab.sim.course.simulate", outcome)
    return simulated("--seed", "1")


def test_one_thing_is_not_told_as_several(monkeypatch: pytest.MonkeyPatch) -> None:
    said = of_outages(monkeypatch, 0.0517)
    assert "\noutages: 1, of 52 ms\n" in said
    assert "\nfaults: 1 of 1 kind: metric 1\n" in said
    assert said.endswith("\npairs of kinds that met: 1 of 1; the rarest 1 time\nnothing was violated\n")


def test_the_longest_outage_never_looks_shorter_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    said = of_outages(monkeypatch, 0.9996, 106.9, 107.4)
    assert "\noutages: 3; half of them within 1 min 47 s, 95 % within 1 min 47 s, the longest 1 min 47 s\n" in said
    said = of_outages(monkeypatch, *[0.9996] * 19, 1.04)
    assert "\noutages: 20; half of them within 1.0 s, 95 % within 1.0 s, the longest 1.0 s\n" in said
    said = of_outages(monkeypatch, 0.01, 59.96, 3601.0)
    assert "half of them within 1 min 0 s, 95 % within 1.0 hours, the longest 1.0 hours" in said


def test_it_goes_on_for_so_many_hours() -> None:
    said = simulated("--hours", "1", "--jobs", "1")
    assert said.startswith("3 histories of chaos (seeds 1 to 3), 1.1 hours")


def test_so_many_hours_are_the_same_histories_however_many_processes_play_them() -> None:
    one, two = (simulated("--hours", "1", "--first", "50", "--jobs", jobs).splitlines() for jobs in ("1", "2"))
    assert one[0].startswith("3 histories of chaos (seeds 50 to 52), ")
    assert one[1:] == two[1:]


def test_a_scenario_has_silences_and_its_steps_in_the_trace() -> None:
    said = simulated("--scenario", "black-hole", "--seed", "2", "--trace")
    assert re.search(r"^ +\d+\.\d+ client eth: every packet between the peers is swallowed$", said, re.MULTILINE)
    assert re.search(r"\nsilences: 1, of \d+ ms\n", said)


def test_of_a_time_without_network_the_silence_behind_it_counts() -> None:
    said = simulated("--scenario", "minute-without-network", "--seed", "1")
    assert re.search(r"\nsilences after the network is back: 1, of (< )?\d+ ms\n", said)


def test_chaos_has_silences() -> None:
    assert re.search(r"\nsilences: \d+; half of them within .*, the longest ", simulated("--seeds", "10"))


def violated(monkeypatch: pytest.MonkeyPatch, run: Callable[[Chaos], None]) -> str:
    """Standard output where chaos of seed 7 is played by `run`, which violates something."""
    monkeypatch.setattr(Chaos, "run", run)
    result = CliRunner().invoke(simulate, ["--seed", "7"])
    assert result.exit_code == 1
    assert result.stdout.endswith("1 of 1 history violated something\n")
    return result.stdout


def test_what_is_around_the_violation_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def violate(chaos: Chaos) -> None:
        for number in range(100):
            if number == 50:
                chaos.simulation.violated("the sky has fallen")
            chaos.simulation.note(f"line {number}")
        chaos.simulation.close()

    said = violated(monkeypatch, violate)
    assert "line 49" in said
    assert "line 52" in said
    assert "line 10" not in said
    assert "line 90" not in said


def test_a_violation_is_told_with_its_trace_and_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def violate(chaos: Chaos) -> None:
        chaos.simulation.violated("the sky has fallen")
        chaos.simulation.close()

    said = violated(monkeypatch, violate)
    assert re.search(r"VIOLATED in seed 7: at 0\.000 s, event \d+: the sky has fallen\n", said)
    assert "all of it: perdure simulate --scenario chaos --seed 7 --trace" in said


def test_an_error_of_a_history_is_its_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(chaos: Chaos) -> None:
        chaos.simulation.close()
        raise AssertionError("no session began")

    said = violated(monkeypatch, fail)
    assert re.search(r"VIOLATED in seed 7: at .+: AssertionError: no session began\n", said)
    assert "\nTraceback (most recent call last):\n" in said


def test_a_process_that_dies_ends_it_with_the_figures_so_far(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def run(*args: object, **options: object) -> Iterator[course.Outcome]:
        yield course.simulate(course.CHAOS, 1)
        raise RuntimeError("a process that plays histories was ended by SIGKILL")

    monkeypatch.setattr(course, "run", run)
    result = CliRunner().invoke(simulate, ["--seeds", "300", "--json", str(tmp_path / "figures.json")])
    assert result.exit_code == 1
    assert result.stdout.startswith("1 history of chaos (seed 1), ")
    assert result.stdout.endswith("\nended early: 1 of 300\nnothing was violated so far\n")
    assert result.stderr == "perdure: a process that plays histories was ended by SIGKILL\n"
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["wanted"], figures["seeds"], figures["interrupted"]) == ({"seeds": 300}, 1, False)
    assert figures["failure"] == "a process that plays histories was ended by SIGKILL"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--scenario", "caos"], "there is no scenario 'caos'; did you mean chaos?"),
        (["--trace"], "it shows one history: give its --seed"),
        *(
            (["--seed", "1", option, "2"], "that is one history; leave --seeds, --first, --hours and --jobs out")
            for option in ("--seeds", "--first", "--hours", "--jobs")
        ),
        *((["--hours", hours], f"{hours} is not a number of hours above 0") for hours in ("nan", "inf", "0", "-1")),
        (["--json", "/"], "/ cannot be written: it is a folder"),
        (["--hours", "1", "--seeds", "2"], "it goes on until they are simulated; leave --seeds out"),
        (["--json", "/no/such/folder/file"], "cannot be written: there is no such folder"),
        (["--json", f"{__file__}/x"], f"cannot be written: {__file__} is not a folder"),
        (["--json", "/proc/x"], "/proc/x cannot be written: No such file or directory"),
        (["--json", "/dev/full"], "/dev/full cannot be written: No space left on device"),
        (["--json", "x" * 300], "cannot be written: File name too long"),
        (["--json", ""], "a file name is missing"),
        (["--json", "-"], "a file name is missing; - is not one"),
    ],
)
def test_a_mistake_is_told(arguments: list[str], why: str) -> None:
    assert why in refusal_of(*arguments)


def test_a_refused_run_leaves_its_file_as_it_was(tmp_path: Path) -> None:
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_text("{}")
    for path in (old, new):
        refusal_of("--json", str(path), "--seeds", "0")
        refusal_of("--json", str(path), "--trace")
    assert old.read_text() == "{}"
    assert not new.exists()


@contextlib.contextmanager
def at_work(*options: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "perdure", "simulate", *options]
    heeded = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that runs under nohup hands its deafness on
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    finally:
        signal.signal(signal.SIGHUP, heeded)
    with process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def processes_of(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those that play histories, once they are there."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        if found := [each for each in psutil.Process(parent.pid).children() if "spawn_main" in str(each.cmdline())]:
            return found
        time.sleep(0.05)
    raise AssertionError("it has started none")


def until_they_have_played(processes: list[psutil.Process]) -> None:
    """Until each has worked for 2 s, of which its imports are one."""
    give_up_at = time.monotonic() + 60
    while min(process.cpu_times().user for process in processes) < 2.0:
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("interrupt", "number"),
    [
        pytest.param(os.kill, signal.SIGINT, id="Ctrl-C, the parent alone"),
        pytest.param(os.killpg, signal.SIGINT, id="Ctrl-C, all of them"),
        pytest.param(os.killpg, signal.SIGTERM, id="SIGTERM, all of them"),
        pytest.param(os.killpg, signal.SIGHUP, id="SIGHUP, all of them"),
    ],
)
def test_interrupted_it_tells_the_figures_so_far(
    interrupt: Callable[[int, int], None], number: signal.Signals, tmp_path: Path
) -> None:
    with at_work("--seeds", "1000000", "--jobs", "2", "--json", str(tmp_path / "figures.json")) as process:
        until_they_have_played(processes_of(process))
        interrupt(process.pid, number)
        out, err = process.communicate(timeout=60)  # its processes have the same output: they are gone too
        assert process.returncode == 130, err
        finished = re.match(r"([\d,]+) histories of chaos", out)
        assert finished is not None
        assert out.endswith(f"\ninterrupted: {finished[1]} of 1,000,000\nnothing was violated so far\n")
        assert err == ""
        assert json.loads((tmp_path / "figures.json").read_text())["interrupted"]


def test_a_process_that_is_stopped_does_not_keep_it_from_its_end() -> None:
    with at_work("--seeds", "1000000", "--jobs", "1") as process:
        processes_of(process)[0].suspend()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (130, "")
        assert out.startswith("interrupted before a history had ended\n") or "\ninterrupted: " in out


def test_what_a_process_had_when_it_was_killed_is_told() -> None:
    with at_work("--first", "5", "--seeds", "1000000", "--jobs", "1") as process:
        processes_of(process)[0].kill()
        _, err = process.communicate(timeout=60)
        assert process.returncode == 1
        told = re.fullmatch(
            r"perdure: a process that plays histories was ended by SIGKILL; it had seeds (\d+), \d+, \d+, and was at "
            r"the first: `perdure simulate --scenario chaos --seed (\d+)` plays that again\n",
            err,
        )
        assert told is not None, err
        assert told[1] == told[2]


def test_a_second_interrupt_ends_it_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended_with: list[int] = []

    def run(*_: object, is_stopped: Callable[[], bool]) -> Iterator[Outcome]:
        os.kill(os.getpid(), signal.SIGINT)
        assert is_stopped()
        assert ended_with == []
        os.kill(os.getpid(), signal.SIGTERM)
        yield from ()

    monkeypatch.setattr(course, "run", run)
    monkeypatch.setattr(os, "_exit", ended_with.append)
    CliRunner().invoke(simulate, [])
    assert ended_with == [130]


def test_interrupted_before_a_history_has_ended_it_claims_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, is_stopped: Callable[[], bool]) -> Iterator[Outcome]:
        os.kill(os.getpid(), signal.SIGINT)
        assert is_stopped()
        yield from ()

    monkeypatch.setattr("perdure_lab.sim.course.run", interrupted)
    result = CliRunner().invoke(simulate, [])
    assert (result.exit_code, result.stdout) == (130, "interrupted before a history had ended\n")


def test_by_hours_a_history_that_does_not_end_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_but_the_first(*_: object, **__: object) -> Iterator[Outcome]:
        for seed in count(2):
            yield Outcome(seed, 60.0, 1, (), (), "", Counter(), ())

    monkeypatch.setattr(course, "run", all_but_the_first)
    result = CliRunner().invoke(simulate, ["--hours", "1000"])
    assert result.exit_code == 1
    assert result.stderr.startswith("perdure: the history of seed 1 does not end: ")
