"""Connecting where the first try may lead nowhere: again beside it, and by each interface.

1. Right after a change of the network the first packets are often lost. TCP sends a lost first packet again after 1 s
   (RFC 6298 section 2.1), which would be most of an outage.
2. Where the way that the routes prefer is dead, another interface may lead there. A connection is begun by each of
   them: at once where the way is doubted, otherwise once the routes' own way is late, or fails. A rendezvous that
   refuses was reached: then no other way is tried.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from perdure.signaling.socket import Socket

AGAIN_AFTER = (0.25, 0.25, 0.5)
"""Seconds that each round of connections has before another is begun beside it. 250 ms is RFC 8305's (section 5): most
paths have answered by then."""

LATE_AFTER = 1.0
"""Seconds after which a connection is late where nothing speaks against its way: a working path has answered (TCP, TLS
and HTTP are four round trips), and each further way costs the rendezvous a connection."""

MAX_AT_ONCE = 4
"""Rounds under way; for one more, as when the network moves again, the oldest is given up."""

Connect = Callable[[], Awaitable[Socket]]
"""One way to connect."""


class Dialling:
    """The first of several connections that works; the others are closed.

    Args:
        connect: as the routes lead.
        beside: other ways, for all rounds but the first.
        soon: whether others are begun beside the first before it is late, as the network has just changed.
        everywhere: whether the first round goes by the other ways too.
    """

    def __init__(
        self, connect: Connect, beside: Sequence[Connect] = (), *, soon: bool = False, everywhere: bool = False
    ) -> None:
        self._connect = connect
        self._beside = tuple(beside)
        self._is_everywhere = everywhere
        self._delays = iter(AGAIN_AFTER if soon else (LATE_AFTER,) if beside and not everywhere else ())
        self.has_moved = False
        """Whether the network has, since the last connection was begun."""
        self._is_time_for_another = False
        self._rounds: list[list[asyncio.Future[Socket]]] = []
        self._news: asyncio.Future[None] | None = None
        """Done when a connection has ended, or it is time for another."""

    def network_moved(self) -> None:
        """Begin another round beside those that are under way: they may be on a path that is gone, or not."""
        self._delays = iter(AGAIN_AFTER)
        self.has_moved = True
        self._begin_another()

    def doubt(self) -> None:
        """The routes' own way may be dead: go by the others too, unless they are tried already."""
        if self._beside and not self._is_everywhere:
            self._is_everywhere = True
            self._delays = iter(AGAIN_AFTER)
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
                    give_up(task)

    @property
    def _tasks(self) -> list[asyncio.Future[Socket]]:
        return [task for begun in self._rounds for task in begun]

    def _begin(self) -> None:
        self.has_moved = self._is_time_for_another = False
        self._is_everywhere = self._is_everywhere or bool(self._rounds)
        ways = (self._connect, *self._beside) if self._is_everywhere else (self._connect,)
        begun: list[asyncio.Future[Socket]] = [asyncio.ensure_future(connect()) for connect in ways]
        for new in begun:
            new.add_done_callback(self._tell)
        self._rounds.append(begun)
        for task in [task for older in self._rounds[:-MAX_AT_ONCE] for task in older]:
            give_up(task)
        del self._rounds[:-MAX_AT_ONCE]

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
                    if task.cancelled() or (error := task.exception()) is None:
                        return task.result()
                    if len(self._tasks) == 1 and not self._may_go_elsewhere(error):
                        raise error
                    self._rounds = [[each for each in begun if each is not task] for begun in self._rounds]
                if not self._tasks:
                    return None
            return None
        finally:
            if timer is not None:
                timer.cancel()

    def _may_go_elsewhere(self, error: BaseException) -> bool:
        return (
            bool(self._beside)
            and not self._is_everywhere
            and isinstance(error, OSError)
            and not isinstance(error, ConnectionError)
        )


def _has_connected(task: asyncio.Future[Socket], winner: Socket | None) -> bool:
    is_good = task.done() and not task.cancelled() and task.exception() is None
    return is_good and task.result() is winner


def give_up(task: asyncio.Future[Socket]) -> None:
    """Cancel it, and close what it has connected, or yet connects."""
    if task.done():
        _abort(task)
    else:
        task.cancel()
        task.add_done_callback(_abort)


def _abort(task: asyncio.Future[Socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().transport.abort()
