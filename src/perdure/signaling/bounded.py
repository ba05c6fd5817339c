"""WebSocket connections whose peer cannot make what waits to be written grow without end.

`websockets` answers pings whether or not the peer reads the answers, and writes each by itself. Here small writes are
joined, and a connection is aborted when more than `MAX_UNWRITTEN_BYTES` wait.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection

from perdure.eventlog import log_event

if TYPE_CHECKING:
    from perdure.signaling.gate import Gate

MAX_UNWRITTEN_BYTES = 2 * 1024 * 1024
"""As much as the rendezvous holds for one connection (`RendezvousLimits.max_outgoing_bytes`)."""

JOINED_BYTES = 64 * 1024
"""Written at once when so much waits."""

_logger = logging.getLogger("perdure.signaling")


class _JoinedWrites:
    """A transport that writes once a turn of the event loop."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._is_finished = False
        """Whether the end was written: what comes behind it is dropped, as the connection is ending."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._flush)
        self._waiting.append(bytes(data))
        self._waiting_bytes += len(data)
        if self._waiting_bytes >= JOINED_BYTES:
            self._flush()  # so that the writer hears of it where the peer does not read

    def write_eof(self) -> None:
        self._flush()
        self._is_finished = True
        self._transport.write_eof()

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._flush()  # as without this class, the system has what was written before
        self._transport.abort()

    def _flush(self) -> None:
        if self._waiting and not self._is_finished and not self._transport.is_closing():
            self._transport.write(b"".join(self._waiting))
            if self._transport.get_write_buffer_size() > MAX_UNWRITTEN_BYTES:
                self._break_off()
        self._waiting.clear()
        self._waiting_bytes = 0

    def _break_off(self) -> None:
        log_event(_logger, logging.WARNING, "slow-peer-closed", unwritten=self._transport.get_write_buffer_size())
        self._waiting.clear()
        self._waiting_bytes = 0
        self._transport.abort()


class BoundedServerConnection(ServerConnection):
    """The rendezvous' end of a connection, which `gate` takes or not before anything is read."""

    gate: Gate[BoundedServerConnection]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.BaseTransport, _JoinedWrites(cast(asyncio.Transport, transport))))
        peer = transport.get_extra_info("peername")
        gone = self.gate.take(self, peer[0] if isinstance(peer, tuple) else None)
        if gone is not None:
            gone.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.gate.left(self)
        super().connection_lost(exc)


def gated_by(gate: Gate[BoundedServerConnection]) -> type[BoundedServerConnection]:
    """The class of the connections of one rendezvous."""
    return type("GatedConnection", (BoundedServerConnection,), {"gate": gate})


class BoundedClientConnection(ClientConnection):
    """A peer's end of a connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.BaseTransport, _JoinedWrites(cast(asyncio.Transport, transport))))


class connect_directly(connect):
    """`connect` with such a connection; a redirect is an error, as a rendezvous may send its peers nowhere."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, create_connection=BoundedClientConnection, **options)

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
