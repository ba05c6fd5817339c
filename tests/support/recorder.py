"""The user of one stream in a test: writes as fast as the stream takes it, keeps what it hears."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from perdure.streams.target import Target
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.manager import TunnelConnectionManager
    from perdure.streams.transport import StreamTransport

TIMEOUT = 20.0
"""Seconds that anything in a test may take; far above what it does take, so that a hang is a failure."""

CHUNK_BYTES = 16 * 1024

TARGET = Target("target", 1)

REFUSED = Target("refused", 1)
"""What `accept_echo` refuses."""


class Recorder(asyncio.Protocol):
    """Reads what it hears, unless its transport is paused."""

    def __init__(self) -> None:
        self.transport: StreamTransport
        self.data = bytearray()
        self.finished = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.reset: asyncio.Future[ResetCode] = asyncio.get_running_loop().create_future()
        """Why it was lost before its time."""
        self._grown = asyncio.Event()

    @classmethod
    def open(cls, manager: TunnelConnectionManager, target: Target = TARGET) -> Recorder:
        """The user of a new stream of `manager`."""
        recorder = cls()
        manager.tube.open_stream(target).start(recorder)
        return recorder

    @property
    def stream_id(self) -> int:
        return self.transport.stream_id

    @property
    def has_room(self) -> bool:
        """Whether more may be written now."""
        return self.writable.is_set()

    def write(self, data: bytes) -> None:
        self.transport.write(data)

    def finish(self) -> None:
        self.transport.write_eof()

    async def accepted(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await self.transport.wait_accepted()

    async def send(self, data: bytes) -> None:
        """Write all of `data`, waiting where the stream has no room."""
        for start in range(0, len(data), CHUNK_BYTES):
            self.write(data[start : start + CHUNK_BYTES])
            async with asyncio.timeout(TIMEOUT):
                await self.writable.wait()

    async def received(self, count: int) -> bytes:
        """Wait until `count` bytes have come; all that have."""
        async with asyncio.timeout(TIMEOUT):
            while len(self.data) < count:
                self._grown.clear()
                await self._grown.wait()
        return bytes(self.data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("StreamTransport", transport)

    def data_received(self, data: bytes) -> None:
        assert not self.finished.is_set()
        self.data += data
        self._grown.set()

    def eof_received(self) -> bool:
        self.finished.set()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        if (code := self.transport.reset_code) is not None:
            assert error is not None or self.finished.is_set()
            self.reset.set_result(code)

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class Echo(Recorder):
    """Sends back what comes, as it comes."""

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.write(data)

    def eof_received(self) -> bool:
        super().eof_received()
        self.finish()
        return True


def accept_echo(stream: StreamTransport) -> None:
    """An `Incoming` that echoes every stream, but for the target `REFUSED`."""
    if stream.target == REFUSED:
        stream.refuse(ResetCode.NOT_ALLOWED)
        return
    stream.start(Echo())
    stream.accept()
