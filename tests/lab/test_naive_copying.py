"""The naive copy and iroh as peers: a channel that has gone, an event loop that reads at once, and a long write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
import webrtc
from benchmarks.peers.bare_wrtc import EntryConnection, ExitConnection

from perdure.cli.running import loop_factory
from perdure_lab.peers.copying import Copy
from perdure_lab.peers.iroh_streams import write_at_once


@asynccontextmanager
async def connected(on_channel: Callable[[webrtc.RTCDataChannel], None]) -> AsyncIterator[EntryConnection]:
    entry, exit = EntryConnection(), ExitConnection(on_channel)
    try:
        await entry.open(await exit.answer(await entry.offer()))
        yield entry
    finally:
        entry.connection.close()
        await exit.close()


async def test_a_program_that_ends_behind_its_channel_is_no_error() -> None:
    complaints: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    async with connected(lambda channel: None) as entry:
        copies: list[Copy] = []

        def accept() -> Copy:
            copies.append(Copy(entry.channel))
            return copies[-1]

        server = await asyncio.get_running_loop().create_server(accept, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        while not copies:  # noqa: ASYNC110  the server takes the connection in a turn of its own
            await asyncio.sleep(0)
        entry.channel.close()
        writer.write(b"too late")
        writer.write_eof()
        assert await reader.read() == b""
        writer.close()
        server.close()
    assert complaints == []


def test_what_is_read_before_the_channel_is_open_is_sent_on_each_event_loop() -> None:
    async def first_message() -> bytes | str:
        heard: asyncio.Future[bytes | str] = asyncio.get_running_loop().create_future()

        def listen(channel: webrtc.RTCDataChannel) -> None:
            def take(event: webrtc.MessageEvent) -> None:
                assert isinstance(event.data, bytes | str)
                heard.set_result(event.data)
                channel.close()

            if channel.label == "early":
                channel.on("message", take)

        async with connected(listen) as entry, asyncio.timeout(20):
            server = await asyncio.get_running_loop().create_server(
                lambda: Copy(entry.connection.create_data_channel("early")), "127.0.0.1", 0
            )
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"hello")
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            server.close()
            return await heard

    for factory in (None, loop_factory()):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(first_message()) == b"hello"


def test_irohs_glue_writes_the_same_bytes_at_once() -> None:
    package = pytest.importorskip("iroh")
    builder = package.iroh_ffi._UniffiRustBufferBuilder
    written = []
    for write in (builder.write, write_at_once):
        made = builder()
        for piece in (b"", b"head", bytes(range(256)) * 300):
            write(made, piece)
        with made.finalize().consume_with_stream() as stream:
            written.append(stream.read(stream.remaining()))
    assert written[0] == written[1]
    assert len(written[0]) == 4 + 256 * 300
