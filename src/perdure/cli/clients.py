"""`perdure clients list|forget`: who used a gateway's tickets, told apart by their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.listing import json_time, say_json, say_table, short_time
from perdure.cli.running import say

if TYPE_CHECKING:
    from pathlib import Path


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
@click.argument("key", help="Its public key, as `perdure clients list` shows it.")
@click.option("--ticket", "name", metavar="NAME", help="Only of this ticket; otherwise of all.")
@options.state_dir
def forget(key: str, name: str | None, state_dir: Path | None) -> None:
    """Forget the client of KEY: a ticket with --uses takes another one in its place. It is not shut out: revoke the
    ticket for that."""
    from perdure.keys import parse_key_text

    try:
        client_key = parse_key_text(key)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    forgotten = options.ticket_store(state_dir).forget(client_key, name=name)
    if not forgotten:
        raise click.UsageError(f"no ticket{'' if name is None else f' called {name}'} was used with the key {key}")
    say(f"forgotten: {', '.join(forgotten)}")
