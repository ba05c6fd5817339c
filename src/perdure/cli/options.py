"""Options that several verbs take, and how their values are read."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from perdure.cli.running import LogLevel
from perdure.errors import TicketError

if TYPE_CHECKING:
    from perdure.config import TransportConfig

Level = Annotated[LogLevel, typer.Option("--log-level", help="The least important lines to log on standard error.")]
JsonLogs = Annotated[bool, typer.Option("--json-logs", help="Log JSON, one object a line.")]
Loopback = Annotated[bool, typer.Option("--loopback", help="Also use 127.0.0.1 and ::1: both ends on one machine.")]
IceServers = Annotated[
    list[str] | None,
    typer.Option(
        "--ice-server",
        metavar="URL",
        help="stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT; may be given again. See README.md.",
    ),
]
ExitOnFail = Annotated[
    bool, typer.Option("--exit-on-fail", help="End with an exit code where it would wait and try again.")
]
Faults = Annotated[bool, typer.Option("--faults", hidden=True)]

MAX_TICKET_FILE_BYTES = 4096


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` with a port from 0."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535 or not host:
        raise typer.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--listen")
    return host.removeprefix("[").removesuffix("]"), int(port)


def transport_config(ice_servers: list[str] | None, loopback: bool) -> TransportConfig:
    from perdure.config import TransportConfig, parse_ice_server

    try:
        return TransportConfig(tuple(parse_ice_server(text) for text in ice_servers or ()), loopback=loopback)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--ice-server") from error


def read_ticket_argument(text: str) -> str:
    """The ticket of `TICKET`, `@FILE` or `-` (standard input).

    Raises:
        TicketError: the file cannot be read.
    """
    if text == "-":
        return sys.stdin.readline()
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        with path.open("rb") as file:
            return file.read(MAX_TICKET_FILE_BYTES).decode("utf-8", "replace")
    except OSError as error:
        raise TicketError(f"the ticket file {path} cannot be read: {error.strerror}") from error
