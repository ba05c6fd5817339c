"""`perdure events`: what happened, also before the last restart."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from perdure.cli import options
from perdure.cli.expiry import parse_since
from perdure.cli.running import end_on_signals, say
from perdure.errors import PerdureError

_ABOUT = ("time", "pid", "role", "level", "event")
"""Fields that stand before the others."""


@click.command
@click.option("--since", metavar="TIME", help="30m, 12h, 7d, 2w ago, or 2026-12-24T18:00; otherwise all that is kept.")
@click.option("--tunnel", metavar="NAME", help="Of this tunnel alone, by its name's beginning.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead, an object a line.")
@options.state_dir
def events(since: str | None, tunnel: str | None, as_json: bool, state_dir: Path | None) -> None:
    """Show what `perdure serve` and `perdure connect` with this state folder logged: starts and ends, changes of state
    with their reasons, decisions, paths, warnings. Some 10,000 lines are kept."""
    end_on_signals()
    from perdure.control.events_file import read_events

    try:
        begin = 0.0 if since is None else parse_since(since, time.time())
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--since") from error
    folder = options.state_folder(state_dir)
    try:
        for event in read_events(folder, begin):
            if tunnel is None or str(event.get("tube", "")).startswith(tunnel):
                say(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
    except OSError as error:
        raise PerdureError(f"the events in {folder} cannot be read: {error.strerror}") from error


def _line(event: dict[str, Any]) -> str:
    from perdure.eventlog import instant, shown_fields

    head = f"{instant(event['time'])} {event.get('role', '?')} {event.get('pid', '?')} {event.get('level', '')}"
    fields = {name: value for name, value in event.items() if name not in _ABOUT}
    return f"{head} {shown_fields(str(event.get('event', '')), fields)}"
