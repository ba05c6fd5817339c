"""`perdure connect`."""

from __future__ import annotations

from dataclasses import replace
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
    from collections.abc import Sequence
    from pathlib import Path

    from perdure.client import Tunnel
    from perdure.streams.target import Forward


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
    required=True,
    metavar="[BIND:]PORT:HOST:HOSTPORT",
    help="Listen on PORT (127.0.0.1 unless BIND says otherwise; 0 picks a free one) and come out at HOST:HOSTPORT "
    "beside the gateway; may be given again.",
)
@options.state_dir
@options.settings
@options.log_level
@options.json_logs
@options.faults
def connect(
    ticket: str,
    local: tuple[str, ...],
    state_dir: Path | None,
    exit_on_fail: bool,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
    **given: Any,
) -> None:
    """Forward local ports through the gateway of TICKET; says `ready` when they work. Ctrl-C ends it."""
    from perdure.streams.target import parse_forward

    end_on_signals()
    try:
        forwards = [parse_forward(text) for text in local]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-L") from error
    settings = options.configuration(options.command_defaults(exit_on_fail=exit_on_fail), **given)
    provider = options.ice_server_provider(settings.turn)
    set_up_logging(log_level, as_json=json_logs)
    parsed = options.ticket(ticket)
    raise_descriptor_limit()

    async def run() -> None:
        from perdure.client import Tunnel
        from perdure.faults import run_driven
        from perdure.state_folder import CLIENT_KEY_FILE, client_key_of

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
        await run_driven(_forward(tunnel, forwards), lambda: tunnel.tubes, driven=faults)

    run_until_stopped(run, on_uvloop=True)


async def _forward(tunnel: Tunnel, forwards: Sequence[Forward]) -> None:
    """Until the tunnel ends. A port that cannot be had is told before anything is connected."""
    bound = []
    for forward in forwards:
        target = forward.target
        server = await tunnel.listen(forward.bind, forward.port, to=(target.host, target.port))
        bound.append(replace(forward, port=server.sockets[0].getsockname()[1]))
    for forward in bound:
        say(f"listening {forward}")
    async with tunnel:
        await tunnel.wait_connected()
        say("ready")
        await tunnel.wait_closed()
