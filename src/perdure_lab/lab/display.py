"""What a person sees while the lab runs: a live picture in a terminal, a line a run elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from perdure_lab.lab.picture import Picture
from perdure_lab.scenario.figures import Figure, duration
from perdure_lab.scenario.results import SILENCE_FLOOR

if TYPE_CHECKING:
    from types import TracebackType

    from perdure_lab.lab.course import Course, Planned

_SHOWN_ENDED = 10
_STATE_STYLES = {"connected": "bold green", "degraded": "yellow", "reconnecting": "bold yellow", "failed": "bold red"}


class Display:
    """Shows a `Course`; a context manager around it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._course: Course | None = None
        self._screen = Picture(console)
        self._printed: set[int] = set()

    def watch(self, course: Course) -> None:
        self._course = course

    def changed(self) -> None:
        """Show the course as it is now."""
        course = self._course
        if course is None:
            return
        if self._screen.draw(lambda: _picture(course)):
            return
        for planned in course.plan:
            if planned.result is not None and id(planned) not in self._printed:
                self._printed.add(id(planned))
                self._console.print(Text.assemble(_name(planned), ": ", _outcome(planned)), soft_wrap=True)

    def __enter__(self) -> Display:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, trace)


def _picture(course: Course) -> RenderableType:
    ended = [planned for planned in course.plan if planned.result is not None]
    table = Table.grid(padding=(0, 2))
    for planned in ended[-_SHOWN_ENDED:]:
        table.add_row(_name(planned), _outcome(planned))
    for planned in course.plan:
        if planned.is_running:
            table.add_row(Text(_name(planned), "bold"), _now(planned))
    title = f"perdure lab: {len(ended)} of {len(course.plan)} runs"
    return Panel(Group(table), title=title, border_style="blue")


def _name(planned: Planned) -> str:
    return f"{planned.chosen.scenario.name}, {planned.subject.name}, run {planned.number}"


def _now(planned: Planned) -> Text:
    progress, scenario = planned.progress, planned.chosen.scenario
    text = Text(progress.phase)
    if progress.elapsed:
        text.append(f", {min(progress.elapsed, scenario.seconds):.0f} of {scenario.seconds:.0f} s")
    if progress.state:
        text.append("  ").append(progress.state, _STATE_STYLES.get(progress.state, ""))
    if progress.silent_for >= 2 * SILENCE_FLOOR:
        text.append(f"  {duration(progress.silent_for)} without a byte", "bold yellow")
    return text


def _outcome(planned: Planned) -> Text:
    result = planned.result
    if result is None:
        return Text()
    if result.losses:
        return Text("; ".join(result.losses), "bold red")
    longest = max(result.outcomes, key=lambda outcome: (not outcome.recovered, outcome.silence), default=None)
    if longest is None:
        return Text("nothing lost", "green")
    return Text(f"nothing lost, longest silence {Figure(longest.silence, not longest.recovered)}", "green")
