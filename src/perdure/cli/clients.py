"""`perdure clients list|forget`: who used a gateway's tickets, told apart by their keys."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.listing import json_time, say_json, say_table, short_time
from perdure.cli.running import say

if TYPE_CHECKING:
    from pathlib import Path

    from perdure.ticket_store import TicketStore

MIN_KEY_CHARACTERS = 6
"""Of the beginning of a key that may stand for it; log lines show 8. Two of a ticket's 1024 clients have
the same ones with a chance of 10^-5."""


@click.group
def clients() -> None:
    """The clients that used a gateway's tickets: each installation of perdure has a key of its own."""


@clients.command("list", short_help="List the clients of each ticket.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array.")
@options.state_dir
def list_clients(as_json: bool, state_dir: Path | None) -> None:
    """List the clients that used each ticket: their keys, when they came, from where, and their live tunnels.

    Tunnels are live only while a gateway runs; otherwise a - stands there.
    """
    from perdure.keys import key_text

    store = options.ticket_store(state_dir)
    is_served = store.is_served()
    found = [(ticket.name, key_text(key), use) for ticket in store for key, use in ticket.clients.items()]
    if as_json:
        say_json(
            [
                {
                    "key": key,
                    "ticket": name,
                    "first_used_at": json_time(use.first_used_at),
                    "last_used_at": json_time(use.last_used_at),
                    "address": use.address,
                    "tunnels": use.tunnels if is_served else None,
                }
                for name, key, use in found
            ]
        )
        return
    say_table(
        ("KEY", "TICKET", "FIRST USED", "LAST USED", "FROM", "TUNNELS"),
        [
            (
                key,
                name,
                short_time(use.first_used_at),
                short_time(use.last_used_at),
                use.address or "-",
                str(use.tunnels) if is_served else "-",
            )
            for name, key, use in found
        ],
    )


@clients.command(short_help="Forget a client, so that another may use its ticket.")
@click.argument(
    "key", help="Its public key, as `perdure clients list` shows it, or the first 6 or more characters of it."
)
@click.option("--ticket", "name", metavar="NAME", help="Only of this ticket; otherwise of all.")
@options.state_dir
def forget(key: str, name: str | None, state_dir: Path | None) -> None:
    """Forget the client of KEY: a ticket with --uses takes another one in its place. It is not shut out: revoke the
    ticket for that."""
    store = options.ticket_store(state_dir)
    forgotten = store.forget(_client_of(store, key, name), name=name)
    say(f"forgotten: {', '.join(forgotten)}")


def _client_of(store: TicketStore, text: str, name: str | None) -> bytes:
    """The key of the one client whose key begins with `text`, of the ticket called `name` or of all.

    Raises:
        click.UsageError: there is none, or more than one; or `text` begins no key.
    """
    from perdure.keys import key_text

    if not re.fullmatch(f"[A-Za-z0-9+/]{{{MIN_KEY_CHARACTERS},43}}=?", text):
        raise click.UsageError(f"{text[:64]!r} is not a public key or the first {MIN_KEY_CHARACTERS} characters of one")
    found = {key for ticket in store if name in {None, ticket.name} for key in ticket.clients}
    keys = sorted(key for key in found if key_text(key).startswith(text))
    if not keys:
        where = "" if name is None else f" called {name}"
        raise click.UsageError(f"no ticket{where} was used with a key that is, or begins with, {text}")
    if len(keys) > 1:
        shown = ", ".join(map(key_text, keys[:3]))
        raise click.UsageError(f"{len(keys)} clients have a key that begins with {text}: {shown}; give more of it")
    return keys[0]
