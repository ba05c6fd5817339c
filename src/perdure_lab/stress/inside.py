"""One stress test in a process of its own: `python -m perdure_lab.stress.inside`.

It is asked for one `Job`, and tells of its progress and at last of its result; see `perdure_lab.lab.apart`.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import monotonic

from perdure.cli.running import raise_descriptor_limit
from perdure_lab.lab.apart import asked, done, end_with_the_asker, tell
from perdure_lab.lab.tools import search_path
from perdure_lab.stress.catalogue import EVERYTHING
from perdure_lab.stress.results import TestResult, verdict_of
from perdure_lab.stress.sizes import Sizes
from perdure_lab.stress.stage import SkippedError, Stage

STOP = b"stop"
"""Said behind the job, it asks the test to end with what it has found so far."""

_TELL_INTERVAL = 0.1
"""Seconds between two lines about the progress."""


@dataclass(frozen=True, slots=True)
class Job:
    """What to do."""

    name: str
    sizes: Sizes
    seed: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a test is doing."""

    doing: str
    done: float
    total: float


@dataclass(frozen=True, slots=True)
class Told:
    """Exactly one field is set."""

    progress: Progress | None = None
    result: TestResult | None = None


class _Teller:
    """Tells of the progress, not too often."""

    def __init__(self) -> None:
        self._told_at = 0.0
        self._doing = ""

    def __call__(self, doing: str, done: float, total: float) -> None:
        now = monotonic()
        if doing != self._doing or now - self._told_at >= _TELL_INTERVAL:
            self._told_at, self._doing = now, doing
            tell(Told(progress=Progress(doing, done, total)))


def run(job: Job, stage: Stage) -> TestResult:
    """A test that raises fell short: what it raised says how."""
    began_at = monotonic()
    try:
        asyncio.run(EVERYTHING[job.name](stage))
    except SkippedError as error:
        return TestResult(job.name, "skipped", monotonic() - began_at, (), (str(error),))
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise
        raised_in = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(raised_in.filename).name}:{raised_in.lineno}"
        stage.expect(False, f"{type(error).__name__} at {place}: {error}")
    measurements, shortfalls = tuple(stage.measurements), tuple(stage.shortfalls)
    verdict = verdict_of(measurements, shortfalls)
    return TestResult(job.name, verdict, monotonic() - began_at, measurements, shortfalls)


def main() -> None:
    os.environ["PATH"] = search_path()
    raise_descriptor_limit()
    job = asked(Job)
    stage = Stage(job.sizes, Random(job.seed), _Teller())

    def stop() -> None:
        stage.is_stopped = True

    end_with_the_asker(on_line=stop)
    tell(Told(result=run(job, stage)))
    done()


if __name__ == "__main__":
    main()
