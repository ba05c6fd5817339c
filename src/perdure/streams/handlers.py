"""Streams that a program takes itself: each is given to an async handler as a reader and a writer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

from perdure.delivery.cancellation import is_being_cancelled
from perdure.eventlog import log_event
from perdure.streams.stream_loop import stream_loop
from perdure.streams.target import UnixSocket
from perdure.tube.arguments import check_handler
from perdure.tube.log import log_user_failed
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.streams.transport import StreamTransport

log = logging.getLogger(__name__)

StreamHandler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[object]]
"""Takes one stream. When it returns, the stream is closed behind what it wrote; when it raises, it is reset."""


CANCELLED_TIMEOUT = 1.0
"""Seconds that handlers have to end once they are cancelled: one that ignores it holds up nobody's `close`."""

_running: set[asyncio.Task[None]] = set()
"""Until they end: the loop itself refers to its tasks only weakly."""


class HandlerTasks:
    """Runs a handler for each stream; `close` cancels those that still run.

    Args:
        takes_paths: whether it takes streams to unix sockets, too: where an allow list has judged them. A handler may
            expect `(host, port)` as its target.

    Raises:
        TypeError: `handler` is not async.
    """

    def __init__(self, handler: StreamHandler, *, takes_paths: bool = False) -> None:
        check_handler(handler)
        self._takes_paths = takes_paths
        self._handler = handler
        self._tasks: set[asyncio.Task[None]] = set()

    def __call__(self, transport: StreamTransport) -> None:
        """An `Incoming`."""
        if isinstance(transport.target, UnixSocket) and not self._takes_paths:
            transport.refuse(ResetCode.NOT_ALLOWED)
            return
        reader = asyncio.StreamReader(loop=asyncio.get_running_loop())
        transport.start(asyncio.StreamReaderProtocol(reader, self._begin, loop=stream_loop()))
        transport.accept()

    def _begin(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.Task(self._run(reader, writer), loop=asyncio.get_running_loop())
        for tasks in (self._tasks, _running):
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def close(self) -> None:
        """Cancel the handlers that run, and wait for them, `CANCELLED_TIMEOUT` at most."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if not tasks:
            return
        _, left = await asyncio.wait(tasks, timeout=CANCELLED_TIMEOUT)
        if left:
            log_event(log, logging.WARNING, "handlers-left", count=len(left), why="cancelled, and did not end")

    async def _run(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        transport = cast("StreamTransport", writer.transport)
        try:
            await self._handler(reader, writer)
        except Exception as error:
            # A handler may write to a stream that was lost. Any other ConnectionError is of a connection of its own.
            if not (isinstance(error, ConnectionError) and transport.reset_code is not None):
                log_user_failed(transport.get_extra_info("tube_id"), transport.stream_id, error)
            transport.reset()
        except asyncio.CancelledError as error:
            transport.abort()
            if is_being_cancelled():
                raise
            log_user_failed(transport.get_extra_info("tube_id"), transport.stream_id, error)  # the handler's own affair
        except BaseException:  # the program ends
            transport.abort()
            raise
        else:
            writer.close()
