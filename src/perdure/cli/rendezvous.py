"""`perdure rendezvous`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

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
from perdure.errors import PerdureError

if TYPE_CHECKING:
    from perdure.signaling.turn_page import TurnPage


@click.command
@click.option(
    "--listen",
    metavar="HOST:PORT",
    default="127.0.0.1:8765",
    help="Where to listen; port 0 picks a free one and prints it.",
)
@options.turn_secret_file
@options.turn_url
@options.turn_ttl
@click.option(
    "--turn-token-file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Who sends the token in FILE as a bearer token gets TURN credentials at /v1/turn.",
)
@options.log_level
@options.json_logs
@options.faults
def rendezvous(
    listen: str,
    turn_secret_file: Path | None,
    turn_url: tuple[str, ...],
    turn_ttl: float | None,
    turn_token_file: Path | None,
    log_level: LogLevel,
    json_logs: bool,
    faults: bool,
) -> None:
    """Match peers and pass their sealed messages; it can read none of them.

    /livez and /metrics answer on the same port; so does /v1/turn, where the --turn options say how.
    """
    end_on_signals()
    host, port = options.parse_listen(listen)
    given = [flag for flag, value in (("--turn-url", turn_url), ("--turn-token-file", turn_token_file)) if value]
    if turn_secret_file is None and (given or turn_ttl is not None):
        raise click.UsageError(f"{[*given, '--turn-ttl'][0]} needs --turn-secret-file FILE")
    if turn_secret_file is not None and len(given) < 2:
        raise click.UsageError("--turn-secret-file needs --turn-url URL and --turn-token-file FILE")
    set_up_logging(log_level, as_json=json_logs)
    raise_descriptor_limit()

    async def run() -> None:
        import asyncio

        from perdure.addresses import host_port
        from perdure.cli.service_manager import tell_ready
        from perdure.faults import run_driven
        from perdure.signaling.rooms import RendezvousLimits
        from perdure.signaling.server import RendezvousServer

        page = None
        if turn_secret_file is not None and turn_token_file is not None:
            page = _turn_page(turn_secret_file, turn_url, turn_ttl, turn_token_file)
        async with RendezvousServer(RendezvousLimits(), host=host, port=port, turn_page=page) as server:
            say(f"ws://{host_port(host, server.port)}")
            tell_ready()
            await run_driven(asyncio.sleep(math.inf), driven=faults)

    run_until_stopped(run, on_uvloop=True)


def _turn_page(secret_file: Path, urls: tuple[str, ...], ttl: float | None, token_file: Path) -> TurnPage:
    import asyncio

    from perdure.signaling.turn_page import TurnPage
    from perdure.turn.secret_files import read_token

    passwords.warn_of_secret_files([str(secret_file), str(token_file)])
    credentials = options.shared_secret(secret_file, urls, ttl)
    try:
        token = read_token(token_file)
    except PerdureError as error:
        raise click.BadParameter(str(error), param_hint="--turn-token-file") from error
    return TurnPage(credentials, token, now=asyncio.get_running_loop().time())
