"""Connections through a tube with asyncio's own signatures: readers and writers, protocols, TLS."""

from __future__ import annotations

import asyncio
import ssl as ssl_module
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar, cast

from perdure.streams.buffered import fill
from perdure.streams.stream_loop import start_tls, stream_loop
from perdure.streams.target import Target

if TYPE_CHECKING:
    from perdure.streams.target import AnyTarget
    from perdure.streams.transport import StreamTransport

ProtocolT = TypeVar("ProtocolT", bound=asyncio.BaseProtocol)
OpenStream = Callable[["AnyTarget"], Awaitable["StreamTransport"]]
"""Opens a stream, waiting for a tube where there is none now."""


async def connect(open_stream: OpenStream, target: AnyTarget) -> StreamTransport:
    """A stream to `target` that the other end has accepted, without a protocol yet.

    Cancelling this gives the stream up.
    """
    stream = await open_stream(target)
    try:
        await stream.wait_accepted()
    except BaseException:
        stream.abort()
        raise
    return stream


async def open_connection(
    open_stream: OpenStream,
    target: AnyTarget,
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
        target,
        ssl=ssl,
        server_hostname=server_hostname,
    )
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def create_connection(
    open_stream: OpenStream,
    protocol_factory: Callable[[], ProtocolT],
    target: AnyTarget,
    *,
    ssl: bool | ssl_module.SSLContext | None,
    server_hostname: str | None,
) -> tuple[asyncio.Transport, ProtocolT]:
    """As `loop.create_connection`."""
    if server_hostname is not None and not ssl:
        raise ValueError("server_hostname goes with ssl")
    if server_hostname is None and isinstance(target, Target):
        server_hostname = target.host
    if ssl and server_hostname is None:
        raise ValueError("ssl over a unix socket needs server_hostname")
    stream = await connect(open_stream, target)
    try:
        protocol = protocol_factory()
        if not ssl:
            stream.start(protocol)
            return stream, protocol
        context = ssl_module.create_default_context() if ssl is True else ssl
        return await _start_tls(stream, protocol, context, server_hostname or None)
    except BaseException:
        stream.abort()
        raise


async def _start_tls(
    stream: StreamTransport, protocol: ProtocolT, context: ssl_module.SSLContext, server_hostname: str | None
) -> tuple[asyncio.Transport, ProtocolT]:
    gap = _Gap()
    stream.start(gap)
    transport = await start_tls(stream, gap, context, server_hostname=server_hostname)
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
