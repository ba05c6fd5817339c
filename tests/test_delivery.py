"""Handlers and callbacks: slow, stuck, raising or cancelled, they harm nobody but themselves."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import subprocess
import sys
import threading
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from perdure.delivery import (
    MAX_HANDLER_THREADS,
    MAX_RUNNING_CALLS,
    MAX_WAITING_SIGNALS,
    Callbacks,
    HandlerThreads,
    SignalQueue,
)
from perdure.eventlog import LoggedEvent
from perdure.signals import Keepalive
from support.signaling import eventually, within

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from perdure.signals import Signal

TIMEOUT = 20.0


def signal(number: int) -> Signal:
    return Keepalive("tube", None, idle_seconds=float(number), rtt=None)


def number_of(signal: Signal) -> int:
    assert isinstance(signal, Keepalive)
    return int(signal.idle_seconds)


def event_of(record: logging.LogRecord) -> LoggedEvent:
    assert isinstance(record.msg, LoggedEvent)
    return record.msg


def fields_of(record: logging.LogRecord) -> Mapping[str, object]:
    return event_of(record).fields


class Recorder:
    """What a handler was given, and in which thread."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self.threads: set[threading.Thread] = set()

    def plain(self, signal: Signal) -> None:
        self.numbers.append(number_of(signal))
        self.threads.add(threading.current_thread())

    async def asynchronous(self, signal: Signal) -> None:
        self.plain(signal)

    def returning_awaitable(self, signal: Signal) -> Awaitable[None]:
        return self.asynchronous(signal)


class AsyncCallable(Recorder):
    async def __call__(self, signal: Signal) -> None:
        self.plain(signal)


def every_shape(recorder: AsyncCallable) -> dict[str, Callable[[Signal], object]]:
    async def with_extra(_extra: int, signal: Signal) -> None:
        recorder.plain(signal)

    return {
        "plain": recorder.plain,
        "async": recorder.asynchronous,
        "callable object": recorder,
        "partial": functools.partial(with_extra, 1),
        "partial of a callable object": functools.partial(recorder),
        "plain that returns an awaitable": recorder.returning_awaitable,
    }


SHAPES = list(every_shape(AsyncCallable()))


@pytest.fixture
def release() -> threading.Event:
    return threading.Event()


@pytest.mark.parametrize("shape", SHAPES)
async def test_signals_come_in_order(shape: str) -> None:
    recorder = AsyncCallable()
    queue = SignalQueue(every_shape(recorder)[shape])
    for number in range(100):
        queue.emit(signal(number))
    assert recorder.numbers == []
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == list(range(100))
    assert (queue.dropped, queue.failed, queue.is_idle) == (0, 0, True)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape != "plain"])
async def test_what_is_async_runs_on_the_loops_thread(shape: str) -> None:
    recorder = AsyncCallable()
    queue = SignalQueue(every_shape(recorder)[shape])
    queue.emit(signal(1))
    assert await queue.drain(TIMEOUT)
    assert recorder.threads == {threading.main_thread()}


async def test_a_plain_handler_runs_in_a_daemon_thread() -> None:
    recorder = Recorder()
    queue = SignalQueue(recorder.plain)
    queue.emit(signal(1))
    assert await queue.drain(TIMEOUT)
    assert threading.main_thread() not in recorder.threads
    assert all(thread.daemon for thread in recorder.threads)


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_handler_is_called_again_only_when_it_is_done(is_async: bool) -> None:
    at_work: list[int] = []
    most = 0

    def begin(signal: Signal) -> None:
        nonlocal most
        at_work.append(number_of(signal))
        most = max(most, len(at_work))

    async def asynchronous(signal: Signal) -> None:
        begin(signal)
        for _ in range(3):
            await asyncio.sleep(0)
        at_work.pop()

    def plain(signal: Signal) -> Awaitable[None]:
        return asynchronous(signal)

    queue = SignalQueue(asynchronous if is_async else plain)
    for number in range(20):
        queue.emit(signal(number))
        await asyncio.sleep(0)
    assert await queue.drain(TIMEOUT)
    assert most == 1


async def test_signals_emitted_by_the_handler_follow() -> None:
    seen: list[int] = []

    async def handler(given: Signal) -> None:
        seen.append(number_of(given))
        if seen[-1] < 3:
            queue.emit(signal(seen[-1] + 1))

    queue = SignalQueue(handler)
    queue.emit(signal(0))
    assert await queue.drain(TIMEOUT)
    assert seen == [0, 1, 2, 3]


async def test_a_handler_that_never_waits_and_emits_for_ever_lets_the_loop_go_round() -> None:
    def handler(given: Signal) -> Awaitable[None]:
        queue.emit(given)
        return done

    done = asyncio.get_running_loop().create_future()
    done.set_result(None)
    queue = SignalQueue(handler)
    queue.emit(signal(1))
    assert not await queue.drain(0.01)
    queue.close()
    assert await queue.drain(TIMEOUT)


@pytest.mark.parametrize("is_async", [False, True])
async def test_beyond_the_bound_the_oldest_is_dropped_and_counted(is_async: bool, release: threading.Event) -> None:
    recorder = Recorder()
    released = asyncio.Event()

    async def slow(given: Signal) -> None:
        await released.wait()
        recorder.plain(given)

    def stuck(given: Signal) -> None:
        release.wait()
        recorder.plain(given)

    queue = SignalQueue(slow if is_async else stuck)
    queue.emit(signal(-1))
    await asyncio.sleep(0)
    for number in range(MAX_WAITING_SIGNALS + 10):
        queue.emit(signal(number))
    assert (queue.dropped, queue.failed) == (10, 0)
    release.set()
    released.set()
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == [-1, *range(10, MAX_WAITING_SIGNALS + 10)]


async def test_drops_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    queue = SignalQueue(Recorder().asynchronous)
    for number in range(MAX_WAITING_SIGNALS + 10):
        queue.emit(signal(number))
    assert [fields_of(record) for record in caplog.records] == [{"tube": "tube", "signal": "keepalive"}]
    assert await queue.drain(TIMEOUT)


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "error", [ValueError("x"), StopIteration(), asyncio.CancelledError(), UnspeakableError(), TimeoutError()]
)
async def test_a_handler_that_raises_loses_that_signal_only(
    error: BaseException, is_async: bool, caplog: pytest.LogCaptureFixture
) -> None:
    recorder = Recorder()

    def plain(given: Signal) -> None:
        recorder.plain(given)
        if number_of(given) % 2:
            raise error

    async def asynchronous(given: Signal) -> None:
        plain(given)

    queue = SignalQueue(asynchronous if is_async else plain)
    for number in range(6):
        queue.emit(signal(number))
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == list(range(6))
    assert (queue.failed, queue.dropped) == (3, 0)
    assert len(caplog.records) == 1
    queue.emit(signal(6))
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers[-1] == 6


async def test_a_plain_handler_may_call_exit_without_ending_the_process() -> None:
    queue = SignalQueue(lambda _: sys.exit(3))
    queue.emit(signal(1))
    assert await queue.drain(TIMEOUT)
    assert queue.failed == 1


async def test_errors_are_logged_once_for_each_type_with_their_place(caplog: pytest.LogCaptureFixture) -> None:
    def handler(given: Signal) -> None:
        raise (ValueError if number_of(given) % 2 else KeyError)("what went wrong")

    queue = SignalQueue(handler)
    for number in range(6):
        queue.emit(signal(number))
    assert await queue.drain(TIMEOUT)
    assert queue.failed == 6
    assert [event_of(record).name for record in caplog.records] == ["signal-handler-failed"] * 2
    assert [fields_of(record)["error"] for record in caplog.records] == ["KeyError", "ValueError"]
    fields = fields_of(caplog.records[1])
    assert (fields["tube"], fields["signal"], fields["text"]) == ("tube", "keepalive", "what went wrong")
    assert str(fields["at"]).startswith("handler:")


async def test_plain_handlers_that_block_hold_up_neither_the_loop_nor_other_tubes(release: threading.Event) -> None:
    stuck = [SignalQueue(lambda _: release.wait()) for _ in range(MAX_HANDLER_THREADS - 1)]
    for queue in stuck:
        queue.emit(signal(1))
    recorder = Recorder()
    others = [SignalQueue(recorder.plain), SignalQueue(recorder.asynchronous)]
    for queue in others:
        queue.emit(signal(2))
        assert await queue.drain(TIMEOUT)
    assert recorder.numbers == [2, 2]
    assert not any(queue.is_idle for queue in stuck)
    release.set()
    for queue in stuck:
        assert await queue.drain(TIMEOUT)


async def test_there_are_no_more_threads_than_the_limit_and_what_waits_gets_its_turn(release: threading.Event) -> None:
    threads = HandlerThreads(limit=3)
    recorder = Recorder()
    three_at_work = threading.Barrier(3)

    def handler(given: Signal) -> None:
        if number_of(given) < 3:
            three_at_work.wait(TIMEOUT)
        release.wait(TIMEOUT)
        recorder.plain(given)

    queues = [SignalQueue(handler, threads=threads) for _ in range(20)]
    for number, queue in enumerate(queues):
        queue.emit(signal(number))
    await eventually(lambda: threads.running == 3)
    release.set()
    for queue in queues:
        assert await queue.drain(TIMEOUT)
    assert threads.running == 3
    assert sorted(recorder.numbers) == list(range(20))
    assert len(recorder.threads) <= 3
    assert not any(queue.failed for queue in queues)


async def test_threads_begin_with_the_first_signal_and_end_when_idle() -> None:
    threads = HandlerThreads(idle_timeout=0.01)
    recorder = Recorder()
    queue = SignalQueue(recorder.plain, threads=threads)
    assert threads.running == 0
    for _ in range(3):
        queue.emit(signal(1))
        assert await queue.drain(TIMEOUT)
        await eventually(lambda: threads.running == 0)
        await eventually(lambda: not any(thread.is_alive() for thread in recorder.threads))
    assert len(recorder.threads) == 3


async def test_idle_threads_are_used_again() -> None:
    threads = HandlerThreads(idle_timeout=60.0)
    recorder = Recorder()
    for number in range(50):
        queue = SignalQueue(recorder.plain, threads=threads)
        queue.emit(signal(number))
        assert await queue.drain(TIMEOUT)
    assert threads.running < 50  # one, but that some may still be on their way back when the next is asked for


async def test_a_system_without_threads_costs_the_signal_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    recorder = Recorder()
    queue = SignalQueue(recorder.plain, threads=HandlerThreads())
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        queue.emit(signal(1))
        assert await queue.drain(TIMEOUT)
    assert queue.failed == 1
    queue.emit(signal(2))
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == [2]


def test_a_handler_that_never_returns_does_not_hold_up_the_interpreters_exit() -> None:
    program = """
import asyncio, threading
from perdure.delivery import SignalQueue
from perdure.signals import Keepalive

async def main():
    begun = threading.Event()
    queue = SignalQueue(lambda _: (begun.set(), threading.Event().wait()))
    queue.emit(Keepalive("tube", None, 1.0, None))
    while not begun.is_set():
        await asyncio.sleep(0.001)
    print("stuck")

asyncio.run(main())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60.0, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "stuck\n", "")


async def test_after_close_what_waits_is_delivered_and_nothing_new_taken() -> None:
    recorder = Recorder()
    queue = SignalQueue(recorder.plain)
    for number in range(5):
        queue.emit(signal(number))
    queue.close()
    queue.close()
    queue.emit(signal(5))
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == list(range(5))
    assert queue.dropped == 0


async def test_draining_a_stuck_handler_ends_in_time() -> None:
    never = asyncio.Event()

    async def stuck(_: Signal) -> None:
        await never.wait()

    queue = SignalQueue(stuck)
    assert await queue.drain(0.0)
    queue.emit(signal(1))
    assert not await queue.drain(0.01)
    never.set()
    assert await queue.drain(TIMEOUT)


async def test_draining_from_within_the_handler_ends_in_time() -> None:
    drained: list[bool] = []

    async def handler(_: Signal) -> None:
        drained.append(await queue.drain(0.01))

    queue = SignalQueue(handler)
    queue.emit(signal(1))
    assert await queue.drain(TIMEOUT)
    assert drained == [False]


async def test_cancelling_drain_leaves_the_delivery_alone() -> None:
    released, recorder = asyncio.Event(), Recorder()

    async def handler(given: Signal) -> None:
        await released.wait()
        recorder.plain(given)

    queue = SignalQueue(handler)
    queue.emit(signal(1))
    drain = asyncio.create_task(queue.drain(TIMEOUT))
    await asyncio.sleep(0)
    drain.cancel()
    with pytest.raises(asyncio.CancelledError):
        await drain
    released.set()
    assert await queue.drain(TIMEOUT)
    assert recorder.numbers == [1]


async def test_a_cancelled_delivery_cancels_its_handler_and_drops_what_waits() -> None:
    begun, cancelled = asyncio.Event(), asyncio.Event()

    async def handler(_: Signal) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    before = asyncio.all_tasks()
    queue = SignalQueue(handler)
    for number in range(3):
        queue.emit(signal(number))
    await within(begun.wait())
    (delivery,) = asyncio.all_tasks() - before
    delivery.cancel()
    with pytest.raises(asyncio.CancelledError):
        await delivery
    assert cancelled.is_set()
    assert (queue.dropped, queue.failed, queue.is_idle) == (2, 0, True)
    queue.emit(signal(4))
    assert queue.is_idle


async def test_a_delivery_that_is_cancelled_before_it_begins_drops_what_waits() -> None:
    recorder = Recorder()
    queue = SignalQueue(recorder.asynchronous)
    queue.emit(signal(1))
    queue.abandon()
    assert await queue.drain(TIMEOUT)
    assert (recorder.numbers, queue.dropped) == ([], 1)


@pytest.mark.parametrize("handler", ["waits", "ignores", "blocks"])
@pytest.mark.parametrize("turns", [0, 1, 2, 5])
def test_a_loop_that_ends_while_signals_wait_leaves_nothing_behind(handler: str, turns: int) -> None:
    # Found by review: handlers that waited left tasks to a loop that was closed.
    program = f"""
import asyncio, gc, threading
from perdure.delivery import SignalQueue
from perdure.signals import Keepalive

async def waits(_):
    await asyncio.get_running_loop().create_future()

async def ignores(_):
    try:
        await asyncio.sleep(100)
    except asyncio.CancelledError:
        pass

def blocks(_):
    threading.Event().wait(1)

async def main(queues):
    for _ in range(2):
        for queue in queues:
            queue.emit(Keepalive("tube", None, idle_seconds=1.0, rtt=None))
        for _ in range({turns}):
            await asyncio.sleep(0)

async def heard():
    done = asyncio.Event()
    async def handler(_):
        done.set()
    queue = SignalQueue(handler)
    queue.emit(Keepalive("tube", None, idle_seconds=1.0, rtt=None))
    await asyncio.wait_for(done.wait(), 20)

queues = [SignalQueue({handler}) for _ in range(20)]
asyncio.run(main(queues))
gc.collect()
asyncio.run(heard())
print("idle", all(queue.is_idle for queue in queues))
"""
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "idle True" in done.stdout
    for trace in ("Task was destroyed", "never awaited", "Traceback"):
        assert trace not in done.stderr


async def test_an_abandoned_handler_that_ignores_its_cancellation_is_not_called_again() -> None:
    begun, seen = asyncio.Event(), list[int]()

    async def handler(given: Signal) -> None:
        seen.append(number_of(given))
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    queue = SignalQueue(handler)
    queue.emit(signal(1))
    queue.emit(signal(2))
    await within(begun.wait())
    queue.abandon()
    assert await queue.drain(TIMEOUT)
    assert (seen, queue.dropped) == ([1], 1)


async def test_an_abandoned_handler_holds_up_no_other_however_it_takes_it() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def stubborn(_: Signal) -> None:
        began.set()
        while not ended.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await ended.wait()

    stuck = SignalQueue(stubborn)
    stuck.emit(signal(1))
    await within(began.wait())
    stuck.abandon()
    stuck.abandon()
    recorder = Recorder()
    others = [SignalQueue(recorder.asynchronous) for _ in range(10)]
    for number, queue in enumerate(others):
        queue.emit(signal(number))
    await eventually(lambda: len(recorder.numbers) == 10)
    ended.set()
    assert await stuck.drain(TIMEOUT)


async def test_an_abandoned_plain_handler_is_not_called_a_second_time(release: threading.Event) -> None:
    begun, recorder = threading.Event(), Recorder()

    def handler(given: Signal) -> Awaitable[None]:
        begun.set()
        release.wait()
        return recorder.asynchronous(given)  # awaited by nobody now; an error if that warned

    threads = HandlerThreads(idle_timeout=0.01)
    queue = SignalQueue(handler, threads=threads)
    queue.emit(signal(1))
    queue.emit(signal(2))
    await eventually(begun.is_set)
    queue.abandon()
    assert await queue.drain(TIMEOUT)
    queue.emit(signal(3))
    release.set()
    await eventually(lambda: threads.running == 0)
    assert (recorder.numbers, queue.dropped) == ([], 1)


async def test_a_call_that_was_abandoned_in_the_queue_for_threads_never_begins(release: threading.Event) -> None:
    threads, recorder = HandlerThreads(limit=1, idle_timeout=0.01), Recorder()
    first = SignalQueue(lambda _: release.wait(), threads=threads)
    second = SignalQueue(recorder.plain, threads=threads)
    first.emit(signal(1))
    second.emit(signal(2))
    await eventually(lambda: threads.running == 1)
    second.abandon()
    assert await second.drain(TIMEOUT)
    release.set()
    await eventually(lambda: threads.running == 0)
    assert recorder.numbers == []


async def test_a_timeout_of_the_handlers_own_is_its_own_affair() -> None:
    seen: list[int] = []

    async def handler(given: Signal) -> None:
        async with asyncio.timeout(0.001):
            seen.append(number_of(given))
            await asyncio.Event().wait()

    queue = SignalQueue(handler)
    for number in range(3):
        queue.emit(signal(number))
    assert await queue.drain(TIMEOUT)
    assert (seen, queue.failed) == ([0, 1, 2], 3)


async def test_idle_queues_are_small_also_after_use() -> None:
    async def handler(_: Signal) -> None:
        pass

    callbacks: list[Callbacks[[]]] = []
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        queues = [SignalQueue(handler) for _ in range(1000)]
        callbacks += [Callbacks() for _ in range(1000)]
        fresh = tracemalloc.get_traced_memory()[0] - before
        for queue in queues:
            queue.emit(signal(1))
            assert await queue.drain(TIMEOUT)
        used = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert fresh < 1000 * 200
    assert used < fresh + 1000 * 40


# Callbacks.


async def test_callbacks_are_called_at_once_and_in_order_with_their_arguments() -> None:
    calls: list[tuple[str, int, str]] = []
    callbacks = Callbacks[int, str]()
    for name in "abc":
        callbacks.add(lambda number, text, name=name: calls.append((name, number, text)))  # type: ignore[misc]
    callbacks.call(1, "x")
    assert calls == [("a", 1, "x"), ("b", 1, "x"), ("c", 1, "x")]


async def test_async_callbacks_run_as_tasks_that_nobody_else_need_hold() -> None:
    released, seen = asyncio.Event(), list[int]()

    async def callback(number: int) -> None:
        await released.wait()
        seen.append(number)

    callbacks = Callbacks[int]()
    callbacks.add(callback)
    callbacks.call(1)
    del callbacks
    assert seen == []
    released.set()
    await eventually(lambda: seen == [1])


async def test_a_callback_that_raises_is_logged_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def cancelled() -> None:
        raise asyncio.CancelledError

    async def failing() -> None:
        raise ValueError("late")

    async def self_cancelled() -> None:
        raise asyncio.CancelledError

    callbacks = Callbacks[[]]()
    for callback in (lambda: 1 / 0, cancelled, failing, self_cancelled, lambda: seen.append("last")):
        callbacks.add(callback)
    callbacks.call()
    assert seen == ["last"]
    await eventually(lambda: len(caplog.records) == 4)
    assert {str(fields_of(record)["error"]) for record in caplog.records} == {
        "ZeroDivisionError",
        "CancelledError",
        "ValueError",
    }


async def test_a_removed_callback_is_not_called() -> None:
    seen: list[str] = []
    callbacks = Callbacks[[]]()
    remove_first = callbacks.add(lambda: seen.append("first"))
    callbacks.add(lambda: seen.append("second"))
    remove_first()
    remove_first()
    callbacks.call()
    assert seen == ["second"]


async def test_one_added_twice_is_called_twice_and_removed_once_at_a_time() -> None:
    seen: list[int] = []
    callbacks = Callbacks[int]()
    removals = [callbacks.add(seen.append), callbacks.add(seen.append)]
    callbacks.call(1)
    removals[0]()
    removals[0]()
    callbacks.call(2)
    assert seen == [1, 1, 2]


async def test_callbacks_may_add_and_remove_while_they_are_called() -> None:
    seen: list[str] = []
    callbacks = Callbacks[[]]()

    def first() -> None:
        seen.append("first")
        remove_second()
        callbacks.add(lambda: seen.append("third"))

    remove_first = callbacks.add(first)
    remove_second = callbacks.add(lambda: seen.append("second"))
    callbacks.call()
    assert seen == ["first"]
    remove_first()
    callbacks.call()
    assert seen == ["first", "third"]


async def test_async_callbacks_that_never_end_are_bounded(caplog: pytest.LogCaptureFixture) -> None:
    released, seen = asyncio.Event(), list[int]()

    async def callback(number: int) -> None:
        await released.wait()
        seen.append(number)

    callbacks = Callbacks[int]()
    callbacks.add(callback)
    for number in range(MAX_RUNNING_CALLS + 5):
        callbacks.call(number)
    assert callbacks.dropped == 5
    assert [event_of(record).name for record in caplog.records] == ["callback-dropped"]
    released.set()
    await eventually(lambda: len(seen) == MAX_RUNNING_CALLS)
    callbacks.call(1000)
    await eventually(lambda: seen[-1] == 1000)
