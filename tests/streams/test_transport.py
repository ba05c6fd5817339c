"""A stream as an asyncio transport: what a protocol over it is told, and what its calls do."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest

from perdure import ResourceLimits
from perdure.streams.orphans import Orphans
from perdure.streams.target import Target
from perdure.tube.clock import clock_from
from perdure.wire import ResetCode
from support.application_pair import ApplicationPair
from support.recorder import REFUSED, TARGET, TIMEOUT, Recorder
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from perdure.streams.transport import StreamTransport

WINDOW_BYTES = ResourceLimits().stream_window_bytes


class There:
    """The other end's `Incoming`: a `Recorder` for each stream."""

    def __init__(self) -> None:
        self.opened: asyncio.Queue[Recorder] = asyncio.Queue()
        self.is_paused = False

    def __call__(self, stream: StreamTransport) -> None:
        recorder = Recorder()
        if self.is_paused:
            stream.pause_reading()
        stream.start(recorder)
        stream.accept()
        self.opened.put_nowait(recorder)


@pytest.fixture
def there() -> There:
    return There()


@pytest.fixture
async def pair(there: There) -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair(incoming=there) as pair:
        await pair.connect()
        yield pair


async def both(pair: ApplicationPair, there: There) -> tuple[Recorder, Recorder]:
    here = Recorder.open(pair.here.manager)
    async with asyncio.timeout(TIMEOUT):
        return here, await there.opened.get()


async def ended(pair: ApplicationPair) -> None:
    """Both ends have forgotten every stream."""
    for end in (pair.here, pair.there):
        await eventually(lambda end=end: end.manager.metrics.streams == 0)  # type: ignore[misc]


# Reading.


async def test_a_protocol_that_pauses_gets_nothing_until_it_resumes_and_then_everything_in_order(
    pair: ApplicationPair, there: There
) -> None:
    there.is_paused = True
    here, other = await both(pair, there)
    here.write(b"one")
    here.write(b"two")
    here.finish()
    await eventually(lambda: pair.there.manager.metrics.bytes_received == 6)
    assert (bytes(other.data), other.finished.is_set(), other.transport.is_reading()) == (b"", False, False)
    other.transport.resume_reading()
    assert await other.received(6) == b"onetwo"
    async with asyncio.timeout(TIMEOUT):
        await other.finished.wait()


async def test_one_that_pauses_for_ever_holds_the_peer_to_a_window(pair: ApplicationPair, there: There) -> None:
    there.is_paused = True
    here, _ = await both(pair, there)
    here.write(b"x" * (4 * WINDOW_BYTES))
    await eventually(lambda: pair.there.manager.metrics.bytes_received >= WINDOW_BYTES // 2)
    last = -1
    while (received := pair.there.manager.metrics.bytes_received) != last:
        last = received
        await asyncio.sleep(0.05)
    assert received <= WINDOW_BYTES
    assert not here.has_room


async def test_a_loss_waits_behind_what_was_not_read(pair: ApplicationPair, there: There) -> None:
    there.is_paused = True
    here, other = await both(pair, there)
    here.write(b"x" * 100_000)
    here.transport.reset()
    await eventually(lambda: other.transport.reset_code is ResetCode.ABORTED)
    assert (bytes(other.data), other.reset.done()) == (b"", False)
    other.transport.resume_reading()
    assert await other.received(100_000) == b"x" * 100_000
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.ABORTED


async def test_one_with_nothing_to_read_hears_of_a_loss_though_it_pauses(pair: ApplicationPair, there: There) -> None:
    there.is_paused = True
    here, other = await both(pair, there)
    here.transport.abort()
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.ABORTED


async def test_streams_that_were_reset_and_are_not_read_count_as_streams(there: There) -> None:
    # Found by thought: each would hold a window of bytes, and the session has forgotten them.
    async with ApplicationPair(limits=ResourceLimits(max_streams=2), incoming=there) as pair:
        await pair.connect()
        there.is_paused = True
        for _ in range(2):
            here, other = await both(pair, there)
            here.write(b"unread")
            here.transport.reset()
            await eventually(lambda other=other: other.transport.reset_code is not None)  # type: ignore[misc]
        third = Recorder.open(pair.here.manager)
        async with asyncio.timeout(TIMEOUT):
            assert await third.reset is ResetCode.LIMIT
        other.transport.resume_reading()
        await both(pair, there)


async def test_a_buffered_protocol_gets_its_bytes_in_its_own_buffer(pair: ApplicationPair, there: There) -> None:
    class Buffered(asyncio.BufferedProtocol):
        def __init__(self) -> None:
            self.buffer = bytearray(1000)
            self.data = b""

        def get_buffer(self, sizehint: int) -> bytearray:
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]

    here, other = await both(pair, there)
    buffered = Buffered()
    here.transport.set_protocol(buffered)
    other.write(bytes(range(256)) * 100)
    await eventually(lambda: buffered.data == bytes(range(256)) * 100)


async def test_a_buffered_protocol_that_pauses_when_its_buffer_is_full_is_asked_for_no_other(
    pair: ApplicationPair, there: There
) -> None:
    class Full(asyncio.BufferedProtocol):
        def __init__(self, transport: StreamTransport) -> None:
            self.transport = transport
            self.buffer = bytearray(1000)
            self.data = b""

        def get_buffer(self, sizehint: int) -> bytearray:
            assert self.transport.is_reading()
            return self.buffer

        def buffer_updated(self, nbytes: int) -> None:
            self.data += self.buffer[:nbytes]
            self.transport.pause_reading()

    here, other = await both(pair, there)
    full = Full(here.transport)
    here.transport.set_protocol(full)
    other.write(bytes(range(256)) * 10)
    for count in (1000, 2000, 2560):
        await eventually(lambda count=count: len(full.data) == count)  # type: ignore[misc]
        here.transport.resume_reading()
    assert full.data == bytes(range(256)) * 10
    here.transport.abort()
    await ended(pair)


# Writing.


class Strict(Recorder):
    """Raises as asyncio's own protocols do, where it is told twice, or of an end without a beginning."""

    def pause_writing(self) -> None:
        assert self.has_room
        super().pause_writing()

    def resume_writing(self) -> None:
        assert not self.has_room
        super().resume_writing()


@pytest.mark.parametrize("changed", ["started late", "replaced"])
async def test_a_protocol_that_comes_while_writing_is_paused_is_told_both_or_neither(
    pair: ApplicationPair, there: There, changed: str
) -> None:
    stream = pair.here.manager.tube.open_stream(TARGET)
    if changed == "replaced":
        stream.start(Strict())
    stream.write(b"x" * (2 * WINDOW_BYTES))
    late = Strict()
    if changed == "replaced":
        late.transport = stream
        stream.set_protocol(late)
        stream.write(b"x")
    else:
        stream.start(late)
    assert not late.has_room
    async with asyncio.timeout(TIMEOUT):
        other = await there.opened.get()
        await late.writable.wait()
    assert not stream.is_closing()
    stream.abort()
    other.transport.abort()


async def test_a_lower_limit_holds_at_once(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    here.write(b"x" * 50_000)
    assert here.has_room
    here.transport.set_write_buffer_limits(high=0)
    assert not here.has_room
    async with asyncio.timeout(TIMEOUT):
        await here.writable.wait()
    assert len(other.data) == 50_000


async def test_who_waits_to_write_goes_on_where_a_loss_waits_for_the_reader(
    pair: ApplicationPair, there: There
) -> None:
    # Found by review: who neither reads nor can write would wait for ever, where TCP breaks the write off.
    here, other = await both(pair, there)
    here.transport.pause_reading()
    other.transport.pause_reading()
    other.write(b"the answer")
    here.write(b"x" * (2 * WINDOW_BYTES))
    await eventually(lambda: pair.here.manager.metrics.bytes_received == 10)
    assert not here.has_room
    other.transport.reset()
    async with asyncio.timeout(TIMEOUT):
        await here.writable.wait()
    here.transport.resume_reading()
    assert await here.received(10) == b"the answer"
    async with asyncio.timeout(TIMEOUT):
        assert await here.reset is ResetCode.ABORTED


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2]])
async def test_what_is_written_is_bytes(pair: ApplicationPair, there: There, data: Any) -> None:
    here, other = await both(pair, there)
    with pytest.raises(TypeError, match="data is bytes, not"):
        here.write(data)
    here.write(b"fine")
    assert await other.received(4) == b"fine"


async def test_a_buffer_that_is_changed_after_it_was_written_is_sent_as_it_was(
    pair: ApplicationPair, there: There
) -> None:
    here, other = await both(pair, there)
    buffer = bytearray(b"x" * 5000)
    here.transport.write(buffer)
    buffer[:] = b"y" * 5000
    here.transport.writelines([b"a", memoryview(b"z")])
    assert await other.received(5002) == b"x" * 5000 + b"az"


async def test_nothing_is_written_behind_the_end(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    assert here.transport.can_write_eof()
    here.finish()
    here.finish()
    with pytest.raises(RuntimeError, match="write_eof"):
        here.write(b"late")
    async with asyncio.timeout(TIMEOUT):
        await other.finished.wait()
    other.write(b"the other way lives")
    assert await here.received(19) == b"the other way lives"


async def test_with_a_high_limit_of_0_drain_waits_until_the_peer_has_everything(
    pair: ApplicationPair, there: There
) -> None:
    here, other = await both(pair, there)
    here.transport.set_write_buffer_limits(high=0)
    assert here.transport.get_write_buffer_limits() == (0, 0)
    await here.send(b"x" * 50_000)
    assert here.transport.get_write_buffer_size() == 0
    assert len(other.data) == 50_000


async def test_write_limits_are_the_tubes_or_less(pair: ApplicationPair, there: There) -> None:
    here, _ = await both(pair, there)
    own = here.transport.get_write_buffer_limits()
    here.transport.set_write_buffer_limits(low=1000)
    assert here.transport.get_write_buffer_limits() == (1000, 4000)
    here.transport.set_write_buffer_limits(high=2**40)
    assert here.transport.get_write_buffer_limits() == own
    here.transport.set_write_buffer_limits()
    assert here.transport.get_write_buffer_limits() == own
    for wrong in ({"high": 1, "low": 2}, {"high": -1}):
        with pytest.raises(ValueError, match="high"):
            here.transport.set_write_buffer_limits(**wrong)


# Ends.


async def test_close_delivers_what_was_written_and_then_the_end(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    here.write(b"x" * 300_000)
    here.transport.close()
    here.transport.close()
    assert here.transport.is_closing()
    here.write(b"dropped")
    assert await other.received(300_000) == b"x" * 300_000
    async with asyncio.timeout(TIMEOUT):
        await other.finished.wait()
    other.finish()
    other.transport.close()
    await ended(pair)


async def test_who_writes_in_a_loop_waits_for_the_end_of_a_tube_that_closes(
    pair: ApplicationPair, there: There
) -> None:
    here, other = await both(pair, there)
    other.transport.pause_reading()
    await here.send(b"x" * WINDOW_BYTES)  # which is acknowledged in part, so that the end waits
    closing = asyncio.ensure_future(pair.here.registry.close())
    await eventually(lambda: pair.here.manager.tube.driver.is_closing)
    here.write(b"dropped")
    assert not here.has_room, "drain() waits, and leaves the event loop to others"
    async with asyncio.timeout(TIMEOUT):
        await closing
        await here.reset


async def test_bytes_for_one_that_has_closed_are_answered_by_a_reset(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    here.write(b"the whole answer")
    here.transport.close()
    assert await other.received(16) == b"the whole answer"
    async with asyncio.timeout(TIMEOUT):
        await other.finished.wait()
        other.write(b"to nobody")
        assert await other.reset is ResetCode.ABORTED
    await ended(pair)


async def test_close_with_unread_bytes_resets_behind_what_was_written(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    here.transport.pause_reading()
    other.write(b"never read")
    await eventually(lambda: pair.here.manager.metrics.bytes_received == 10)
    here.write(b"y" * 200_000)
    here.transport.close()
    assert await other.received(200_000) == b"y" * 200_000
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.ABORTED
    await ended(pair)


def test_a_stream_closed_here_that_the_peer_never_finishes_is_reset_after_a_minute() -> None:
    # Found by a reviewer: twenty of them stayed, and 1,024 would have stopped the tube.
    waited: list[tuple[float, Callable[[], None]]] = []
    reset: list[int] = []

    def call_later(seconds: float, call: Callable[[], None]) -> Any:
        waited.append((seconds, call))
        return object()

    hears = True
    orphans = Orphans(reset.append, lambda: hears, call_later)
    now = 100.0
    with clock_from(lambda: now):
        orphans.add(1)
        now = 130.0
        orphans.add(3)
        orphans.add(5)
        orphans.discard(3)
        now = 160.0
        waited[0][1]()
        assert reset == [1]
        now, hears = 190.0, False
        waited[1][1]()
        now, hears = 250.0, True
        assert reset == [1]
        waited[2][1]()
    assert reset == [1, 5]
    assert [seconds for seconds, _ in waited] == [60.0, 30.0, 60.0]


async def test_abort_drops_what_has_not_left(pair: ApplicationPair, there: There) -> None:
    there.is_paused = True
    here, other = await both(pair, there)
    here.write(b"x" * (3 * WINDOW_BYTES))
    here.transport.abort()
    here.transport.abort()
    await eventually(lambda: other.transport.reset_code is ResetCode.ABORTED)
    other.transport.resume_reading()
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.ABORTED
    assert len(other.data) <= WINDOW_BYTES
    await ended(pair)


async def test_abort_behind_a_close_drops_what_has_not_left(pair: ApplicationPair, there: There) -> None:
    there.is_paused = True
    here, other = await both(pair, there)
    here.write(b"x" * (3 * WINDOW_BYTES))
    here.transport.close()
    await asyncio.sleep(0)
    here.transport.abort()
    async with asyncio.timeout(TIMEOUT):
        await eventually(lambda: other.transport.reset_code is ResetCode.ABORTED)
    await eventually(lambda: pair.here.manager.metrics.streams == 0)
    other.transport.abort()
    await ended(pair)


async def test_the_tubes_end_is_told_to_every_stream_behind_its_bytes(pair: ApplicationPair, there: There) -> None:
    here, other = await both(pair, there)
    here.write(b"last words")
    await pair.here.manager.shutdown()
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.SESSION_LOST
        assert await here.reset is ResetCode.SESSION_LOST
    assert bytes(other.data) == b"last words"


async def test_a_protocol_that_aborts_another_stream_at_the_tubes_end_hides_the_end_from_none(
    pair: ApplicationPair, there: There, caplog: pytest.LogCaptureFixture
) -> None:
    class Aborting(Recorder):
        def resume_writing(self) -> None:
            second.transport.abort()

    first = Aborting.open(pair.here.manager)
    first.transport.pause_reading()
    async with asyncio.timeout(TIMEOUT):
        other = await there.opened.get()
    other.transport.pause_reading()
    other.write(b"unread")
    first.write(b"x" * (2 * WINDOW_BYTES))
    second, third = Recorder.open(pair.here.manager), Recorder.open(pair.here.manager)
    await eventually(lambda: pair.here.manager.metrics.bytes_received == 6)
    await pair.there.manager.shutdown()
    async with asyncio.timeout(TIMEOUT):
        assert await third.reset is ResetCode.SESSION_LOST
    assert second.transport.is_closing()
    assert "action-failed" not in caplog.text


async def test_after_its_end_every_call_is_harmless(pair: ApplicationPair, there: There) -> None:
    here, _ = await both(pair, there)
    here.transport.abort()
    for call in (
        here.transport.close,
        here.transport.reset,
        here.transport.abort,
        here.transport.write_eof,
        here.transport.pause_reading,
        here.transport.resume_reading,
        here.transport.set_write_buffer_limits,
        lambda: here.transport.write(b"x"),
        lambda: here.transport.refuse(ResetCode.REFUSED),
        here.transport.accept,
    ):
        call()
    assert here.transport.get_write_buffer_size() == 0
    assert not here.transport.is_reading()
    await ended(pair)


@pytest.mark.parametrize("method", ["data_received", "eof_received", "pause_writing"])
async def test_a_protocol_that_raises_loses_its_own_stream(
    pair: ApplicationPair, there: There, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise ValueError("a mistake")

    broken = Recorder()
    broken.transport = pair.here.manager.tube.open_stream(TARGET)
    setattr(broken, method, fail)
    broken.transport.start(broken)
    async with asyncio.timeout(TIMEOUT):
        other = await there.opened.get()
    other.write(b"hello")
    other.finish()
    if method == "pause_writing":
        broken.transport.write(b"x" * (2 * WINDOW_BYTES))
    async with asyncio.timeout(TIMEOUT):
        assert await other.reset is ResetCode.ABORTED
    assert "stream-user-failed" in caplog.text
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]
    here, other = await both(pair, there)
    here.write(b"others live")
    assert await other.received(11) == b"others live"


async def test_a_protocol_that_raises_at_its_beginning_loses_its_stream_too(pair: ApplicationPair) -> None:
    class Broken(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            raise ValueError("a mistake")

    stream = pair.here.manager.tube.open_stream(TARGET)
    stream.start(Broken())
    assert stream.is_closing()
    await ended(pair)


async def test_one_that_is_refused_hears_why() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        refused = Recorder.open(pair.here.manager, REFUSED)
        async with asyncio.timeout(TIMEOUT):
            assert await refused.reset is ResetCode.NOT_ALLOWED


@pytest.mark.parametrize("end", ["close", "reset", "abort"])
async def test_who_waits_to_be_accepted_is_told_where_the_stream_is_ended_here(pair: ApplicationPair, end: str) -> None:
    stream = pair.here.manager.tube.open_stream(TARGET)
    waiting = asyncio.create_task(stream.wait_accepted())
    await asyncio.sleep(0)
    getattr(stream, end)()
    async with asyncio.timeout(TIMEOUT):
        with pytest.raises(ConnectionAbortedError, match="closed here"):
            await waiting
        with pytest.raises(ConnectionAbortedError, match="closed here"):
            await stream.wait_accepted()


async def test_several_may_wait_until_it_is_accepted(pair: ApplicationPair) -> None:
    stream = pair.here.manager.tube.open_stream(TARGET)
    waiting = [asyncio.ensure_future(stream.wait_accepted()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(*waiting[1:])
    stream.abort()


async def test_either_end_opens_streams() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        backwards = Recorder.open(pair.there.manager, Target("there", 1))
        await backwards.accepted()
        backwards.write(b"echoed")
        assert await backwards.received(6) == b"echoed"
