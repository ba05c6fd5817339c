"""The command line: one file a verb. Heavy imports wait until a verb runs."""

from __future__ import annotations

import sys

import click

from perdure import __version__
from perdure.cli.exit_codes import ExitCode, exit_code_of
from perdure.cli.verbs import Verbs
from perdure.errors import PerdureError

app = Verbs(
    name="perdure",
    help="WebRTC tunnels that outlive the network: forwarded TCP connections stay open and lose no byte.",
    epilog="\b\nThe first tunnel:\n"
    "  perdure rendezvous --listen 0.0.0.0:8765\n"
    "  perdure serve --rendezvous ws://HOST:8765 --allow 127.0.0.1:22 --ticket-file home.ticket\n"
    "  perdure connect @home.ticket -L 2222:127.0.0.1:22\n\n"
    "Exit codes: 0 done, 1 bug or (demo, lab, simulate) something lost or (conformance, stress) failed, 2 usage, "
    "3 rendezvous unreachable, 4 peer unreachable, 5 not authorised, 6 port in use.",
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
click.version_option(__version__, message="perdure %(version)s", help="Show the version and exit.")(app)


def main() -> None:
    """The console script `perdure`."""
    try:
        app()
    except PerdureError as error:
        click.echo(f"perdure: {error}", err=True)
        sys.exit(exit_code_of(error))


__all__ = ["ExitCode", "app", "main"]
