"""`perdure serve`."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from perdure.cli.options import (
    MAX_TICKET_FILE_BYTES,
    Assignments,
    ConfigFile,
    ExitOnFail,
    Faults,
    HoldMinutes,
    IceServers,
    JsonLogs,
    Level,
    Loopback,
    command_defaults,
    read_configuration,
    transport_config,
)
from perdure.cli.running import LogLevel, end_on_signals, run_until_stopped, say, set_up_logging
from perdure.errors import TicketError
from perdure.ticket import SECRET_BYTES, Ticket, check_rendezvous_url, parse_ticket

RendezvousUrl = Annotated[str, typer.Option("--rendezvous", metavar="URL", help="ws://HOST:PORT or wss://HOST.")]
Allow = Annotated[
    list[str],
    typer.Option(
        "--allow", metavar="HOST:PORT", help="What clients may reach; HOST:* for every port; may be given again."
    ),
]
TicketFile = Annotated[
    Path | None,
    typer.Option(
        "--ticket-file",
        help="Write the ticket there, readable by you alone. A file that holds a ticket of this rendezvous is used "
        "again, so that clients come back to a restarted gateway; what a file holds is never replaced.",
    ),
]
TicketHours = Annotated[
    float | None,
    typer.Option(
        "--ticket-hours", min=0.001, max=24 * 3650, help="A new ticket admits new sessions for so many hours."
    ),
]


def serve(
    rendezvous: RendezvousUrl,
    allow: Allow,
    ticket_file: TicketFile = None,
    ticket_hours: TicketHours = None,
    ice_server: IceServers = None,
    loopback: Loopback = False,
    hold_minutes: HoldMinutes = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
    exit_on_fail: ExitOnFail = False,
    log_level: Level = LogLevel.INFO,
    json_logs: JsonLogs = False,
    faults: Faults = False,
) -> None:
    """Let the holders of a ticket reach what --allow names. The ticket is standard output's first line."""
    from perdure.forward.target import parse_allow

    end_on_signals()
    try:
        allowed = parse_allow(allow)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--allow") from error
    try:
        check_rendezvous_url(rendezvous)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--rendezvous") from error
    transport = transport_config(ice_server, loopback)
    settings = read_configuration(
        config, assignments, defaults=command_defaults(exit_on_fail=exit_on_fail), hold_minutes=hold_minutes
    )
    ticket = _ticket(rendezvous, ticket_file, ticket_hours, now=time.time())
    set_up_logging(log_level, as_json=json_logs)
    say(ticket.encode())

    async def run() -> None:
        from perdure.faults import run_driven
        from perdure.gateway import Gateway

        gateway = Gateway(
            ticket,
            allowed,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            transport=transport,
            exit_on_fail=exit_on_fail,
        )
        await run_driven(gateway.run(), lambda: gateway.tubes, driven=faults)

    run_until_stopped(run)


def _ticket(url: str, path: Path | None, hours: float | None, *, now: float) -> Ticket:
    """The ticket in `path`, or a new one, written there. What a file holds is never replaced: clients hold it too."""
    if path is not None and path.exists():
        if hours is not None:
            raise TicketError(f"{path} exists; --ticket-hours is for a new ticket: name another file, or remove it")
        found = _read_ticket(path, now)
        if found.rendezvous_url != url:
            text = f"{path} holds a ticket for {found.rendezvous_url}, not for {url}; name another file, or remove it"
            raise TicketError(text)
        return found
    ticket = Ticket(url, secrets.token_bytes(SECRET_BYTES), 0 if hours is None else int(now + hours * 3600))
    if path is not None:
        _write_secret(path, ticket.encode() + "\n")
    return ticket


def _read_ticket(path: Path, now: float) -> Ticket:
    try:
        with path.open("rb") as file:
            ticket = parse_ticket(file.read(MAX_TICKET_FILE_BYTES).decode("utf-8", "replace"), now=now)
        path.chmod(0o600)
        return ticket
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be read: {error.strerror}") from error
    except TicketError as error:
        what = "an expired ticket" if error.expired else "no ticket"
        text = f"{path} exists and holds {what}; name another file, or remove it"
        raise TicketError(text, expired=error.expired) from error


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
