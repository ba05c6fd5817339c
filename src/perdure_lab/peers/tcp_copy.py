"""A TCP connection copied to another one as it comes, for peers that are a network and not a program with a port."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

from perdure_lab.peers import words

_READ_BYTES = 1 << 16

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def carry(
    connect: Callable[[], Awaitable[Ends]], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """One TCP connection, for as long as it lasts."""
    try:
        far_reader, far_writer = await connect()
    except OSError as error:
        words.complain(f"no connection: {error}")
        writer.transport.abort()
        return
    for each in (writer, far_writer):  # asyncio does it where it sees plain TCP
        each.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    except OSError as error:
        words.complain(f"a connection ended: {error}")
        writer.transport.abort()
        far_writer.transport.abort()
    finally:
        writer.close()
        far_writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
