"""A tube's streams: how those that the peer opens are taken, and what is kept of each."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from perdure import PeerError, Reason, TubeRegistry
from perdure.streams.target import Target
from perdure.wire import ResetCode
from support.application_pair import ApplicationPair
from support.recorder import TIMEOUT, Echo, Recorder, accept_echo
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.streams.transport import StreamTransport


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        await pair.connect()
        yield pair


async def still_carries(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"


# What takes the streams that the peer opens.


async def test_an_async_function_is_no_incoming_and_a_plain_one_is_no_handler() -> None:
    async def incoming(stream: StreamTransport) -> None: ...

    def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    wrong: Any = incoming
    with pytest.raises(TypeError, match="incoming is a plain function"):
        TubeRegistry(incoming=wrong)
    wrong = handler
    with pytest.raises(TypeError, match="handler is an async function"):
        TubeRegistry(handler=wrong)
    wrong = 7
    with pytest.raises(TypeError, match="incoming is a plain function"):
        TubeRegistry(incoming=wrong)


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_an_incoming_that_raises_refuses_the_stream_and_harms_nothing_else(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def incoming(stream: StreamTransport) -> None:
        if stream.target == Target("broken", 1):
            raise error
        accept_echo(stream)

    async with ApplicationPair(incoming=incoming) as pair:
        await pair.connect()
        with caplog.at_level(logging.WARNING, "perdure.tube"):
            stream = Recorder.open(pair.here.manager, Target("broken", 1))
            async with asyncio.timeout(TIMEOUT):
                assert await stream.reset is ResetCode.NOT_ALLOWED
        assert "stream-user-failed" in caplog.text
        await still_carries(pair)
        async with asyncio.timeout(TIMEOUT):
            await pair.there.manager.shutdown()


async def test_a_protocol_whose_stream_is_refused_is_told_that_it_was_lost() -> None:
    lost = asyncio.Event()

    class Told(asyncio.Protocol):
        def connection_lost(self, error: Exception | None) -> None:
            lost.set()

    def incoming(stream: StreamTransport) -> None:
        stream.start(Told())
        raise ValueError("behind its start")

    async with ApplicationPair(incoming=incoming) as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        async with asyncio.timeout(TIMEOUT):
            assert await stream.reset is ResetCode.NOT_ALLOWED
            await lost.wait()


async def test_a_tube_without_an_incoming_refuses_streams() -> None:
    async with ApplicationPair(incoming=None) as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        async with asyncio.timeout(TIMEOUT):
            assert await stream.reset is ResetCode.NOT_ALLOWED


async def test_a_stream_may_be_taken_later_and_what_came_meanwhile_is_not_lost() -> None:
    waiting: list[StreamTransport] = []
    async with ApplicationPair(incoming=waiting.append) as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        stream.write(b"early")
        await eventually(lambda: pair.there.manager.metrics.bytes_received == 5)
        accept_echo(waiting.pop())
        assert await stream.received(5) == b"early"


# What is kept.


async def test_a_stream_that_has_ended_both_ways_lets_go_of_its_protocol_and_hears_nothing_of_the_tubes_end(
    pair: ApplicationPair,
) -> None:
    # Found by a newcomer: protocols were kept, and told of a reset, although they were done.
    stream = Recorder.open(pair.here.manager)
    stream.write(b"all there is")
    stream.finish()
    assert await stream.received(12) == b"all there is"
    async with asyncio.timeout(TIMEOUT):
        await stream.finished.wait()
    await eventually(lambda: pair.here.manager.metrics.streams == pair.there.manager.metrics.streams == 0)
    reset, kept = stream.reset, weakref.ref(stream)
    del stream
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None
    tube_id = pair.there.manager.tube_id
    ours = [each for each in gc.get_objects() if type(each) is Echo]
    assert not [each for each in ours if each.transport.get_extra_info("tube_id") == tube_id]
    await pair.here.manager.shutdown()
    assert not reset.done()


async def test_a_stream_whose_last_bytes_are_read_late_ends_then(pair: ApplicationPair) -> None:
    # Found by review: it stayed in the session until the tube's end.
    stream = Recorder.open(pair.here.manager)
    stream.transport.pause_reading()
    stream.write(b"slow reader")
    stream.finish()
    await eventually(lambda: pair.there.manager.metrics.streams == 0)
    assert pair.here.manager.metrics.streams == 1
    assert not stream.finished.is_set()
    stream.transport.resume_reading()
    async with asyncio.timeout(TIMEOUT):
        await stream.finished.wait()
    await eventually(lambda: pair.here.manager.metrics.streams == 0)
    assert stream.data == b"slow reader"


# The tube's end.


async def test_protocols_that_raise_anything_at_the_end_do_not_hold_the_end_up(pair: ApplicationPair) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Bad(Recorder):
        def connection_lost(self, error: Exception | None) -> None:
            raise errors.pop()

    errors: list[BaseException] = [Unspeakable(), asyncio.CancelledError(), ValueError("x")]
    for _ in range(3):
        Bad.open(pair.here.manager)
    last = Recorder.open(pair.here.manager)
    async with asyncio.timeout(TIMEOUT):
        await pair.here.manager.shutdown()
        assert await last.reset is ResetCode.SESSION_LOST
    assert not errors


async def test_a_stream_that_has_not_ended_is_reset_with_its_tube(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"1")
    await stream.received(1)
    await pair.here.manager.shutdown(Reason.SHUT_DOWN)
    async with asyncio.timeout(TIMEOUT):
        assert await stream.reset is ResetCode.SESSION_LOST


async def test_a_connection_that_the_peers_end_prevents_is_a_peers_error(pair: ApplicationPair) -> None:
    here, there = pair.here.manager, pair.there.manager
    closing = asyncio.ensure_future(there.shutdown())
    while here.end is None:  # also in the turn of the event loop between the peer's last word and the end
        with contextlib.suppress(OSError):
            async with asyncio.timeout(TIMEOUT):
                _, writer = await here.open_connection("target", 1)
                writer.close()
        await asyncio.sleep(0)
    await closing
    with pytest.raises(PeerError, match="ended: the other end closed the tube") as raised:
        await here.open_connection("target", 1)
    assert raised.value.reason == "CLOSED_BY_PEER"


async def test_no_stream_is_opened_on_a_tube_that_has_ended(pair: ApplicationPair) -> None:
    await pair.here.manager.shutdown()
    with pytest.raises(RuntimeError, match="has ended"):
        Recorder.open(pair.here.manager)
    with pytest.raises(RuntimeError, match="has ended"):
        await pair.here.manager.open_connection("target", 1)
