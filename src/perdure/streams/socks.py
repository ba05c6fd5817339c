"""A local connection of a SOCKS5 client: asked for its target, opened as a stream to it, and then joined with that."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from perdure.eventlog import log_event
from perdure.streams.socks5 import REPLIES, Socks5Error, Socks5Handshake, Socks5Reply
from perdure.streams.tcp import join

if TYPE_CHECKING:
    from perdure.streams.socks5 import ProxyLogin
    from perdure.streams.target import AnyTarget
    from perdure.streams.tcp import TcpConnections, TcpRelay
    from perdure.streams.transport import StreamTransport

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT = 10.0
"""Seconds to name a target: programs do it at once, and a connection without one holds a descriptor."""

MAX_EARLY_BYTES = 64 * 1024
"""Bytes that a client may send before it is answered; then it is not read. A TLS hello has some hundred."""


class SocksConnection(asyncio.Protocol):
    """The protocol of the local connection until its target has accepted; then `local` is.

    Args:
        local: the local connection's side of a relay, which has a place.
        open_stream: opens a stream now; raises where none can be had.
        on_lost: hears of the stream's end.
    """

    def __init__(
        self,
        local: TcpRelay,
        connections: TcpConnections,
        login: ProxyLogin | None,
        open_stream: Callable[[AnyTarget], StreamTransport],
        on_lost: Callable[[StreamTransport], None],
    ) -> None:
        self._local = local
        self._connections = connections
        self._open_stream = open_stream
        self._on_lost = on_lost
        self._handshake = Socks5Handshake(login)
        self._early = bytearray()
        """What came behind the request."""
        self._tcp: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._opening: asyncio.Task[None] | None = None

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._tcp = cast(asyncio.Transport, transport)
        self._connections.add(self._tcp)
        self._timer = asyncio.get_running_loop().call_later(HANDSHAKE_TIMEOUT, self._is_late)

    def data_received(self, data: bytes) -> None:
        if self._opening is not None:
            self._keep(data)
            return
        try:
            answer = self._handshake.receive(data)
        except Socks5Error as error:
            self._refuse(error.answer, str(error))
            return
        self._tcp.write(answer)
        if (target := self._handshake.target) is not None:
            self._stop_timer()
            self._keep(self._handshake.rest)
            self._opening = asyncio.get_running_loop().create_task(self._open(target))

    def eof_received(self) -> bool:
        return False  # the program has gone: one that waits for its target has nothing to end yet

    def connection_lost(self, error: Exception | None) -> None:
        self._stop_timer()
        if self._opening is not None:
            self._opening.cancel()
        self._connections.discard(self._tcp)
        self._local.leave()

    # Its parts.

    def _keep(self, data: bytes) -> None:
        self._early += data
        if len(self._early) >= MAX_EARLY_BYTES:
            self._tcp.pause_reading()

    async def _open(self, target: AnyTarget) -> None:
        try:
            stream = self._open_stream(target)
        except Exception as error:
            self._refuse(Socks5Reply.NETWORK_UNREACHABLE.encode(), str(error), target)
            return
        try:
            await stream.wait_accepted()
        except asyncio.CancelledError:
            stream.abort()
            raise
        except Exception:
            self._on_lost(stream)
            code = stream.reset_code
            self._end_with((Socks5Reply.GENERAL_FAILURE if code is None else REPLIES[code]).encode())
            return
        self._join(stream)

    def _join(self, stream: StreamTransport) -> None:
        """The target has accepted: from here on the connection's bytes are the stream's."""
        self._tcp.write(Socks5Reply.SUCCEEDED.encode())
        join(stream, self._local, lambda error: self._on_lost(stream))
        self._tcp.set_protocol(self._local)
        self._tcp.resume_reading()
        self._local.connection_made(self._tcp)
        if self._early:
            self._local.data_received(bytes(self._early))

    def _refuse(self, answer: bytes, why: str, target: AnyTarget | None = None) -> None:
        about = {} if target is None else {"target": str(target)}
        log_event(log, logging.WARNING, "connection-refused", **about, why=why)
        self._end_with(answer)

    def _end_with(self, answer: bytes) -> None:
        self._tcp.write(answer)
        self._tcp.close()

    def _is_late(self) -> None:
        self._refuse(b"", f"it named no target within {HANDSHAKE_TIMEOUT:g} s")

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
