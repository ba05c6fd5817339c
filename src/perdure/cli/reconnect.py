"""`perdure reconnect`: build new carriers now."""

from __future__ import annotations

import click

from perdure.cli.running import say
from perdure.cli.steering import steer


@click.command
@click.argument("name", required=False, metavar="[NAME]", help="As `perdure status` has it, or its beginning.")
def reconnect(name: str | None) -> None:
    """Build a new connection for the tunnel NAME, or for all, beside the one in use. What they carry goes on."""
    from perdure.control.messages import AskReconnect

    count = steer(name, AskReconnect)
    say(f"asked {count} tunnel{'s' * (count != 1)} for a new connection; `perdure status` shows what came of it")
