"""How fast the simulator is: an idle tube's life, and chaos, on one core each.

    python -m benchmarks.simulator [--rounds 5] [--seeds 100] [--hours 300] [--json FILE]

1. Idle: both peers with the default settings, and nobody says anything. Keepalives, health checks, warnings, and each
   hour the end by the session timeout and the next tube: what a tube does that is left alone. But for one thing: the
   monitor looks at its clocks each second in earnest, and each 600 s in a simulation, so what that costs is left out.
2. Chaos: histories of the seeds from 1 on, as `perdure simulate` plays them.
3. Both in turns, in this process alone. Ctrl-C ends it with the figures of the rounds that are complete.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.report import load_average, measured, print_head, print_row, writable

from perdure.cli.exit_codes import ExitCode
from perdure_lab.scenario.model import Link, LinkName
from perdure_lab.sim.chaos import Chaos
from perdure_lab.sim.simulation import Simulation


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    unit: str
    asked: float
    rounds: tuple[float, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        median, low, high = statistics.median(self.rounds), min(self.rounds), max(self.rounds)
        return self.what, f"{median:,.0f} ({low:,.0f} to {high:,.0f}) {self.unit}", f"{self.asked:,.0f}"


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
    wanted = _arguments()
    load = load_average()
    rounds: list[tuple[float, float]] = []

    def interrupted(number: int, frame: object) -> None:
        """Amid a simulation, which takes exceptions for its own: so this one does not unwind."""
        if rounds:
            _tell(rounds, load, wanted.json)
        print(f"interrupted: {len(rounds)} of {wanted.rounds} rounds", flush=True)
        os._exit(ExitCode.INTERRUPTED)

    handler = signal.signal(signal.SIGINT, interrupted)
    idle_hours_a_second(1.0)  # imports, and what is made once
    for turn in range(wanted.rounds):
        idle = idle_hours_a_second(wanted.hours)
        rounds.append((idle, chaos_times_life(range(1 + turn * wanted.seeds, 1 + (turn + 1) * wanted.seeds))))
    signal.signal(signal.SIGINT, handler)
    _tell(rounds, load, wanted.json)


def _tell(rounds: list[tuple[float, float]], load: str, file: Path | None) -> None:
    """The table, and the same as JSON."""
    idle, chaos = zip(*rounds, strict=True)
    figures = [
        Figure("an idle tube's life", "tunnel-hours a second", 100, idle),
        Figure("chaos", "times as fast as life", 20_000, chaos),
    ]
    print(f"{load} before\n")
    print_head("what", "median (lowest to highest round)", "asked for")
    for figure in figures:
        print_row(*figure.cells)
        measured(figure.what, "perdure", figure.unit, figure.rounds, less_is_better=False)
    if file is not None:
        file.write_text(json.dumps([asdict(figure) for figure in figures], indent=1) + "\n")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=_at_least_one, default=5, metavar="N", help="(default: %(default)s)")
    parser.add_argument(
        "--seeds",
        type=_at_least_one,
        default=100,
        metavar="N",
        help="histories of chaos in each round (default: %(default)s)",
    )
    parser.add_argument(
        "--hours",
        type=_above_zero,
        default=300.0,
        metavar="HOURS",
        help="of an idle tube in each round (default: %(default)g)",
    )
    parser.add_argument("--json", type=writable, metavar="FILE", help="write the figures there (default: nowhere)")
    return parser.parse_args()


def _at_least_one(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return value


def _above_zero(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not (math.isfinite(value) and value > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of hours above 0")
    return value


if __name__ == "__main__":
    main()
