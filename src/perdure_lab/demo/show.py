"""The demo as it is shown: asked for from the process that plays it, and what that tells of it by now."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Callable

import msgspec

from perdure.errors import PerdureError
from perdure_lab.demo.report import FaultResult, Moment, Report, Task, Told
from perdure_lab.lab.apart import Worker
from perdure_lab.lab.tools import LabError, check, check_platform, isolated
from perdure_lab.lab.traffic import CLOSING_TIMEOUT

_SHOWN_FAULTS = 12

_FAREWELL_TIMEOUT = CLOSING_TIMEOUT + 60.0
"""Seconds that the last word is waited for: the last bytes have their own limit, and the programs have to stop."""


class Show:
    """One run. `on_change` is told whenever something worth showing changed.

    Args:
        is_private: in a network of its own.
    """

    def __init__(self, seconds: float, *, is_private: bool, on_change: Callable[[Show], None]) -> None:
        self.seconds = seconds
        self.is_private = is_private
        self.report = Report()
        """At the end."""
        self.moment = Moment("starting")
        self.throughput: deque[float] = deque(maxlen=60)
        """Bytes delivered a second, in all, one value each tenth of a second."""
        self.faults: deque[FaultResult] = deque(maxlen=_SHOWN_FAULTS)
        """The last ones."""
        self._on_change = on_change

    async def run(self) -> None:
        """From the first process to the last byte; cancelled, it still waits for the last bytes and the report.

        Raises:
            LabError: a network of its own is not possible here; nothing was shown yet.
            PerdureError: a program did not start.
        """
        command = [sys.executable, "-m", "perdure_lab.demo.inside"]
        if self.is_private:
            check_platform()
            check()
            command = isolated(*command)
        async with Worker(command) as worker:
            worker.say(msgspec.json.encode(Task(self.seconds, self.is_private)))
            try:
                told = await self._listen(worker)
            except asyncio.CancelledError:
                worker.say(b"enough")
                await self._last_report(worker)
                raise
        self._hear_out(told, worker)

    async def _listen(self, worker: Worker) -> Told | None:
        """The last word, or `None` where there was none."""
        while told := await worker.told(Told):
            if told.moment is not None:
                self.moment = told.moment
                if told.moment.rate is not None:
                    self.throughput.append(told.moment.rate)
            elif told.fault is not None:
                if told.fault.silence is not None:
                    self.faults.pop()
                self.faults.append(told.fault)
            else:
                return told
            self._on_change(self)
        return None

    async def _last_report(self, worker: Worker) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FAREWELL_TIMEOUT):
                told = await self._listen(worker)
                if told is not None and told.report is not None:
                    self.report = told.report

    def _hear_out(self, told: Told | None, worker: Worker) -> None:
        if told is None:
            raise PerdureError(f"the demo's process ended: {worker.complaint or 'it said nothing'}")
        if told.refusal is not None:
            raise LabError(told.refusal)
        if told.problem is not None:
            raise PerdureError(told.problem)
        if told.report is not None:
            self.report = told.report
