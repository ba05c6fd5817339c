"""Waits for what the subject does, each with a bound, and tells what came instead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from perdure_lab.conformance.failures import CaseFailed

T = TypeVar("T")

QUIET_SECONDS = 0.5
"""How long nothing may come where nothing should: longer than the 0.1 s after which an acceptor offers a carrier."""

SHOWN_EVENTS = 5
"""The last things that came, which a failure shows."""


class Waiting:
    """
    Args:
        timeout: seconds for each answer of the subject.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.how_ended = ""
        """How the subject's process, or its standard output, has ended; empty while it has not."""
        self.has_crashed = False
        self._events: deque[str] = deque(maxlen=SHOWN_EVENTS)
        self._failure: CaseFailed | None = None
        self._news = asyncio.Event()

    @property
    def last_events(self) -> str:
        return f"at last {', '.join(self._events)}" if self._events else "nothing"

    def happened(self, event: str = "") -> None:
        """Something has changed; `event` is a word for it, where it is worth one."""
        if event:
            self._events.append(event)
        self._news.set()

    def broken(self, failure: CaseFailed) -> None:
        """The subject said what cannot be: whatever is waited for, this is told."""
        self._failure = self._failure or failure
        self._news.set()

    def over(self, how: str, has_crashed: bool) -> None:
        self.how_ended, self.has_crashed = how, has_crashed
        self._news.set()

    def check(self) -> None:
        if self._failure is not None:
            raise self._failure

    async def until(self, found: Callable[[], T | None], expected: str, timeout: float = 0.0) -> T:
        """What `found` returns, as soon as that is something."""
        limit = timeout or self.timeout
        try:
            async with asyncio.timeout(limit):
                while not (value := found()):
                    self.check()
                    if self.how_ended:
                        raise CaseFailed(expected, self.how_ended)
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            before = f"{self.last_events}, then " if self._events else ""
            raise CaseFailed(expected, f"{before}nothing for {limit:g} s") from None
        self.check()
        return value

    async def quiet(self) -> None:
        """Let time for what must not come."""
        await asyncio.sleep(QUIET_SECONDS)
        self.check()
