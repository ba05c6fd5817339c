"""Local ports and unix sockets, whose connections come out at the other end: at one target, or at any by SOCKS5."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from perdure.errors import PerdureError
from perdure.eventlog import log_event
from perdure.streams import listening, tcp
from perdure.streams.local_relay import LocalRelay
from perdure.streams.outcomes import REASONS
from perdure.streams.socks import SocksConnection
from perdure.streams.target import check_bind, check_socket_path, check_target, unix_socket
from perdure.wire import ResetCode

if TYPE_CHECKING:
    import asyncio

    from perdure.streams.socks5 import ProxyLogin
    from perdure.streams.target import AnyTarget
    from perdure.streams.transport import StreamTransport

log = logging.getLogger(__name__)


class LocalPorts:
    """Those of one tunnel.

    Args:
        open_stream: opens a stream now; raises where none can be had.
        tcp_connections: whose places the connections take, as `owner`.
        on_lost: hears why a stream ended before its time.
    """

    def __init__(
        self,
        open_stream: Callable[[AnyTarget], StreamTransport],
        tcp_connections: tcp.TcpConnections,
        owner: str = "",
        on_lost: Callable[[AnyTarget, ResetCode], None] = lambda target, code: None,
    ) -> None:
        self._open_stream = open_stream
        self._connections = tcp_connections
        self._owner = owner
        self._on_lost = on_lost

    async def listen(self, host: str, port: int, to: tuple[str, int] | str) -> asyncio.Server:
        """A port whose connections become streams to `to`. Raises as `Tunnel.listen`."""
        check_bind(host, port)
        target = _target(to)
        return await listening.listen(host, port, lambda: self._accept(target))

    async def listen_unix(self, path: str, to: tuple[str, int] | str) -> asyncio.AbstractServer:
        """The same of a unix socket. Raises as `Tunnel.listen_unix`."""
        check_socket_path(path)
        target = _target(to)
        return await listening.listen_unix(path, lambda: self._accept(target))

    async def listen_socks(self, host: str, port: int, login: ProxyLogin | None) -> asyncio.Server:
        """A SOCKS5 proxy. Raises as `Tunnel.listen_socks`."""
        check_bind(host, port)
        return await listening.listen(host, port, lambda: self._accept_socks(login))

    def _accept(self, target: AnyTarget) -> asyncio.Protocol:
        if (local := self._local_side(str(target))) is None:
            return tcp.RefusedConnection()
        try:
            stream = self._open_stream(target)
        except BaseException as error:
            local.leave()
            if not isinstance(error, RuntimeError | ConnectionRefusedError | PerdureError):
                raise
            log_event(log, logging.WARNING, "connection-refused", target=str(target), why=str(error))
            return tcp.RefusedConnection()
        local.carried_by(stream)
        tcp.join(stream, local, lambda error: self._ended(stream))
        return local

    def _accept_socks(self, login: ProxyLogin | None) -> asyncio.Protocol:
        if (local := self._local_side("a SOCKS5 client's")) is None:
            return tcp.RefusedConnection()
        return SocksConnection(local, self._connections, login, self._open_stream, self._ended)

    def _local_side(self, target: str) -> LocalRelay | None:
        """For a connection that has come, where there is a place for it."""
        if self._connections.places.take(self._owner):
            return LocalRelay(self._connections, self._owner)
        why = "as many connections are open as this process' limit of descriptors allows"
        log_event(log, logging.WARNING, "connection-refused", target=target, why=why)
        return None

    def _ended(self, stream: StreamTransport) -> None:
        code = stream.reset_code
        if code is not None and code is not ResetCode.ABORTED:
            log_event(log, logging.WARNING, "stream-ended", target=str(stream.target), why=REASONS[code])
            self._on_lost(stream.target, code)


def _target(to: tuple[str, int] | str) -> AnyTarget:
    if isinstance(to, str):
        return unix_socket(to)
    try:
        host, port = to
    except (TypeError, ValueError):
        raise TypeError(f"to is a pair, (host, port), or the path of a unix socket, not {to!r}") from None
    return check_target(host, port)
