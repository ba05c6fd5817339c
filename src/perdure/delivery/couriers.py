"""The tasks in which signals are delivered: one of an event loop, and another for each handler that has to wait."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet


class Delivery(Protocol):
    async def deliver(self) -> None:
        """Deliver what waits. Raises nothing but the cancellation of the task that it runs in."""

    def drop(self) -> None:
        """Instead of `deliver`: the event loop ends."""


class Courier:
    """Runs deliveries in the order in which they came. Most handlers end at once: a task for each of 100,000 tubes'
    signals cost more than all the rest of them.

    1. One task takes delivery after delivery. Where a handler waits, the next turn of the loop begins another task.
    2. Handlers share their task's context variables with those that ran before them in it.
    3. A task that somebody else cancels means that the loop ends: what waits is dropped, as a task that is begun then
       would be left behind.
    """

    __slots__ = ("__weakref__", "_is_relief_due", "_let_go", "_ready", "_task", "_tasks")

    def __init__(self) -> None:
        self._ready: deque[Delivery] = deque()
        self._task: asyncio.Task[None] | None = None
        """The one that takes the next delivery."""
        self._tasks: set[asyncio.Task[None]] = set()
        """All, until they end: the loop itself refers to its tasks only weakly."""
        self._let_go: WeakSet[asyncio.Task[None]] = WeakSet()
        """Those that `cancel` cancelled."""
        self._is_relief_due = False

    def submit(self, delivery: Delivery) -> None:
        """Run `delivery` soon, never from within this call. On the loop's thread."""
        self._ready.append(delivery)
        if self._task is None:
            self._begin()
        else:
            self._relieve_soon()

    def cancel(self, task: asyncio.Task[None]) -> None:
        """Cancel the delivery that runs in `task`, and no other."""
        if task not in self._let_go:
            self._let_go.add(task)
            task.cancel()

    def _begin(self) -> None:
        # Not `create_task`: under an eager task factory it would run within `submit`.
        self._task = asyncio.Task(self._run(), loop=asyncio.get_running_loop())
        self._tasks.add(self._task)

    def _relieve_soon(self) -> None:
        if not self._is_relief_due:
            self._is_relief_due = True
            asyncio.get_running_loop().call_soon(self._relieve)

    def _relieve(self) -> None:
        """Whoever had the turn has had it by now: what is still ready waits for a handler that waits itself."""
        self._is_relief_due = False
        if self._task is not None and self._is_ending(self._task):
            self._drop_all()
        elif self._ready:
            self._begin()
            self._relieve_soon()

    async def _run(self) -> None:
        me = asyncio.current_task()
        assert me is not None
        try:
            while self._ready and self._task is me and not me.cancelling():
                await self._ready.popleft().deliver()
        finally:
            self._tasks.discard(me)
            if self._is_ending(me):
                self._drop_all()
            elif self._task is me:
                self._task = None
                if self._ready:
                    self._relieve_soon()

    def _is_ending(self, task: asyncio.Task[None]) -> bool:
        return task.cancelling() > (task in self._let_go)

    def _drop_all(self) -> None:
        self._task = None
        while self._ready:
            self._ready.popleft().drop()


def courier() -> Courier:
    """The running loop's."""
    loop = asyncio.get_running_loop()
    found = _couriers.get(loop)
    if found is None:
        found = _couriers[loop] = Courier()
    return found


_couriers: WeakKeyDictionary[asyncio.AbstractEventLoop, Courier] = WeakKeyDictionary()


def is_being_cancelled() -> bool:
    """Whether the running task is, rather than something that it awaits."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
