"""`perdure conformance`, as a user runs it: perdure passes every case, and an implementation with a fault fails the
right ones."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner

from perdure_lab.cli.conformance import conformance
from perdure_lab.conformance.cases import ALL

SUBJECT = (sys.executable, "-m", "perdure_lab.conformance.subject")
TESTS = str(Path(__file__).parent)

PARTS = 4
"""All cases against perdure, in so many tests."""

FAULTS = {
    "IgnoresCredit": ["credit", "half-close"],
    "SendsOnce": ["lost-within-a-stream", "resume-names-an-older-position"],
    "CountsTwice": ["bytes-that-overlap", "bytes-said-again"],
    "TakesWrongProofs": ["first-proof-is-wrong", "proof-is-wrong", "proof-is-the-acceptors"],
    "AnswersNoPing": ["ping"],
    "AcknowledgesNothing": ["early-data", "data-is-acknowledged"],
    "SaysNoGone": ["reset"],
    "SkipsNothing": ["skippable-frames"],
    "OverlooksBreaches": ["data-behind-fin"],
    "IgnoresClose": ["close"],
    "LosesSignals": ["offer-through-the-carrier", "offer-every-way-at-once"],
    "MissesNothing": ["text-lost"],
    "TakesNoNumbers": ["messages-are-acknowledged"],
    "KnowsItsFieldsOnly": ["unknown-fields"],
    "DiesOfNonsense": ["no-text-of-the-protocol"],
    "OpensStreams": ["early-data", "ping"],
    "DiesOfClose": ["close"],
    "RestartsNames": ["lost-before-a-word", "generation-jumps-ahead"],
}
"""What is planted (`support.faulty_subject`), and the cases that find it."""


def command_of(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "perdure", "conformance", *arguments]


def tried(*arguments: str, code: int) -> str:
    """Standard output of a run with this exit code."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([TESTS, *sys.path])}
    done = subprocess.run(
        command_of(*arguments), capture_output=True, text=True, timeout=300, check=False, env=environment
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def verdicts_of(names: Iterable[str], command: Sequence[str], *options: str, code: int) -> dict[str, Any]:
    """Of each case: what the JSON says of it."""
    chosen = [part for name in names for part in ("--case", name)]
    said: dict[str, Any] = json.loads(tried("--json", "--jobs", "4", *options, *chosen, "--", *command, code=code))
    assert said["command"] == list(command)
    return {result["name"]: result for result in said["results"]}


@pytest.mark.parametrize("part", range(PARTS))
def test_perdure_passes_every_case(part: int) -> None:
    names = [case.name for case in ALL][part::PARTS]
    found = verdicts_of(names, SUBJECT, code=0)
    assert {name: result["verdict"] for name, result in found.items()} == dict.fromkeys(names, "passed")


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_by_the_case_about_it(fault: str) -> None:
    names = FAULTS[fault]
    command = (sys.executable, "-m", "support.faulty_subject", fault)
    found = verdicts_of({"early-data", *names}, command, "--timeout", "5", code=1)
    assert {name for name, result in found.items() if result["verdict"] == "failed"} == set(names)
    assert all(found[name]["expected"] and found[name]["came"] for name in names)


def test_each_case_says_in_one_sentence_what_it_plays_and_which_section_it_proves() -> None:
    said = tried("--list", code=0).splitlines()
    assert len(said) == len(ALL) == len({case.name for case in ALL})
    for line, case in zip(said, ALL, strict=True):
        name, plays = line.split("  ", 1)
        assert name == case.name
        assert plays.split("  ")[-1].endswith(".")
        assert f"section {case.section}" in plays


def test_results_come_a_line_each_and_a_summary() -> None:
    said = tried("--case", "echo", "--case", "ping", "--", *SUBJECT, code=0).splitlines()
    assert [line.split() for line in said[:2]] == [["passed", "echo"], ["passed", "ping"]]
    assert said[2:] == ["2 of 2 cases: 2 passed"]


def test_an_implementation_that_dies_is_told_with_its_exit_code_and_its_last_words() -> None:
    program = "import sys; sys.exit('no such device')"
    said = tried("--case", "echo", "--case", "ping", "--", sys.executable, "-c", program, code=1)
    assert "came the end of its process, with exit code 1 (section 8)\n    | no such device\n" in said
    assert "not played: 1, as COMMAND said nothing to the offer of the first one\n" in said
    assert said.endswith("1 of 2 cases: 1 failed\n")


def test_an_implementation_that_says_garbage_is_told_what_it_said() -> None:
    program = "import time; print('hello, world', flush=True); time.sleep(60)"
    said = tried("--case", "echo", "--", sys.executable, "-c", program, code=1)
    assert "expected texts of section 12, one a line; came 'hello, world'" in said


def test_an_implementation_that_says_bytes_without_end_is_told_so() -> None:
    program = "import sys\nwhile True: sys.stdout.write('x' * 65536)"
    said = tried("--case", "echo", "--", sys.executable, "-c", program, code=1)
    assert "came a line of standard output of more than 1048576 bytes" in said


def test_a_daemon_that_keeps_the_implementations_output_is_not_waited_for() -> None:
    daemon = "import os, time; os.fork() or (os.setsid(), time.sleep(15)); time.sleep(5)"
    command = command_of("--case", "echo", "--timeout", "0.5", "--", sys.executable, "-c", daemon)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        said, complaints = process.communicate(timeout=12)
    assert (process.returncode, complaints) == (1, ""), said


def test_an_implementation_that_never_answers_is_given_up() -> None:
    program = "import time; time.sleep(60)"
    said = tried("--timeout", "0.5", "--", sys.executable, "-c", program, code=1)
    assert "came nothing for 0.5 s" in said
    assert f"1 of {len(ALL)} cases: 1 failed\n" in said


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "COMMAND is missing"),
        (["--case", "ecko", "true"], "there is no case 'ecko'; did you mean echo?"),
        (["--timeout", "0", "true"], "0.0 is not in the range"),
    ],
)
def test_a_wrong_usage_is_refused(arguments: list[str], why: str) -> None:
    result = CliRunner().invoke(conformance, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 2
    assert why in " ".join(result.stderr.split())


def test_a_command_that_does_not_exist_is_a_wrong_usage() -> None:
    done = subprocess.run(command_of("--", "no-such-command"), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no-such-command cannot be started: No such file or directory" in done.stderr
    assert done.stdout == ""


@contextlib.contextmanager
def at_work(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    heeded = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that runs under nohup hands its deafness on
    try:
        process = subprocess.Popen(command_of(*arguments), stdout=subprocess.PIPE, text=True, process_group=0)
    finally:
        signal.signal(signal.SIGHUP, heeded)
    with process:
        try:
            yield process
        finally:
            process.kill()


def descendants(process: subprocess.Popen[str], count: int) -> list[psutil.Process]:
    """Once there are so many."""
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        found: list[psutil.Process] = psutil.Process(process.pid).children(recursive=True)
        if len(found) >= count:
            return found
        time.sleep(0.05)
    raise AssertionError("COMMAND was not started")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_the_summary_so_far_and_leaves_no_process(number: signal.Signals) -> None:
    deaf = "trap '' TERM; sleep 60 & wait; sleep 60"
    with at_work("--timeout", "60", "--", "sh", "-c", deaf) as process:
        children = descendants(process, 2)
        process.send_signal(number)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 130
        assert said == f"interrupted: 0 of {len(ALL)} cases\n"
        _, left = psutil.wait_procs(children, timeout=10)
        assert left == []
