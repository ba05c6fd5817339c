"""`perdure connect`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from perdure.cli import options, passwords
from perdure.cli.running import (
    LogLevel,
    end_on_signals,
    raise_descriptor_limit,
    run_until_stopped,
    say,
    set_up_logging,
)

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Sequence

    from perdure.client import Tunnel
    from perdure.control.server import Controlled
    from perdure.streams.forward import Forward, ListenPort
    from perdure.streams.socks5 import ProxyLogin

MAX_LOGIN_BYTES = 1024
"""Of the file of --socks-login: a user and a password have at most 255 each."""

T = TypeVar("T")


@click.command
@click.argument(
    "ticket",
    metavar="TICKET|@FILE|-",
    help="What `perdure ticket create` printed, a file that holds it, or - for standard input.",
)
@click.option(
    "-L",
    "--local",
    multiple=True,
    metavar="[BIND:]PORT:HOST:HOSTPORT",
    help="Listen on PORT (of localhost unless BIND says otherwise; 0 picks a free one) and come out at HOST:HOSTPORT "
    "beside the gateway. The path of a unix socket may stand for either end. May be given again.",
)
@click.option(
    "-D",
    "--dynamic",
    multiple=True,
    metavar="[BIND:]PORT",
    help="Listen on PORT as a SOCKS5 proxy, and come out at what each program asks for; its names are resolved beside "
    "the gateway. May be given again.",
)
@click.option(
    "--socks-login",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Serve -D only to programs that know USER:PASSWORD, which is the line in FILE.",
)
@click.option(
    "-W",
    "--stdio",
    metavar="HOST:PORT",
    help="Instead of listening, carry standard input and output to HOST:PORT, or to a unix socket's path: for ssh's "
    "ProxyCommand. See also `perdure ssh`.",
)
@options.state_dir
@options.settings
@options.log_level
@options.json_logs
@options.faults
def connect(
    ticket: str,
    local: tuple[str, ...],
    dynamic: tuple[str, ...],
    socks_login: Path | None,
    stdio: str | None,
    state_dir: Path | None,
    exit_on_fail: bool,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
    **given: Any,
) -> None:
    """Forward local ports through the gateway of TICKET; says `ready` when they work. Ctrl-C ends it."""
    from perdure.streams.forward import parse_forward, parse_proxy
    from perdure.streams.target import parse_target

    end_on_signals()
    forwards = [_parsed(parse_forward, text, "-L") for text in local]
    proxies = [_parsed(parse_proxy, text, "-D") for text in dynamic]
    target = None if stdio is None else _parsed(parse_target, stdio, "-W")
    login = None if socks_login is None else _login(socks_login)
    if target is not None and (forwards or proxies):
        raise click.UsageError("-W goes without -L and -D")
    if target is None and not (forwards or proxies):
        raise click.UsageError("give at least one of -L, -D and -W: what to forward")
    if login is not None and not proxies:
        raise click.UsageError("--socks-login goes with -D")
    settings = options.configuration(options.command_defaults(exit_on_fail=exit_on_fail), **given)
    provider = options.ice_server_provider(settings.turn)
    set_up_logging(log_level, as_json=json_logs)
    parsed = options.ticket(ticket)
    raise_descriptor_limit()

    async def run() -> None:
        from perdure.cli.stdio import join_stdio
        from perdure.client import Tunnel
        from perdure.control.server import Controlled, control_socket, kept_events
        from perdure.faults import run_driven
        from perdure.state_folder import CLIENT_KEY_FILE, client_key_of
        from perdure.urls import without_login

        tunnel = Tunnel(
            parsed,
            wait=False,
            retry=not exit_on_fail,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            transport=settings.transport.config(settings.turn),
            ice_server_provider=provider,
            client_key=client_key_of(None if state_dir is None else state_dir / CLIENT_KEY_FILE),
        )
        controlled = Controlled(
            "client",
            tunnel.tubes,
            rendezvous=without_login(parsed.rendezvous_url),
            signaling=lambda: tunnel.signaling_status,
            close=lambda manager: tunnel.close(),
        )
        with kept_events(state_dir, "client"):
            async with control_socket(controlled):
                if target is not None:
                    controlled.forwards = [f"standard input and output -> {target}"]
                    await join_stdio(tunnel, target)
                else:
                    work = _forward(tunnel, forwards, proxies, login, controlled)
                    await run_driven(work, lambda: tunnel.tubes, driven=faults)

    run_until_stopped(run, on_uvloop=True)


def _parsed(parse: Callable[[str], T], text: str, option: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint=option) from error


def _login(path: Path) -> ProxyLogin:
    from perdure.private_files import read_file
    from perdure.streams.socks5 import ProxyLogin

    passwords.warn_of_secret_files([str(path)])
    try:
        content, _ = read_file(path, limit=MAX_LOGIN_BYTES)
        user, colon, password = content.decode().strip().partition(":")
        if not colon or "\n" in password:
            raise ValueError("it does not hold one line, USER:PASSWORD")
        return ProxyLogin(user, password)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise click.BadParameter(f"{path} cannot be used: {why}", param_hint="--socks-login") from error


async def _forward(
    tunnel: Tunnel,
    forwards: Sequence[Forward],
    proxies: Sequence[ListenPort],
    login: ProxyLogin | None,
    controlled: Controlled,
) -> None:
    """Until the tunnel ends. A port that cannot be had is told before anything is connected."""
    from perdure.cli.service_manager import tell_ready
    from perdure.streams.forward import ListenPath

    bound = []
    for forward in forwards:
        to = forward.target.peername
        if isinstance(forward.listen, ListenPath):
            await tunnel.listen_unix(forward.listen.path, to=to)
        else:
            server = await tunnel.listen(forward.listen.host, forward.listen.port, to=to)
            forward = replace(forward, listen=_bound(forward.listen, server))
        bound.append(str(forward))
    user, password = (None, None) if login is None else (login.user, login.password)
    for proxy in proxies:
        server = await tunnel.listen_socks(proxy.host, proxy.port, user=user, password=password)
        bound.append(f"{_bound(proxy, server)} (SOCKS5)")
    controlled.forwards = bound
    for line in bound:
        say(f"listening {line}")
    async with tunnel:
        tell_ready()
        await tunnel.wait_connected()
        say("ready")
        await tunnel.wait_closed()


def _bound(wanted: ListenPort, server: asyncio.Server) -> ListenPort:
    """With the port that the system picked."""
    return replace(wanted, port=server.sockets[0].getsockname()[1])
