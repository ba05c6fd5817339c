"""Connecting right after a change of the network, when the first packets are often lost: again, beside the first try.

TCP sends a lost first packet again after 1 s (RFC 6298 section 2.1), which would be most of an outage.
"""

from __future__ import annotations

import asyncio

from perdure.signaling.socket import OpenSocket, Socket

AGAIN_AFTER = (0.25, 0.25, 0.5)
"""Seconds that each connection has before another is begun beside it. 250 ms is RFC 8305's (section 5): most paths
have answered by then."""

MAX_AT_ONCE = 4
"""Connections under way; for one more, as when the network moves again, the oldest is given up."""


class Dialling:
    """The first of several connections that works; the others are closed.

    Args:
        soon: whether the network has just changed, so that others are begun beside the first.
    """

    def __init__(self, connect: OpenSocket, *, soon: bool) -> None:
        self._connect = connect
        self._delays = iter(AGAIN_AFTER if soon else ())
        self.has_moved = False
        """Whether the network has, since the last connection was begun."""
        self._is_time_for_another = False
        self._tasks: list[asyncio.Future[Socket]] = []
        self._news: asyncio.Future[None] | None = None
        """Done when a connection has ended, or it is time for another."""

    def network_moved(self) -> None:
        """Begin another one beside those that are under way: they may be on a path that is gone, or not."""
        self._delays = iter(AGAIN_AFTER)
        self.has_moved = True
        self._begin_another()

    async def run(self) -> Socket:
        """Raises what the last connection under way failed of. Cancelling it closes them all."""
        winner: Socket | None = None
        try:
            while winner is None:
                self._begin()
                winner = await self._first_before_another()
            return winner
        finally:
            for task in self._tasks:
                if not _has_connected(task, winner):
                    _give_up(task)

    def _begin(self) -> None:
        self.has_moved = self._is_time_for_another = False
        new = asyncio.ensure_future(self._connect())
        new.add_done_callback(self._tell)
        self._tasks.append(new)
        for task in self._tasks[:-MAX_AT_ONCE]:
            _give_up(task)
        del self._tasks[:-MAX_AT_ONCE]

    def _begin_another(self) -> None:
        self._is_time_for_another = True
        self._tell()

    def _tell(self, _: object = None) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    async def _first_before_another(self) -> Socket | None:
        """The first that works; `None` when it is time for another one."""
        loop, delay = asyncio.get_running_loop(), next(self._delays, None)
        timer = None if delay is None else loop.call_later(delay, self._begin_another)
        try:
            while not self._is_time_for_another:
                self._news = loop.create_future()
                await self._news
                for task in [task for task in self._tasks if task.done()]:
                    if task.cancelled() or task.exception() is None or len(self._tasks) == 1:
                        return task.result()
                    self._tasks.remove(task)
            return None
        finally:
            if timer is not None:
                timer.cancel()


def _has_connected(task: asyncio.Future[Socket], winner: Socket | None) -> bool:
    is_good = task.done() and not task.cancelled() and task.exception() is None
    return is_good and task.result() is winner


def _give_up(task: asyncio.Future[Socket]) -> None:
    if task.done():
        _abort(task)
    else:
        task.cancel()
        task.add_done_callback(_abort)


def _abort(task: asyncio.Future[Socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()
