"""The calls that open streams, with asyncio's own signatures: the same for a tunnel and for a tube's manager."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from perdure.streams import connections
from perdure.streams.socks5 import ProxyLogin
from perdure.streams.target import check_target, unix_socket

if TYPE_CHECKING:
    import asyncio
    import ssl as ssl_module
    from collections.abc import Awaitable, Callable

    from perdure.streams.connections import ProtocolT
    from perdure.streams.local_ports import LocalPorts
    from perdure.streams.target import AnyTarget
    from perdure.streams.transport import StreamTransport


ServerT = TypeVar("ServerT", bound="asyncio.AbstractServer")


class StreamOpener(ABC):
    """What carries connections to the other end."""

    __slots__ = ()

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        limit: int = 2**16,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to `host:port` beside the other end, as `asyncio.open_connection` gives it.

        Waits while the tunnel connects, recovers or begins another session, as long as the caller does. Cancelling this
        gives the stream up.

        Args:
            ssl, server_hostname: as for `create_connection`.
            limit: of the reader's buffer, in bytes.

        Raises:
            TypeError, ValueError: `host` or `port` cannot be one.
            OSError: it cannot be had: `NotAuthorisedError` (the gateway does not allow this target),
                `ConnectionRefusedError` (the target refused, or there are as many streams as may be), `TimeoutError`
                (it did not answer), `PeerError` (the session ended meanwhile; a manager's tube has ended otherwise than
                by `shutdown`), or another (it cannot be reached).
            PerdureError: what ended the tunnel, as `wait_closed` raises it.
            RuntimeError: the tunnel is closed, or was not entered yet; or another event loop runs.
        """
        return await connections.open_connection(
            self._open_stream, check_target(host, port), ssl=ssl, server_hostname=server_hostname, limit=limit
        )

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """A stream as transport and protocol, with the signature of `loop.create_connection`; see `open_connection`.

        Args:
            ssl: True, or a context, for TLS with the target; nobody in between sees its contents.
            server_hostname: the name in the target's certificate, where that is not `host`.

        Raises:
            ssl.SSLError: the handshake failed.
        """
        return await connections.create_connection(
            self._open_stream, protocol_factory, check_target(host, port), ssl=ssl, server_hostname=server_hostname
        )

    async def open_unix_connection(
        self,
        path: str,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        limit: int = 2**16,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to the unix socket at the absolute `path` of the other end's machine; see `open_connection`. With
        `ssl` it needs a `server_hostname`."""
        return await connections.open_connection(
            self._open_stream, unix_socket(path), ssl=ssl, server_hostname=server_hostname, limit=limit
        )

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        path: str,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """The same as transport and protocol; see `create_connection`."""
        return await connections.create_connection(
            self._open_stream, protocol_factory, unix_socket(path), ssl=ssl, server_hostname=server_hostname
        )

    async def listen(self, host: str, port: int, *, to: tuple[str, int] | str) -> asyncio.Server:
        """Listen on a local port; each connection comes out at `to` beside the other end: a host and a port, or the
        path of a unix socket. It is reset where there is no session, before the tunnel is entered for example. A
        `Tunnel` closes the port when it is closed itself; with a manager, closing the server is the caller's.

        Args:
            host: `localhost` for this machine alone, by IPv4 and IPv6; empty for all its addresses.
            port: 0 picks a free one: `server.sockets[0].getsockname()`.

        Raises:
            ListenError: the address is in use, is not this machine's, or needs privileges.
            PerdureError: what ended the tunnel.
            TypeError, ValueError, RuntimeError: a wrong argument; the tunnel is closed, or another event loop runs.
        """
        return await self._listening(lambda ports: ports.listen(host, port, to))

    async def listen_unix(self, path: str, *, to: tuple[str, int] | str) -> asyncio.AbstractServer:
        """Listen on a unix socket that is made at `path`, for this user alone, and removed when its server is closed.
        See `listen`.

        Raises:
            ListenError: somebody listens on it, it is a file of another kind, or it cannot be made.
        """
        return await self._listening(lambda ports: ports.listen_unix(path, to))

    async def listen_socks(
        self, host: str, port: int, *, user: str | None = None, password: str | None = None
    ) -> asyncio.Server:
        """Listen as a SOCKS5 proxy; each connection comes out at the target that its program names, whose name is
        resolved at the other end. See `listen`, also for what is raised.

        Args:
            user, password: what a program must know; without them, every program that reaches the port is served.
        """
        if (user is None) is not (password is None):
            raise ValueError("user and password go together")
        login = None if user is None or password is None else ProxyLogin(user, password)
        return await self._listening(lambda ports: ports.listen_socks(host, port, login))

    @abstractmethod
    async def _open_stream(self, target: AnyTarget) -> StreamTransport:
        """A stream; waits for a tube where there is none now."""

    @abstractmethod
    async def _listening(self, listen: Callable[[LocalPorts], Awaitable[ServerT]]) -> ServerT:
        """Listen, where that may be now."""
