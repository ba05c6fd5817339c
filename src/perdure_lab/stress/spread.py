"""A client of many tunnels behind one port: `python -m perdure_lab.stress.spread @FILE TUNNELS PORT HOST:PORT`.

The connections that it takes go through one tunnel after the other, so as many connections as tunnels use them all.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from itertools import cycle

from perdure.cli.running import LogLevel, raise_descriptor_limit, set_up_logging
from perdure.errors import PerdureError
from perdure.ticket import load_ticket
from perdure_lab.stress.tunnels import Tunnels


async def run(ticket: str, count: int, port: int, target: tuple[str, int]) -> None:
    """Until cancelled."""
    async with Tunnels(load_ticket(ticket), count, loopback=False) as tunnels:
        turns = cycle(tunnels)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError, PerdureError):
                other_reader, other_writer = await next(turns).open_connection(*target)
                await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
                return
            writer.transport.abort()

        async with await asyncio.start_server(accept, "127.0.0.1", port) as server:
            await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each byte, and the end. Raises `OSError` where either is reset, and then resets `writer`."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.transport.abort()
        raise


def main() -> None:
    raise_descriptor_limit()
    set_up_logging(LogLevel.INFO, as_json=True)
    ticket, count, port, target = sys.argv[1:]
    host, _, target_port = target.rpartition(":")
    with suppress(KeyboardInterrupt):
        asyncio.run(run(ticket, int(count), int(port), (host, int(target_port))))


if __name__ == "__main__":
    main()
