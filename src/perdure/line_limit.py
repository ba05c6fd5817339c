"""How many lines of a log one kind of event may have: a peer must not fill the disk. Pure; time is an argument.

1. In `WINDOW_SECONDS` from its first line, an event of one tube has `MAX_LINES_OF_TUBE` lines, and one of all tubes
   together `MAX_LINES_OF_KIND`. Further ones are left out and counted.
2. When that time is over, the count is told once. The next line begins another window.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

WINDOW_SECONDS = 10.0
"""As long as the rendezvous' refusals (`REFUSAL_LOG_INTERVAL`) are summed up for."""

MAX_LINES_OF_TUBE = 50
"""The first ones say what happens. A person who opens a page with 50 refused connections still sees each."""

MAX_LINES_OF_KIND = 1000
"""A thousand tubes that lose their network at once say so. Half the rate at which systemd's journal begins to drop
lines (10,000 in 30 s), and then all lines of the service."""

MAX_WINDOWS = 2048
"""Of tubes and kinds together; beyond it the oldest is told early. A registry has 1,000 tubes."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """`count` lines of the event `kind`, of the level `level` at most, were not logged in the `seconds` before.

    `tube` is that of all of them, or `None` where they are of several, or of none."""

    kind: str
    tube: str | None
    level: int
    count: int
    seconds: float


@dataclass(slots=True)
class _Window:
    began_at: float
    lines: int = 0
    left_out: int = 0
    level: int = 0


class LineLimit:
    """The windows that are open."""

    __slots__ = ("_windows",)

    def __init__(self) -> None:
        self._windows: OrderedDict[tuple[str, str | None], _Window] = OrderedDict()
        """In the order in which they began."""

    def admits(self, kind: str, tube: str | None, level: int, now: float) -> bool:
        """Whether the line may be logged at `now`; take `due(now)` before."""
        if tube is not None and not self._counts(kind, tube, level, now, MAX_LINES_OF_TUBE):
            return False
        return self._counts(kind, None, level, now, MAX_LINES_OF_KIND)

    def due(self, now: float) -> list[LeftOut]:
        """What is to be told at `now` of windows that are over, or that are too many."""
        told: list[LeftOut] = []
        while self._windows:
            oldest = next(iter(self._windows.values()))
            if now < oldest.began_at + WINDOW_SECONDS and len(self._windows) <= MAX_WINDOWS:
                break
            told += self._closed(now)
        return told

    def rest(self, now: float) -> list[LeftOut]:
        """What is to be told where nothing will be logged any more."""
        told: list[LeftOut] = []
        while self._windows:
            told += self._closed(now)
        return told

    @property
    def next_due_at(self) -> float:
        """When `due` will have something to tell; infinity: never."""
        ends = (window.began_at + WINDOW_SECONDS for window in self._windows.values() if window.left_out)
        return next(ends, math.inf)

    def _counts(self, kind: str, tube: str | None, level: int, now: float, most: int) -> bool:
        window = self._windows.get((kind, tube))
        if window is None:
            window = self._windows[kind, tube] = _Window(now)
        if window.lines < most:
            window.lines += 1
            return True
        window.left_out += 1
        window.level = max(window.level, level)
        return False

    def _closed(self, now: float) -> list[LeftOut]:
        """The oldest ends."""
        (kind, tube), window = self._windows.popitem(last=False)
        if not window.left_out:
            return []
        return [LeftOut(kind, tube, window.level, window.left_out, now - window.began_at)]
