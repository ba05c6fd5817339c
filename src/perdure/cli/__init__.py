"""The command line: one file a verb. Heavy imports wait until a verb runs."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Annotated

import typer

from perdure import __version__
from perdure.cli import config, connect, rendezvous, serve
from perdure.cli.exit_codes import ExitCode, exit_code_of
from perdure.errors import PerdureError

app = typer.Typer(
    name="perdure",
    help="WebRTC tunnels that outlive the network: forwarded TCP connections stay open and lose no byte.",
    epilog="Exit codes: 0 done, 1 bug or (demo, lab, simulate) something lost, 2 usage, 3 rendezvous unreachable, "
    "4 peer unreachable, 5 not authorised, 6 port in use.",
    no_args_is_help=True,
    rich_markup_mode=None,  # rich's help would double the time of `--help`, and breaks messages over lines
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"perdure {__version__}")
        raise typer.Exit


@app.callback()
def _perdure(
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


app.command(short_help="Introduce gateways and clients to each other.")(rendezvous.rendezvous)
app.command(short_help="Let a ticket's holders reach what you allow.")(serve.serve)
app.command(short_help="Forward local ports through a gateway.")(connect.connect)
app.add_typer(config.app, name="config", short_help="Show what may be set, and what is.")


def _add_installed_verbs() -> None:
    """Those that other packages name as entry points."""
    for entry in entry_points(group="perdure.commands"):
        verb = entry.load()
        if isinstance(verb, typer.Typer):
            app.add_typer(verb, name=entry.name)
        else:
            app.command(name=entry.name)(verb)


def main() -> None:
    """The console script `perdure`."""
    _add_installed_verbs()
    try:
        app()
    except PerdureError as error:
        typer.echo(f"perdure: {error}", err=True)
        sys.exit(exit_code_of(error))


__all__ = ["ExitCode", "app", "main"]
