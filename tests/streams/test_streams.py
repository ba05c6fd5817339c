"""What an application can do with a tube's streams, and what it is told when it does it wrong."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from perdure import Reason, TubeRegistry
from perdure.wire import ResetCode
from support.application_pair import ApplicationPair
from support.recorder import TIMEOUT, Echo, Recorder, accept_echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.manager import TunnelConnectionManager


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        await pair.connect()
        yield pair


async def still_carries(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"


async def streams_are(count: int, manager: TunnelConnectionManager) -> None:
    """Wait for the last acknowledgements, of which nobody is told."""
    for _ in range(int(TIMEOUT / 0.01)):
        if manager.metrics.streams == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"there are {manager.metrics.streams} streams, not {count}")


# Mistakes, told at the call.


@pytest.mark.parametrize("target", ["echo", None, 7])
async def test_a_target_is_bytes(pair: ApplicationPair, target: Any) -> None:
    with pytest.raises(TypeError, match="target is bytes, not"):
        pair.here.manager.streams.open_stream(target, Recorder(pair.here.manager))
    await still_carries(pair)


async def test_a_sink_that_lacks_a_method_is_refused_by_the_name_of_what_it_lacks(pair: ApplicationPair) -> None:
    class HalfASink:
        def stream_data(self, data: memoryview) -> None: ...

    streams: Any = pair.here.manager.streams
    with pytest.raises(TypeError, match="NoneType has no stream_accepted, stream_data"):
        streams.open_stream(b"target", None)
    with pytest.raises(TypeError, match="HalfASink has no stream_accepted, stream_finished"):
        streams.open_stream(b"target", HalfASink())
    assert pair.here.manager.metrics.streams == 0
    async with asyncio.timeout(TIMEOUT):
        await pair.here.manager.shutdown()


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
async def test_what_is_written_is_bytes(pair: ApplicationPair, data: Any) -> None:
    stream = Recorder.open(pair.here.manager)
    with pytest.raises(TypeError, match="data is bytes, not"):
        stream.write(data)
    stream.write(b"fine")
    assert await stream.received(4) == b"fine"


async def test_a_buffer_that_is_changed_after_it_was_written_is_sent_as_it_was(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    buffer: Any = bytearray(b"x" * 5000)
    stream.write(buffer)
    buffer[:] = b"y" * 5000
    stream.write(memoryview(b"z"))  # type: ignore[arg-type]
    assert await stream.received(5001) == b"x" * 5000 + b"z"


@pytest.mark.parametrize("stream_id", [0, -1, 99, "1", None])
async def test_an_id_that_never_was_a_streams_is_a_mistake(pair: ApplicationPair, stream_id: Any) -> None:
    streams = pair.here.manager.streams
    for call in (
        lambda: streams.write(stream_id, b"x"),
        lambda: streams.finish(stream_id),
        lambda: streams.accept(stream_id),
        lambda: streams.consume(stream_id, 1),
        lambda: streams.reset(stream_id, ResetCode.ABORTED),
    ):
        with pytest.raises(ValueError, match="no stream"):
            call()


async def test_calls_on_a_stream_that_has_ended_are_harmless_and_a_write_says_that_nothing_more_is_taken(
    pair: ApplicationPair,
) -> None:
    streams = pair.here.manager.streams
    stream = Recorder.open(pair.here.manager)
    assert stream.write(b"some")
    await stream.received(4)
    streams.finish(stream.stream_id)
    assert not stream.write(b"late")
    streams.reset(stream.stream_id, ResetCode.ABORTED)
    assert not stream.write(b"later")
    streams.finish(stream.stream_id)
    streams.consume(stream.stream_id, 0)
    streams.accept(stream.stream_id)
    streams.reset(stream.stream_id, ResetCode.REFUSED)
    await pair.here.manager.shutdown()
    assert not stream.write(b"too late")


async def test_a_stream_is_reset_with_a_code_of_perdures(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    wrong: Any = 77
    with pytest.raises(ValueError, match="ResetCode"):
        pair.here.manager.streams.reset(stream.stream_id, wrong)
    stream.write(b"fine")
    assert await stream.received(4) == b"fine"


async def test_no_more_is_consumed_than_came(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"1234")
    await stream.received(4)
    for count in (1, -1):
        with pytest.raises(ValueError, match="bytes consumed, of 0 that came"):
            pair.here.manager.streams.consume(stream.stream_id, count)
    await still_carries(pair)


# What the application gives for a stream that the peer opens.


async def test_an_async_on_stream_is_refused_at_once() -> None:
    async def on_stream(manager: TunnelConnectionManager, stream_id: int, target: bytes) -> None: ...

    wrong: Any = on_stream
    with pytest.raises(TypeError, match="on_stream is a plain function"):
        TubeRegistry(on_stream=wrong)


async def test_what_on_stream_returns_and_is_no_sink_refuses_the_stream_and_harms_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def later() -> None: ...

    def on_stream(manager: TunnelConnectionManager, stream_id: int, target: bytes) -> Any:
        match target:
            case b"coroutine":
                return later()
            case b"true":
                return True
            case b"cancelled":
                raise asyncio.CancelledError
        return accept_echo(manager, stream_id, target)

    async with ApplicationPair(on_stream=on_stream) as pair:
        await pair.connect()
        for target in (b"coroutine", b"true", b"cancelled"):
            caplog.clear()
            with caplog.at_level(logging.WARNING, "perdure.tube"):
                stream = Recorder.open(pair.here.manager, target)
                async with asyncio.timeout(TIMEOUT):
                    assert await stream.reset is ResetCode.NOT_ALLOWED
            assert "stream-user-failed" in caplog.text
        await still_carries(pair)
        async with asyncio.timeout(TIMEOUT):
            await pair.there.manager.shutdown()


async def test_a_sink_that_raises_anything_at_the_end_does_not_hold_the_end_up(pair: ApplicationPair) -> None:
    class Unspeakable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Bad(Recorder):
        def stream_reset(self, code: ResetCode) -> None:
            raise errors.pop()

    errors: list[BaseException] = [Unspeakable(), asyncio.CancelledError(), ValueError("x")]
    for _ in range(3):
        bad = Bad(pair.here.manager)
        pair.here.manager.streams.open_stream(b"target", bad)
    last = Recorder.open(pair.here.manager)
    async with asyncio.timeout(TIMEOUT):
        await pair.here.manager.shutdown()
        assert await last.reset is ResetCode.SESSION_LOST
    assert not errors


# The end of a stream.


async def test_a_stream_that_has_ended_both_ways_lets_go_of_its_sink_and_hears_nothing_of_the_tubes_end(
    pair: ApplicationPair,
) -> None:
    # Found by a newcomer: sinks were kept, and told of a reset, although they were done.
    stream = Recorder.open(pair.here.manager)
    stream.write(b"all there is")
    pair.here.manager.streams.finish(stream.stream_id)
    assert await stream.received(12) == b"all there is"
    async with asyncio.timeout(TIMEOUT):
        await stream.finished.wait()
    await streams_are(0, pair.here.manager)
    await streams_are(0, pair.there.manager)
    reset, kept = stream.reset, weakref.ref(stream)
    del stream
    await asyncio.sleep(0)
    gc.collect()
    assert kept() is None
    there = pair.there.manager
    assert not any(type(each) is Echo and each.manager is there for each in gc.get_objects())
    await pair.here.manager.shutdown()
    assert not reset.done()


async def test_a_stream_whose_last_bytes_are_consumed_late_ends_then(pair: ApplicationPair) -> None:
    # Found by review: it stayed in the session until the tube's end.
    stream = Recorder.open(pair.here.manager)
    stream.consumes = False
    stream.write(b"slow reader")
    pair.here.manager.streams.finish(stream.stream_id)
    async with asyncio.timeout(TIMEOUT):
        await stream.finished.wait()
    await streams_are(0, pair.there.manager)
    assert pair.here.manager.metrics.streams == 1
    pair.here.manager.streams.consume(stream.stream_id, 11)
    assert pair.here.manager.metrics.streams == 0


async def test_a_stream_that_has_not_ended_is_reset_with_its_tube(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"1")
    await stream.received(1)
    await pair.here.manager.shutdown(Reason.SHUT_DOWN)
    assert await stream.reset is ResetCode.SESSION_LOST
