"""What a person sees of stress tests: a bar while they run, and the table at the end."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from perdure_lab.lab.picture import Picture
from perdure_lab.stress.results import Measurement, TestResult, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from perdure_lab.stress.course import Course, Planned
    from perdure_lab.stress.inside import Progress

_STYLES = {"passed": "green", "fell short": "bold red", "skipped": "yellow", "interrupted": "yellow"}

_BAR_WIDTH = 40

_PROGRESS_INTERVAL = 30.0
"""Seconds between two lines about the progress, where there is no terminal."""


class Display:
    """Shows a `Course`: in a terminal as it goes, elsewhere a line now and then, and each test's figures at its end. A
    context manager around it."""

    def __init__(self, console: Console, clock: Callable[[], float] = monotonic) -> None:
        self._console = console
        self._clock = clock
        self._told_at = clock()
        self._course: Course | None = None
        self._screen = Picture(console)
        self._printed: set[str] = set()

    def watch(self, course: Course) -> None:
        self._course = course

    def changed(self) -> None:
        """Show the course as it is now."""
        course = self._course
        if course is None or self._screen.draw(lambda: _picture(course)):
            return
        self.summarise(course.results)
        now = self._clock()
        if now - self._told_at >= _PROGRESS_INTERVAL:
            self._told_at = now
            for planned in course.plan:
                if planned.result is None and planned.progress is not None:
                    self._console.print(f"{planned.name}: {_words(planned.progress)}", soft_wrap=True)

    def summarise(self, results: Sequence[TestResult]) -> None:
        """The figures of those that stand nowhere yet."""
        new = [result for result in results if result.name not in self._printed]
        self._printed |= {result.name for result in new}
        if new:
            self._console.print(summary(new))

    def __enter__(self) -> Display:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, trace)


def summary(results: Sequence[TestResult]) -> RenderableType:
    """The figures of each test, and what fell short."""
    parts: list[RenderableType] = []
    for result in results:
        parts.append(_line(result))
        table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
        table.add_column()
        table.add_column()
        table.add_column(justify="right")
        table.add_column(style="dim")
        for each in result.measurements:
            table.add_row("", each.name, _value(each), each.bound)
        parts.append(table)
        parts += [Text(f"  {shortfall}", _STYLES[result.verdict]) for shortfall in result.shortfalls]
    return Group(*parts)


def _value(measurement: Measurement) -> Text:
    text = f"{shown(measurement.value)} {measurement.unit}".rstrip()
    return Text(text, "" if measurement.is_met else _STYLES["fell short"])


def _line(result: TestResult) -> Text:
    return Text.assemble(result.name, ": ", (result.verdict, _STYLES[result.verdict]), f" in {result.seconds:.0f} s")


def _picture(course: Course) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    for planned in course.plan:
        if planned.result is not None:
            table.add_row(_line(planned.result))
        elif planned.progress is not None:
            table.add_row(Text(planned.name, "bold"))
            table.add_row(_bar(planned))
    ended = len(course.results)
    return Panel(table, title=f"perdure stress: {ended} of {len(course.plan)} tests", border_style="blue")


def _bar(planned: Planned) -> RenderableType:
    progress = planned.progress
    assert progress is not None
    grid = Table.grid(padding=(0, 1))
    grid.add_row(
        ProgressBar(total=max(progress.total, 1e-9), completed=progress.done, width=_BAR_WIDTH),
        Text(_words(progress)),
    )
    return grid


def _words(progress: Progress) -> str:
    return f"{progress.doing}: {shown(round(progress.done))} of {shown(round(progress.total))}"
