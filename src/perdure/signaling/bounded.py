"""WebSocket connections whose peer can neither hold up the event loop, nor make what waits to be written grow.

`websockets` answers pings whether or not the peer reads the answers, writes each by itself, and reads as many in one
turn of the loop as have come. Here

1. small writes are joined, and a connection is aborted when more than `MAX_UNWRITTEN_BYTES` wait;
2. what has come is read in portions (`read_turns`);
3. a connection is aborted that brings more frames without a message than `EMPTY_FRAMES_PER_SECOND`: pings, pongs that
   nobody asked for, and short fragments.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, cast

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.connection import Connection
from websockets.asyncio.server import ServerConnection
from websockets.frames import Frame, Opcode

from perdure.eventlog import log_event
from perdure.signaling.rate import TokenBucket
from perdure.signaling.read_turns import ReadTurns

if TYPE_CHECKING:
    from websockets.protocol import Event

    from perdure.signaling.gate import Gate

MAX_UNWRITTEN_BYTES = 2 * 1024 * 1024
"""As much as the rendezvous holds for one connection (`RendezvousLimits.max_outgoing_bytes`)."""

JOINED_BYTES = 64 * 1024
"""Written at once when so much waits."""

EMPTY_FRAMES_PER_SECOND = 32.0
EMPTY_FRAMES_AT_ONCE = 256
"""A peer pings each 5 s, and ten times a second while it doubts its path (`replacement.SHORTEST_DOUBT_INTERVAL`). The
rendezvous pings each 20 s. So many at once cost some 4 ms."""

SHORT_FRAGMENT_BYTES = 256
"""A library that sends a long message in fragments fills each but the last: with 4 KiB in Go, 16 KiB in Node."""

_logger = logging.getLogger("perdure.signaling")


class _JoinedWrites:
    """A transport that writes once a turn of the event loop. `reads` hands on what it reads."""

    def __init__(self, transport: asyncio.Transport, reads: ReadTurns) -> None:
        self._transport = transport
        self.pause_reading = reads.pause
        self.resume_reading = reads.resume
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


class _BoundedConnection(Connection):
    """Either end's."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        read = cast(asyncio.Transport, transport)
        self._reads = ReadTurns(read, self._parse)
        self._frames = 0
        """Since the last bytes were taken."""
        self._empty_frames = TokenBucket(EMPTY_FRAMES_PER_SECOND, EMPTY_FRAMES_AT_ONCE, now=self.loop.time())
        super().connection_made(cast(asyncio.BaseTransport, _JoinedWrites(read, self._reads)))

    def data_received(self, data: bytes) -> None:
        self._reads.add(data)

    def eof_received(self) -> None:
        self._reads.end()  # nothing waits, but behind TLS: a peer that ends so has not waited for an answer
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._reads.end()
        super().connection_lost(exc)

    def process_event(self, event: Event) -> None:
        self._frames += 1
        if isinstance(event, Frame) and self._is_empty(event) and not self._empty_frames.take(self.loop.time()):
            self._break_off()
        super().process_event(event)

    def _parse(self, data: bytes) -> int:
        self._frames = 0
        super().data_received(data)
        return self._frames

    def _is_empty(self, frame: Frame) -> bool:
        """Whether it says nothing, or next to nothing, of a message."""
        if frame.opcode is Opcode.PONG:
            return bytes(frame.data) not in self.pending_pings
        return frame.opcode is Opcode.PING or (not frame.fin and len(frame.data) < SHORT_FRAGMENT_BYTES)

    def _break_off(self) -> None:
        if not self.transport.is_closing():
            log_event(_logger, logging.WARNING, "empty-frames-closed", most_a_second=EMPTY_FRAMES_PER_SECOND)
        self._reads.end()
        self.transport.abort()


class BoundedServerConnection(_BoundedConnection, ServerConnection):
    """The rendezvous' end of a connection, which `gate` takes or not before anything is read."""

    gate: Gate[BoundedServerConnection]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
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


class BoundedClientConnection(_BoundedConnection, ClientConnection):
    """A peer's end of a connection."""


class connect_directly(connect):
    """`connect` with such a connection; a redirect is an error, as a rendezvous may send its peers nowhere."""

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, create_connection=BoundedClientConnection, **options)

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
