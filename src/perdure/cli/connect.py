"""`perdure connect`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from perdure.cli import options
from perdure.cli.running import LogLevel, end_on_signals, run_until_stopped, say, set_up_logging

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure.forward.target import Forward


@click.command
@click.argument(
    "ticket",
    metavar="TICKET|@FILE|-",
    help="What `perdure serve` printed, a file that holds it, or - for standard input.",
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
@options.settings
@options.log_level
@options.json_logs
@options.faults
def connect(
    ticket: str,
    local: tuple[str, ...],
    exit_on_fail: bool,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
    **given: Any,
) -> None:
    """Forward local ports through the gateway of TICKET; says `ready` when they work. Ctrl-C ends it."""
    from perdure.forward.target import parse_forward
    from perdure.ticket import parse_ticket

    end_on_signals()
    try:
        forwards = [parse_forward(text) for text in local]
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="-L") from error
    settings = options.configuration(options.command_defaults(exit_on_fail=exit_on_fail), **given)
    parsed = parse_ticket(options.read_ticket_argument(ticket), now=time.time())
    set_up_logging(log_level, as_json=json_logs)

    async def run() -> None:
        from perdure.client import TunnelClient
        from perdure.faults import run_driven

        client = TunnelClient(
            parsed,
            forwards,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            transport=settings.transport.config(),
            on_listening=_show_listening,
            on_ready=lambda: say("ready"),
            exit_on_fail=exit_on_fail,
        )
        await run_driven(client.run(), lambda: client.tubes, driven=faults)

    run_until_stopped(run)


def _show_listening(forwards: Sequence[Forward]) -> None:
    for forward in forwards:
        say(f"listening {forward}")
