"""The user of one stream in a test: writes as fast as the stream takes it, keeps what it hears."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager
    from perdure.tube import StreamSink
    from perdure.wire import ResetCode

TIMEOUT = 20.0
"""Seconds that anything in a test may take; far above what it does take, so that a hang is a failure."""

CHUNK_BYTES = 16 * 1024


class Recorder:
    """Consumes what it hears unless told not to."""

    def __init__(self, manager: TunnelConnectionManager, stream_id: int = 0) -> None:
        self.manager = manager
        self.stream_id = stream_id
        self.data = bytearray()
        self.consumes = True
        self.finished = asyncio.Event()
        self.accepted = asyncio.Event()
        self.writable = asyncio.Event()
        self.reset: asyncio.Future[ResetCode] = asyncio.get_running_loop().create_future()
        self._grown = asyncio.Event()

    @classmethod
    def open(cls, manager: TunnelConnectionManager, target: bytes = b"target") -> Recorder:
        """The user of a new stream of `manager`."""
        recorder = cls(manager)
        recorder.stream_id = manager.streams.open_stream(target, recorder)
        return recorder

    def write(self, data: bytes) -> bool:
        return self.manager.streams.write(self.stream_id, data)

    async def send(self, data: bytes) -> None:
        """Write all of `data`, waiting where the stream has no room."""
        for start in range(0, len(data), CHUNK_BYTES):
            self.writable.clear()
            if not self.write(data[start : start + CHUNK_BYTES]):
                async with asyncio.timeout(TIMEOUT):
                    await self.writable.wait()

    async def received(self, count: int) -> bytes:
        """Wait until `count` bytes have come; all that have."""
        async with asyncio.timeout(TIMEOUT):
            while len(self.data) < count:
                self._grown.clear()
                await self._grown.wait()
        return bytes(self.data)

    def stream_accepted(self) -> None:
        self.accepted.set()

    def stream_data(self, data: memoryview) -> None:
        assert not self.finished.is_set()
        self.data += data
        self._grown.set()
        if self.consumes:
            self.manager.streams.consume(self.stream_id, len(data))

    def stream_finished(self) -> None:
        self.finished.set()

    def stream_reset(self, code: ResetCode) -> None:
        self.reset.set_result(code)

    def stream_writable(self) -> None:
        self.writable.set()


class Echo(Recorder):
    """Sends back what comes, as it comes."""

    def stream_data(self, data: memoryview) -> None:
        super().stream_data(data)
        self.write(bytes(data))

    def stream_finished(self) -> None:
        super().stream_finished()
        self.manager.streams.finish(self.stream_id)


def accept_echo(manager: TunnelConnectionManager, stream_id: int, target: bytes) -> StreamSink | None:
    """An `on_stream` that echoes every stream, but for the target `refused`."""
    if target == b"refused":
        return None
    manager.streams.accept(stream_id)
    return Echo(manager, stream_id)
