"""`perdure demo`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.running import LogLevel, run_until_stopped, set_up_logging

if TYPE_CHECKING:
    from perdure_lab.demo.report import Report


@click.command(short_help="Watch connections live through every loss.")
@click.option(
    "--seconds",
    type=click.FloatRange(5, 86400),
    metavar="SECONDS",
    default=30,
    help="How long the traffic runs.",
)
@click.option("--loopback", is_flag=True, help="On 127.0.0.1, even where a real network is possible.")
@click.option(
    "--json",
    "json_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the result there as JSON.",
)
def demo(seconds: float, loopback: bool, json_file: Path | None) -> None:
    """Watch TCP connections live through the loss of their network, and of the WebRTC connection under them.

    Where the system permits it (as root, or with user namespaces), this is a small network of its own with Ethernet,
    Wi-Fi and NATs; elsewhere 127.0.0.1. Exits with 0 only if no byte was lost and no connection dropped. Ctrl-C ends it
    early, with the table so far.
    """
    from rich.console import Console

    from perdure_lab.demo.display import Display, print_result
    from perdure_lab.demo.show import Show
    from perdure_lab.lab.tools import LabError

    if json_file is not None and not json_file.parent.is_dir():
        raise click.BadParameter(f"{json_file} cannot be written: there is no such folder", param_hint="--json")
    set_up_logging(LogLevel.WARNING, as_json=False)
    console = Console()
    reports: list[Report] = []

    async def play(*, is_private: bool) -> None:
        with Display(console) as display:
            show = Show(seconds, is_private=is_private, on_change=display.changed)
            try:
                await show.run()
            finally:
                reports.append(show.report)

    async def run() -> None:
        try:
            await play(is_private=not loopback)
        except LabError as error:
            console.print(f"On 127.0.0.1, without a network of its own: {error}.", highlight=False, soft_wrap=True)
            await play(is_private=False)

    was_stopped = run_until_stopped(run)
    report = reports[-1]
    print_result(console, report)
    if json_file is not None:
        _write_json(report, json_file)
    if was_stopped:
        sys.exit(ExitCode.INTERRUPTED)
    sys.exit(ExitCode.DONE if report.is_clean else ExitCode.FAILED)


def _write_json(report: Report, path: Path) -> None:
    import msgspec

    result = msgspec.to_builtins(report) | {
        "recovery_median": report.recovery_median,
        "recovery_max": report.recovery_max,
        "clean": report.is_clean,
    }
    try:
        path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=2) + b"\n")
    except OSError as error:
        raise click.BadParameter(f"{path} cannot be written: {error.strerror}", param_hint="--json") from error
