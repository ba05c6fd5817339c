"""An echo as a process of its own: `python -m perdure_lab.stress.echoes` tells its port, and ends with its asker."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from perdure.cli.running import raise_descriptor_limit
from perdure_lab.lab.apart import end_with_the_asker, tell


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back what comes, no faster than it is taken."""
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _run() -> None:
    end_with_the_asker()
    async with await asyncio.start_server(echo, "127.0.0.1", 0, backlog=1024) as server:
        tell(server.sockets[0].getsockname()[1])
        await server.serve_forever()


if __name__ == "__main__":
    raise_descriptor_limit()
    asyncio.run(_run())
