"""What `perdure reconnect` and `perdure close` share: the process that has a tunnel is found, and asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from perdure.errors import PerdureError

if TYPE_CHECKING:
    from pathlib import Path

    from perdure.control.messages import AskClose, AskReconnect, ProcessStatus


def steer(name: str | None, question: Callable[[str | None], AskReconnect | AskClose]) -> int:
    """Ask for what `question` makes of the tunnel's whole name, or of each process; for how many tunnels it was done.

    Raises:
        click.UsageError: there is no such tunnel, or there are several.
        PerdureError: the process refuses, or does not answer.
    """
    from perdure.control.asking import ask, running
    from perdure.control.messages import Done, Refused

    found, _ = running()
    asked = [(path, None) for path, _ in found] if name is None else _having(name, found)
    count = 0
    for path, whole in asked:
        try:
            answer = ask(path, question(whole))
        except (OSError, ValueError) as error:
            raise PerdureError(f"the process at {path} cannot be asked: {error}") from error
        match answer:
            case Done(done):
                count += done
            case Refused(why) if name is not None:
                raise PerdureError(f"the process at {path} refuses: {why}")
    return count


def _having(name: str, found: list[tuple[Path, ProcessStatus]]) -> list[tuple[Path, str | None]]:
    """The one tunnel whose name begins so; the client's end, where both ends are here."""
    first_clients = sorted(found, key=lambda each: each[1].role != "client")
    known = [(tunnel.name, path) for path, process in first_clients for tunnel in process.tunnels]
    having = {whole: path for whole, path in reversed(known) if whole.startswith(name)}
    if len(having) == 1:
        return [(path, whole) for whole, path in having.items()]
    what = "no tunnel has a name" if not having else f"{len(having)} tunnels have a name"
    raise click.UsageError(f"{what} that begins with {name!r}; `perdure status` shows them")
