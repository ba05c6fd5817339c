"""`perdure rendezvous`."""

from __future__ import annotations

import math

import click

from perdure.cli import options
from perdure.cli.running import (
    LogLevel,
    end_on_signals,
    raise_descriptor_limit,
    run_until_stopped,
    say,
    set_up_logging,
)


@click.command
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8765",
    help="Where to listen; port 0 picks a free one and prints it.",
)
@options.log_level
@options.json_logs
@options.faults
def rendezvous(listen: str, log_level: LogLevel, json_logs: bool, faults: bool) -> None:
    """Match peers and pass their sealed messages; it can read none of them.

    /livez and /metrics answer on the same port.
    """
    end_on_signals()
    host, port = options.parse_listen(listen)
    set_up_logging(log_level, as_json=json_logs)
    raise_descriptor_limit()

    async def run() -> None:
        import asyncio

        from perdure.faults import run_driven
        from perdure.signaling.rooms import RendezvousLimits
        from perdure.signaling.server import RendezvousServer

        async with RendezvousServer(RendezvousLimits(), host=host, port=port) as server:
            shown = f"[{host}]" if ":" in host else host
            say(f"ws://{shown}:{server.port}")
            await run_driven(asyncio.sleep(math.inf), driven=faults)

    run_until_stopped(run)
