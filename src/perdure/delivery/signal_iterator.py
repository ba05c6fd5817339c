"""Signals as an async iterator, bounded: a reader that is too slow is told how many it missed."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Self

from perdure.signals import SignalsDropped

if TYPE_CHECKING:
    from perdure.signals import Signal

MAX_UNREAD_SIGNALS = 256
"""As for a handler: a flapping network causes about one signal a second."""


_awaited: set[SignalIterator] = set()
"""Those whose next signal somebody awaits: their sources hold them weakly, and a task may be held by nobody else."""


class SignalIterator:
    """Yields each `Signal` in order. Where more than 256 were not read, the oldest go, and a `SignalsDropped` that says
    how many stands in their place. It ends behind the last signal of its last source.

    Args:
        lasts: whether it waits for further sources when one ends, until `end`.
    """

    def __init__(self, *, lasts: bool = False) -> None:
        self._unread: deque[Signal] = deque()
        self._dropped = 0
        self._lasts = lasts
        self._has_ended = False
        self._news = asyncio.Event()

    def add(self, signal: Signal) -> None:
        """A signal came."""
        if self._has_ended:
            return
        self._unread.append(signal)
        if len(self._unread) > MAX_UNREAD_SIGNALS:
            self._unread.popleft()
            self._dropped += 1
        self._news.set()

    def source_ended(self) -> None:
        """One source will say no more."""
        if not self._lasts:
            self.end()

    def end(self) -> None:
        """Nothing more will come. What was not read still can be."""
        self._has_ended = True
        self._news.set()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Signal | SignalsDropped:
        """Cancelling this loses nothing."""
        while not (self._dropped or self._unread):
            if self._has_ended:
                raise StopAsyncIteration
            self._news.clear()
            _awaited.add(self)
            try:
                await self._news.wait()
            finally:
                _awaited.discard(self)
        if self._dropped:
            count, self._dropped = self._dropped, 0
            return SignalsDropped(count)
        return self._unread.popleft()
