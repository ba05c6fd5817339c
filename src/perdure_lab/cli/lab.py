"""`perdure lab`."""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import LogLevel, run_until_stopped, say, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_lab.lab.course import Chosen, Course
    from perdure_lab.lab.subject import Subject
    from perdure_lab.scenario.results import ScenarioReport

KEPT_RUNS = 5
"""Of each scenario the page keeps so many timelines, the median and the worst ones; the figures are of all runs."""


@click.group(short_help="Try it on networks that change.")
def lab() -> None:
    """Real networks that change under real TCP connections, and how long they are silent."""


@lab.command("list", short_help="Show the scenarios.")
def list_scenarios() -> None:
    """The scenarios that come with perdure; those of the short form are marked."""
    from perdure_lab.scenario.library import load, names

    width = max(len(name) for name in names())
    for name in names():
        scenario = load(name)
        mark = "short" if scenario.short_seconds is not None else ""
        say(f"{name:<{width}}  {scenario.seconds:3.0f} s  {mark:<5}  {scenario.title}")


@lab.command(short_help="Show a scenario's file.")
@click.argument("name", metavar="NAME")
def show(name: str) -> None:
    """The file of a scenario, to copy and change for one of your own."""
    from perdure_lab.scenario.library import text_of

    try:
        say(text_of(name).rstrip())
    except KeyError:
        raise click.BadParameter(_unknown(name)) from None


@lab.command(short_help="Run scenarios.")
@click.argument("names", nargs=-1, metavar="[NAME|all|FILE]...", help="Scenarios, or files that hold your own.")
@click.option("--repeat", type=click.IntRange(1, 1000), metavar="TIMES", default=1, help="How often each is run.")
@click.option("--short", is_flag=True, help="The short form, some minutes in all; all of it without NAME.")
@click.option(
    "--peer",
    "peers",
    multiple=True,
    metavar="NAME|FILE",
    help="Also run this program, in the same way: one that the lab knows (fowl, iroh, keeper, mptcp, ssh, wireguard, "
    "wrtc), or a file that names your own's command lines; may be given again.",
)
@click.option("--only-peers", is_flag=True, help="Leave perdure out.")
@click.option(
    "--jobs",
    type=click.IntRange(1, 64),
    metavar="RUNS",
    default=1,
    help="Runs at once; more than the machine has cores blur figures.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31),
    metavar="SEED",
    default=1,
    help="Of the first run's losses and jitter.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also where an expected figure was missed.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every result there as JSON.",
)
@click.option(
    "--html",
    "html_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write a page with a timeline per run.",
)
@click.option(
    "--logs",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Keep there what every program logs, a file each; runs add to it.",
)
def run(
    names: tuple[str, ...],
    repeat: int,
    short: bool,
    peers: tuple[str, ...],
    only_peers: bool,
    jobs: int,
    seed: int,
    strict: bool,
    json_file: Path | None,
    html_file: Path | None,
    logs: Path | None,
) -> None:
    """Run scenarios in network namespaces that exist for the run alone; as root, or where user namespaces are allowed.

    Exits with 1 if a byte or a connection was lost, and says which. Ctrl-C ends it early, with the table so far.
    """
    from perdure_lab.lab.tools import check_platform

    check_platform()

    from rich.console import Console

    from perdure_lab.lab.course import Course
    from perdure_lab.lab.display import Display
    from perdure_lab.lab.report import terminal_table

    _check_outputs(json_file, html_file)
    if logs is not None:
        with contextlib.suppress(OSError):
            logs.mkdir(exist_ok=True)
        if not (logs.is_dir() and os.access(logs, os.W_OK)):
            raise click.BadParameter(f"{logs} is not a folder that may be written to", param_hint="--logs")
    chosen = _chosen(names, short=short)
    subjects = _subjects(peers, only_peers=only_peers)
    _check(chosen)
    set_up_logging(LogLevel.WARNING, as_json=False)
    console = Console()
    courses: list[Course] = []

    async def play() -> None:
        with Display(console) as display:
            course = Course(
                chosen,
                subjects,
                repeat=repeat,
                jobs=jobs,
                first_seed=seed,
                logs=logs,
                on_change=display.changed,
            )
            display.watch(course)
            courses.append(course)
            await course.run()

    was_stopped = False
    try:
        was_stopped = run_until_stopped(play)
    finally:  # what hours have measured is shown and kept, whatever happened then
        reports = courses[0].reports if courses else []
        try:
            if reports:
                console.print(terminal_table(reports))
            if was_stopped:
                say(_interruption(reports, len(courses[0].plan) if courses else 0))
        finally:
            options = [
                *(word for peer in peers for word in ("--peer", peer)),
                *(["--only-peers"] if only_peers else []),
            ]
            unwritten = _write(reports, json_file, html_file, jobs, _commands(chosen, options))
            for text in unwritten:
                click.echo(f"perdure: {text}", err=True)
    if unwritten:
        sys.exit(ExitCode.FAILED)
    sys.exit(ExitCode.INTERRUPTED if was_stopped else _exit_code(reports, strict=strict))


def _exit_code(reports: Sequence[ScenarioReport], *, strict: bool) -> ExitCode:
    from perdure_lab.scenario.judgement import is_clean

    return ExitCode.DONE if is_clean(reports, strict=strict) else ExitCode.FAILED


def _interruption(reports: Sequence[ScenarioReport], planned: int) -> str:
    ended = sum(len(report.runs) for report in reports)
    return f"interrupted: {ended} of {planned} runs" if ended else "interrupted before a run had ended"


def _check_outputs(json_file: Path | None, html_file: Path | None) -> None:
    """Whether both can be written, which would otherwise be seen after hours of runs.

    Raises:
        click.BadParameter: one cannot, or both are the same file.
    """
    for path, option in ((json_file, "--json"), (html_file, "--html")):
        if path is None:
            continue
        if not path.parent.is_dir():
            raise click.BadParameter(f"{path} cannot be written: there is no such folder", param_hint=option)
        try:
            _try_to_write(path)
        except OSError as error:
            raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint=option) from error
    if json_file is not None and html_file is not None and os.path.realpath(json_file) == os.path.realpath(html_file):
        raise click.BadParameter(f"{html_file} is the file of --json too", param_hint="--html")


def _try_to_write(path: Path) -> None:
    """Open it, and leave it as it was; a pipe or a device is not tried, as opening one can wait, or be its end."""
    is_new = not path.exists()
    if is_new or path.is_file() or path.is_dir():
        path.open("ab").close()
    if is_new:
        Path(os.path.realpath(path)).unlink()


def _chosen(names: Sequence[str], *, short: bool) -> list[Chosen]:
    from perdure.tomlfile import read_text
    from perdure_lab.lab.course import Chosen
    from perdure_lab.scenario import library
    from perdure_lab.scenario.parse import parse_scenario

    if not names and not short:
        raise click.BadParameter(f"name a scenario, `all`, or a file; there is {', '.join(library.names())}")
    found: dict[str, Chosen] = {}

    def add(chosen: Chosen, source: str) -> None:
        name = chosen.scenario.name
        if found.setdefault(name, chosen).text != chosen.text:
            raise click.BadParameter(f"{source}: another scenario that was named is {name!r} too; rename the file")

    for name in names or ["all"]:
        path = Path(name)
        if name == "all" or name in library.names():
            for each in library.names() if name == "all" else [name]:
                add(Chosen(library.load(each), library.text_of(each), named=each), name)
        elif path.suffix or path.parent != Path() or path.is_file():
            try:
                text = read_text(path)
                scenario = parse_scenario(text, source=name, name=path.stem)
            except ValueError as error:
                raise click.BadParameter(str(error)) from error
            add(Chosen(scenario, text, named=name), name)
        else:
            raise click.BadParameter(_unknown(name))
    if not short:
        return list(found.values())
    shortened = [
        replace(each, scenario=each.scenario.shortened(), short=True)
        for each in found.values()
        if each.scenario.short_seconds is not None
    ]
    if not shortened:
        raise click.BadParameter(f"{', '.join(names)}: no part of the short form", param_hint="--short")
    return shortened


def _unknown(name: str) -> str:
    from perdure.fields import nearest
    from perdure_lab.scenario.library import names

    return f"there is no scenario {name!r}; {nearest(name, names())}"


def _subjects(peers: Sequence[str], *, only_peers: bool) -> list[Subject]:
    from perdure.fields import nearest
    from perdure_lab.lab.subject import PERDURE, read_subject
    from perdure_lab.peers.subjects import PEERS

    subjects = {} if only_peers else {PERDURE.name: PERDURE}
    for peer in peers:
        if peer in PEERS:
            subject = PEERS[peer]
        elif Path(peer).is_file():
            try:
                subject = read_subject(Path(peer))
            except ValueError as error:
                raise click.BadParameter(str(error), param_hint="--peer") from error
            if subject.name in {PERDURE.name, *PEERS} or subjects.get(subject.name, subject) != subject:
                raise click.BadParameter(
                    f"{peer}: the name {subject.name!r} is taken; give it another in `name`", param_hint="--peer"
                )
        else:
            raise click.BadParameter(f"there is no peer {peer!r}; {nearest(peer, PEERS)}", param_hint="--peer")
        subjects[subject.name] = subject
    if not subjects:
        raise click.BadParameter(
            "without perdure and without --peer there is nothing to run", param_hint="--only-peers"
        )
    return list(subjects.values())


def _check(chosen: Sequence[Chosen]) -> None:
    from perdure_lab.lab.run import needs
    from perdure_lab.lab.tools import check

    scenarios = [each.scenario for each in chosen]
    check([need for scenario in scenarios for need in needs(scenario)], tun=any(each.is_impaired for each in scenarios))


def _commands(chosen: Sequence[Chosen], options: list[str]) -> dict[str, str]:
    """How each scenario is run again with the same subjects, by its name."""
    return {
        each.scenario.name: shlex.join(
            ["perdure", "lab", "run", each.named, *(["--short"] if each.short else []), *options]
        )
        for each in chosen
    }


def _write(
    reports: list[ScenarioReport],
    json_file: Path | None,
    html_file: Path | None,
    jobs: int,
    commands: dict[str, str],
) -> list[str]:
    """What could not be written, for a person; one that cannot does not keep the other from it."""
    from perdure_lab.lab.html import page
    from perdure_lab.lab.report import to_json

    unwritten: list[str] = []
    if reports and json_file is not None:
        unwritten += _write_file(json_file, to_json(reports))
    if reports and html_file is not None:
        unwritten += _write_file(
            html_file, page(reports, kept_runs=KEPT_RUNS, about=_about(jobs), commands=commands).encode()
        )
    return unwritten


def _about(jobs: int) -> dict[str, str]:
    """Where and how it was measured."""
    import platform

    from perdure import __version__

    return {
        "perdure": __version__,
        "Python": platform.python_version(),
        "kernel": f"{platform.system()} {platform.release()}",
        "cores": str(os.cpu_count()),
        "runs at once": str(jobs),
    }


def _write_file(path: Path, data: bytes) -> list[str]:
    try:
        path.write_bytes(data)
    except OSError as error:
        return [f"{path} cannot be written: {error.strerror}"]
    return []
