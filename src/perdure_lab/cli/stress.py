"""`perdure stress`."""

from __future__ import annotations

import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import LogLevel, run_until_stopped, say, set_up_logging, try_to_write

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_lab.stress.course import Course
    from perdure_lab.stress.results import TestResult


@click.command(short_help="Try to break it: many tubes, limits, faults.")
@click.option("--light", "level", flag_value="light", help="Some minutes, on any machine.")
@click.option("--full", "level", flag_value="full", default=True, help="Five minutes.")
@click.option("--extreme", "level", flag_value="extreme", help="All that the machine bears; asks first.")
@click.option("--list", "lists", is_flag=True, help="Show the tests.")
@click.option("--test", "names", metavar="NAME", multiple=True, help="This test alone; may be given again.")
@click.option(
    "--soak",
    "soak_hours",
    type=click.FloatRange(0.05, 1000),
    metavar="HOURS",
    help="Instead of the tests: ten streams a second for so long, and a fault now and then.",
)
@click.option("--yes", is_flag=True, help="Do not ask before --extreme.")
@click.option("--seed", type=click.IntRange(0, 2**31), metavar="SEED", default=1, help="Of what the tests draw.")
@click.option(
    "--json", "json_file", type=click.Path(path_type=Path), metavar="FILE", help="Write every figure there as JSON."
)
def stress(
    level: str,
    lists: bool,
    names: tuple[str, ...],
    soak_hours: float | None,
    yes: bool,
    seed: int,
    json_file: Path | None,
) -> None:
    """Try to break perdure, on loopback and in network namespaces of its own: many tubes, limits that change, faults, a
    hostile neighbour.

    How much is done follows from the machine's memory and descriptors. Exits with 1 where a test fell short, and says
    how, and where none could run on this machine. Ctrl-C ends it early, with the table so far, and leaves nothing
    behind.
    """
    from perdure_lab.stress.catalogue import LIMITED_BY, SOAK, TESTS, what

    if lists:
        for name, test in TESTS.items():
            say(f"{name}\n    {what(test)}")
        return
    from rich.console import Console

    from perdure_lab.stress.course import Course
    from perdure_lab.stress.display import Display
    from perdure_lab.stress.machine import about_this, this_machine
    from perdure_lab.stress.sizes import Level, fitted

    if soak_hours is not None and names:
        raise click.BadParameter("it is no test among others; leave --test out", param_hint="--soak")
    chosen = _chosen(names, list(TESTS)) if soak_hours is None else [SOAK]
    _check_json(json_file)
    machine = this_machine()
    sizes, cuts = fitted(Level(level), machine)
    about: dict[str, object] = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "machine": about_this(machine)}
    console = Console()
    if soak_hours is None:
        limits = {LIMITED_BY.get(name) for name in chosen}
        for name, cut in cuts.items():
            if name in limits:
                console.print(cut, soft_wrap=True)
    if soak_hours is not None:
        sizes = replace(sizes, seconds=soak_hours * 3600)
    elif level == Level.EXTREME and not yes:
        question = (
            "--extreme takes every core and half of the free memory, all tests together for about an hour. Go on?"
        )
        if not click.confirm(question):
            say("no test was run")
            sys.exit(ExitCode.INTERRUPTED)
    set_up_logging(LogLevel.ERROR, as_json=False)
    courses: list[Course] = []
    display = Display(console)

    async def play() -> None:
        with display:
            course = Course(chosen, sizes, seed, on_change=display.changed)
            display.watch(course)
            courses.append(course)
            await course.run()

    was_stopped = run_until_stopped(play)
    results = courses[0].results if courses else []
    display.summarise(results)
    if json_file is not None:
        _write_json(json_file, about | {"level": level, "seed": seed, "sizes": sizes, "tests": results})
    sys.exit(ExitCode.INTERRUPTED if was_stopped else exit_code(results))


def exit_code(results: Sequence[TestResult]) -> ExitCode:
    """That all were skipped is no success, and is said."""
    verdicts = [each.verdict for each in results]
    if skipped := verdicts.count("skipped"):
        say(f"skipped: {skipped} of {len(verdicts)} tests, which cannot run on this machine")
    if "fell short" in verdicts or "passed" not in verdicts:
        return ExitCode.FAILED
    return ExitCode.DONE


def _chosen(names: Sequence[str], known: Sequence[str]) -> list[str]:
    from perdure.fields import nearest

    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no test {name!r}; {nearest(name, known)}", param_hint="--test")
    return list(dict.fromkeys(names)) or list(known)


def _check_json(path: Path | None) -> None:
    """That the figures can be written is seen before they are measured."""
    if path is None:
        return
    try:
        try_to_write(path)
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--json") from error


def _write_json(path: Path, figures: dict[str, object]) -> None:
    import msgspec

    from perdure import __version__

    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode({"version": __version__} | figures), indent=2) + b"\n")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--json") from error
