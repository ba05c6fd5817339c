"""Virtual time: what happens next, and to whom. Pure: two runs of one seed do the same things in the same order."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

SHORTEST_DELAY = 1e-6
"""Seconds: a timer that rounding has left with less would find, for ever, that its instant has not come."""


class Doer(Protocol):
    """On whose behalf something happens: it may be asleep, or gone."""

    def perform(self, entry: Entry) -> None:
        """The time of `entry` has come."""


class Entry:
    """Something that will happen, unless it is cancelled."""

    __slots__ = ("args", "at", "call", "doer", "is_cancelled", "slept")

    def __init__(self, at: float, call: Callable[..., object], args: tuple[Any, ...], doer: Doer | None) -> None:
        self.at = at
        self.slept: float | None = None
        """For a timer of a machine: how long that had slept in all when it was set."""
        self.call = call
        self.args = args
        self.doer = doer
        self.is_cancelled = False

    def cancel(self) -> None:
        self.is_cancelled = True
        self.call, self.args = nothing, ()

    def cancelled(self) -> bool:
        return self.is_cancelled


class World:
    """One simulation's time, its dice, and what is due.

    Args:
        seed: everything random comes from it.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.now = 0.0
        """Seconds since the simulation began."""
        self.ahead = 0.0
        """How far the clock of the machine that acts now is ahead of `now`."""
        self.performed = 0
        """Events that have happened: a step's number."""
        self._due: list[tuple[float, int, Entry]] = []
        self._pushed = 0
        self._serial = 0

    def clock(self) -> float:
        """The time of the machine that acts now."""
        return self.now + self.ahead

    def after(self, delay: float, call: Callable[..., object], *args: Any, doer: Doer | None = None) -> Entry:
        """Call `call(*args)` in `delay` seconds, behind what is due at that instant already."""
        at = self.now
        if delay > 0:
            at += delay if delay > SHORTEST_DELAY else SHORTEST_DELAY
        entry = Entry(at, call, args, doer)
        self._pushed += 1
        heappush(self._due, (at, self._pushed, entry))
        return entry

    def serial(self) -> int:
        """A number that nobody else has."""
        self._serial += 1
        return self._serial

    def push(self, entry: Entry) -> None:
        """`entry` happens at its instant; now, where that has passed."""
        self._pushed += 1
        heappush(self._due, (max(self.now, entry.at), self._pushed, entry))

    def take_due(self, doer: Doer) -> list[Entry]:
        """What is due for `doer` now, in its order; it does not happen by itself any more."""
        found = sorted(item for item in self._due if item[2].doer is doer and item[0] <= self.now)
        taken = [Entry(at, entry.call, entry.args, doer) for at, _, entry in found if not entry.is_cancelled]
        for _, _, entry in found:
            entry.cancel()
        return taken

    def dice(self, name: str) -> Random:
        """Dice of their own for `name`: who throws them more often changes nothing for others."""
        return Random(f"{self.seed} {name}")

    def run(self, until: float) -> None:
        """Let happen what is due up to then."""
        due = self._due
        while due and due[0][0] <= until:
            at, _, entry = heappop(due)
            if entry.is_cancelled:
                continue
            self.now = at
            self.performed += 1
            if entry.doer is None:
                entry.call(*entry.args)
            else:
                entry.doer.perform(entry)
        self.now = until


def nothing() -> None:
    """What a cancelled entry comes to."""
