"""`perdure config show`: what may be set, what is set, and where it comes from; docs/timers.md is made here too."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import click

from perdure.cli import options
from perdure.cli.running import say

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from perdure.configfile import Configuration
    from perdure.fields import Setting


class User(StrEnum):
    """Whose defaults lie under the file."""

    SERVE = "serve"
    CONNECT = "connect"
    LIBRARY = "library"


@click.group
def config() -> None:
    """What may be set, and what is."""


@config.command(short_help="Show each value, its unit, range and source.")
@options.rendezvous
@options.allow
@options.deny
@options.settings
@click.option(
    "--for",
    "user",
    type=click.Choice([user.value for user in User]),
    default=User.SERVE.value,
    callback=lambda context, option, value: User(value),
    help="Whose values to show: those of a command, or of the library used from Python.",
)
@click.option("--explain", is_flag=True, help="Say what each value means.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--markdown", "as_markdown", is_flag=True, hidden=True, help="Print docs/timers.md.")
def show(
    exit_on_fail: bool,
    user: User,
    explain: bool,
    as_json: bool,
    as_markdown: bool,
    **given: Any,
) -> None:
    """Show the value of each setting with its unit, its range and where it comes from.

    Give the options that you give to the command: the values are the ones that it would use.
    """
    if as_markdown:
        say(timers_page())
        return
    defaults = None if user is User.LIBRARY else options.command_defaults(exit_on_fail=exit_on_fail)
    configuration = options.configuration(defaults, **given)
    tables = [table for table in _tables() if user is User.SERVE or table != "serve"]
    if as_json:
        say(_json(tables, configuration))
        return
    whose = "the library" if user is User.LIBRARY else f"perdure {user}"
    say(f"What {whose} uses. --explain says what each value means.\n" if not explain else f"What {whose} uses.\n")
    say("\n\n".join("\n".join(_section(table, configuration, explain=explain)) for table in tables))


def _tables() -> dict[str, type]:
    from perdure.configfile import TABLES

    return dict(TABLES)


def _rows(table: str, configuration: Configuration) -> Iterator[tuple[str, Setting, Any, str]]:
    """Name, description, value (without a password) and source of each setting of a table."""
    from perdure.fields import settings_of
    from perdure.urls import without_secret

    for name, setting in settings_of(_tables()[table]).items():
        value = getattr(getattr(configuration, table), name)
        if setting.secret:
            value = without_secret(value) if isinstance(value, str) else tuple(map(without_secret, value))
        yield name, setting, value, configuration.sources[f"{table}.{name}"]


def _section(table: str, configuration: Configuration, *, explain: bool) -> Iterator[str]:
    """The lines of a table: names, values and ranges in columns, several values one below another."""
    import textwrap

    rows = [
        (name, _with_unit(value, setting), setting, source)
        for name, setting, value, source in _rows(table, configuration)
    ]
    names = max(len(name) for name, *_ in rows)
    values = max(len(value) for _, shown, *_ in rows for value in shown)
    ranges = max(len(_range(setting)) for _, _, setting, _ in rows)
    yield f"[{table}]  {_tables()[table].__doc__}"
    for name, (first, *more), setting, source in rows:
        yield f"{name:{names}}  {first:{values}}  {_range(setting):{ranges}}  {source}"
        yield from (f"{'':{names}}  {each}" for each in more)
        if explain:
            indent = " " * 4
            yield from textwrap.wrap(setting.text, 80, initial_indent=indent, subsequent_indent=indent)


def _with_unit(value: Any, setting: Setting) -> list[str]:
    from perdure.fields import KIB, show_bytes, show_number

    if isinstance(value, tuple):
        return [shown for each in value for shown in _with_unit(each, setting)] or ["none"]
    if isinstance(value, str):
        return [value or "none"]
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if value == 0 and setting.zero:
        return [f"0: {setting.zero}"]
    shown = f"{show_number(value)} {setting.unit}".rstrip()
    return [f"{shown} ({show_bytes(value)})" if setting.unit == "bytes" and value % KIB == 0 else shown]


def _range(setting: Setting) -> str:
    return f"0, {setting.bounds}" if setting.zero else setting.bounds


def _json(tables: Iterable[str], configuration: Configuration) -> str:
    """`{table: {name: {value, unit, low, high, zero, source, meaning}}}`, where a bool's bounds are null."""
    import json

    def described(setting: Setting, value: Any, source: str) -> dict[str, object]:
        said = {"value": value, "unit": setting.unit, "low": setting.low, "high": setting.high, "zero": setting.zero}
        return {**said, "source": source, "meaning": setting.text}

    said = {
        table: {name: described(setting, value, source) for name, setting, value, source in _rows(table, configuration)}
        for table in tables
    }
    return json.dumps(said, indent=2, ensure_ascii=False)


def timers_page() -> str:
    """docs/timers.md, without the last newline."""
    from perdure.configfile import Configuration

    return "\n\n".join([_head(), *(_markdown(table, Configuration()) for table in _tables())])


def _markdown(table: str, configuration: Configuration) -> str:
    from perdure.fields import show_number

    commands = options.command_defaults(exit_on_fail=False).values
    lines = [
        f"## [{table}]",
        f"{_tables()[table].__doc__}\n",
        "| name | default | unit | range | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, setting, value, _ in _rows(table, configuration):
        default = ", ".join(shown.replace(f" {setting.unit}", "") for shown in _with_unit(value, setting))
        if f"{table}.{name}" in commands:
            own = show_number(commands[f"{table}.{name}"])
            default += f"; {own} in `serve`, `connect`, `perdure.serve` and `perdure.connect`"
        bounds = f"`{setting.form}`" if setting.form else _range(setting)
        lines.append(f"| `{name}` | {default} | {setting.unit} | {bounds} | {setting.text} |")
    return "\n".join(lines)


def _head() -> str:
    """How the timers relate."""
    from perdure.config import RestartPolicy
    from perdure.doubling import doubled
    from perdure.fields import show_number

    policy = RestartPolicy()
    patient = options.command_defaults(exit_on_fail=False).values["restart.max_restart_attempts"]
    waits = [
        doubled(policy.restart_backoff_base, failed, policy.restart_backoff_max)
        for failed in range(policy.max_restart_attempts - 1)
    ]
    whole = policy.max_restart_attempts * policy.attempt_timeout + sum(waits)
    return _HEAD.format(
        attempts=policy.max_restart_attempts,
        attempt=show_number(policy.attempt_timeout),
        waits=" and ".join(f"{show_number(wait)} s" for wait in waits),
        whole=show_number(whole),
        idle=show_number(policy.ice_keepalive_interval + policy.timeout_threshold),
        patient=patient,
    )


_HEAD = """\
# Timers and limits

Every value that may be set. This page is generated from `src/perdure/config.py`, which also checks the values:
`python -m perdure config show --markdown > docs/timers.md`.

## How to set them
```toml
# perdure.toml, for perdure serve --config perdure.toml --ticket-file home.ticket
[serve]
rendezvous = "wss://rendezvous.example"
allow = ["127.0.0.1:22"]

[transport]
ice_servers = ["stun:stun.example:3478", "turn:USER:PASSWORD@turn.example:3478"]

[restart]
abandon_after = 7200

[session]
session_timeout_warning_stages = [1800, 2700]
```

A later source wins: the default, the command's default, `--config FILE`, the environment (`PERDURE_ICE_SERVERS`),
then `--set NAME=VALUE` or a flag that means the same, such as `--hold-minutes` for `restart.abandon_after`. A list is
replaced as a whole: one `--allow` hides the `allow` of the file. NAME is `restart.abandon_after` or, because no name
stands in two tables, `abandon_after`. VALUE is written as in the file, but a text needs no quotes:
`--set warm_spare=off`, `--set abandon_after=7200` (seconds), `--set 'allow=["127.0.0.1:22"]'`. `perdure config show`
takes the same options, and prints each value with its unit, its range and its source. A name that does not exist, a
value outside its range and a file that is not TOML end the command with exit code 2 before anything is connected.
`connect` takes the same file and does not use `[serve]`. A password in the file is never shown; where others can read
such a file, or change any, a line on standard error says so. Only a regular file is read.
From Python, hand `RestartPolicy`, `SessionLimits`, `ResourceLimits` and `TransportConfig` to what you build;
`perdure.connect` and `perdure.serve` begin with other values, see below.

`serve` and `connect`, the commands and the calls, set two values otherwise. `max_restart_attempts` is {patient},
because at a terminal it is time (`abandon_after`) that ends the patience and not a count; with `--exit-on-fail` it
is {attempts}. `session_timeout` is 0, because a forwarded connection may be idle as long as plain TCP lets it. From
Python these values are `perdure.PATIENT_POLICY` and `perdure.UNLIMITED_SESSION`, and `perdure.connect` and
`perdure.serve` have them unless you hand others. So change one value with
`policy=dataclasses.replace(perdure.PATIENT_POLICY, warm_spare="off")`: in a
`RestartPolicy(warm_spare="off")` all other values are those of the tables, with {attempts} attempts, and a connection
is lost after about {whole} s on a network that lets nothing through.

## How they relate
**How a lost path is noticed.** What the network monitor, the engine or the application reports is acted on at once.
Beyond that, silence counts only while an answer is due. While data waits, the path
is suspected after RFC 6298's retransmission timeout, but not before `suspicion_floor`: it is asked, and another carrier
is begun beside it. After three such timeouts, each of `silence_floor` at least, it is lost, after `timeout_threshold`
in any case. An idle path is asked each `ice_keepalive_interval`, and lost
when the answer has not come for `timeout_threshold`: after {idle} s at the latest.

**How it comes back.** By an ICE restart where the path still works; it has `ice_restart_timeout`. Otherwise, or when
that has failed, by a new carrier; it has `attempt_timeout`. When that has failed too, it is a failed attempt: a wait
of `restart_backoff_base` follows, doubled each time up to `restart_backoff_max` (and lengthened by up to a tenth, so
that many clients do not come back in step). With the defaults, {attempts} attempts of {attempt} s with waits of
{waits} last about {whole} s. A new network event starts the count over and acts at once, except within
`handover_grace` after the last one, which waits for that one's result unless there is a new address;
`max_restarts_per_minute` bounds what a network that flaps can cause, and its last two restarts wait until it is at
rest. While there is no usable address, or the rendezvous is out of reach, no attempt is spent.

**How it ends.** The tube fails after `max_restart_attempts` at the end that connects (the gateway waits for the other
end, which may come back from a network it cannot see), after `abandon_after` without a carrier at either end, or
after `stall_timeout` with a peer that answers but acknowledges nothing. It is closed after `session_timeout` without
the user's activity, of which `session_timeout_warning` and the stages after it warn, and after
`session_duration_limit` in any case. Both ends of a tube count for themselves: the shorter one ends it.

**What must go together.** `restart_backoff_max` is not below `restart_backoff_base`, nor `session_buffer_bytes` below
`stream_buffer_bytes`. Keep `attempt_timeout` above `ice_restart_timeout`, and `abandon_after` above what
`max_restart_attempts` take, or one of the two never matters."""
