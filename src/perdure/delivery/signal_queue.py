"""One handler's signals, delivered in order, one call at a time, and bounded."""

from __future__ import annotations

import asyncio
import inspect
import logging
from typing import TYPE_CHECKING

from perdure.delivery.cancellation import is_being_cancelled
from perdure.delivery.threads import SHARED_THREADS, HandlerThreads
from perdure.eventlog import error_fields, log_event

if TYPE_CHECKING:
    from perdure.delivery.threads import SignalHandler
    from perdure.signals import Signal

_logger = logging.getLogger("perdure.delivery")

MAX_WAITING_SIGNALS = 256
"""For one handler. A flapping network causes about one signal a second, so a handler may be stuck for minutes before
one is lost; and 256 of the largest, offers of 16 KiB, are 4 MiB."""

MAX_REPORTED_ERRORS = 16
"""Types of exceptions that are logged for one handler; a program that makes up new ones is not logged for ever."""


_tasks: set[asyncio.Task[None]] = set()
"""Until they end: the loop itself refers to its tasks only weakly."""


class SignalQueue:
    """One handler's signals: in order, one call at a time, bounded. Idle, it is no task, no thread and no buffer.

    1. `emit` only queues. A task, for as long as signals wait, calls the handler: an async one on the loop, a plain one
       in a thread; a plain one's awaitable is awaited on the loop.
    2. Beyond `MAX_WAITING_SIGNALS` the oldest waiting goes, so that the newest state is always told.
    3. An exception loses that one signal. So does a CancelledError that is the handler's own affair.
    4. When the task is cancelled at this handler, as by `abandon` or at the loop's end, the cancellation goes on, what
       waits is dropped, and the queue is closed: its handler may still be at work in a thread, and is not called a
       second time.
    """

    __slots__ = (
        "_idle_waiters",
        "_is_async",
        "_is_closed",
        "_reported",
        "_task",
        "_threads",
        "_waiting",
        "dropped",
        "failed",
        "handler",
    )

    def __init__(
        self,
        handler: SignalHandler,
        *,
        threads: HandlerThreads = SHARED_THREADS,
    ) -> None:
        self.handler = handler
        self._is_async = inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(
            getattr(handler, "__call__", None)  # noqa: B004 — not whether it can be called, but how.
        )
        self._threads = threads
        self._waiting: list[Signal] | None = None  # a deque has 600 bytes from its first entry on
        self._task: asyncio.Task[None] | None = None
        self._idle_waiters: list[asyncio.Future[None]] | None = None
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
        if self._waiting is None:
            self._waiting = [signal]
        else:
            self._waiting.append(signal)
            if len(self._waiting) > MAX_WAITING_SIGNALS:
                self._drop(self._waiting.pop(0))
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
        if self._task is not None:
            idle: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._idle_waiters = [*(self._idle_waiters or ()), idle]
            await asyncio.wait((idle,), timeout=timeout)
        return self._task is None

    def _begin(self) -> None:
        # Not `create_task`: under an eager task factory the handler would run within `emit`.
        self._task = asyncio.Task(self._deliver(), loop=asyncio.get_running_loop())
        _tasks.add(self._task)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        _tasks.discard(task)
        if task.cancelled():  # maybe before it began
            self._is_closed = True
            self._drop_waiting()
        if self._waiting:
            self._begin()
            return
        self._task, self._waiting = None, None
        waiters, self._idle_waiters = self._idle_waiters or (), None
        for idle in waiters:
            if not idle.done():
                idle.set_result(None)

    async def _deliver(self) -> None:
        while self._waiting:
            signal = self._waiting.pop(0)
            try:
                if self._is_async:
                    await self.handler(signal)  # type: ignore[misc]
                else:
                    await self._call_in_thread(signal)
            except asyncio.CancelledError as error:
                if is_being_cancelled():
                    raise
                self._fail(signal, error)
            except Exception as error:
                self._fail(signal, error)
            if self._waiting:
                if is_being_cancelled():  # which this handler ignored
                    raise asyncio.CancelledError
                await asyncio.sleep(0)  # a handler that never waits still lets the loop go round

    async def _call_in_thread(self, signal: Signal) -> None:
        result, error = await self._threads.call(self.handler, signal)
        if error is not None:
            self._fail(signal, error)
        if inspect.isawaitable(result):
            await result

    def _drop_waiting(self) -> None:
        while self._waiting:
            self._drop(self._waiting.pop(0))

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
