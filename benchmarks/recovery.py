"""The silence that a killed carrier causes: 100 kills, one end and the other in turns, under traffic both ways.

    python -m benchmarks.recovery [--kills 100] [--bytes-per-second 1000000]

`perdure rendezvous`, `serve` and `connect` run as three processes. Silence is the time without a byte delivered, in
the direction that waited longer, on a connection that writes every 10 ms.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from contextlib import AsyncExitStack

from perdure.demo.processes import Child
from perdure.demo.traffic import Direction, run_side
from perdure.lab.position import TICK_SECONDS

CALM_SECONDS = 0.4
WATCH_SECONDS = 0.4
RECOVERY_TIMEOUT = 20.0


async def measure(kills: int, bytes_per_second: int) -> list[float]:
    silences: list[float] = []
    directions = [Direction(0), Direction(1)]
    stop = asyncio.Event()
    sides: list[asyncio.Task[None]] = []

    def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, outgoing: int) -> None:
        side = run_side(
            reader, writer, directions[outgoing], directions[1 - outgoing], bytes_per_second=bytes_per_second, stop=stop
        )
        sides.append(asyncio.ensure_future(side))

    async with AsyncExitStack() as stack:
        server = await asyncio.start_server(lambda reader, writer: run(reader, writer, 1), "127.0.0.1", 0)
        stack.callback(server.close)
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        rendezvous = Child("rendezvous", "--listen", "127.0.0.1:0", "--faults")
        stack.push_async_callback(rendezvous.stop)
        await rendezvous.start()
        url = await rendezvous.first_line("ws://")
        gateway = Child("serve", "--rendezvous", url, "--allow", target, "--loopback", "--faults")
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        client = Child("connect", await gateway.first_line(), "-L", f"0:{target}", "--loopback", "--faults")
        stack.push_async_callback(client.stop)
        await client.start()
        listening = await client.first_line("listening")
        await client.first_line("ready")
        reader, writer = await asyncio.open_connection("127.0.0.1", int(listening.split()[1].rpartition(":")[2]))
        run(reader, writer, 0)
        for number in range(kills):
            await asyncio.sleep(CALM_SECONDS)
            for direction in directions:
                direction.take_gap()
            (client if number % 2 else gateway).inject("kill")
            await asyncio.sleep(WATCH_SECONDS)
            for _ in range(int(RECOVERY_TIMEOUT / TICK_SECONDS)):
                if max(direction.current_gap for direction in directions) < 10 * TICK_SECONDS:
                    break
                await asyncio.sleep(TICK_SECONDS)
            silences.append(max(direction.take_gap() for direction in directions))
        stop.set()
        await asyncio.wait(sides, timeout=10)
    lost = sum(direction.lost_or_wrong_bytes for direction in directions)
    if lost or not all(direction.ended for direction in directions):
        raise RuntimeError(f"{lost} bytes lost or wrong; ends: {[direction.ended for direction in directions]}")
    return silences


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--bytes-per-second", type=int, default=1_000_000)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    silences = [silence * 1e3 for silence in asyncio.run(measure(arguments.kills, arguments.bytes_per_second))]
    cuts = statistics.quantiles(silences, n=100, method="inclusive")
    print(f"load average {load:.1f}")
    print("| kills | p50 ms | p95 ms | p99 ms | worst ms | bytes lost or wrong |")
    print("| --- | --- | --- | --- | --- | --- |")
    print(f"| {len(silences)} | {cuts[49]:.0f} | {cuts[94]:.0f} | {cuts[98]:.0f} | {max(silences):.0f} | 0 |")


if __name__ == "__main__":
    main()
