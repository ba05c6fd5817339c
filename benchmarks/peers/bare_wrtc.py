"""The engine by itself, as a peer: what a data channel of `wrtc` carries, and what naive TCP copying leaves of it.

    python -m benchmarks.peers.bare_wrtc --push-mib 256 --message-kib 64 --processes 2
    python -m benchmarks.peers.bare_wrtc --target 127.0.0.1:9000 --processes 2

The first pushes messages and prints the figures; the second forwards TCP with one data channel a connection, each read
sent as it came: no framing, no sequence numbers, nothing kept for a resume. A receiver cannot slow a channel down, so a
slow target makes the exit's memory grow: for benchmarks with a target that reads. On asyncio's own event loop, or with
`--uvloop` on that one, which perdure's commands use.
"""

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import webrtc
from benchmarks.peers import child

from perdure.cli.running import loop_factory
from perdure_lab.peers.copying import HIGH_WATER_BYTES, LABEL, LOW_WATER_BYTES, MESSAGE_BYTES, Copy, Dialer

MODULE = "benchmarks.peers.bare_wrtc"
OPEN_TIMEOUT = 20.0


@dataclass(frozen=True, slots=True)
class Push:
    """One transfer, MB = 10^6 bytes."""

    transferred_bytes: int
    seconds: float
    cpu_seconds: float  # both ends, during the transfer

    @property
    def mb_per_second(self) -> float:
        return self.transferred_bytes / self.seconds / 1e6

    @property
    def cpu_ms_per_mb(self) -> float:
        return self.cpu_seconds * 1e3 / (self.transferred_bytes / 1e6)


async def push(*, mebibytes: int, message_bytes: int = MESSAGE_BYTES, processes: int = 1) -> Push:
    """Messages through a channel and no TCP at all, until the receiver has counted every byte."""
    arguments = f"--push-mib {mebibytes} --message-kib {message_bytes // 1024} --processes {processes}".split()
    async with child.start(MODULE, *arguments) as peer:
        return Push(**await peer.ask(None, child.START_TIMEOUT))


def tunnel(target: child.Address, *, processes: int = 1) -> AbstractAsyncContextManager[child.Tunnel]:
    """Forwards a port of 127.0.0.1 to `target`, with both ends in one child process or in two."""
    return child.tunnel(MODULE, target, processes)


def tunnel_on_uvloop(target: child.Address, *, processes: int = 1) -> AbstractAsyncContextManager[child.Tunnel]:
    return child.tunnel(MODULE, target, processes, "--uvloop")


class EntryConnection:
    """The offering peer connection, up to an open channel."""

    def __init__(self) -> None:
        self.connection = webrtc.RTCPeerConnection()
        self.channel = self.connection.create_data_channel("first")
        self._opened = asyncio.Event()
        self.channel.on("open", lambda _: self._opened.set())

    async def offer(self) -> str:
        await self.connection.set_local_description(await self.connection.create_offer())
        return await _gathered_description(self.connection)

    async def open(self, answer: str) -> None:
        await self.connection.set_remote_description(webrtc.RTCSessionDescriptionInit("answer", answer))
        async with asyncio.timeout(OPEN_TIMEOUT):
            await self._opened.wait()


class ExitConnection:
    """The answering peer connection, which tells of each channel."""

    def __init__(self, on_channel: Callable[[webrtc.RTCDataChannel], None]) -> None:
        self._connection = webrtc.RTCPeerConnection()
        self._connection.on("datachannel", lambda event: on_channel(event.channel))

    async def answer(self, offer: str) -> str:
        await self._connection.set_remote_description(webrtc.RTCSessionDescriptionInit("offer", offer))
        await self._connection.set_local_description(await self._connection.create_answer())
        return await _gathered_description(self._connection)

    async def close(self) -> None:
        self._connection.close()


async def _gathered_description(connection: webrtc.RTCPeerConnection) -> str:
    gathered = asyncio.Event()
    connection.on("icegatheringstatechange", lambda _: gathered.set())
    while connection.ice_gathering_state != "complete":
        gathered.clear()
        await gathered.wait()
    assert connection.local_description is not None
    return connection.local_description.sdp


class PushEntry:
    """Sends, and takes the time."""

    def __init__(self, size_bytes: int, message_bytes: int) -> None:
        self._peer = EntryConnection()
        self._size_bytes = size_bytes
        self._message = bytes(message_bytes)

    async def offer(self) -> str:
        return await self._peer.offer()

    async def accept(self, answer: str) -> child.Line:
        await self._peer.open(answer)
        channel = self._peer.channel
        low = asyncio.Event()
        done: asyncio.Future[child.Line] = asyncio.get_running_loop().create_future()

        def on_message(event: webrtc.MessageEvent) -> None:
            assert isinstance(event.data, str)
            done.set_result(json.loads(event.data))

        channel.buffered_amount_low_threshold = LOW_WATER_BYTES
        channel.on("bufferedamountlow", lambda _: low.set())
        channel.on("message", on_message)
        started_at, cpu_started_at = time.perf_counter(), time.process_time()
        for _ in range(self._size_bytes // len(self._message)):
            channel.send(self._message)
            if channel.buffered_amount >= HIGH_WATER_BYTES:
                low.clear()
                await low.wait()
        receiver = await done
        seconds, cpu_seconds = time.perf_counter() - started_at, time.process_time() - cpu_started_at
        if receiver["pid"] != os.getpid():
            cpu_seconds += receiver["cpu_seconds"]
        return {"transferred_bytes": self._size_bytes, "seconds": seconds, "cpu_seconds": cpu_seconds}

    async def close(self) -> None:
        self._peer.connection.close()


class PushExit(ExitConnection):
    """Counts, and says when it has everything."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(self._count)
        self._missing_bytes = size_bytes

    def _count(self, channel: webrtc.RTCDataChannel) -> None:
        cpu_started_at = time.process_time()

        def on_message(event: webrtc.MessageEvent) -> None:
            self._missing_bytes -= len(event.data)
            if self._missing_bytes == 0:
                channel.send(json.dumps({"pid": os.getpid(), "cpu_seconds": time.process_time() - cpu_started_at}))

        channel.on("message", on_message)


class CopyEntry:
    """Listens; a channel for each connection."""

    def __init__(self) -> None:
        self._peer = EntryConnection()
        self._server: asyncio.Server | None = None

    async def offer(self) -> str:
        return await self._peer.offer()

    async def accept(self, answer: str) -> child.Line:
        await self._peer.open(answer)
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Copy(self._peer.connection.create_data_channel(LABEL)), "127.0.0.1", 0
        )
        host, port = self._server.sockets[0].getsockname()
        return {"host": host, "port": port}

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self._peer.connection.close()


class CopyExit(ExitConnection):
    """Dials the target for each channel."""

    def __init__(self, target: child.Address) -> None:
        super().__init__(Dialer(*target).channel)


def main() -> None:
    parser = child.parser(__doc__)
    parser.add_argument("--push-mib", type=int, help="push this much instead of forwarding")
    parser.add_argument("--uvloop", action="store_true", help="on uvloop, which has to be installed")
    parser.add_argument("--message-kib", type=int, default=MESSAGE_BYTES // 1024)
    options = parser.parse_args()
    webrtc.allow_loopback()
    message_bytes = options.message_kib * 1024
    size_bytes = (options.push_mib or 0) * 2**20 // message_bytes * message_bytes
    entry: Callable[[], child.Entry] = CopyEntry
    exit: Callable[[], child.Exit] = lambda: CopyExit(options.target)  # noqa: E731
    if options.push_mib:
        entry, exit = lambda: PushEntry(size_bytes, message_bytes), lambda: PushExit(size_bytes)
    with asyncio.Runner(loop_factory=loop_factory() if options.uvloop else None) as runner:
        runner.run(child.serve(MODULE, options.only_exit, options.processes, entry, exit))


if __name__ == "__main__":
    main()
