"""`perdure serve`."""

from __future__ import annotations

import logging
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from perdure.cli import options
from perdure.cli.running import (
    LogLevel,
    end_on_signals,
    raise_descriptor_limit,
    run_until_stopped,
    say,
    set_up_logging,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.gateway import Gateway
    from perdure.ticket_store import TicketStore

log = logging.getLogger(__name__)


@click.command
@options.rendezvous
@options.allow
@options.deny
@options.state_dir
@click.option(
    "--print-ticket",
    is_flag=True,
    help="Print the ticket called default though standard output is no terminal: a journal keeps what it is told.",
)
@click.option(
    "--ticket-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the ticket called default there, readable by you alone. A file that exists is never replaced: it must "
    "hold that ticket.",
)
@click.option(
    "--authorized-keys",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Admit only the clients whose keys are in FILE, a line each, as `perdure client-key` shows them.",
)
@options.settings
@options.log_level
@options.json_logs
@options.faults
def serve(
    state_dir: Path | None,
    print_ticket: bool,
    ticket_file: Path | None,
    authorized_keys: Path | None,
    exit_on_fail: bool,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
    **given: Any,
) -> None:
    """Let the holders of this gateway's tickets reach what --allow names.

    `perdure ticket create` makes tickets, also while this runs. Without any, one called default is made; on a terminal
    it is standard output's first line.
    """
    from perdure.streams.allow import parse_allow
    from perdure.ticket_store import TicketStore

    end_on_signals()
    settings = options.configuration(options.command_defaults(exit_on_fail=exit_on_fail), **given)
    for name, flag in (("rendezvous", "--rendezvous URL"), ("allow", "--allow HOST:PORTS")):
        if not getattr(settings.serve, name):
            raise click.UsageError(f"give {flag}, or set {name} under [serve] in the file that --config names")
    provider = options.ice_server_provider(settings.turn)
    if settings.transport.relay_only and provider is None:
        _check_has_relay(settings.transport.ice_servers, settings.sources["transport.relay_only"])
    set_up_logging(log_level, as_json=json_logs)
    raise_descriptor_limit()
    tickets = TicketStore(options.state_folder(state_dir), authorized_keys=authorized_keys)
    text = _default_ticket(
        tickets, settings.serve.rendezvous, ticket_file, is_wanted=print_ticket or ticket_file is not None
    )
    shows = print_ticket or (sys.stdout is not None and sys.stdout.isatty())

    async def run() -> None:
        from perdure.control.server import Controlled, control_socket, kept_events
        from perdure.faults import run_driven
        from perdure.gateway import Gateway
        from perdure.urls import without_login

        gateway = Gateway(
            settings.serve.rendezvous,
            parse_allow(settings.serve.allow, settings.serve.deny),
            tickets=tickets,
            wait=False,
            retry=not exit_on_fail,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            transport=settings.transport.config(settings.turn),
            ice_server_provider=provider,
        )
        controlled = Controlled(
            "gateway",
            gateway.tubes,
            rendezvous=without_login(settings.serve.rendezvous),
            signaling=lambda: gateway.signaling_status,
        )
        with kept_events(state_dir, "gateway"):
            async with control_socket(controlled):
                await run_driven(_serve(gateway, text if shows else None), lambda: gateway.tubes, driven=faults)

    run_until_stopped(run, on_uvloop=True)


async def _serve(gateway: Gateway, text: str | None) -> None:
    """Until the gateway ends. `text`: the ticket to print, once the state folder is known to be this gateway's."""
    from perdure.cli.service_manager import tell_ready
    from perdure.eventlog import log_event

    async with gateway:
        tell_ready()
        if text is not None:
            say(text)
        tickets, now = gateway.tickets, time.time()
        usable = sum(ticket.is_usable(now) for ticket in tickets)
        log_event(log, logging.INFO, "state", folder=str(tickets.folder), tickets=usable, printed=text is not None)
        await gateway.wait_closed()


def _check_has_relay(ice_servers: Iterable[str], source: str) -> None:
    """Raises `click.UsageError` where nothing but TURN servers is used, and there is none: then no path is found."""
    if not any(server.startswith("turn") for server in ice_servers):
        ways = "--turn-secret-file with --turn-url, --ice-servers-url or --ice-server"
        raise click.UsageError(f"relay_only is set ({source}), and no TURN server is named; give {ways}")


def _default_ticket(tickets: TicketStore, url: str, path: Path | None, *, is_wanted: bool) -> str | None:
    """The text of the ticket called default, where there is one that admits anybody; it is in `path`.

    Raises:
        TicketError: it is wanted, but there is none; or `path` holds something else.
    """
    from perdure.errors import TicketError
    from perdure.private_files import write_file
    from perdure.ticket_store import DEFAULT_TICKET

    now = time.time()
    has_file = path is not None and os.path.exists(path)
    if path is not None and has_file:
        _adopt(tickets, url, path, now)
    elif DEFAULT_TICKET not in tickets.names and (is_wanted or not tickets.names):
        tickets.create(DEFAULT_TICKET, now=now)
    found = {ticket.name: ticket for ticket in tickets}.get(DEFAULT_TICKET)
    if found is None or not found.is_usable(now):
        if not is_wanted:
            return None
        why = "is revoked" if found is not None and found.revoked_at is not None else "has expired"
        raise TicketError(
            f"the ticket called {DEFAULT_TICKET} {why}: leave --print-ticket and --ticket-file out, and make "
            "another one with `perdure ticket create NAME`"
        )
    text = tickets.ticket(DEFAULT_TICKET, url).encode()
    if path is not None and not has_file:
        try:
            write_file(path, text.encode() + b"\n")
        except OSError as error:
            raise TicketError(f"the ticket file {path} cannot be written: {error.strerror}") from error
    return text


def _adopt(tickets: TicketStore, url: str, path: Path, now: float) -> None:
    """See that the ticket in `path` is the one called default, and make it that where there is none."""
    from perdure.errors import TicketError
    from perdure.ticket import read_ticket
    from perdure.ticket_store import DEFAULT_TICKET

    instead = "name another file, or remove it"
    try:
        found = read_ticket(path)
    except TicketError as error:
        if isinstance(error.__cause__, OSError):
            raise
        what = "an expired ticket" if error.expired else "no ticket that this gateway could serve"
        raise TicketError(f"{path} exists and holds {what}; {instead} ({error})", expired=error.expired) from error
    if found.rendezvous_url != url:
        raise TicketError(f"{path} holds a ticket for {found.rendezvous_url}, not for {url}; {instead}")
    if found.gateway != tickets.public_key:
        raise TicketError(f"{path} holds a ticket of another gateway than the one in {tickets.folder}; {instead}")
    if DEFAULT_TICKET not in tickets.names:
        tickets.create(DEFAULT_TICKET, now=now, expires_at=found.expires_at, secret=found.secret)
    elif tickets.ticket(DEFAULT_TICKET, url).secret != found.secret:
        raise TicketError(f"{path} holds another ticket than the one called {DEFAULT_TICKET}; {instead}")
