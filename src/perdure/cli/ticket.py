"""`perdure ticket create|list|revoke`: on a gateway's state folder, whether the gateway runs or not."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import options
from perdure.cli.listing import json_time, say_json, say_table, short_time
from perdure.cli.running import say, warn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.admission import ServedTicket
    from perdure.ticket_store import TicketStore

_REACH_CHARACTERS = 40
"""Of the targets in a row of `perdure ticket list`; --json has all."""


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
    from perdure.ticket_store.record import check_allow, check_name, check_uses

    if ticket_file is not None and os.path.exists(ticket_file):
        raise click.UsageError(f"{ticket_file} exists; name another file, or remove it")
    now = time.time()
    store = options.ticket_store(state_dir)
    url = _rendezvous(store, rendezvous, config)
    with _told_of("NAME"):
        check_name(name)
    with _told_of("--uses"):
        check_uses(uses)
    with _told_of("--allow"):
        check_allow(allow)
    with _told_of("--expires"):
        expires_at = 0 if expires is None else parse_expiry(expires, now)
    store.key  # noqa: B018 (one that cannot be used is told before there is a ticket)
    with _told_of("--expires"):  # the rest is checked
        store.create(name, now=now, expires_at=expires_at, uses=uses, allow=allow)
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
    """List the tickets: when they were made and used, from where, how many tunnels are live, and what they reach.

    A ticket is open, or bound: as many clients have used it as --uses allows, and no other one may. Tunnels are live
    only while a gateway runs; otherwise a - stands there.
    """
    store = options.ticket_store(state_dir)
    is_served, now = store.is_served(), time.time()
    if as_json:
        say_json([_described(each, is_served=is_served, now=now) for each in store])
        return
    head = ("NAME", "STATE", "CREATED", "EXPIRES", "CLIENTS", "LAST USED", "FROM", "TUNNELS", "REACHES")
    say_table(head, [_row(each, is_served=is_served, now=now) for each in store])
    if not store.names:
        warn(f"there is no ticket in {store.folder}: `perdure ticket create NAME` makes one")


@ticket.command(short_help="End a ticket, and the tunnels that it began.")
@click.argument("name", help="As `perdure ticket list` shows it.")
@options.state_dir
def revoke(name: str, state_dir: Path | None) -> None:
    """End the ticket called NAME for good. A gateway that runs ends its tunnels, and no others, within two seconds; its
    holders are told that it was revoked."""
    options.ticket_store(state_dir).revoke(name, now=time.time())


@contextmanager
def _told_of(what: str) -> Iterator[None]:
    """Say of which argument or option a `ValueError` is."""
    try:
        yield
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=what) from error


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
    return "bound" if each.uses is not None and len(each.clients) >= each.uses else "open"


def _reach(allow: tuple[str, ...]) -> str:
    """As a cell: as many targets as fit, but at least one."""
    if not allow:
        return "all that serve allows"
    shown, *others = allow
    while others and len(shown) + len(others[0]) < _REACH_CHARACTERS:
        shown += f", {others.pop(0)}"
    return f"{shown} and {len(others)} more" if others else shown


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
        _reach(each.allow),
    )


def _described(each: ServedTicket, *, is_served: bool, now: float) -> dict[str, object]:
    last = each.last_use
    return {
        "name": each.name,
        "state": _state(each, now),
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
