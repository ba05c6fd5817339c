"""How the application's handlers and callbacks are called: none of them can hold up, break or outgrow a tube."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Generic, ParamSpec

from perdure.eventlog import error_fields, log_event

if TYPE_CHECKING:
    from perdure.signals import Signal

_logger = logging.getLogger("perdure.delivery")

SignalHandler = Callable[["Signal"], object]
"""Plain or async; what a plain one returns is awaited where it can be, and otherwise ignored."""

MAX_WAITING_SIGNALS = 256
"""For one handler. A flapping network causes about one signal a second, so a handler may be stuck for minutes before
one is lost; and 256 of the largest, offers of 16 KiB, are 4 MiB."""

MAX_RUNNING_CALLS = 256
"""Of the async callbacks of one `Callbacks`, that have not ended. The same reasoning."""

MAX_HANDLER_THREADS = 32
"""As many as `asyncio.to_thread` has at most: handlers wait rather than compute."""

IDLE_THREAD_SECONDS = 5.0
"""Until a thread without work ends: signals of many tubes come in bursts of a few seconds, when a network changes."""

MAX_REPORTED_ERRORS = 16
"""Types of exceptions that are logged for one handler; a program that makes up new ones is not logged for ever."""

P = ParamSpec("P")

_tasks: set[asyncio.Task[None]] = set()
"""Until they end: the loop itself refers to its tasks only weakly."""


class HandlerThreads:
    """Daemon threads for plain handlers, made when needed and ended when idle. Its own lock; no loop of its own.

    The threads of `concurrent.futures` are joined at the interpreter's exit, where a handler that never returns would
    hold it up.

    Args:
        limit: threads at most; beyond, calls wait. One `SignalQueue` has at most one call here.
        idle_timeout: seconds without work until a thread ends.
    """

    __slots__ = ("_calls", "_changed", "_idle", "_idle_timeout", "_limit", "_running")

    def __init__(self, *, limit: int = MAX_HANDLER_THREADS, idle_timeout: float = IDLE_THREAD_SECONDS) -> None:
        self._limit = limit
        self._idle_timeout = idle_timeout
        self._changed = threading.Condition()
        self._calls: deque[Callable[[], None]] = deque()
        self._running = 0
        self._idle = 0

    @property
    def running(self) -> int:
        """Threads there are now."""
        return self._running

    async def call(self, handler: SignalHandler, signal: Signal) -> tuple[object, BaseException | None]:
        """What `handler(signal)` returned or raised. Not raised here: SystemExit and StopIteration mean much to a task.

        Cancelling this forgets a call that has not begun, and lets go of one that has.

        Raises:
            RuntimeError: the system gives no thread.
        """
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[tuple[object, BaseException | None]] = loop.create_future()

        def settle(value: object, error: BaseException | None) -> None:
            if outcome.cancelled():
                _discard(value)
            else:
                outcome.set_result((value, error))

        def call() -> None:
            if outcome.cancelled():
                return
            value, error = _called(handler, signal)
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:  # the loop has ended, and nobody waits
                _discard(value)

        self._submit(call)
        return await outcome

    def _submit(self, call: Callable[[], None]) -> None:
        with self._changed:
            self._calls.append(call)
            if self._idle >= len(self._calls):
                self._changed.notify()
            elif self._running < self._limit:
                try:
                    threading.Thread(target=self._work, name="perdure-handler", daemon=True).start()
                    self._running += 1
                except RuntimeError:
                    if not self._running:
                        self._calls.pop()
                        raise

    def _work(self) -> None:
        while (call := self._next_call()) is not None:
            call()
            del call  # an idle thread keeps no tube

    def _next_call(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            self._changed.wait_for(lambda: self._calls, self._idle_timeout)
            self._idle -= 1
            if self._calls:
                return self._calls.popleft()
            self._running -= 1
            return None


SHARED_THREADS = HandlerThreads()
"""For all tubes of the process."""


class SignalQueue:
    """One handler's signals: in order, one call at a time, bounded. Idle, it is no task, no thread and no buffer.

    1. `emit` only queues. A task that lives while there are signals calls the handler: an async one on the loop, a
       plain one in a thread; a plain one's awaitable is awaited on the loop.
    2. Beyond `MAX_WAITING_SIGNALS` the oldest waiting goes, so that the newest state is always told.
    3. An exception loses that one signal. So does a CancelledError that is the handler's own affair.
    4. When the task itself is cancelled, as by `abandon` or at the loop's end, the cancellation goes on, what waits is
       dropped, and the queue is closed: its handler may still be at work in a thread, and is not called a second time.
    """

    __slots__ = (
        "_handler",
        "_is_async",
        "_is_closed",
        "_reported",
        "_task",
        "_threads",
        "_waiting",
        "dropped",
        "failed",
    )

    def __init__(
        self,
        handler: SignalHandler,
        *,
        threads: HandlerThreads = SHARED_THREADS,
    ) -> None:
        self._handler = handler
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 — not whether it can be called, but how.
        )
        self._threads = threads
        self._waiting: deque[Signal] | None = None
        self._task: asyncio.Task[None] | None = None
        self._reported: set[type] | None = None
        self._is_closed = False
        self.dropped = 0
        """Signals that never reached the handler: too many waited, or the delivery was cancelled."""
        self.failed = 0
        """Signals whose handler raised."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits, and the handler is not at work."""
        return self._task is None

    def emit(self, signal: Signal) -> None:
        """Queue `signal`, after `close` nothing. On the loop's thread, from within anything: the handler runs later."""
        if self._is_closed:
            return
        self._waiting = self._waiting or deque()
        self._waiting.append(signal)
        if len(self._waiting) > MAX_WAITING_SIGNALS:
            self._drop(self._waiting.popleft())
        if self._task is None:
            self._begin()

    def close(self) -> None:
        """Take nothing more; what is queued is still delivered. Twice is fine."""
        self._is_closed = True

    def abandon(self) -> None:
        """`close`, and drop what waits; an async handler at work is cancelled, a plain one let go of."""
        self._is_closed = True
        self._drop_waiting()  # now: a handler may ignore that it is cancelled
        if self._task is not None:
            self._task.cancel()

    async def drain(self, timeout: float) -> bool:
        """Wait until nothing waits and the handler is done, at most `timeout` seconds. Returns whether that is so.

        Cancelling this changes nothing about the delivery.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while self._task is not None and loop.time() < deadline:
            await asyncio.wait((self._task,), timeout=deadline - loop.time())
        return self._task is None

    def _begin(self) -> None:
        # Not `create_task`: under an eager task factory the handler would run within `emit`.
        self._task = asyncio.Task(self._deliver(), loop=asyncio.get_running_loop())
        _tasks.add(self._task)
        self._task.add_done_callback(self._ended)

    async def _deliver(self) -> None:
        while self._waiting:
            signal = self._waiting.popleft()
            try:
                await self._call(signal)
            except asyncio.CancelledError as error:
                if _is_being_cancelled():
                    raise
                self._fail(signal, error)
            except Exception as error:
                self._fail(signal, error)
            if self._waiting:
                await asyncio.sleep(0)  # a handler that never waits still lets the loop go round

    async def _call(self, signal: Signal) -> None:
        if self._is_async:
            result = self._handler(signal)
        else:
            result, error = await self._threads.call(self._handler, signal)
            if error is not None:
                self._fail(signal, error)
        if inspect.isawaitable(result):
            await result

    def _ended(self, task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        self._task = None
        if task.cancelled():
            self._is_closed = True
            self._drop_waiting()
        if self._waiting:
            self._begin()
        else:
            self._waiting = None

    def _drop_waiting(self) -> None:
        while self._waiting:
            self._drop(self._waiting.popleft())

    def _drop(self, signal: Signal) -> None:
        self.dropped += 1
        if self.dropped == 1:
            log_event(_logger, logging.WARNING, "signal-dropped", tube=signal.tube_id, signal=signal.kind)

    def _fail(self, signal: Signal, error: BaseException) -> None:
        self.failed += 1
        self._reported = self._reported or set()
        if type(error) not in self._reported and len(self._reported) < MAX_REPORTED_ERRORS:
            self._reported.add(type(error))
            about = {"tube": signal.tube_id, "signal": signal.kind}
            log_event(_logger, logging.WARNING, "signal-handler-failed", error, **about, **error_fields(error))


class Callbacks(Generic[P]):
    """The application's callbacks for one kind of event. Plain ones are called at once and in order, so they must not
    block; async ones become tasks. One that raises is logged, and harms nobody.
    """

    __slots__ = ("_entries", "_running", "dropped")

    def __init__(self) -> None:
        self._entries: tuple[tuple[Callable[P, object]], ...] = ()
        self._running = 0
        self.dropped = 0
        """Calls of async callbacks that did not begin, because `MAX_RUNNING_CALLS` had not ended."""

    def add(self, callback: Callable[P, object]) -> Callable[[], None]:
        """Call `callback`, plain or async, from now on. What is returned removes it; twice is fine."""
        entry = (callback,)  # its own identity: the same callback may be added twice
        self._entries += (entry,)

        def remove() -> None:
            self._entries = tuple(other for other in self._entries if other is not entry)

        return remove

    def call(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call each, on the loop's thread. One that is added meanwhile is not called, nor one that is removed."""
        for entry in self._entries:
            if not any(entry is other for other in self._entries):
                continue
            (callback,) = entry
            try:
                result = callback(*args, **kwargs)
                if inspect.isawaitable(result):
                    self._begin(callback, result)
            except (Exception, asyncio.CancelledError) as error:  # nothing is awaited here: it is the callback's own
                _log_callback_failed(callback, error)

    def _begin(self, callback: Callable[P, object], result: Awaitable[object]) -> None:
        if self._running >= MAX_RUNNING_CALLS:
            self.dropped += 1
            _discard(result)
            if self.dropped == 1:
                log_event(_logger, logging.WARNING, "callback-dropped", callback=_name(callback))
            return
        task = asyncio.Task(_await(callback, result), loop=asyncio.get_running_loop())
        self._running += 1
        _tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        self._running -= 1


async def _await(callback: Callable[..., object], result: Awaitable[object]) -> None:
    try:
        await result
    except asyncio.CancelledError as error:
        if _is_being_cancelled():
            raise
        _log_callback_failed(callback, error)
    except Exception as error:
        _log_callback_failed(callback, error)


def _is_being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _called(handler: SignalHandler, signal: Signal) -> tuple[object, BaseException | None]:
    try:
        return handler(signal), None
    except BaseException as error:
        return None, error


def _discard(result: object) -> None:
    """Let go of what nobody awaits; a coroutine would warn of it."""
    if inspect.iscoroutine(result):
        result.close()


def _log_callback_failed(callback: Callable[..., object], error: BaseException) -> None:
    fields = {"callback": _name(callback), **error_fields(error)}
    log_event(_logger, logging.WARNING, "callback-failed", error, **fields)


def _name(callback: Callable[..., object]) -> str:
    return getattr(callback, "__qualname__", type(callback).__qualname__)
