"""A keystroke on a slow link: round trips of 64 bytes, idle, and while another stream carries as much as it can.

    python -m benchmarks.slow_link [--round-trips 50] [--rounds 5] [--peers perdure ssh wireguard] [--rtt 50]

Client and gateway are the lab's, in network namespaces of their own, with a router between them whose queue holds
2,000 packets. "up" and "down" are the bulk's direction; --rtt is in ms, --mbit each way. Needs what the lab needs.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import socket
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass

import msgspec
from benchmarks.latency import Result, Target, round_trips
from benchmarks.report import MISSED, load_average, measured, print_head, print_row, spread, verdict

from perdure_lab.lab.apart import Worker, asked, done, end_with_the_asker, tell
from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.run import Run
from perdure_lab.lab.subject import CLIENT_PORT, PERDURE, Subject
from perdure_lab.lab.tools import LabError, isolated, search_path
from perdure_lab.peers.subjects import PEERS
from perdure_lab.scenario.parse import parse_scenario

SUBJECTS = {"perdure": PERDURE, **PEERS}
SCENARIO = """
title = "A slow link"
text = "Nothing happens to it."
seconds = 10
[client.eth]
delay = "{delay}ms"
rate = {rate}
[expect]
"""

PERCENTS = 50, 99
MOST_TIMES_IDLE = 2.0
"""Asked for: the p99 beside bulk, over the p99 of the same peer's idle link."""

INSIDE = "inside"
FIRST_ANSWER_TIMEOUT = 60.0
AT_REST_SECONDS = 2.0
"""After the first answer, until the tunnel's own traffic of its beginning is over."""

_ADDRESS = "127.0.0.1", CLIENT_PORT


@dataclass(frozen=True, slots=True)
class Job:
    scenario: str
    subject: Subject
    load: str
    """`U`, `D`, or nothing."""
    count: int


@dataclass(frozen=True, slots=True)
class Told:
    """Exactly one field is set."""

    result: Result | None = None
    problem: str | None = None


class SlowLink(Run):
    """The lab's network and programs, with this benchmark's traffic."""

    async def measure(self, load: bytes, count: int) -> Result:
        await self._network.build()
        self._directory = tempfile.mkdtemp(prefix="perdure-slow-link-", dir="/run")
        with entered("gateway"):
            target = Target()
        self._traffic.target_port = target.address[1]
        await self._start_programs()
        await self._while_all_is_well(asyncio.to_thread(_wait_for_an_answer))
        await asyncio.sleep(AT_REST_SECONDS)
        return await asyncio.to_thread(_measure, load, count)


def _wait_for_an_answer() -> None:
    deadline = time.monotonic() + FIRST_ANSWER_TIMEOUT
    while time.monotonic() < deadline:
        with entered("client"), socket.socket() as connection:
            connection.settimeout(5)
            with contextlib.suppress(OSError):
                connection.connect(_ADDRESS)
                connection.sendall(b"E?")
                if connection.recv(1) == b"?":
                    return
        time.sleep(0.1)
    raise LabError(f"nothing came through within {FIRST_ANSWER_TIMEOUT:.0f} s")


def _measure(load: bytes, count: int) -> Result:
    with entered("client"):
        return round_trips(_ADDRESS, load, count)


def inside() -> None:
    """The first process in the private namespaces: one `Job`."""
    os.environ["PATH"] = search_path()
    job = asked(Job)
    end_with_the_asker()
    scenario = parse_scenario(job.scenario, source="slow-link", name="slow-link")
    try:
        link = SlowLink(scenario, job.subject, 1, lambda progress: None)
        tell(Told(result=asyncio.run(link.measure(job.load.encode(), job.count))))
    except (LabError, OSError) as error:
        tell(Told(problem=str(error)))
    done()


async def measure(job: Job) -> Result:
    async with Worker(isolated(sys.executable, "-m", "benchmarks.slow_link", INSIDE)) as worker:
        worker.say(msgspec.json.encode(job))
        told = await worker.told(Told)
    if told is None or told.result is None:
        raise SystemExit(f"{job.subject.name}: {(told and told.problem) or worker.complaint or 'it ended'}")
    return told.result


async def run(rounds: int, count: int, peers: list[str], scenario: str) -> bool:
    """Whether perdure is as good as was asked for."""
    is_met = True
    rounds_of = "(lowest to highest round)"
    times = [f"p{percent} ms {rounds_of}" for percent in PERCENTS]
    times_idle = [f"p{percent}, as a multiple of idle" for percent in PERCENTS]
    print_head("what", "load", *times, "bulk MB/s", *times_idle, f"p99 at most {MOST_TIMES_IDLE:g} times idle")
    idle: dict[tuple[str, int], float] = {}
    for load, name in (("", "idle"), ("U", "up"), ("D", "down")):
        results: dict[str, list[Result]] = {}
        for _ in range(rounds):
            for peer in peers:
                results.setdefault(peer, []).append(await measure(Job(scenario, SUBJECTS[peer], load, count)))
        for peer, runs in results.items():
            found = {percent: [each.percentile(percent) for each in runs] for percent in PERCENTS}
            ratios = []
            for percent, values in found.items():
                measured(f"64 bytes, p{percent}, {name}", peer, "ms", values, less_is_better=True)
                median = statistics.median(values)
                ratios.append(median / idle.setdefault((peer, percent), median))
            bulk = statistics.median(each.load_mb_per_second for each in runs)
            is_judged = peer == "perdure" and load
            is_good = ratios[-1] <= MOST_TIMES_IDLE or not is_judged
            is_met = is_met and is_good
            asked = verdict(is_met=is_good) if is_judged else ""
            shown = (spread(values, ".1f") for values in found.values())
            print_row(peer, name, *shown, f"{bulk:.2f}", *(f"{ratio:.2f}" for ratio in ratios), asked)
    return is_met


def main() -> None:
    if sys.argv[1:] == [INSIDE]:
        inside()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", nargs="+", default=["perdure", "ssh", "wireguard"], choices=list(SUBJECTS))
    parser.add_argument("--rtt", type=float, default=50.0)
    parser.add_argument("--mbit", type=float, default=20.0)
    arguments = parser.parse_args()
    print(load_average())
    scenario = SCENARIO.format(delay=arguments.rtt / 2, rate=int(arguments.mbit * 125_000))
    is_met = asyncio.run(run(arguments.rounds, arguments.round_trips, arguments.peers, scenario))
    sys.exit(0 if is_met else MISSED)


if __name__ == "__main__":
    main()
