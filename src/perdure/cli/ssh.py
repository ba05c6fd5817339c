"""`perdure ssh`: OpenSSH over a tunnel of its own, without a local port."""

from __future__ import annotations

import base64
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from perdure.cli import options
from perdure.cli.running import LogLevel
from perdure.errors import PerdureError

if TYPE_CHECKING:
    from perdure.ticket import Ticket

SSH_PORT = 22

KEY_CHARACTERS = 12
"""Of a gateway's key in the name under which ssh knows a host: 72 bits."""


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument("ticket", metavar="TICKET|@FILE", help="As for `perdure connect`.")
@click.argument(
    "arguments", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[USER@]HOST ...", help="What ssh takes."
)
@options.state_dir
@options.settings
@options.log_level
@options.json_logs
@click.pass_context
def ssh(context: click.Context, /, ticket: str, arguments: tuple[str, ...], **_: object) -> None:
    """Run ssh to HOST beside the gateway of TICKET. Options of perdure go before TICKET, those of ssh behind it.

    HOST is resolved by the gateway: 127.0.0.1 is the gateway's machine. ssh remembers its key for this gateway, so that
    127.0.0.1 of another gateway is another host to it.
    """
    if ticket == "-":
        raise click.UsageError("the ticket cannot come from standard input, which is ssh's: give it as @FILE")
    parsed = options.ticket(ticket)
    if (program := shutil.which("ssh")) is None:
        raise PerdureError("ssh is not installed, or not in PATH")
    proxy = [sys.executable, "-m", "perdure", "connect", *_given(context), ticket, "-W"]
    command = " ".join(shlex.quote(word).replace("%", "%%") for word in proxy)
    own = [f"-oProxyCommand={command} '[%h]:%p'", *_key_alias(program, arguments, parsed)]
    sys.stdout.flush()
    os.execv(program, [program, *own, *arguments])


def _given(context: click.Context) -> Iterator[str]:
    """The options of this command line, for `perdure connect`."""
    if context.get_parameter_source("log_level") is not ParameterSource.COMMANDLINE:
        yield from ("--log-level", LogLevel.WARNING.value)  # ssh's own words are what somebody wants to read
    for option in context.command.params:
        name = option.name or ""
        if isinstance(option, click.Option) and context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            value: Any = context.params[name]
            for each in value if option.multiple else [value]:
                yield option.opts[-1]
                if not option.is_flag:
                    yield str(each)


def _key_alias(program: str, arguments: tuple[str, ...], ticket: Ticket) -> list[str]:
    """Under which name ssh keeps the host's key, unless the user has said one."""
    asked = subprocess.run([program, "-G", *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if asked.returncode:
        return []  # ssh itself says why
    settings = dict(line.split(" ", 1) for line in asked.stdout.splitlines() if " " in line)
    if "hostkeyalias" in settings or "hostname" not in settings:
        return []
    port = settings.get("port", str(SSH_PORT))
    host = settings["hostname"] if port == str(SSH_PORT) else f"{settings['hostname']}-{port}"
    gateway = base64.urlsafe_b64encode(ticket.gateway).decode()[:KEY_CHARACTERS]
    return [f"-oHostKeyAlias={host}.{gateway}.perdure"]
