"""What is told of a history, and the processes that play many of them."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from itertools import count

import psutil
import pytest

from perdure_lab.sim import course


@pytest.fixture(scope="module")
def trace() -> list[str]:
    """Of some histories of chaos, without the times."""
    outcomes = [course.simulate(course.CHAOS, seed, whole_trace=True) for seed in range(1, 41)]
    return [line.strip().partition(" ")[2] for outcome in outcomes for line in outcome.trace]


def test_the_trace_tells_of_each_fault_where_it_begins_and_ends(trace: list[str]) -> None:
    begun, ended = (
        [(found[1], found[2]) for line in trace if (found := re.fullmatch(pattern, line))]
        for pattern in (r"(.+) begins(?:, .+)? \((#\d+)\)", r"(.+) ends \((#\d+)\)")
    )
    assert len(begun) > 50
    assert sorted(begun) == sorted(ended)
    places = r"both ends|(client|gateway)( eth\d{1,2}| wlan0| wwan0)?|services|internet"
    assert [what for what, _ in begun if not re.fullmatch(rf"({places}): [a-z -]+( \d+)?", what)] == []


def test_the_trace_tells_what_a_fault_comes_to(trace: list[str]) -> None:
    def told(pattern: str) -> bool:
        return any(re.fullmatch(pattern, line) for line in trace)

    link = r"(client|gateway) \w+"
    assert told(rf"{link}: new address [\d.]+")
    assert told(rf"{link}: new address [\d.]+, 300 ms after the old one")
    for impaired in (r"delay \d+ ms, jitter \d+ ms", r"loss \d+ %", r"20 kB/s"):
        assert told(rf"{link}: impaired begins, .*{impaired}.* \(#\d+\)"), impaired
    assert told(rf"{link}: flapping begins, \d+ times, off and on for 20 ms each \(#\d+\)")
    assert told(r"client: clock jump of [\d.]+ m?s")
    assert told(r"client: asleep begins \(#\d+\)")


def test_the_trace_tells_a_reason_from_its_detail(trace: list[str]) -> None:
    assert "gateway is reconnecting: the carrier was lost (the peer closed the data channel)" in trace
    assert "client is connecting: started" in trace
    decision = r"client decides rebuild: the path's own address .+ \(interface change: (.*; )?eth0 went.*\)"
    assert any(re.fullmatch(decision, line) for line in trace)


def test_closing_it_ends_the_processes_at_once() -> None:
    outcomes = course.run(course.CHAOS, count(1), 2)
    assert next(outcomes).seconds > 0
    assert len(multiprocessing.active_children()) == 2
    outcomes.close()
    assert multiprocessing.active_children() == []


def until_it_waits(process: psutil.Process) -> None:
    """Until it sleeps, as one that plays a history never does."""
    give_up_at = time.monotonic() + 120
    while process.status() != psutil.STATUS_SLEEPING:
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_what_had_ended_when_it_was_stopped_is_told() -> None:
    seeds: list[int] = []
    for outcome in course.run(course.CHAOS, count(1), 1, is_stopped=lambda: bool(seeds)):
        if not seeds:
            (worker,) = multiprocessing.active_children()
            until_it_waits(psutil.Process(worker.pid))  # the histories that were handed out as well end meanwhile
        seeds.append(outcome.seed)
    assert seeds == list(range(1, 1 + course.SEEDS_AHEAD + 1))
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_ends_it_with_an_error() -> None:
    outcomes = course.run(course.CHAOS, count(1), 1)
    next(outcomes)
    (worker,) = multiprocessing.active_children()
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match=r"histories was ended by SIGKILL; it had .*--scenario chaos --seed \d"):
        list(outcomes)


def test_an_error_before_a_history_begins_is_its_violation() -> None:
    outcome = course.simulate("there is no such scenario", 7)
    (violation,) = outcome.violations
    assert violation.startswith("at the beginning: ")
    assert "there is no such scenario" in violation.splitlines()[0]
    assert "\nTraceback (most recent call last):\n" in outcome.trace[0]
