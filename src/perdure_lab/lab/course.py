"""Many runs: each in private namespaces of its own process, several at once where that is wanted, and their results.

This process has no part in the runs' networks. Its end, however it comes, ends them: see `perdure_lab.lab.apart`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from perdure_lab.lab.apart import Worker
from perdure_lab.lab.inside import Job, Told
from perdure_lab.lab.run import Progress
from perdure_lab.lab.subject import Subject
from perdure_lab.lab.tools import isolated
from perdure_lab.scenario.model import Scenario
from perdure_lab.scenario.results import RunResult, ScenarioFacts, ScenarioReport, Throughput

OVERTIME = 500.0
"""Seconds beyond the scenario's own after which a run is given up: setting up and closing have shorter limits."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """A scenario to run, and the text that it was parsed from."""

    scenario: Scenario
    text: str
    short: bool = False
    named: str = ""
    """As the user named it: one of the library's, or a file."""


@dataclass
class Planned:
    """One run, now or later."""

    chosen: Chosen
    subject: Subject
    number: int
    """From 1, of this scenario and subject."""
    seed: int
    progress: Progress = field(default_factory=lambda: Progress("waiting"))
    result: RunResult | None = None

    @property
    def is_running(self) -> bool:
        return self.result is None and self.progress.phase != "waiting"


class Course:
    """Runs every scenario `repeat` times with every subject. `on_change` is told whenever a run went on.

    All scenarios once, then all once more: a busy hour of the machine falls on each alike, and runs side by side change
    their networks at different times.

    Args:
        jobs: how many runs at once. They share the machine: more than a core each blurs what is measured.
        first_seed: of the first run of each scenario; the next ones count up.
        logs: a folder where what the subjects' programs log is kept.
    """

    def __init__(
        self,
        chosen: Sequence[Chosen],
        subjects: Sequence[Subject],
        *,
        repeat: int = 1,
        jobs: int = 1,
        first_seed: int = 1,
        logs: Path | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        self.plan = [
            Planned(each, subject, number, first_seed + number - 1)
            for number in range(1, repeat + 1)
            for each in chosen
            for subject in subjects
        ]
        self._jobs = jobs
        self._logs = None if logs is None else str(logs.absolute())
        self._on_change = on_change

    async def run(self) -> None:
        """All of them, in their order."""
        waiting = iter(self.plan)

        async def work() -> None:
            for planned in waiting:
                planned.result = await self._run(planned)
                self._on_change()

        async with asyncio.TaskGroup() as group:
            for _ in range(self._jobs):
                group.create_task(work())

    @property
    def reports(self) -> list[ScenarioReport]:
        """Of the runs that have ended so far."""
        groups: dict[tuple[str, str], list[Planned]] = {}
        for planned in self.plan:
            if planned.result is not None:
                groups.setdefault((planned.chosen.scenario.name, planned.subject.name), []).append(planned)
        return [
            ScenarioReport(
                ScenarioFacts.of(group[0].chosen.scenario),
                tuple(each.result for each in group if each.result is not None),
            )
            for group in groups.values()
        ]

    async def _run(self, planned: Planned) -> RunResult:
        scenario = planned.chosen.scenario
        worker = Worker(isolated(sys.executable, "-m", "perdure_lab.lab.inside"))
        job = Job(planned.chosen.text, scenario.name, planned.chosen.short, planned.subject, planned.seed, self._logs)
        try:
            async with worker, asyncio.timeout(scenario.seconds + OVERTIME):
                worker.say(msgspec.json.encode(job))
                told = await self._listen(worker, planned)
        except TimeoutError:
            told = Told(problem=f"it did not end within {scenario.seconds + OVERTIME:.0f} s")
        if told is not None and told.result is not None:
            return told.result
        ended = f"the run's process ended: {worker.complaint or 'it said nothing'}"
        return _failed(planned, (told and told.problem) or ended)

    async def _listen(self, worker: Worker, planned: Planned) -> Told | None:
        """The last word of the run, or `None` where there was none."""
        while told := await worker.told(Told):
            if told.progress is None:
                return told
            planned.progress = told.progress
            self._on_change()
        return None


def _failed(planned: Planned, problem: str) -> RunResult:
    """A run that was not made, or not to its end."""
    return RunResult(
        scenario=planned.chosen.scenario.name,
        subject=planned.subject.name,
        seed=planned.seed,
        seconds=planned.progress.elapsed,
        impairment="none",
        events=(),
        states=(),
        actions_taken=(),
        silences=(),
        throughput=Throughput(1.0, (), ()),
        connections=planned.chosen.scenario.traffic.connections,
        connections_kept=0,
        bytes_sent=0,
        bytes_lost=0,
        bytes_wrong=0,
        problem=problem,
    )
