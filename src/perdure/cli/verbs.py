"""The verbs of `perdure`: imported when they are used; other packages may add some as entry points."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, cast

import click

from perdure.cli.exit_codes import ExitCode
from perdure.errors import PerdureError
from perdure.urls import without_logins

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

GROUP = "perdure.commands"
"""The group of entry points that are verbs. Each is a click command; what it needs, it should import late."""

OWN = {
    "rendezvous": "Introduce gateways and clients to each other.",
    "serve": "Let a ticket's holders reach what you allow.",
    "connect": "Forward local ports through a gateway.",
    "ssh": "Run ssh through a gateway, without a port.",
    "status": "Show the tunnels that run here.",
    "events": "Show what happened, also before a restart.",
    "reconnect": "Build new connections for them.",
    "close": "End a tunnel, or a stream.",
    "ticket": "Create, list and revoke a gateway's tickets.",
    "clients": "List and forget who used a gateway's tickets.",
    "gateway-key": "Show a gateway's public key.",
    "client-key": "Show this installation's public key as a client.",
    "config": "Show what may be set, and what is.",
}
"""perdure's own: each is the command of that name, with _ for -, in the module of that name beside this one."""


class Verbs(click.Group):
    """perdure's own verbs, which nobody else replaces, and those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*OWN, *sorted(self._added.keys() - OWN.keys())]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in OWN:
            name = cmd_name.replace("-", "_")
            return cast("click.Command", getattr(import_module(f"perdure.cli.{name}"), name))
        entry = self._added.get(cmd_name)
        return None if entry is None else _load(entry)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click's, but imports none of perdure's own."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        with formatter.section("Commands"):
            formatter.write_dl([(name, self._short_help(ctx, name, limit)) for name in names])

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:  # click's own answer is "Aborted!" and 1
            ctx.exit(ExitCode.INTERRUPTED)
        except click.UsageError as error:
            message = error.format_message()
            if (shown := without_logins(message)) == message:
                raise
            raise click.UsageError(shown, error.ctx) from error

    def _short_help(self, ctx: click.Context, name: str, limit: int) -> str:
        command = None if name in OWN else self.get_command(ctx, name)
        return OWN[name] if command is None else command.get_short_help_str(limit)

    @cached_property
    def _added(self) -> dict[str, EntryPoint]:
        """By name; of several, the one that Python finds first."""
        from importlib.metadata import entry_points

        return {entry.name: entry for entry in reversed(tuple(entry_points(group=GROUP)))}


def _load(entry: EntryPoint) -> click.Command:
    """Its command, or one that says why there is none: another package's mistake must not break the other verbs."""
    try:
        command = entry.load()
    except (Exception, SystemExit) as error:  # an import can raise anything
        return _stand_in(entry, f"{type(error).__name__}: {error}")
    return command if isinstance(command, click.Command) else _stand_in(entry, f"{entry.value} is not a click command")


def _stand_in(entry: EntryPoint, why: str) -> click.Command:
    package = "?" if entry.dist is None else entry.dist.name
    text = " ".join(f"the command {entry.name!r} of the package {package!r} cannot be loaded: {why}".split())

    def refuse() -> None:
        raise PerdureError(text)

    return click.Command(
        entry.name,
        callback=refuse,
        short_help=f"(cannot be loaded; `perdure {entry.name}` says why)",
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
