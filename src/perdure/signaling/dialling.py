"""Connecting right after a change of the network, when the first packets are often lost: again, beside the first try.

TCP sends a lost first packet again after 1 s (RFC 6298 section 2.1), which would be most of an outage.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from websockets.asyncio.client import ClientConnection

AGAIN_AFTER = (0.25, 0.25, 0.5)
"""Seconds that each connection has before another is begun beside it. 250 ms is RFC 8305's (section 5): most paths
have answered by then. At most four at once."""


async def connect_soon(connect: Callable[[], Awaitable[ClientConnection]]) -> ClientConnection:
    """The first of several connections that works; the others are closed. What fails fails them all."""
    tasks: list[asyncio.Future[ClientConnection]] = []
    winner: ClientConnection | None = None
    try:
        for delay in (*AGAIN_AFTER, None):
            tasks.append(asyncio.ensure_future(connect()))
            done, _ = await asyncio.wait(tasks, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            if done:
                break
        winner = next(task for task in tasks if task.done()).result()
        return winner
    finally:
        for task in tasks:
            task.cancel()
        for connection in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(connection, ClientConnection) and connection is not winner:
                connection.transport.abort()
                await connection.wait_closed()
