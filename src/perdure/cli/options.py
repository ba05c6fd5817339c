"""Options that several verbs take, and how their values are read."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from perdure.cli import passwords
from perdure.cli.running import LogLevel, set_up_logging
from perdure.errors import PerdureError, TicketError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from perdure.config import TurnSettings
    from perdure.configfile import Configuration, Layer
    from perdure.ticket import Ticket
    from perdure.ticket_store import TicketStore
    from perdure.turn.provider import IceServerProvider
    from perdure.turn.shared_secret import SharedSecret

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
relay_only = click.option(
    "--relay-only",
    is_flag=True,
    help="Use nothing but TURN servers: to test one, or to hide this machine's addresses from the other end.",
)
ice_server = click.option(
    "--ice-server",
    multiple=True,
    metavar="URL|@FILE",
    help="stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT, or a file with one a line; may be given again; or "
    "PERDURE_ICE_SERVERS in the environment. See docs/commands.md.",
)
turn_secret_file = click.option(
    "--turn-secret-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Make TURN credentials for the servers of --turn-url with the secret in FILE: coturn's static-auth-secret.",
)
turn_url = click.option(
    "--turn-url",
    multiple=True,
    metavar="URL",
    help="A TURN server that has it: turn:HOST:PORT, also with ?transport=tcp and as turns:; may be given again.",
)
turn_ttl = click.option(
    "--turn-ttl",
    type=click.FloatRange(10, 7 * 86400),
    metavar="SECONDS",
    help="How long these credentials last: 3600 unless it is given.",
)
turn_ca = click.option(
    "--turn-ca",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Trust the certificates (PEM) in FILE too, for turns: servers and --ice-servers-url.",
)
ice_servers_url = click.option(
    "--ice-servers-url",
    metavar="URL",
    help="Ask this https:// URL for ICE servers with credentials, again before these expire.",
)
ice_servers_token_file = click.option(
    "--ice-servers-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Send the token in FILE with that, as a bearer token.",
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
    help="Set one value, such as attempt_timeout=20 or warm_spare=off; wins over the file; may be given again.",
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
    relays = (turn_ca, ice_servers_token_file, ice_servers_url, turn_ttl, turn_url, turn_secret_file)
    for option in (exit_on_fail, assignments, config, hold_minutes, relay_only, loopback, *relays, ice_server):
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
    relay_only: bool = False,
    turn_secret_file: Path | None = None,
    turn_url: tuple[str, ...] = (),
    turn_ttl: float | None = None,
    turn_ca: Path | None = None,
    ice_servers_url: str | None = None,
    ice_servers_token_file: Path | None = None,
    rendezvous: str | None = None,
    allow: tuple[str, ...] = (),
    deny: tuple[str, ...] = (),
) -> Configuration:
    """`defaults` (where there are any) under --config under the environment under --set and the flags, of which two
    must not say the same.

    Raises:
        click.BadParameter: what is given is wrong; it names the source.
    """
    from perdure.configfile import Layer, layered, parse_assignments, read_file

    try:
        given = {
            "--hold-minutes": ("restart.abandon_after", None if hold_minutes is None else hold_minutes * 60),
            "--ice-server": ("transport.ice_servers", passwords.ice_servers(ice_server) or None),
            "--loopback": ("transport.loopback", loopback or None),
            "--relay-only": ("transport.relay_only", relay_only or None),
            "--turn-secret-file": ("turn.turn_secret_file", _text(turn_secret_file)),
            "--turn-url": ("turn.turn_urls", turn_url or None),
            "--turn-ttl": ("turn.turn_ttl", turn_ttl),
            "--turn-ca": ("turn.turn_ca", _text(turn_ca)),
            "--ice-servers-url": ("turn.ice_servers_url", ice_servers_url),
            "--ice-servers-token-file": ("turn.ice_servers_token_file", _text(ice_servers_token_file)),
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
        flags = {name: flag for flag, (name, _) in given.items()}
        found = layered(*layers, assigned, flags=flags)
        _check_texts(found, flags, config)
        return found
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def shared_secret(file: Path, urls: Iterable[str], ttl: float | None) -> SharedSecret:
    """What makes TURN credentials. Raises `click.BadParameter` where that cannot be used."""
    from perdure.config import TURN_TTL
    from perdure.turn.secret_files import read_secret
    from perdure.turn.shared_secret import SharedSecret

    try:
        return SharedSecret(read_secret(file), urls, lifetime=TURN_TTL if ttl is None else ttl)
    except (ValueError, PerdureError) as error:
        raise click.BadParameter(str(error)) from error


def ice_server_provider(settings: TurnSettings) -> IceServerProvider | None:
    """What issues ICE servers; `None`: nothing does. Raises `click.BadParameter` where what is set cannot be used."""
    from perdure.turn.endpoint import IceServersEndpoint
    from perdure.turn.secret_files import read_token

    passwords.warn_of_secret_files([settings.turn_secret_file, settings.ice_servers_token_file])
    if settings.turn_secret_file:
        return shared_secret(Path(settings.turn_secret_file), settings.turn_urls, settings.turn_ttl)
    if not settings.ice_servers_url:
        return None
    token_file, ca_file = settings.ice_servers_token_file or None, settings.turn_ca or None
    try:
        if token_file is not None:
            read_token(Path(token_file))  # again each time: now for a wrong name
    except PerdureError as error:
        raise click.BadParameter(str(error)) from error
    return IceServersEndpoint(settings.ice_servers_url, token_file=token_file, ca_file=ca_file)


def _check_texts(configuration: Configuration, flags: Mapping[str, str], file: Path | None) -> None:
    """Whether URLs, targets and certificates are such. `flags`: by a value's full name.

    Raises:
        ValueError: one is not; it names the source, and of a value in the `file` its line.
    """
    from perdure.configfile import line_of
    from perdure.ice_server import parse_ice_server
    from perdure.streams.allow import parse_allow
    from perdure.ticket import check_rendezvous_url
    from perdure.turn.endpoint import check_endpoint_url, client_context

    def check(name: str, texts: Iterable[str], parse: Callable[[str], object]) -> None:
        try:
            for text in texts:
                parse(text)
        except ValueError as error:
            source = configuration.sources[name]
            if file is not None and source == str(file):
                source = f"{file}:{line_of(file, name)}"
            where = source if source == flags.get(name) else f"{source}: {name}"
            raise ValueError(f"{where}: {error}") from error

    serve, transport = configuration.serve, configuration.transport
    check("serve.rendezvous", filter(None, [serve.rendezvous]), check_rendezvous_url)
    check("serve.allow", serve.allow, lambda text: parse_allow([text]))
    check("serve.deny", serve.deny, lambda text: parse_allow([text]))
    check("transport.ice_servers", transport.ice_servers, parse_ice_server)
    check("turn.ice_servers_url", filter(None, [configuration.turn.ice_servers_url]), check_endpoint_url)
    check("turn.turn_ca", filter(None, [configuration.turn.turn_ca]), client_context)


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
    from perdure.ticket import MAX_TICKET_FILE_BYTES, decoded_file, is_whole, load_ticket, parse_ticket

    if text != "-":
        return load_ticket(text)
    if sys.stdin is None:
        raise TicketError("the ticket is to come from standard input, which is closed")
    read = b""
    while (left := MAX_TICKET_FILE_BYTES - len(read)) and (line := sys.stdin.buffer.readline(left)):
        read += line
        if is_whole(decoded_file(read)):
            break
    return parse_ticket(decoded_file(read), now=time.time())
