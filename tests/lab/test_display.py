"""What is shown while the lab runs: a line a run where there is no terminal."""

from __future__ import annotations

from io import StringIO

import pytest
from rich.console import Console

from perdure_lab.lab.course import Chosen, Course
from perdure_lab.lab.display import Display
from perdure_lab.lab.subject import PERDURE
from perdure_lab.scenario.library import load, text_of
from perdure_lab.scenario.results import RunResult
from support.lab_runs import made_up_run


def shown(result: RunResult) -> str:
    output = StringIO()
    with Display(Console(file=output)) as display:
        course = Course([Chosen(load("black-hole"), text_of("black-hole"))], [PERDURE])
        course.plan[0].result = result
        display.watch(course)
        display.changed()
    return output.getvalue()


@pytest.mark.parametrize(
    ("result", "text"),
    [
        (made_up_run(1.0333), "nothing lost, longest silence 1.03 s"),
        (made_up_run(0.0, silences=()), "nothing lost, longest silence < 50 ms"),
        (made_up_run(1.0, seconds=10.0, ended=False), "nothing lost, longest silence ≥ 5.00 s"),
        (made_up_run(), "nothing lost"),
        (made_up_run(1.0, bytes_lost=7), "7 bytes lost"),
    ],
)
def test_a_run_that_ended_is_a_line_with_its_silence_as_the_table_writes_it(result: RunResult, text: str) -> None:
    assert shown(result) == f"black-hole, perdure, run 1: {text}\n"
