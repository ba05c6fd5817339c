"""TLS to a TURN server, made here and not by the engine.

The engine trusts only the certificates that are compiled into it, and those of Let's Encrypt are not among them
(measured). So it speaks plain TCP to a port on this machine's loopback, and the bridge carries that over TLS with a
context of our own. Whoever else on this machine connects to the port reaches the TURN server, as he could without it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.turn.dialling import open_connection
from perdure.turn.pool import NO_ANSWER, NO_ANSWER_TIMEOUT, UNREACHABLE, ServerAddress, Trouble

if TYPE_CHECKING:
    from perdure.ice_server import IceServer

log = logging.getLogger("perdure.turn")

MAX_CONNECTIONS = 64
"""At a time: the engine makes one for each local address and gathering, and keeps those of earlier ICE restarts."""

CHUNK_BYTES = 64 * 1024
"""Read at once: a TURN message over TCP has at most as much."""

Failed = Callable[[ServerAddress, int, tuple[str, Trouble]], None]


class TlsBridge:
    """From ports on 127.0.0.1 and ::1 to the `turns:` server at `address`. Made on a running event loop.

    The engine connects from addresses of the server's family only, and there are machines that have but IPv6 ones.

    Args:
        on_failed: told where no TLS connection can be made: which code, and why.

    Raises:
        OSError: there is no port, or no descriptor.
    """

    def __init__(self, server: IceServer, address: ServerAddress, context: ssl.SSLContext, on_failed: Failed) -> None:
        self._url = server.url
        self._address = address
        self._context = context
        self._on_failed = on_failed
        self._connections: set[asyncio.Task[None]] = set()
        self._ports: dict[str, int] = {}
        self._accepting: list[asyncio.Task[None]] = []
        self._listen("127.0.0.1", socket.AF_INET)
        with contextlib.suppress(OSError):  # a machine without IPv6
            self._listen("::1", socket.AF_INET6)

    @property
    def engine_url(self) -> str:
        """What the engine is given."""
        if "::1" in self._ports and not _has_ipv4():
            return f"turn:[::1]:{self._ports['::1']}?transport=tcp"
        return f"turn:127.0.0.1:{self._ports['127.0.0.1']}?transport=tcp"

    def is_at(self, address: ServerAddress) -> bool:
        """Whether that is one of its ports."""
        return address.transport == "tcp" and self._ports.get(address.host) == address.port

    def close(self) -> None:
        """Take no further connection; those that there are end when the engine closes them."""
        for accepting in self._accepting:
            accepting.cancel()

    def _listen(self, host: str, family: socket.AddressFamily) -> None:
        listening = socket.create_server((host, 0), family=family)
        listening.setblocking(False)
        self._ports[host] = listening.getsockname()[1]
        accepting = asyncio.get_running_loop().create_task(self._accept(listening), name="TURN over TLS")
        self._accepting.append(accepting)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                connection, _ = await loop.sock_accept(listening)
                if len(self._connections) >= MAX_CONNECTIONS:
                    connection.close()
                    continue
                task = loop.create_task(self._carry(connection))
                self._connections.add(task)
                task.add_done_callback(self._connections.discard)

    async def _carry(self, connection: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connection)
        except BaseException:
            connection.close()
            raise
        try:
            remote = await self._connect()
            if remote is None:
                return
            try:
                sent, received = await _joined((reader, writer), remote)
            finally:
                remote[1].transport.abort()
            log_event(log, logging.INFO, "turn-tls-ended", server=self._url, sent=sent, received=received)
        finally:
            writer.transport.abort()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        host, port, _ = self._address
        try:
            async with asyncio.timeout(NO_ANSWER_TIMEOUT):
                return await open_connection(host, port, ssl=self._context)
        except TimeoutError:
            self._on_failed(self._address, 0, NO_ANSWER)
        except ssl.SSLCertVerificationError as error:
            why = f"has a certificate that is not trusted: {error.verify_message}"
            self._on_failed(self._address, UNREACHABLE, (why, Trouble.OTHER))
        except ssl.SSLError as error:
            why = f"speaks no TLS that can be used ({error.reason or 'handshake failed'})"
            self._on_failed(self._address, UNREACHABLE, (why, Trouble.OTHER))
        except OSError as error:
            why = f"cannot be reached: {error.strerror or error}"
            self._on_failed(self._address, UNREACHABLE, (why, Trouble.REACH))
        return None


def _has_ipv4() -> bool:
    """Whether the kernel knows a way to an IPv4 address elsewhere (RFC 5737's; nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return asking.connect_ex(("192.0.2.1", 9)) == 0


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def _joined(local: Streams, remote: Streams) -> tuple[int, int]:
    """Until one of them ends: how many bytes went to `remote`, and came from there."""
    counts = [0, 0]
    pumps = {
        asyncio.create_task(_pump(local[0], remote[1], counts, 0)),
        asyncio.create_task(_pump(remote[0], local[1], counts, 1)),
    }
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.wait(pumps)
    return counts[0], counts[1]


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, counts: list[int], way: int) -> None:
    try:
        while read := await reader.read(CHUNK_BYTES):
            counts[way] += len(read)
            writer.write(read)
            await writer.drain()
    except OSError:
        return
