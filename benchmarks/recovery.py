"""The silence that a killed carrier causes: 100 kills, one end and the other in turns, under traffic both ways.

    python -m benchmarks.recovery [--kills 100] [--bytes-per-second 1000000]

`perdure rendezvous`, `serve` and `connect` run as three processes. Silence is the time without a byte delivered, in
the direction that waited longer, on a connection that writes every 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
from contextlib import AsyncExitStack

from benchmarks.report import load_average, measured, print_head, print_row

from perdure_lab.demo.programs import Programs
from perdure_lab.lab.traffic import Traffic
from perdure_lab.scenario.model import TICK_SECONDS

CALM_SECONDS = 0.4
WATCH_SECONDS = 0.4
RECOVERY_TIMEOUT = 20.0


async def measure(kills: int, bytes_per_second: int) -> list[float]:
    silences: list[float] = []
    traffic = Traffic(1, bytes_per_second, kills * (CALM_SECONDS + WATCH_SECONDS))
    await traffic.listen(None)
    programs = Programs(f"127.0.0.1:{traffic.target_port}", "--loopback", rendezvous="127.0.0.1:0")
    async with AsyncExitStack() as stack:
        await programs.start(stack)
        await traffic.begin(None, programs.port)
        for number in range(kills):
            await asyncio.sleep(CALM_SECONDS)
            traffic.take_silence()
            (programs.client if number % 2 else programs.gateway).inject("kill")
            await asyncio.sleep(WATCH_SECONDS)
            for _ in range(int(RECOVERY_TIMEOUT / TICK_SECONDS)):
                if traffic.silent_for < 10 * TICK_SECONDS:
                    break
                await asyncio.sleep(TICK_SECONDS)
            silences.append(traffic.take_silence())
        await traffic.finish()
    if traffic.lost_bytes or traffic.wrong_bytes or not traffic.kept:
        raise RuntimeError(f"{traffic.lost_bytes} bytes lost, {traffic.wrong_bytes} wrong, {traffic.kept} of 1 kept")
    return silences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bytes-per-second", type=int, default=1_000_000)
    arguments = parser.parse_args()
    load = load_average()
    silences = [silence * 1e3 for silence in asyncio.run(measure(arguments.kills, arguments.bytes_per_second))]
    cuts = statistics.quantiles(silences, n=100, method="inclusive")
    print(load)
    print_head("kills", "p50 ms", "p95 ms", "p99 ms", "worst ms", "bytes lost or wrong")
    times = [f"{milliseconds:.0f}" for milliseconds in (cuts[49], cuts[94], cuts[98], max(silences))]
    print_row(str(len(silences)), *times, "0")
    measured("silence after a carrier is killed", "perdure", "ms", silences, less_is_better=True)


if __name__ == "__main__":
    main()
