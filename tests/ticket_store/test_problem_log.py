"""What the log says of a folder in which something is wrong, each second for hours. Time is a number."""

from __future__ import annotations

import logging

import pytest

from perdure.ticket_store.problem_log import LOG_INTERVAL, ProblemLog

FULL, GONE = "the disk is full", "the folder is gone"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(caplog: pytest.LogCaptureFixture, problems: list[str], *, of_files: bool = False) -> list[tuple[int, str]]:
    """The seconds in which something was logged, where one of `problems` is there each second; and what."""
    clock, said = Clock(), []
    told = ProblemLog(now=clock)
    with caplog.at_level(logging.INFO):
        for second, problem in enumerate(problems):
            clock.now = float(second)
            caplog.clear()
            if of_files:
                told.tell_files([problem] if problem else [])
            else:
                told.tell(problem)
            said += [(second, record.getMessage()) for record in caplog.records]
    return said


def test_a_problem_that_lasts_for_an_hour_has_two_lines(caplog: pytest.LogCaptureFixture) -> None:
    said = lines(caplog, ["", *[FULL] * 3600, *[""] * 100])
    assert said == [
        (1, f'ticket-store problem="{FULL}"'),
        (3601, f'ticket-store problem=over was="{FULL}"'),
    ]


def test_problems_in_turns_have_a_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    said = lines(caplog, [FULL, GONE, ""] * 1200)
    assert len(said) <= 3600 / LOG_INTERVAL
    assert said[0] == (0, f'ticket-store problem="{FULL}"')


def test_what_became_of_a_short_problem_is_told_when_the_minute_is_over(caplog: pytest.LogCaptureFixture) -> None:
    said = lines(caplog, [FULL] * 3 + [GONE] * 100)
    assert [second for second, _ in said] == [0, int(LOG_INTERVAL)]
    assert GONE in said[-1][1]
    assert lines(caplog, [FULL, "", *[FULL] * 100]) == said[:1]


def test_a_file_that_cannot_be_used_is_told_once_while_that_lasts(caplog: pytest.LogCaptureFixture) -> None:
    assert [second for second, _ in lines(caplog, [FULL] * 3600, of_files=True)] == [0]
    comes_and_goes = [FULL, *[""] * 10] * 100
    assert [second for second, _ in lines(caplog, comes_and_goes, of_files=True)] == [0]
    again = [FULL, *[""] * int(LOG_INTERVAL), FULL]
    assert [second for second, _ in lines(caplog, again, of_files=True)] == [0, 1 + LOG_INTERVAL]
