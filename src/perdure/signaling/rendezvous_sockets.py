"""WebSockets to the rendezvous: as the routes lead, or by one interface whatever they prefer.

1. A source address alone does not choose an interface: its packets leave by the default route all the same. Linux binds
   a socket to an interface (`SO_BINDTODEVICE`, since 5.7 without privileges). Elsewhere only the routes choose.
2. The addresses of the rendezvous are kept. Where a path is dead, so is the resolver behind it.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from perdure.happy_eyeballs import connected_socket
from perdure.signaling.bounded import connect_directly
from perdure.signaling.frames import MAX_BODY_BYTES, max_frame_bytes

if TYPE_CHECKING:
    import ssl

    from aiohappyeyeballs import AddrInfoType
    from websockets.asyncio.client import ClientConnection

PING_INTERVAL = 5.0
PING_TIMEOUT = 5.0
"""Seconds. A rendezvous whose path died is noticed within 10 s, also without a network event or a doubt."""

RESOLVE_TIMEOUT = 0.25
"""Seconds for the resolver, where addresses of before are known. Most answer within 0.1 s; who is late is heard by the
next connection."""

BINDS_TO_INTERFACES = hasattr(socket, "SO_BINDTODEVICE")
"""Whether this system binds a socket to an interface."""


class RendezvousSockets:
    """Opens the WebSockets of one link to `url`, whose path is set."""

    def __init__(self, url: str, ssl_context: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._url = url
        self._options: dict[str, Any] = {} if ssl_context is None else {"ssl": ssl_context}
        self._host, self._port = parts.hostname, parts.port or (443 if parts.scheme == "wss" else 80)
        self._known: list[AddrInfoType] = []
        """Where the name led last."""
        self._resolving: asyncio.Task[list[AddrInfoType]] | None = None
        """One at a time: each occupies a thread, for as long as a dead resolver is waited for."""

    async def open(self, interface: str | None = None) -> ClientConnection:
        """Raises `OSError`, or what `websockets` does."""
        if interface is not None and not BINDS_TO_INTERFACES:
            raise OSError(errno.EOPNOTSUPP, "this system binds no socket to an interface")
        known = self._known if interface is not None and self._known else await self._resolve()
        connected = await connected_socket(known, partial(_made, interface))
        try:
            return await connect_directly(
                self._url,
                sock=connected,
                proxy=None,
                compression=None,  # Sealed bodies do not shrink.
                open_timeout=None,
                max_size=max_frame_bytes(MAX_BODY_BYTES),
                ping_interval=PING_INTERVAL,
                ping_timeout=PING_TIMEOUT,
                close_timeout=1,
                **self._options,
            )
        except BaseException:
            connected.close()
            raise

    async def _resolve(self) -> list[AddrInfoType]:
        if self._resolving is None or self._resolving.done():
            self._resolving = asyncio.get_running_loop().create_task(self._look_up())
            self._resolving.add_done_callback(_heard)
        resolving = self._resolving
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT if self._known else None):
                return await asyncio.shield(resolving)
        except OSError:
            if not self._known:
                raise
            return self._known

    async def _look_up(self) -> list[AddrInfoType]:
        loop = asyncio.get_running_loop()
        self._known = [*await loop.getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)]
        return self._known


def _made(interface: str | None, where: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = where
    made = socket.socket(family, kind, protocol)
    if interface is not None:
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        except OSError:
            made.close()
            raise
    return made


def _heard(task: asyncio.Task[list[AddrInfoType]]) -> None:
    """So that a failure which nobody waits for any more is no warning."""
    if not task.cancelled():
        task.exception()
