"""`perdure serve`."""

from __future__ import annotations

import os
import secrets
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
from perdure.errors import TicketError
from perdure.ticket import SECRET_BYTES, Ticket, read_ticket

if TYPE_CHECKING:
    from perdure.gateway import Gateway


@click.command
@options.rendezvous
@options.allow
@options.deny
@click.option(
    "--ticket-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write the ticket there, readable by you alone. A file that holds a ticket of this rendezvous is used "
    "again, so that clients come back to a restarted gateway; what a file holds is never replaced.",
)
@click.option(
    "--ticket-hours",
    type=click.FloatRange(0.001, 24 * 3650),
    metavar="HOURS",
    help="A new ticket admits new sessions for so many hours.",
)
@options.settings
@options.log_level
@options.json_logs
@options.faults
def serve(
    ticket_file: Path | None,
    ticket_hours: float | None,
    exit_on_fail: bool,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
    **given: Any,
) -> None:
    """Let the holders of a ticket reach what --allow names. The ticket is standard output's first line."""
    from perdure.streams.allow import parse_allow

    end_on_signals()
    settings = options.configuration(options.command_defaults(exit_on_fail=exit_on_fail), **given)
    for name, flag in (("rendezvous", "--rendezvous URL"), ("allow", "--allow HOST:PORTS")):
        if not getattr(settings.serve, name):
            raise click.UsageError(f"give {flag}, or set {name} under [serve] in the file that --config names")
    ticket = _ticket(settings.serve.rendezvous, ticket_file, ticket_hours, now=time.time())
    set_up_logging(log_level, as_json=json_logs)
    raise_descriptor_limit()
    say(ticket.encode())

    async def run() -> None:
        from perdure.faults import run_driven
        from perdure.gateway import Gateway

        gateway = Gateway(
            ticket,
            parse_allow(settings.serve.allow, settings.serve.deny),
            wait=False,
            retry=not exit_on_fail,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            transport=settings.transport.config(),
        )
        await run_driven(_serve(gateway), lambda: gateway.tubes, driven=faults)

    run_until_stopped(run)


async def _serve(gateway: Gateway) -> None:
    """Until the gateway ends."""
    async with gateway:
        await gateway.wait_closed()


def _ticket(url: str, path: Path | None, hours: float | None, *, now: float) -> Ticket:
    """The ticket in `path`, or a new one, written there. What a file holds is never replaced: clients hold it too."""
    if path is not None and path.exists():
        if hours is not None:
            raise TicketError(f"{path} exists; --ticket-hours is for a new ticket: name another file, or remove it")
        found = _read_ticket(path)
        if found.rendezvous_url != url:
            text = f"{path} holds a ticket for {found.rendezvous_url}, not for {url}; name another file, or remove it"
            raise TicketError(text)
        return found
    ticket = Ticket(url, secrets.token_bytes(SECRET_BYTES), 0 if hours is None else int(now + hours * 3600))
    if path is not None:
        _write_secret(path, ticket.encode() + "\n")
    return ticket


def _read_ticket(path: Path) -> Ticket:
    try:
        ticket = read_ticket(path)
    except TicketError as error:
        if isinstance(error.__cause__, OSError):
            raise
        what = "an expired ticket" if error.expired else "no ticket"
        text = f"{path} exists and holds {what}; name another file, or remove it"
        raise TicketError(text, expired=error.expired) from error
    try:
        path.chmod(0o600)
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be made yours alone: {error.strerror}") from error
    return ticket


def _write_secret(path: Path, text: str) -> None:
    """Replace `path` in one step, never readable by others, not even for a moment."""
    scratch = path.with_name(path.name + f".{os.getpid()}.tmp")
    try:
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
        scratch.replace(path)
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be written: {error.strerror}") from error
    finally:
        scratch.unlink(missing_ok=True)
