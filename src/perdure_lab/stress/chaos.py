"""The lab's faults while many tubes carry data."""

from __future__ import annotations

from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING

from perdure_lab.lab.course import Chosen, Course
from perdure_lab.lab.run import needs
from perdure_lab.lab.subject import PERDURE
from perdure_lab.lab.tools import LabError, check
from perdure_lab.scenario.parse import parse_scenario
from perdure_lab.stress.stage import SkippedError

if TYPE_CHECKING:
    from perdure_lab.lab.course import Planned
    from perdure_lab.stress.stage import Stage

BYTES_PER_SECOND = 4_000
"""Each tube, each direction: many small writes are what costs."""

NAME = "storm"


async def test_chaos_under_load(stage: Stage) -> None:
    """Each tube of one client carries a connection while its network does everything that networks do; no byte and no
    connection is lost."""
    count = stage.sizes.chaos_tubes
    text = resources.files(__package__).joinpath(f"{NAME}.toml").read_text("utf-8")
    text += f"\n[traffic]\nconnections = {count}\nrate = {BYTES_PER_SECOND}\n"
    scenario = parse_scenario(text, source=NAME, name=NAME)
    try:
        check(needs(scenario))
    except LabError as error:
        raise SkippedError(str(error)) from error
    words = ("{python}", "-m", "perdure_lab.stress.spread", "@{directory}/ticket", str(count), "{port}", "{target}")
    subject = replace(PERDURE, client=words)
    planned: list[Planned] = []

    def tell() -> None:
        for each in planned:
            stage.progress(each.progress.phase, each.progress.elapsed, scenario.seconds)

    course = Course(
        [Chosen(scenario, text, named=NAME)], [subject], first_seed=stage.dice.randrange(2**31), on_change=tell
    )
    planned += course.plan
    await course.run()
    (report,) = course.reports
    for run in report.runs:
        for loss in run.losses:
            stage.expect(False, loss)
        stage.measured("connections, one a tube", run.connections)
        stage.measured("connections kept", run.connections_kept, at_least=run.connections)
        stage.measured("bytes sent", run.bytes_sent)
        stage.measured("bytes lost or wrong", run.bytes_lost + run.bytes_wrong, at_most=0)
        longest: dict[str, float] = {}
        for each in run.outcomes:
            event = run.events[each.event]
            longest[event.text] = max(longest.get(event.text, 0.0), each.silence)
            stage.expect(each.recovered, f"{event.text}: no byte came any more")
        for event_text, seconds in longest.items():
            stage.measured(f"longest silence of any tube, {event_text}", seconds, "s")
