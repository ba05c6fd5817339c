"""How long `perdure --help` takes, and what a gateway with one idle tube keeps in memory.

python -m benchmarks.footprint [--runs 10]
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import time
from contextlib import AsyncExitStack

from perdure.demo.processes import Child

SETTLE_SECONDS = 3.0


def help_seconds(runs: int) -> list[float]:
    times = []
    for _ in range(runs + 1):
        began_at = time.perf_counter()
        subprocess.run([sys.executable, "-m", "perdure", "--help"], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - began_at)
    return times[1:]


async def resident_megabytes() -> dict[str, float]:
    async with AsyncExitStack() as stack:
        rendezvous = Child("rendezvous", "--listen", "127.0.0.1:0", "--faults")
        stack.push_async_callback(rendezvous.stop)
        await rendezvous.start()
        url = await rendezvous.first_line("ws://")
        gateway = Child("serve", "--rendezvous", url, "--allow", "127.0.0.1:9", "--loopback", "--faults")
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        client = Child("connect", await gateway.first_line(), "-L", "0:127.0.0.1:9", "--loopback", "--faults")
        stack.push_async_callback(client.stop)
        await client.start()
        await client.first_line("ready")
        await asyncio.sleep(SETTLE_SECONDS)
        children = {"rendezvous": rendezvous, "gateway": gateway, "client": client}
        return {name: (child.resident_bytes() or 0) / 1e6 for name, child in children.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    times = help_seconds(arguments.runs)
    print(f"load average {load:.1f}")
    print("| what | figure |")
    print("| --- | --- |")
    print(f"| `perdure --help` | {statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f}) |")
    for name, megabytes in asyncio.run(resident_megabytes()).items():
        print(f"| {name} with one idle tube, resident | {megabytes:.1f} MB |")


if __name__ == "__main__":
    main()
