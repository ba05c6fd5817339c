"""Daemon threads for plain handlers, which may block."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.signals import Signal

SignalHandler = Callable[["Signal"], object]
"""Plain or async; what a plain one returns is awaited where it can be, and otherwise ignored."""

MAX_HANDLER_THREADS = 32
"""As many as `asyncio.to_thread` has at most: handlers wait rather than compute."""

IDLE_THREAD_SECONDS = 5.0
"""Until a thread without work ends: signals of many tubes come in bursts of a few seconds, when a network changes."""


class HandlerThreads:
    """Threads that are made when needed and ended when idle. Its own lock; no loop of its own.

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
                discard(value)
            else:
                outcome.set_result((value, error))

        def call() -> None:
            if outcome.cancelled():
                return
            value, error = _called(handler, signal)
            try:
                loop.call_soon_threadsafe(settle, value, error)
            except RuntimeError:  # the loop has ended, and nobody waits
                discard(value)

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


def discard(result: object) -> None:
    """Let go of what nobody awaits; a coroutine would warn of it."""
    if inspect.iscoroutine(result):
        result.close()


def _called(handler: SignalHandler, signal: Signal) -> tuple[object, BaseException | None]:
    try:
        return handler(signal), None
    except BaseException as error:
        return None, error
