"""What an idle tube costs a gateway: memory, descriptors and CPU, at several numbers of tubes.

    python -m benchmarks.tubes [--tubes 10 100 400] [--seconds 20] [--rounds 1] [--stream]

`perdure rendezvous` and `perdure serve` are real processes, and the clients are one more. The tubes carry no stream, or
with `--stream` one each, which has said 256 bytes and says nothing while it is measured: one descriptor more.
"""

from __future__ import annotations

import argparse
import asyncio
from dataclasses import dataclass

import psutil
from benchmarks.report import load_average, measured, print_head, print_row, spread

from perdure_lab.stress.programs import Clients, cpu_seconds, house

SETTLE_SECONDS = 8.0
"""Behind them, what a set-up leaves is gone, and the warm spares' first look is over."""

NEVER = 3600.0

SET_UP = "set up a second", "CPU of the gateway to set one up"


@dataclass(frozen=True, slots=True)
class Cost:
    kib_each: float
    descriptors_each: float
    threads: int
    cpu_percent: float
    """Of one core, for all tubes."""
    set_up_a_second: float
    """From the first one's beginning to the last one's end."""
    set_up_ms: float
    """Of CPU at the gateway, each."""


async def measure(count: int, seconds: float, *, stream: bool) -> Cost:
    async with house() as built:
        gateway = psutil.Process(built.gateway.pid)
        await asyncio.sleep(1.0)
        memory, descriptors = gateway.memory_info().rss, gateway.num_fds()
        before = cpu_seconds(gateway)
        async with Clients(built, count, interval=NEVER, talks=stream) as clients:
            await clients.connected()
            set_up_ms = (cpu_seconds(gateway) - before) / count * 1e3
            await asyncio.sleep(SETTLE_SECONDS)
            cpu = cpu_seconds(gateway)
            await asyncio.sleep(seconds)
            cpu = cpu_seconds(gateway) - cpu
            memory, descriptors = gateway.memory_info().rss - memory, gateway.num_fds() - descriptors
            threads = gateway.num_threads()
            heard = await clients.heard()
    each, a_second = memory / count / 1024, count / heard.set_up_seconds
    return Cost(each, descriptors / count, threads, cpu / seconds * 100, a_second, set_up_ms)


async def run(counts: list[int], seconds: float, rounds: int, *, stream: bool) -> None:
    print(f"{load_average()}\n")
    print_head("tubes", "memory each", "descriptors each", "threads", "CPU of all, idle", "CPU each", *SET_UP)
    found: dict[int, list[Cost]] = {count: [] for count in counts}
    for _ in range(rounds):
        for count in counts:
            found[count].append(await measure(count, seconds, stream=stream))
    for count, costs in found.items():
        show(f"{count} tubes" if count > 1 else "1 tube", count, costs)


def show(named: str, count: int, costs: list[Cost]) -> None:
    """A row, with the medians of the rounds, and from the lowest to the highest where there are several."""
    memory, descriptors = [cost.kib_each for cost in costs], [cost.descriptors_each for cost in costs]
    cpu, set_up = [cost.cpu_percent for cost in costs], [cost.set_up_a_second for cost in costs]
    each = [percent / count for percent in cpu]
    measured("memory of an idle tube", named, "KiB", memory, less_is_better=True)
    measured("descriptors of an idle tube", named, "", descriptors, less_is_better=True)
    measured("CPU of an idle tube", named, "% of a core", each, less_is_better=True)
    set_up_ms = [cost.set_up_ms for cost in costs]
    measured("CPU to set a tube up", named, "ms", set_up_ms, less_is_better=True)
    measured("tubes set up", named, "a second", set_up, less_is_better=False)
    print_row(
        str(count),
        _shown(memory, ".0f", "KiB"),
        _shown(descriptors, ".1f"),
        str(max(cost.threads for cost in costs)),
        _shown(cpu, ".1f", "% of a core"),
        _shown(each, ".4f", "%"),
        _shown(set_up, ".0f"),
        _shown(set_up_ms, ".1f", "ms"),
    )


def _shown(values: list[float], form: str, unit: str = "") -> str:
    return spread(values, form, unit) if len(values) > 1 else f"{values[0]:{form}} {unit}".rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tubes", type=int, nargs="+", default=[10, 100, 200, 400])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=1, help="each number of tubes in turns; `compare` needs 3")
    parser.add_argument("--stream", action="store_true", help="one on each tube, with a connection to the target")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.tubes, arguments.seconds, arguments.rounds, stream=arguments.stream))


if __name__ == "__main__":
    main()
