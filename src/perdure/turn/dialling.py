"""TCP and TLS to a service by its name: `asyncio.open_connection`, whose `happy_eyeballs_delay` uvloop lacks."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from perdure.happy_eyeballs import connected_socket

if TYPE_CHECKING:
    import ssl as ssl_module

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
    connected = await connected_socket(found)
    name = None if ssl is None else host
    try:
        return await asyncio.open_connection(sock=connected, ssl=ssl, server_hostname=name, limit=limit)
    except BaseException:
        connected.close()
        raise
