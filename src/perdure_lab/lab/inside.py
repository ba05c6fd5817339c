"""The first process in a run's private namespaces: `python -m perdure_lab.lab.inside`.

It is asked for one `Job`, and tells of its progress and at last of its result; see `perdure_lab.lab.apart`.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from perdure_lab.lab.apart import asked, done, end_with_the_asker, tell
from perdure_lab.lab.run import Progress, Run
from perdure_lab.lab.subject import Subject
from perdure_lab.lab.tools import LabError, search_path
from perdure_lab.scenario.parse import parse_scenario
from perdure_lab.scenario.results import RunResult


@dataclass(frozen=True, slots=True)
class Job:
    text: str
    """The scenario's TOML, which was parsed once already."""
    name: str
    short: bool
    subject: Subject
    seed: int
    logs: str | None = None
    """A folder for what the subject's programs log."""


@dataclass(frozen=True, slots=True)
class Told:
    """Exactly one field is set."""

    progress: Progress | None = None
    result: RunResult | None = None
    problem: str | None = None


def main() -> None:
    os.environ["PATH"] = search_path()
    job = asked(Job)
    end_with_the_asker()
    scenario = parse_scenario(job.text, source=job.name, name=job.name)
    if job.short:
        scenario = scenario.shortened()
    run = Run(
        scenario,
        job.subject,
        job.seed,
        lambda progress: tell(Told(progress=progress)),
        logs=Path(job.logs) if job.logs is not None else None,
    )
    try:
        tell(Told(result=asyncio.run(run.run())))
    except LabError as error:
        tell(Told(problem=str(error)))
    done()


if __name__ == "__main__":
    main()
