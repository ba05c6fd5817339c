"""TCP and TLS to a service by its name, on asyncio's event loop and on uvloop's, which knows no happy eyeballs."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

if TYPE_CHECKING:
    import ssl as ssl_module

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305 §5)."""

LIMIT_BYTES = 64 * 1024
"""asyncio's own."""


async def open_connection(
    host: str | None, port: int, *, ssl: ssl_module.SSLContext | None, limit: int = LIMIT_BYTES
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """To the first address of `host` that answers.

    Raises:
        OSError: there is no such name, nobody answers there, or the certificate is not trusted (`ssl.SSLError`).
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    connected = await start_connection(found, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, interleave=1, loop=loop)
    name = None if ssl is None else host
    try:
        return await asyncio.open_connection(sock=connected, ssl=ssl, server_hostname=name, limit=limit)
    except BaseException:
        connected.close()
        raise
