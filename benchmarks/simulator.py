"""How fast the simulator is: an idle tube's life, and chaos, on one core each.

    python -m benchmarks.simulator [--rounds 5] [--seeds 100] [--hours 300] [--json FILE]

1. Idle: both peers with the default settings, and nobody says anything. Keepalives, health checks, warnings, and each
   hour the end by the session timeout and the next tube: what a tube does that is left alone.
2. Chaos: histories of the seeds from 1 on, as `perdure simulate` plays them.
3. Both in turns, in this process alone.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from perdure.scenario.model import Link, LinkName
from perdure.sim.chaos import Chaos
from perdure.sim.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    unit: str
    asked: float
    rounds: tuple[float, ...]

    @property
    def row(self) -> str:
        median, low, high = statistics.median(self.rounds), min(self.rounds), max(self.rounds)
        return f"| {self.what} | {median:,.0f} ({low:,.0f} to {high:,.0f}) {self.unit} | {self.asked:,.0f} |"


def idle_hours_a_second(hours: float) -> float:
    """Simulated tunnel-hours in a second of one core."""
    links = {
        LinkName("client", "eth"): Link(addresses=("192.168.10.10",)),
        LinkName("gateway", "eth"): Link(addresses=("10.0.0.10",)),
    }
    simulation = Simulation(1, links)
    simulation.run(10.0)
    took = _timed(lambda: simulation.run(10.0 + 3600 * hours))
    assert not simulation.violations, simulation.violations
    simulation.close()
    return hours / took


def chaos_times_life(seeds: range) -> float:
    """How much faster than life the histories of `seeds` are, on one core."""
    simulated = 0.0

    def play() -> None:
        nonlocal simulated
        for seed in seeds:
            chaos = Chaos(seed)
            chaos.run()
            assert not chaos.simulation.violations, chaos.simulation.violations
            simulated += chaos.simulation.world.now

    took = _timed(play)
    return simulated / took


def _timed(call: Callable[[], None]) -> float:
    began_at = time.perf_counter()
    call()
    return time.perf_counter() - began_at


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=100, help="histories of chaos in each round")
    parser.add_argument("--hours", type=float, default=300.0, help="of an idle tube in each round")
    parser.add_argument("--json", type=Path, metavar="FILE")
    wanted = parser.parse_args()
    load = os.getloadavg()[0]
    idle_hours_a_second(1.0)  # imports, and what is made once
    idle, chaos = [], []
    for turn in range(wanted.rounds):
        idle.append(idle_hours_a_second(wanted.hours))
        chaos.append(chaos_times_life(range(1 + turn * wanted.seeds, 1 + (turn + 1) * wanted.seeds)))
    figures = [
        Figure("an idle tube's life", "tunnel-hours a second", 100, tuple(idle)),
        Figure("chaos", "times as fast as life", 20_000, tuple(chaos)),
    ]
    print(f"load average {load:.1f} before\n")
    print("| what | median (lowest to highest round) | asked for |\n| --- | --- | --- |")
    for figure in figures:
        print(figure.row)
    if wanted.json is not None:
        wanted.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


if __name__ == "__main__":
    main()
