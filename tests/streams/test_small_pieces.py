"""Bytes that come one by one cost a reader that is slow no more than their bytes."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any
from unittest.mock import Mock

import pytest

from perdure.streams.relay import Relay
from perdure.streams.target import Target
from perdure.streams.tcp import MAX_PIECES, WRITE_HIGH_BYTES, TcpConnections, TcpRelay
from perdure.streams.transport import StreamTransport


class Reader(asyncio.Protocol):
    def __init__(self) -> None:
        self.read: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        self.read.append(data)


async def test_what_waits_for_a_reader_that_pauses_is_kept_and_handed_over_as_one() -> None:
    stream = StreamTransport(Mock(), 1, Target("host", 22), is_ours=False)
    stream.pause_reading()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for _ in range(50_000):
        stream.data_came(memoryview(b"x"))
    held = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert held < 4 * 50_000
    reader = Reader()
    stream.start(reader)
    stream.resume_reading()
    await asyncio.sleep(0)
    assert reader.read == [b"x" * 50_000]


@pytest.mark.parametrize("is_buffered", [False, True])
async def test_a_reader_that_closes_with_the_last_byte_has_read_everything(is_buffered: bool) -> None:
    streams = Mock()
    stream = StreamTransport(streams, 1, Target("host", 22), is_ours=False)
    stream.pause_reading()
    stream.data_came(memoryview(b"the whole answer"))
    stream.start(BufferedReader(stream) if is_buffered else Closing(stream))
    stream.resume_reading()
    await asyncio.sleep(0)
    streams.close.assert_called_once_with(stream, unread=False, is_heard_out=False)


class Closing(asyncio.Protocol):
    def __init__(self, stream: StreamTransport) -> None:
        self._stream = stream

    def data_received(self, data: bytes) -> None:
        assert data == b"the whole answer"
        self._stream.close()


class BufferedReader(asyncio.BufferedProtocol):
    def __init__(self, stream: StreamTransport) -> None:
        self._stream = stream

    def get_buffer(self, size: int) -> bytearray:
        return bytearray(100)

    def buffer_updated(self, count: int) -> None:
        self._stream.close()


class SlowSocket:
    """A TCP connection's transport whose reader takes nothing: each write is another object that waits."""

    def __init__(self, relay: TcpRelay) -> None:
        self._relay = relay
        self._high = 0
        self._is_paused = False
        self.waiting: list[bytes] = []

    def get_extra_info(self, name: str) -> None:
        """It has no address."""

    def set_write_buffer_limits(self, high: int) -> None:
        self._high = high
        self._look()

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.waiting))

    def write(self, data: bytes) -> None:
        self.waiting.append(data)
        self._look()

    def drain(self) -> None:
        self.waiting.clear()
        self._is_paused = False
        self._relay.resume_writing()

    def _look(self) -> None:
        if self.get_write_buffer_size() > self._high and not self._is_paused:
            self._is_paused = True
            self._relay.pause_writing()


def test_few_pieces_wait_for_a_socket_whose_reader_takes_nothing() -> None:
    stream, tcp_side, stream_side = Mock(), TcpRelay(TcpConnections(), "tube"), Relay()
    tcp_side.join(stream_side)
    stream_side.connection_made(stream)
    slow: Any = SlowSocket(tcp_side)
    tcp_side.connection_made(slow)
    stream.pause_reading.reset_mock()
    for _ in range(MAX_PIECES):
        assert not stream.pause_reading.called
        stream_side.data_received(b"x")
    stream.pause_reading.assert_called()
    assert len(slow.waiting) == MAX_PIECES
    slow.drain()
    stream.resume_reading.assert_called()
    stream.pause_reading.reset_mock()
    stream_side.data_received(bytes(WRITE_HIGH_BYTES))
    assert not stream.pause_reading.called, "long pieces wait as before"
