"""What an idle tube costs a gateway: memory, descriptors and CPU, at several numbers of tubes.

    python -m benchmarks.tubes [--tubes 10 100 400] [--seconds 20]

`perdure rendezvous` and `perdure serve` are real processes, and the clients are one more. Each tube has said 256 bytes
on one stream, and says nothing while it is measured.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from dataclasses import dataclass

import psutil
from benchmarks.report import load_average, measured, print_head, print_row

from perdure_lab.stress.programs import Clients, cpu_seconds, house

SETTLE_SECONDS = 8.0
"""Behind them, what a set-up leaves is gone, and the warm spares' first look is over."""

NEVER = 3600.0


@dataclass(frozen=True, slots=True)
class Cost:
    tubes: int
    kib_each: float
    descriptors_each: float
    threads: int
    cpu_percent: float
    """Of one core, for all tubes."""
    set_up_a_second: float


async def measure(count: int, seconds: float) -> Cost:
    async with house() as built:
        gateway = psutil.Process(built.gateway.pid)
        await asyncio.sleep(1.0)
        memory, descriptors = gateway.memory_info().rss, gateway.num_fds()
        began_at = 0.0

        def connected(so_far: int) -> None:
            nonlocal began_at
            began_at = began_at or (time.perf_counter() if so_far else 0.0)

        async with Clients(built, count, interval=NEVER) as clients:
            await clients.connected(connected)
            took = time.perf_counter() - began_at
            await asyncio.sleep(SETTLE_SECONDS)
            cpu = cpu_seconds(gateway)
            await asyncio.sleep(seconds)
            cpu = cpu_seconds(gateway) - cpu
            memory, descriptors = gateway.memory_info().rss - memory, gateway.num_fds() - descriptors
            threads = gateway.num_threads()
    each = memory / count / 1024
    return Cost(count, each, descriptors / count, threads, cpu / seconds * 100, (count - 1) / took)


async def run(counts: list[int], seconds: float) -> None:
    print(f"{load_average()}\n")
    print_head("tubes", "memory each", "descriptors each", "threads", "CPU of all, idle", "CPU each", "set up a second")
    for count in counts:
        cost = await measure(count, seconds)
        measured("memory of an idle tube", f"{count} tubes", "KiB", [cost.kib_each], less_is_better=True)
        measured(
            "CPU of an idle tube", f"{count} tubes", "% of a core", [cost.cpu_percent / count], less_is_better=True
        )
        print_row(
            str(cost.tubes),
            f"{cost.kib_each:.0f} KiB",
            f"{cost.descriptors_each:.1f}",
            str(cost.threads),
            f"{cost.cpu_percent:.1f} % of a core",
            f"{cost.cpu_percent / count:.4f} %",
            f"{cost.set_up_a_second:.0f}",
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tubes", type=int, nargs="+", default=[10, 100, 200, 400])
    parser.add_argument("--seconds", type=float, default=20.0, help="of each measurement")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.tubes, arguments.seconds))


if __name__ == "__main__":
    main()
