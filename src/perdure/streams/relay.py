"""Joins two connections, such as a TCP connection and a stream: bytes, half-close and resets, both ways.

1. Each side is an asyncio transport with a `Relay` as its protocol, so what one reads the other writes.
2. A side whose write buffer is full pauses the other's reading.
3. An end of one side follows what was read from it: EOF becomes `write_eof`, a loss becomes a reset behind the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import cast

from perdure.streams.tcp_socket import read_the_rest, reset_tcp
from perdure.streams.transport import StreamTransport


class Relay(asyncio.Protocol):
    """The protocol of one side. Join two with `join`, and give each its transport.

    Args:
        on_lost: told when this side's connection is lost, with the error where there is one.
    """

    __slots__ = ("_has_ended", "_is_lost", "_on_lost", "_other", "transport")

    def __init__(self, on_lost: Callable[[Exception | None], None] | None = None) -> None:
        self.transport: asyncio.Transport | None = None
        self._other: Relay
        self._has_ended = False
        """Whether this side sends no more."""
        self._is_lost = False
        self._on_lost = on_lost

    def join(self, other: Relay) -> None:
        """Before either has its transport."""
        self._other, other._other = other, self

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if (other := self._other.transport) is None:
            self.transport.pause_reading()  # until there is somebody to read for
        elif self._other._is_lost:
            _reset(self.transport)
        else:
            other.resume_reading()

    def data_received(self, data: bytes) -> None:
        self._other.take(data)

    def take(self, data: bytes) -> None:
        """Write what the other side has read."""
        if self.transport is not None:
            self.transport.write(data)

    def eof_received(self) -> bool:
        self._has_ended = True
        other = self._other.transport
        if other is not None and not other.is_closing():
            with contextlib.suppress(OSError):
                other.write_eof()
        if self._other._has_ended:
            for side in (self.transport, other):
                if side is not None:
                    side.close()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        if self._on_lost is not None:
            self._on_lost(error)
        if self._other._is_lost:
            del self._other._other, self._other  # nothing follows; so no cycle waits for the collector
            return
        other = self._other.transport
        if other is None or (self._has_ended and self._other._has_ended):
            return
        if error is not None and not self._has_ended and self.transport is not None:
            for data in read_the_rest(self.transport):
                other.write(data)
        _reset(other)

    def pause_writing(self) -> None:
        if (other := self._other.transport) is not None:
            other.pause_reading()

    def resume_writing(self) -> None:
        if (other := self._other.transport) is not None:
            other.resume_reading()


def _reset(transport: asyncio.Transport) -> None:
    """End a connection by a reset, behind what was written to it."""
    if isinstance(transport, StreamTransport):
        transport.reset()
    else:
        reset_tcp(transport)
