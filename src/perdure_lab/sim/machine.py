"""A machine of the simulation: its clocks, its event loop, and what becomes of them when it sleeps, stalls or crashes.

1. Its event loop has no selector: all that reaches it comes from the world's heap.
2. While it does not run, what is due waits. A sleep stops its timers (CLOCK_MONOTONIC), a stall does not; the clock
   that runs on during sleep (CLOCK_BOOTTIME) stands still in neither.
3. A crash forgets everything: nothing of before reaches the process that is started next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from perdure_lab.sim.world import Entry, nothing

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable

    from perdure_lab.sim.world import World


class Machine:
    """One machine, which runs one process of perdure.

    Args:
        on_failed: hears what nobody caught in it.
    """

    def __init__(self, world: World, name: str, on_failed: Callable[[Machine, BaseException], None]) -> None:
        self.world = world
        self.name = name
        self.loop = Loop(self)
        """That of the process which runs now."""
        self.slept = 0.0
        """Seconds, in all, that it has slept through and woken from."""
        self._on_failed = on_failed
        self._waiting: list[Entry] = []
        """What came due while it did not run."""
        self.jumped = 0.0
        """Seconds that the clock which runs on during sleep is ahead of the world's."""
        self.runs = True
        self.is_asleep = False
        """Packets for it are lost; those for a process that is only stalled wait in its sockets."""
        self._stopped_at = 0.0

    @property
    def awake_clock(self) -> float:
        """Seconds on the clock that stands still during sleep."""
        return self.world.now - self.slept

    @property
    def always_clock(self) -> float:
        """Seconds on the clock that runs on during sleep, and jumps where it is set."""
        return self.world.now + self.jumped

    def failed(self, error: BaseException) -> None:
        self._on_failed(self, error)

    def wait(self, entry: Entry) -> None:
        """It is due, and nothing runs."""
        self._waiting.append(entry)

    def stop(self, *, asleep: bool) -> None:
        """It runs no more until `go_on`: its lid is closed (`asleep`), or it is stalled."""
        if self.runs:
            self.runs, self.is_asleep = False, asleep
            self._stopped_at = self.world.now

    def go_on(self) -> None:
        if self.runs:
            return
        if self.is_asleep:
            self.slept += self.world.now - self._stopped_at
        self.runs, self.is_asleep = True, False
        waiting, self._waiting = self._waiting, []
        self.loop.resume()
        for entry in waiting:
            self.world.push(entry)

    def jump(self, seconds: float) -> None:
        """The clock that runs on during sleep is ahead by so much, as after a sleep that nothing else shows."""
        self.jumped += seconds

    def crash(self) -> None:
        """Its process is gone, without a word to anybody; the next one has a loop of its own."""
        gone, self.loop = self.loop, Loop(self)
        waiting, self._waiting = self._waiting, []
        gone.bury(waiting)


MOST_TASKS = 1000
"""Kept in mind until those that are gone are forgotten."""

MAX_CANCELLATIONS = 8
"""Of one task that goes on waiting when it is cancelled."""


class Loop:
    """As much of an event loop as perdure needs beside sockets: callbacks, timers, futures and tasks."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._as_asyncio = cast("asyncio.AbstractEventLoop", self)
        self._tasks: list[ref[asyncio.Task[Any]]] = []
        """Those that were made here, in that order, and some that are gone."""
        self._ready: deque[Entry] = deque()
        """What it calls before anything else happens."""
        self._last: deque[Entry] | None = None
        """What its process still does on its way out; `None` while it lives."""

    def perform(self, entry: Entry) -> None:
        """What is due for this loop's process."""
        machine = self._machine
        if machine.loop is not self:
            return
        if not machine.runs:
            machine.wait(entry)
        elif entry.slept is not None and entry.slept != machine.slept:
            # A timer that the machine slept beside has as much left as it had before.
            entry.at = max(machine.world.now, entry.at + machine.slept - entry.slept)
            entry.slept = machine.slept
            machine.world.push(entry)
        else:
            self.run(entry.call, *entry.args)

    def hand_over(self, call: Callable[..., object], *args: Any) -> None:
        """Something has reached the machine now: the process takes it, at once or when it runs again."""
        machine = self._machine  # most things find it running, and need no entry
        if machine.runs and machine.loop is self:
            self.run(call, *args)
        else:
            self.perform(Entry(machine.world.now, call, args, self))

    def run(self, call: Callable[..., object], *args: Any) -> None:
        """Call `call(*args)` now, within this loop, and then what that has made ready."""
        machine, ready = self._machine, self._ready
        world = machine.world
        world.ahead = machine.jumped
        asyncio._set_running_loop(self._as_asyncio)
        try:
            while True:
                try:
                    call(*args)
                except Exception as error:
                    machine.failed(error)
                if not ready or not machine.runs:
                    break
                entry = ready.popleft()
                call, args = entry.call, entry.args
        finally:
            asyncio._set_running_loop(None)
            world.ahead = 0.0

    def resume(self) -> None:
        """Its machine runs again."""
        if self._ready:
            self._machine.world.after(0.0, nothing, doer=self)

    def bury(self, waiting: Iterable[Entry]) -> None:
        """Cancel its tasks, as often as it takes. What they do on their way out reaches nobody, and takes no time.

        Args:
            waiting: what is due and had to wait.
        """
        last = deque((*self._ready, *waiting, *self._machine.world.take_due(self)))
        self._ready.clear()
        self._last = last
        asyncio._set_running_loop(self._as_asyncio)
        try:
            for _ in range(MAX_CANCELLATIONS):
                tasks = self._living_tasks()
                if not tasks and not last:
                    break
                for task in tasks:
                    task.cancel()
                while last:
                    entry = last.popleft()
                    with contextlib.suppress(Exception):
                        entry.call(*entry.args)
        finally:
            asyncio._set_running_loop(None)

    def _living_tasks(self) -> list[asyncio.Task[Any]]:
        """In the order in which they were made; first those made here, and then those made beside the loop, which have
        a number in the name that asyncio gave them."""
        living = asyncio.all_tasks(self._as_asyncio)
        made_here = [task for each in self._tasks if (task := each()) in living]
        others = sorted(living.difference(made_here), key=lambda task: int(task.get_name().removeprefix("Task-")))
        return [*made_here, *others]

    def deliver(self, delay: float, call: Callable[..., object], *args: Any) -> Entry:
        """Something reaches the process from outside, whether the machine slept meanwhile or not."""
        return self._machine.world.after(delay, call, *args, doer=self)

    def time(self) -> float:
        return self._machine.awake_clock

    def call_later(
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Entry:
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        if context is not None:
            callback, args = context.run, (callback, *args)
        if self._last is not None:
            return Entry(0.0, callback, args, None)
        entry = self._machine.world.after(delay, callback, *args, doer=self)
        entry.slept = self._machine.slept
        return entry

    def call_soon(self, callback: Callable[..., object], *args: Any, context: Context | None = None) -> Entry:
        if context is not None:
            callback, args = context.run, (callback, *args)
        entry = Entry(0.0, callback, args, None)
        (self._ready if self._last is None else self._last).append(entry)
        return entry

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Entry:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self._as_asyncio)

    def create_task(self, coro: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
        task = asyncio.Task(coro, loop=self._as_asyncio, **options)
        self._tasks.append(ref(task))
        if len(self._tasks) > MOST_TASKS:
            self._tasks = [each for each in self._tasks if each() is not None]
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if self._last is None:
            self._machine.failed(context.get("exception") or RuntimeError(str(context.get("message"))))

    get_debug = bool
    """`bool()` is False; asked for each future, and this costs no frame."""

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False
