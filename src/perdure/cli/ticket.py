"""`perdure ticket create|list|revoke`: on a gateway's state folder, whether the gateway runs or not."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.listing import json_time, say_json, say_table, short_time
from perdure.cli.running import say

if TYPE_CHECKING:
    from perdure.admission import ServedTicket
    from perdure.ticket_store import TicketStore


@click.group
def ticket() -> None:
    """A gateway's tickets: who holds one may reach what it allows, until it expires or is revoked."""


@ticket.command(short_help="Make a ticket, and print it.")
@click.argument("name", help="Its name in lists: 1 to 64 letters, digits, dots, _ and -.")
@click.option(
    "--expires",
    metavar="TIME",
    help="When it ends: 30m, 12h, 7d or 2w from now, or 2026-12-24T18:00 (local time, unless it names a zone).",
)
@click.option(
    "--uses",
    type=int,
    metavar="N",
    help="How many clients may use it, told apart by their keys: 1 binds it to the first.",
)
@click.option(
    "--allow",
    multiple=True,
    metavar="HOST:PORTS",
    help="What it may reach, as `serve --allow` has it; may be given again. Otherwise all that the gateway allows.",
)
@click.option(
    "--ticket-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write it there, readable by you alone, instead of printing it.",
)
@click.option(
    "--rendezvous", metavar="URL", help="The gateway's rendezvous, if it is another one than serve used last."
)
@options.config
@options.state_dir
def create(
    name: str,
    expires: str | None,
    uses: int | None,
    allow: tuple[str, ...],
    ticket_file: Path | None,
    rendezvous: str | None,
    config: Path | None,
    state_dir: Path | None,
) -> None:
    """Make a ticket called NAME, and print it. A gateway that runs serves it within two seconds."""
    from perdure.cli.expiry import parse_expiry
    from perdure.errors import TicketError
    from perdure.private_files import write_file

    if ticket_file is not None and ticket_file.exists():
        raise click.UsageError(f"{ticket_file} exists; name another file, or remove it")
    now = time.time()
    store = options.ticket_store(state_dir)
    url = _rendezvous(store, rendezvous, config)
    try:
        expires_at = 0 if expires is None else parse_expiry(expires, now)
        store.key  # noqa: B018 (one that cannot be used is told before there is a ticket)
        store.create(name, now=now, expires_at=expires_at, uses=uses, allow=allow)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    text = store.ticket(name, url).encode()
    if ticket_file is None:
        say(text)
        return
    try:
        write_file(ticket_file, text.encode() + b"\n")
    except OSError as error:
        why = f"the ticket file {ticket_file} cannot be written: {error.strerror}"
        raise TicketError(f"{why}; `perdure ticket revoke {name}` ends the ticket that nobody has") from error


@ticket.command("list", short_help="List the tickets, and how they are used.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON array; no secret is in it.")
@options.state_dir
def list_tickets(as_json: bool, state_dir: Path | None) -> None:
    """List the tickets: when they were made and used, from where, and how many tunnels are live.

    Tunnels are live only while a gateway runs; otherwise a - stands there.
    """
    store = options.ticket_store(state_dir)
    is_served = store.is_served()
    if as_json:
        say_json([_described(each, is_served=is_served) for each in store])
        return
    head = ("NAME", "STATE", "CREATED", "EXPIRES", "CLIENTS", "LAST USED", "FROM", "TUNNELS")
    say_table(head, [_row(each, is_served=is_served, now=time.time()) for each in store])


@ticket.command(short_help="End a ticket, and the tunnels that it began.")
@click.argument("name", help="As `perdure ticket list` shows it.")
@options.state_dir
def revoke(name: str, state_dir: Path | None) -> None:
    """End the ticket called NAME for good. A gateway that runs ends its tunnels, and no others, within two seconds; its
    holders are told that it was revoked."""
    options.ticket_store(state_dir).revoke(name, now=time.time())


def _rendezvous(store: TicketStore, given: str | None, config: Path | None) -> str:
    configuration = options.configuration(
        None, config=config, assignments=(), hold_minutes=None, ice_server=(), loopback=False, rendezvous=given
    )
    url = configuration.serve.rendezvous or store.rendezvous_url
    if not url:
        raise click.UsageError(
            f"give --rendezvous URL, or a --config file that has it: no gateway has run on {store.folder} yet"
        )
    return url


def _state(each: ServedTicket, now: float) -> str:
    if each.revoked_at is not None:
        return "revoked"
    if not each.is_usable(now):
        return "expired"
    return "used up" if each.uses is not None and len(each.clients) >= each.uses else "open"


def _row(each: ServedTicket, *, is_served: bool, now: float) -> tuple[str, ...]:
    last = each.last_use
    return (
        each.name,
        _state(each, now),
        short_time(each.created_at),
        short_time(each.expires_at),
        str(len(each.clients)) if each.uses is None else f"{len(each.clients)} of {each.uses}",
        short_time(None if last is None else last.last_used_at),
        (None if last is None else last.address) or "-",
        str(each.tunnels) if is_served else "-",
    )


def _described(each: ServedTicket, *, is_served: bool) -> dict[str, object]:
    last = each.last_use
    return {
        "name": each.name,
        "created_at": json_time(each.created_at),
        "expires_at": json_time(each.expires_at),
        "revoked_at": json_time(each.revoked_at),
        "uses": each.uses,
        "clients": len(each.clients),
        "allow": list(each.allow),
        "last_used_at": None if last is None else json_time(last.last_used_at),
        "address": None if last is None else last.address,
        "tunnels": each.tunnels if is_served else None,
    }
