"""Connections through a tube with asyncio's own signatures: readers and writers, protocols, TLS, and local ports."""

from __future__ import annotations

import asyncio
import logging
import ssl as ssl_module
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.errors import PerdureError
from perdure.eventlog import log_event
from perdure.streams import tcp
from perdure.streams.buffered import fill
from perdure.streams.outcomes import REASONS
from perdure.streams.stream_loop import start_tls, stream_loop
from perdure.streams.target import check_bind, check_target
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.streams.target import Target
    from perdure.streams.transport import StreamTransport

log = logging.getLogger(__name__)

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
OpenStream = Callable[["Target"], Awaitable["StreamTransport"]]
"""Opens a stream, waiting for a tube where there is none now."""


async def connect(open_stream: OpenStream, host: str, port: int) -> StreamTransport:
    """A stream to `host:port` that the other end has accepted, without a protocol yet.

    Cancelling this gives the stream up.
    """
    stream = await open_stream(check_target(host, port))
    try:
        await stream.wait_accepted()
    except BaseException:
        stream.abort()
        raise
    return stream


async def open_connection(
    open_stream: OpenStream,
    host: str,
    port: int,
    *,
    ssl: bool | ssl_module.SSLContext | None,
    server_hostname: str | None,
    limit: int,
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """As `asyncio.open_connection`."""
    reader = asyncio.StreamReader(limit=limit, loop=asyncio.get_running_loop())
    loop = stream_loop()
    transport, protocol = await create_connection(
        open_stream,
        lambda: asyncio.StreamReaderProtocol(reader, loop=loop),
        host,
        port,
        ssl=ssl,
        server_hostname=server_hostname,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_connection(
    open_stream: OpenStream,
    protocol_factory: Callable[[], ProtocolT],
    host: str,
    port: int,
    *,
    ssl: bool | ssl_module.SSLContext | None,
    server_hostname: str | None,
) -> tuple[asyncio.Transport, ProtocolT]:
    """As `loop.create_connection`."""
    if server_hostname is not None and not ssl:
        raise ValueError("server_hostname goes with ssl")
    stream = await connect(open_stream, host, port)
    try:
        protocol = protocol_factory()
        if not ssl:
            stream.start(protocol)
            return stream, protocol
        context = ssl_module.create_default_context() if ssl is True else ssl
        return await _start_tls(stream, protocol, context, host if server_hostname is None else server_hostname)
    except BaseException:
        stream.abort()
        raise


async def listen(
    open_stream: Callable[[Target], StreamTransport],
    host: str,
    port: int,
    *,
    to: tuple[str, int],
    tcp_connections: tcp.TcpConnections,
    owner: str = "",
    on_lost: Callable[[Target, ResetCode], None] = lambda target, code: None,
) -> asyncio.Server:
    """A local port, whose connections become streams to `to`, and take places of `owner`; `on_lost` hears why one ended
    before its time."""
    check_bind(host, port)
    try:
        to_host, to_port = to
    except (TypeError, ValueError):
        raise TypeError(f"to is a pair, (host, port), not {to!r}") from None
    target = check_target(to_host, to_port)

    def accept() -> asyncio.Protocol:
        if not tcp_connections.places.take(owner):
            why = "as many connections are open as this process' limit of descriptors allows"
            log_event(log, logging.WARNING, "connection-refused", target=str(target), why=why)
            return tcp.RefusedConnection()
        try:
            stream = open_stream(target)
        except BaseException as error:
            tcp_connections.places.give_back(owner)
            if not isinstance(error, RuntimeError | ConnectionRefusedError | PerdureError):
                raise
            log_event(log, logging.WARNING, "connection-refused", target=str(target), why=str(error))
            return tcp.RefusedConnection()

        def lost(error: Exception | None) -> None:
            code = stream.reset_code
            if code is not None and code is not ResetCode.ABORTED:
                log_event(log, logging.WARNING, "stream-ended", target=str(target), why=REASONS[code])
                on_lost(target, code)

        return tcp.forward_connection(stream, lost, tcp_connections, owner)

    return await tcp.listen(host, port, accept)


async def _start_tls(
    stream: StreamTransport, protocol: ProtocolT, context: ssl_module.SSLContext, server_hostname: str
) -> tuple[asyncio.Transport, ProtocolT]:
    gap = _Gap()
    stream.start(gap)
    transport = await start_tls(stream, gap, context, server_hostname=server_hostname or None)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    gap.hand_over(protocol)
    return transport, protocol


class _Gap(asyncio.Protocol):
    """Keeps what comes between the end of the handshake and the moment at which the protocol has its transport."""

    def __init__(self) -> None:
        self._data: list[bytes] = []
        self._has_ended = False
        self._loss: tuple[Exception | None] | None = None

    def data_received(self, data: bytes) -> None:
        self._data.append(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._loss = (error,)

    def hand_over(self, protocol: asyncio.BaseProtocol) -> None:
        for data in self._data:
            if isinstance(protocol, asyncio.BufferedProtocol):
                fill(protocol, memoryview(data))
            else:
                cast(asyncio.Protocol, protocol).data_received(data)
        if self._has_ended:
            cast(asyncio.Protocol, protocol).eof_received()
        if self._loss is not None:
            protocol.connection_lost(self._loss[0])
