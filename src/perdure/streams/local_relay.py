"""The side of a relay that a program on this machine has: it may go before its connection was taken at the other end.

1. A program that has gone before it wrote anything is not connected any more. A herd of them gathers where the network
   is away for an hour, and all would be dialled when it is back.
2. What one wrote before is still delivered for a while, as the system's TCP does for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.streams.local_programs import has_gone
from perdure.streams.tcp import TcpRelay

if TYPE_CHECKING:
    from perdure.streams.tcp import TcpConnections
    from perdure.streams.transport import StreamTransport

LOOK_INTERVAL = 1.0
"""Seconds between two looks whether a program is still there that writes no more: each costs some 25 µs."""

ORPHAN_TIMEOUT = 60.0
"""Seconds for which the bytes of a program that has gone wait for the other end. Linux' TCP tries for some 100
(tcp_orphan_retries: 8)."""


class LocalRelay(TcpRelay):
    """The TCP side of a local program's connection, which `stream` carries."""

    __slots__ = ("_gone_at", "_stream")

    def __init__(self, connections: TcpConnections, owner: str) -> None:
        super().__init__(connections, owner)
        self._stream: StreamTransport | None = None
        self._gone_at: float | None = None
        """When the program was first seen to have gone."""

    def carried_by(self, stream: StreamTransport) -> None:
        """Before its connection is made."""
        self._stream = stream

    def eof_received(self) -> bool:
        self._look_later()
        return super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        stream, self._stream = self._stream, None
        if error is not None and stream is not None and not stream.is_accepted:
            stream.abort()  # a program that broke off wants nothing delivered
        super().connection_lost(error)

    def _look_later(self) -> None:
        if self._stream is not None and not self._stream.is_accepted:
            asyncio.get_running_loop().call_later(LOOK_INTERVAL, self._look)

    def _look(self) -> None:
        stream, tcp = self._stream, self.transport
        if stream is None or tcp is None or stream.is_accepted:
            return
        own, program = tcp.get_extra_info("sockname"), tcp.get_extra_info("peername")
        if isinstance(own, tuple) and has_gone(own[:2], program[:2]):
            now = asyncio.get_running_loop().time()
            self._gone_at = now if self._gone_at is None else self._gone_at
            if not stream.get_write_buffer_size() or now - self._gone_at >= ORPHAN_TIMEOUT:
                stream.abort()
                tcp.abort()
                return
        self._look_later()
