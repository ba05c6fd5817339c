"""The application's callbacks for one kind of event."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Generic, ParamSpec

from perdure.delivery.cancellation import is_being_cancelled
from perdure.delivery.threads import discard
from perdure.eventlog import error_fields, log_event

_logger = logging.getLogger("perdure.delivery")

MAX_RUNNING_CALLS = 256
"""Calls of async callbacks that one `Callbacks` runs at a time. A flapping network causes about one call a second."""

P = ParamSpec("P")

_tasks: set[asyncio.Task[None]] = set()
"""Until they end: the loop itself refers to its tasks only weakly."""


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
        entries = self._entries
        for entry in entries:
            if self._entries is not entries and not any(entry is other for other in self._entries):
                continue
            (callback,) = entry
            try:
                result = callback(*args, **kwargs)
                if result is not None and inspect.isawaitable(result):
                    self._begin(callback, result)
            except (Exception, asyncio.CancelledError) as error:  # nothing is awaited here: it is the callback's own
                _log_callback_failed(callback, error)

    def _begin(self, callback: Callable[P, object], result: Awaitable[object]) -> None:
        if self._running >= MAX_RUNNING_CALLS:
            self.dropped += 1
            discard(result)
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
        if is_being_cancelled():
            raise
        _log_callback_failed(callback, error)
    except Exception as error:
        _log_callback_failed(callback, error)


def _log_callback_failed(callback: Callable[..., object], error: BaseException) -> None:
    fields = {"callback": _name(callback), **error_fields(error)}
    log_event(_logger, logging.WARNING, "callback-failed", error, **fields)


def _name(callback: Callable[..., object]) -> str:
    return getattr(callback, "__qualname__", type(callback).__qualname__)
