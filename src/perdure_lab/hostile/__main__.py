"""A hostile client as a process of its own: `python -m perdure_lab.hostile KIND --ticket FILE …`, until it is stopped.

Each second it writes a JSON line: what it has done in all. It ends with its standard input too.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

from perdure.ticket import read_ticket
from perdure_lab.hostile.attacks import Kind, Targets
from perdure_lab.hostile.client import HostileClient

REPORT_INTERVAL = 1.0
"""Seconds between two lines."""


async def _run(client: HostileClient) -> None:
    attacking = asyncio.create_task(client.run())
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, attacking.cancel)

    def end_with_standard_input() -> None:
        sys.stdin.read()
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(attacking.cancel)

    threading.Thread(target=end_with_standard_input, daemon=True).start()
    began_at = time.monotonic()
    while not attacking.done():
        await asyncio.wait({attacking}, timeout=REPORT_INTERVAL)
        line = json.dumps({"seconds": time.monotonic() - began_at, **asdict(client.cost)})
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    with contextlib.suppress(asyncio.CancelledError):
        attacking.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=[kind.value for kind in Kind])
    parser.add_argument("--ticket", type=Path, required=True, metavar="FILE")
    for target, what in (("sink", "reads everything"), ("source", "sends all it can"), ("forbidden", "is not allowed")):
        parser.add_argument(f"--{target}", required=True, metavar="HOST:PORT", help=what)
    arguments = parser.parse_args()
    targets = Targets(arguments.sink.encode(), arguments.source.encode(), arguments.forbidden.encode())
    asyncio.run(_run(HostileClient(read_ticket(arguments.ticket), Kind(arguments.kind), targets, Random())))


if __name__ == "__main__":
    main()
