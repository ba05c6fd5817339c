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
from pathlib import Path

from benchmarks.report import load_average, measured, print_head, print_row

from perdure_lab.demo.programs import Programs

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
        programs = Programs("127.0.0.1:9", "--loopback", rendezvous="127.0.0.1:0")
        await programs.start(stack)
        await asyncio.sleep(SETTLE_SECONDS)
        children = (programs.rendezvous, programs.gateway, programs.client)
        return {child.name: resident_bytes(child.pid) / 1e6 for child in children}


def resident_bytes(pid: int | None) -> int:
    """0 where /proc does not tell."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    arguments = parser.parse_args()
    load = load_average()
    times = help_seconds(arguments.runs)
    print(load)
    print_head("what", "figure")
    print_row("`perdure --help`", f"{statistics.median(times):.3f} s ({min(times):.3f} to {max(times):.3f})")
    measured("`perdure --help`", "perdure", "s", times, less_is_better=True)
    for name, megabytes in asyncio.run(resident_megabytes()).items():
        what = f"{name} with one idle tube, resident"
        print_row(what, f"{megabytes:.1f} MB")
        measured(what, "perdure", "MB", [megabytes], less_is_better=True)


if __name__ == "__main__":
    main()
