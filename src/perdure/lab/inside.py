"""The first process in a run's private namespaces: `python -m perdure.lab.inside`.

It reads one `Job` as a line of standard input, and tells on standard output, a JSON line each, of its progress and at
last of its result. The end of standard input is its own end at once, and with it that of everything in the namespaces:
whoever started it may be killed without leaving anything behind.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import msgspec

from perdure.lab.results import RunResult
from perdure.lab.run import Progress, Run
from perdure.lab.subject import Subject
from perdure.lab.tools import LabError, search_path
from perdure.scenario.parse import parse_scenario


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
    """A line of standard output: exactly one field is set."""

    progress: Progress | None = None
    result: RunResult | None = None
    problem: str | None = None


def main() -> None:
    os.environ["PATH"] = search_path()
    job = msgspec.json.decode(sys.stdin.buffer.readline(), type=Job)
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    scenario = parse_scenario(job.text, source=job.name, name=job.name)
    if job.short:
        scenario = scenario.shortened()
    run = Run(
        scenario,
        job.subject,
        job.seed,
        lambda progress: _tell(Told(progress=progress)),
        logs=Path(job.logs) if job.logs is not None else None,
    )
    try:
        _tell(Told(result=asyncio.run(run.run())))
    except LabError as error:
        _tell(Told(problem=str(error)))
    sys.stdout.flush()
    os._exit(0)  # the programs of the run end with their namespaces


def _tell(told: Told) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    sys.stdout.buffer.flush()


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
