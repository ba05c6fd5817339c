"""Stress tests one after the other, each in a process of its own, and their results."""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from perdure_lab.lab.apart import Worker
from perdure_lab.stress.catalogue import SOAK
from perdure_lab.stress.inside import STOP, Job, Progress, Told
from perdure_lab.stress.results import TestResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure_lab.stress.sizes import Sizes

STOP_TIMEOUT = 10.0
"""Seconds in which a test that is interrupted may tell what it has found so far. The soak alone has something to tell:
hours of samples. The others end at once."""

LONGEST_TEST = 3600.0
"""Seconds, beside those that a test is to work, after which it is given up: its own waits are far shorter."""


@dataclass(slots=True)
class Planned:
    """One test, now or later."""

    name: str
    progress: Progress | None = None
    result: TestResult | None = None


class Course:
    """Runs the tests `names`. `on_change` is told whenever one went on."""

    def __init__(
        self, names: Sequence[str], sizes: Sizes, seed: int, *, on_change: Callable[[], None] = lambda: None
    ) -> None:
        self.plan = [Planned(name) for name in names]
        self._sizes = sizes
        self._seed = seed
        self._on_change = on_change

    async def run(self) -> None:
        """All of them. Cancelled, it ends the one that runs, and with it everything that it started."""
        for planned in self.plan:
            began_at = monotonic()
            try:
                planned.result = await self._run(planned)
            except asyncio.CancelledError:
                if planned.result is None:
                    planned.result = TestResult(planned.name, "interrupted", monotonic() - began_at)
                raise
            self._on_change()

    @property
    def results(self) -> list[TestResult]:
        """Of the tests that have ended so far."""
        return [planned.result for planned in self.plan if planned.result is not None]

    async def _run(self, planned: Planned) -> TestResult:
        began_at = monotonic()
        worker = Worker([sys.executable, "-m", "perdure_lab.stress.inside"])
        longest = LONGEST_TEST + self._sizes.seconds
        problem = f"it did not end within {longest:.0f} s"
        try:
            async with worker, asyncio.timeout(longest):
                worker.say(msgspec.json.encode(Job(planned.name, self._sizes, self._seed)))
                try:
                    if (result := await self._result(planned, worker)) is not None:
                        return result
                except asyncio.CancelledError:
                    if planned.name == SOAK:
                        planned.result = await self._stopped(planned, worker)
                    raise
            problem = f"its process ended: {worker.complaint or 'it said nothing'}"
        except TimeoutError:
            pass
        return TestResult(planned.name, "fell short", monotonic() - began_at, (), (problem,))

    async def _result(self, planned: Planned, worker: Worker) -> TestResult | None:
        """`None`: it ended without one."""
        while told := await worker.told(Told):
            if told.result is not None:
                return told.result
            planned.progress = told.progress
            self._on_change()
        return None

    async def _stopped(self, planned: Planned, worker: Worker) -> TestResult | None:
        """What it has found so far, if it tells that in time."""
        worker.say(STOP)
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT):
                if (result := await self._result(planned, worker)) is not None:
                    return replace(result, verdict="interrupted")
        return None
