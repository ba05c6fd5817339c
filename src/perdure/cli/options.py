"""Options that several verbs take, and how their values are read."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli.running import LogLevel, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from perdure.configfile import Configuration, Layer
    from perdure.ticket import Ticket
    from perdure.ticket_store import TicketStore

log_level = click.option(
    "--log-level",
    type=click.Choice([level.value for level in LogLevel]),
    default=LogLevel.INFO.value,
    callback=lambda context, option, value: LogLevel(value),
    help="The least important lines to log on standard error.",
)
json_logs = click.option("--json-logs", is_flag=True, help="Log JSON, one object a line.")
loopback = click.option(
    "--loopback", is_flag=True, help="Also use loopback and link-local addresses: both ends on one machine."
)
ice_server = click.option(
    "--ice-server",
    multiple=True,
    metavar="URL|@FILE",
    help="stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT, or a file with one a line; may be given again; or "
    "PERDURE_ICE_SERVERS in the environment. See docs/commands.md.",
)
rendezvous = click.option(
    "--rendezvous", metavar="URL", help="ws://HOST:PORT or wss://HOST; or serve.rendezvous in the --config file."
)
allow = click.option(
    "--allow",
    multiple=True,
    metavar="HOST:PORTS",
    help="What clients may reach: a name, an address or a network, and 22, 80,443, 8000-8100 or *; may be given again; "
    "or serve.allow in the --config file.",
)
deny = click.option(
    "--deny", multiple=True, metavar="HOST:PORTS", help="What they may not reach though it is allowed, likewise."
)
exit_on_fail = click.option(
    "--exit-on-fail", is_flag=True, help="End with an exit code where it would wait and try again."
)
hold_minutes = click.option(
    "--hold-minutes",
    type=click.FloatRange(0.1, 60 * 24 * 30),
    metavar="MINUTES",
    help="How long connections are kept open while the other end is out of reach: restart.abandon_after, which "
    "is 60 minutes unless the file says otherwise.",
)
config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Read settings from a TOML file; see `perdure config show`.",
)
assignments = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set one value, such as restart.attempt_timeout=20; wins over the file; may be given again.",
)
state_dir = click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Where keys and tickets are kept; otherwise systemd's STATE_DIRECTORY, or perdure in XDG_STATE_HOME, which is "
    "~/.local/state.",
)
faults = click.option("--faults", is_flag=True, hidden=True)


def settings(command: Callable[..., None]) -> Callable[..., None]:
    """The options about settings that serve, connect and config show have; all but the last go to `configuration`."""
    for option in (exit_on_fail, assignments, config, hold_minutes, loopback, ice_server):
        command = option(command)
    return command


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT` with a port from 0."""
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch("[0-9]{1,5}", port) or int(port) > 65535 or not host:
        raise click.BadParameter(f"{text!r} is not HOST:PORT", param_hint="--listen")
    return host.removeprefix("[").removesuffix("]"), int(port)


def command_defaults(*, exit_on_fail: bool) -> Layer:
    """What `serve` and `connect` set under the file: patient, unless the user wants to hear of a failure."""
    from perdure.configfile import Layer
    from perdure.roles import PATIENT_POLICY, UNLIMITED_SESSION

    values: dict[str, float] = {"session.session_timeout": UNLIMITED_SESSION.session_timeout}
    if not exit_on_fail:
        values["restart.max_restart_attempts"] = PATIENT_POLICY.max_restart_attempts
    return Layer("the command's default", values)


def configuration(
    defaults: Layer | None,
    *,
    config: Path | None,
    assignments: Sequence[str],
    hold_minutes: float | None,
    ice_server: tuple[str, ...],
    loopback: bool,
    rendezvous: str | None = None,
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
) -> Configuration:
    """`defaults` (where there are any) under --config under the environment under --set and the flags, of which two
    must not say the same.

    Raises:
        click.BadParameter: what is given is wrong; it names the source.
    """
    from perdure.cli import passwords
    from perdure.configfile import Layer, layered, parse_assignments, read_file

    try:
        given = {
            "--hold-minutes": ("restart.abandon_after", None if hold_minutes is None else hold_minutes * 60),
            "--ice-server": ("transport.ice_servers", passwords.ice_servers(ice_server) or None),
            "--loopback": ("transport.loopback", loopback or None),
            "--rendezvous": ("serve.rendezvous", rendezvous),
            "--allow": ("serve.allow", allow or None),
            "--deny": ("serve.deny", deny or None),
        }
        layers = [] if defaults is None else [defaults]
        if config is not None:
            layers.append(read_file(config))
            passwords.warn_of_file(config, layers[-1].values)
        if servers := passwords.ice_servers_of_environment():
            layers.append(Layer(passwords.ICE_SERVERS_VARIABLE, {"transport.ice_servers": servers}))
        assigned = parse_assignments(assignments)
        passwords.warn_of_arguments([*ice_server, rendezvous or "", *assigned.values.values()])
        for flag, (name, value) in given.items():
            if value is not None and name in assigned.values:
                raise ValueError(f"{flag} and --set {name} say the same; give one of them")
            if value is not None:
                layers.append(Layer(flag, {name: value}))
        found = layered(*layers, assigned)
        _check_texts(found)
        return found
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _check_texts(configuration: Configuration) -> None:
    """Whether URLs and targets are such.

    Raises:
        ValueError: one is not; it names the source.
    """
    from perdure.config import ServeSettings, parse_ice_server
    from perdure.fields import settings_of
    from perdure.streams.allow import parse_allow
    from perdure.ticket import check_rendezvous_url

    def check(name: str, texts: Iterable[str], parse: Callable[[str], object]) -> None:
        try:
            for text in texts:
                parse(text)
        except ValueError as error:
            raise ValueError(f"{configuration.sources[name]}: {name}: {error}") from error

    def check_rendezvous(url: str) -> None:
        try:
            check_rendezvous_url(url)
            if url.split() != [url]:
                raise ValueError("a URL holds no white space")
        except ValueError as error:
            if "@" not in url:
                raise  # one with a password is not repeated
            raise ValueError(f"it is not {settings_of(ServeSettings)['rendezvous'].form}") from error

    serve, transport = configuration.serve, configuration.transport
    check("serve.rendezvous", filter(None, [serve.rendezvous]), check_rendezvous)
    check("serve.allow", serve.allow, lambda text: parse_allow([text]))
    check("serve.deny", serve.deny, lambda text: parse_allow([text]))
    check("transport.ice_servers", transport.ice_servers, parse_ice_server)


def state_folder(given: Path | None) -> Path:
    """The one that --state-dir names, or where the state is otherwise."""
    from perdure.state_folder import default_state_folder

    return default_state_folder(os.environ) if given is None else given


def ticket_store(given: Path | None) -> TicketStore:
    """The tickets of that state folder, for a verb that reads or changes them; what is wrong with files is logged."""
    from perdure.ticket_store import TicketStore

    set_up_logging(LogLevel.WARNING, as_json=False)
    return TicketStore(state_folder(given))


def ticket(text: str) -> Ticket:
    """The ticket of `TICKET`, `@FILE` or `-` (standard input, to its end, or until the ticket is whole: somebody who
    pastes it into a terminal ends nothing).

    Raises:
        TicketError: it cannot be used, or the file cannot be read.
    """
    from perdure.ticket import MAX_TICKET_FILE_BYTES, is_whole, load_ticket, parse_ticket

    if text != "-":
        return load_ticket(text)
    read = b""
    while (left := MAX_TICKET_FILE_BYTES - len(read)) and (line := sys.stdin.buffer.readline(left)):
        read += line
        if is_whole(read.decode("utf-8", "replace")):
            break
    return parse_ticket(read.decode("utf-8", "replace"), now=time.time())
