"""How the two ends of a peer reach each other beside the network: JSON lines through a socket in the run's folder.

It works whatever the network does, and at once: more than a peer could have outside of the lab.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

SOCKET = "exchange"
"""In the run's folder; there as soon as the gateway can be joined."""

JOIN_TIMEOUT = 20.0
"""Seconds for a gateway that is started at the same time, or anew."""

_RETRY_INTERVAL = 0.05
_LONGEST_LINE_BYTES = 1 << 20

Message = dict[str, str]


class Exchange:
    """One end. Messages arrive in their order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    def send(self, **message: str) -> None:
        """Nothing happens where the other end has gone."""
        self._writer.write(json.dumps(message).encode() + b"\n")

    async def messages(self) -> AsyncIterator[Message]:
        """What the other end says, until it goes."""
        with contextlib.suppress(ConnectionError):
            while line := await self._reader.readline():
                yield json.loads(line)

    def close(self) -> None:
        self._writer.close()


async def serve(folder: Path, handle: Callable[[Exchange], Awaitable[None]]) -> None:
    """`handle` every client that joins, for ever."""

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        exchange = Exchange(reader, writer)
        try:
            await handle(exchange)
        finally:
            exchange.close()

    path = folder / SOCKET
    path.unlink(missing_ok=True)  # of a gateway that was killed
    server = await asyncio.start_unix_server(joined, path, limit=_LONGEST_LINE_BYTES)
    await server.serve_forever()


async def join(folder: Path) -> Exchange:
    """The client's end.

    Raises:
        TimeoutError: no gateway serves.
    """
    async with asyncio.timeout(JOIN_TIMEOUT):
        while True:
            try:
                return Exchange(*await asyncio.open_unix_connection(folder / SOCKET, limit=_LONGEST_LINE_BYTES))
            except (FileNotFoundError, ConnectionRefusedError):
                await asyncio.sleep(_RETRY_INTERVAL)


async def ask(folder: Path) -> Message:
    """What the gateway says to a client that joins.

    Raises:
        TimeoutError: no gateway serves.
        ConnectionResetError: it went before it said anything.
    """
    joined = await join(folder)
    try:
        async for message in joined.messages():
            return message
    finally:
        joined.close()
    raise ConnectionResetError("the gateway said nothing")
