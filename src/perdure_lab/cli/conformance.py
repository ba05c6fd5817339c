"""`perdure conformance`."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import LogLevel, output_failed, run_until_stopped, say, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure_lab.conformance.case import Case, Result

DEFAULT_TIMEOUT = 10.0
"""Seconds: as long as an attempt to begin a carrier has (docs/protocol.md, section 9)."""


@click.command(
    short_help="Try another implementation of the protocol.",
    context_settings={"allow_interspersed_args": False},
)
@click.option("--list", "lists", is_flag=True, help="Show the cases, and what each proves.")
@click.option("--case", "names", multiple=True, metavar="NAME", help="Only this case; may be given again.")
@click.option("--json", "as_json", is_flag=True, help="Print the results as JSON, in the end.")
@click.option(
    "--timeout",
    type=click.FloatRange(0.1, 600),
    metavar="SECONDS",
    default=DEFAULT_TIMEOUT,
    help="How long an answer of COMMAND may take.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), metavar="CASES", default=1, help="So many cases at once, a process each."
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[--] COMMAND [ARGUMENT]...")
def conformance(
    lists: bool, names: tuple[str, ...], as_json: bool, timeout: float, jobs: int, command: tuple[str, ...]
) -> None:
    """Play the protocol's rare cases against COMMAND, an implementation of docs/protocol.md.

    COMMAND is started anew for each case. It takes the acceptor's part, and reads and writes the texts of section 12 on
    its standard input and output, one a line. It takes every stream, whatever the target, and echoes bytes and FIN.

    Exits with 0 where no case failed, with 1 where one did. Ctrl-C ends it with the summary so far, and with 130.
    """
    cases = _chosen(names)
    if lists:
        width = max(len(case.name) for case in cases)
        for case in cases:
            say(f"{case.name:<{width}}  section {case.section:<2}  {case.plays}")
        return
    if not command:
        raise click.UsageError("COMMAND is missing: the implementation that is to be tried")
    from perdure_lab.conformance.process import CommandNotStartedError
    from perdure_lab.conformance.run import play

    set_up_logging(LogLevel.ERROR, as_json=False)
    results: list[Result] = []
    width = max(len(case.name) for case in cases)

    async def run() -> None:
        async for result in play(command, cases, timeout, jobs):
            results.append(result)
            if not as_json:
                _tell(result, width)

    try:
        was_stopped = run_until_stopped(run)
    except CommandNotStartedError as error:
        raise click.UsageError(str(error)) from error
    if as_json:
        say(json.dumps(_figures(command, cases, results), indent=1))
    else:
        _summarize(cases, results, was_stopped=was_stopped)
    if was_stopped:
        sys.exit(ExitCode.INTERRUPTED)
    has_failed = any(result.is_failed for result in results) or output_failed()
    sys.exit(ExitCode.FAILED if has_failed else ExitCode.DONE)


def _chosen(names: Sequence[str]) -> list[Case]:
    from perdure.fields import nearest
    from perdure_lab.conformance.cases import ALL

    known = {case.name: case for case in ALL}
    for name in names:
        if name not in known:
            raise click.BadParameter(f"there is no case {name!r}; {nearest(name, known)}", param_hint="--case")
    return [case for case in ALL if not names or case.name in names]


def _tell(result: Result, width: int) -> None:
    line = f"{result.verdict.value:<14}  {result.case.name:<{width}}  "
    if result.is_failed:
        line += f"expected {result.expected}; came {result.came} (section {result.case.section})"
    else:
        line += result.came
    say(line.rstrip())
    for written in result.written.splitlines():
        say(f"    | {written}")


def _summarize(cases: Sequence[Case], results: Sequence[Result], *, was_stopped: bool) -> None:
    counts = Counter(result.verdict for result in results)
    found = ", ".join(f"{counts[verdict]} {verdict.value}" for verdict in counts)
    left = len(cases) - len(results)
    if left and not was_stopped:
        say(f"not played: {left}, as COMMAND said nothing to the offer of the first one")
    if was_stopped:
        say(f"interrupted: {len(results)} of {len(cases)} cases" + (f": {found}" if found else ""))
    else:
        say(f"{len(results)} of {len(cases)} cases: {found}")


def _figures(command: Sequence[str], cases: Sequence[Case], results: Sequence[Result]) -> dict[str, Any]:
    from perdure import __version__

    played = {result.case.name: result for result in results}
    return {
        "perdure": __version__,
        "command": list(command),
        "results": [
            {
                "name": case.name,
                "plays": case.plays,
                "section": case.section,
                "verdict": played[case.name].verdict.value if case.name in played else "not played",
                **(
                    {"expected": found.expected, "came": found.came, "stderr": found.written}
                    if (found := played.get(case.name))
                    else {}
                ),
            }
            for case in cases
        ],
    }
