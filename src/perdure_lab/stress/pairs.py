"""Tubes with both ends in this process, each in a registry of its own, joined by queues as an application would."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure import PeerError, TransportConfig, TubeRegistry
from perdure_lab.lab.position import coded
from perdure_lab.stress.echoes import echo
from perdure_lab.stress.holdings import at_rest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType
    from typing import Self

    from perdure import StreamHandler, Tunnel, TunnelConnectionManager
    from perdure_lab.stress.holdings import Holdings

CONNECT_TIMEOUT = 60.0
"""Seconds for a tube on a machine that is busy with many others."""

BLOCK_BYTES = 16 * 1024

ANY_PORT = 7
"""Of a stream that a handler takes, which does not ask where it leads."""

ECHO_TIMEOUT = 60.0
"""Seconds without a byte after which an echo counts as lost: a rebuild takes well under a second."""


class WrongBytesError(Exception):
    """What came back is not what was sent."""


class MissingBytesError(Exception):
    """Less came back than was sent, or more."""


@dataclass(frozen=True, slots=True)
class Pair:
    """One tube: the end that opens streams, and the end that echoes them."""

    here: TunnelConnectionManager
    there: TunnelConnectionManager

    async def close(self) -> None:
        await asyncio.gather(self.here.shutdown(), self.there.shutdown())


class Pairs:
    """Two registries; a context manager. The streams that `here` opens are taken by `there`, with `handler`."""

    def __init__(self, handler: StreamHandler = echo) -> None:
        loopback = TransportConfig(loopback=True)
        self.here = TubeRegistry(transport=loopback)
        self.there = TubeRegistry(transport=loopback, handler=handler)
        self._signaling: set[asyncio.Task[None]] = set()

    async def connect(self, tube_id: str) -> Pair:
        """A tube, connected; where that fails or is cancelled, neither end is left.

        Raises:
            PeerError: it ended instead.
            TimeoutError: it did not connect in time.
            RuntimeError: a registry takes no more.
        """
        here = self.here.create_tube(tube_id)
        try:
            there = self.there.create_tube(tube_id, initiator=False)
        except BaseException:
            await here.shutdown()
            raise
        pair = Pair(here, there)
        to_there: asyncio.Queue[str] = asyncio.Queue()
        to_here: asyncio.Queue[str] = asyncio.Queue()
        for manager, out, into in ((here, to_there, to_here), (there, to_here, to_there)):
            task = asyncio.ensure_future(_signal(manager, out, into))
            self._signaling.add(task)
            task.add_done_callback(self._signaling.discard)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                await asyncio.gather(here.wait_connected(), there.wait_connected())
        except BaseException:
            await pair.close()
            raise
        return pair

    async def __aenter__(self) -> Self:
        await self.here.__aenter__()
        await self.there.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(self.here.close(), self.there.close())
        for task in list(self._signaling):
            task.cancel()
        await asyncio.gather(*self._signaling, return_exceptions=True)


async def warmed_up() -> Holdings:
    """Use a tube once, so that what is made once and kept is there; what this process holds then."""
    async with Pairs() as pairs:
        pair = await pairs.connect("warm-up")
        await talk(pair.here, 0, BLOCK_BYTES)
    return await at_rest()


async def _signal(manager: TunnelConnectionManager, out: asyncio.Queue[str], into: asyncio.Queue[str]) -> None:
    async def messages() -> AsyncIterator[str]:
        while True:
            yield await into.get()

    with contextlib.suppress(PeerError):
        await manager.run_signaling(out.put, messages())


async def talk(
    opener: TunnelConnectionManager | Tunnel, number: int, total_bytes: int, *, port: int = ANY_PORT
) -> None:
    """Send so many bytes of stream `number` to an echo at `port`, and look at each that comes back.

    Raises:
        WrongBytesError: bytes are wrong.
        MissingBytesError: bytes are missing, or more than were sent.
        OSError: the stream was refused or reset.
        TimeoutError: nothing came for a minute.
    """
    async with asyncio.timeout(ECHO_TIMEOUT):
        reader, writer = await opener.open_connection("127.0.0.1", port)
    try:
        sending = asyncio.ensure_future(_send(writer, number, total_bytes))
        try:
            received = await _compare(reader, number)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
        if received != total_bytes:
            raise MissingBytesError(f"stream {number}: {received:,} of {total_bytes:,} bytes came back")
    finally:
        writer.close()


async def _send(writer: asyncio.StreamWriter, number: int, total_bytes: int) -> None:
    for position in range(0, total_bytes, BLOCK_BYTES):
        writer.write(coded(number, position, min(BLOCK_BYTES, total_bytes - position)))
        await writer.drain()
    writer.write_eof()


async def _compare(reader: asyncio.StreamReader, number: int) -> int:
    received = 0
    while True:
        async with asyncio.timeout(ECHO_TIMEOUT):
            data = await reader.read(65536)
        if not data:
            return received
        if data != coded(number, received, len(data)):
            raise WrongBytesError(f"stream {number}: wrong bytes from {received:,} on")
        received += len(data)
