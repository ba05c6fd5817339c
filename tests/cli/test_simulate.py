"""`perdure simulate`: figures of many histories, one of them again, and what becomes of a violation."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from perdure.cli import app
from perdure.sim.chaos import Chaos


def simulated(*arguments: str) -> str:
    """Standard output of a `perdure simulate` that succeeds."""
    result = CliRunner().invoke(app, ["simulate", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def refusal_of(*arguments: str) -> str:
    """Standard error of one that is refused, in one line."""
    result = CliRunner().invoke(app, ["simulate", *arguments], env={"COLUMNS": "200"})
    assert result.exit_code == 2, result.output
    return " ".join(result.stderr.split())


def test_several_processes_come_to_what_one_comes_to(tmp_path: Path) -> None:
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    simulated("--seeds", "12", "--jobs", "1", "--json", str(one))
    said = simulated("--seeds", "12", "--jobs", "2", "--json", str(two))
    assert said.startswith("12 histories of chaos, 4.1 hours of a tunnel in ")
    assert said.endswith("nothing was violated\n")
    first, second = (json.loads(path.read_text()) for path in (one, two))
    assert first.pop("took_seconds") > 0 < second.pop("took_seconds")
    assert first == second
    assert first["recoveries"]["rebuild"] > 10


def test_one_history_is_shown_and_is_the_same_each_time() -> None:
    said = simulated("--seed", "3", "--trace").splitlines()
    again = simulated("--seed", "3", "--trace").splitlines()
    assert said[0].endswith("client is connecting: started")
    end = next(place for place, line in enumerate(said) if line.startswith("fingerprint "))
    assert said[: end + 1] == again[: end + 1]


def test_it_goes_on_for_so_many_hours() -> None:
    said = simulated("--hours", "1", "--jobs", "1")
    assert said.startswith("3 histories of chaos, 1.0 hours")


def test_a_violation_is_told_with_its_trace_and_how_to_replay_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def violate(chaos: Chaos) -> None:
        chaos.simulation.violated("the sky has fallen")
        chaos.simulation.close()

    monkeypatch.setattr(Chaos, "run", violate)
    result = CliRunner().invoke(app, ["simulate", "--seeds", "1", "--first", "7", "--jobs", "1"])
    assert result.exit_code == 1
    assert "VIOLATED in seed 7: at 0.000 s, event 0: the sky has fallen" in result.stdout
    assert "all of it: perdure simulate --scenario chaos --seed 7 --trace" in result.stdout
    assert result.stdout.endswith("1 of 1 histories violated something\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--scenario", "caos"], "there is no scenario 'caos'; did you mean chaos?"),
        (["--trace"], "it shows one history: give its --seed"),
        (["--seed", "1", "--seeds", "2"], "that is one history; leave --seeds and --hours out"),
        (["--json", "/no/such/folder/file"], "cannot be written: there is no such folder"),
    ],
)
def test_a_mistake_is_told(arguments: list[str], why: str) -> None:
    assert why in refusal_of(*arguments)


def test_interrupted_it_tells_the_figures_so_far() -> None:
    command = [sys.executable, "-m", "perdure", "simulate", "--seeds", "1000000", "--jobs", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        time.sleep(5.0)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130, err
    assert "histories of chaos" in out
    assert "Traceback" not in err
