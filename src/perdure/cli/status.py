"""`perdure status`: what runs here, how each tunnel is, and what happened to it last."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from perdure.cli.exit_codes import ExitCode
from perdure.cli.listing import say_json
from perdure.cli.running import end_on_signals, say, warn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from perdure.control.messages import PathStatus, ProcessStatus, TunnelStatus

CLEAR = "\x1b[H\x1b[2J"
"""Of a terminal: the cursor home, and the screen empty."""

UP = {"connected", "degraded"}
"""States in which streams flow."""

Totals = dict[tuple[int, str], tuple[float, int, int]]
"""Of each tunnel, by process and name: when it was asked, and the bytes sent and received until then."""


@click.command
@click.option("--json", "as_json", is_flag=True, help="JSON instead, an array of processes; see docs/status.md.")
@click.option("--watch", is_flag=True, help="Again and again, with rates, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=2.0,
    metavar="SECONDS",
    help="Between two looks of --watch.",
)
def status(as_json: bool, watch: bool, interval: float) -> None:
    """Show the tunnels of `perdure connect` and `perdure serve` that run as this user, or as a service.

    Exits with 0 where each tunnel works, with 4 where one does not, and with 1 where nothing runs.
    """
    end_on_signals()
    before: Totals = {}
    while True:
        from perdure.control.asking import running

        found, problems = running()
        processes = [process for _, process in found]
        if watch and not as_json and sys.stdout.isatty():
            say(CLEAR + time.strftime("%F %T"))
        if as_json:
            import msgspec

            say_json(msgspec.to_builtins(processes))
        else:
            for line in _lines(processes, before):
                say(line)
        for problem in problems:
            warn(f"perdure: {problem}")
        if not watch:
            sys.exit(_code(processes))
        before = {
            (process.pid, tunnel.name): (process.now, tunnel.sent_bytes, tunnel.received_bytes)
            for process in processes
            for tunnel in process.tunnels
        }
        time.sleep(interval)


def _code(processes: list[ProcessStatus]) -> ExitCode:
    if not processes:
        warn("perdure: no `perdure connect` or `perdure serve` runs as this user, or as a service that it may ask")
        return ExitCode.FAILED
    works = all(
        any(tunnel.state in UP for tunnel in process.tunnels)
        if process.role == "client"
        else all(tunnel.state in UP for tunnel in process.tunnels)
        for process in processes
    )
    return ExitCode.DONE if works else ExitCode.PEER_UNREACHABLE


def _lines(processes: list[ProcessStatus], before: Mapping[tuple[int, str], tuple[float, int, int]]) -> Iterator[str]:
    for process in processes:
        age = _span(process.now - process.started_at)
        yield f"{process.role} {process.pid}, for {age}, perdure {process.version}: {process.signaling}"
        yield from (f"  {forward}" for forward in process.forwards)
        if not process.tunnels:
            yield "  no tunnel" if process.role == "client" else "  no client"
        for tunnel in process.tunnels:
            yield from _tunnel(tunnel, process.now, before.get((process.pid, tunnel.name)))


def _tunnel(tunnel: TunnelStatus, now: float, before: tuple[float, int, int] | None) -> Iterator[str]:
    whose = "" if tunnel.ticket is None else f" of ticket {tunnel.ticket or '?'}, key {tunnel.key}"
    yield f"  tunnel {tunnel.name}{whose}: {tunnel.state} for {_span(now - tunnel.since)}"
    rtt = "RTT unknown" if tunnel.rtt is None else f"RTT {tunnel.rtt * 1000:.3g} ms"
    yield f"    {_path(tunnel.path)}, {rtt}, loss {tunnel.loss:.0%}, quality {tunnel.quality:.0%}"
    traffic = f"    sent {_size(tunnel.sent_bytes)}, received {_size(tunnel.received_bytes)}"
    if before is not None and now > before[0]:
        rates = [(total - last) / (now - before[0]) for total, last in zip(_totals(tunnel), before[1:], strict=True)]
        traffic += f" (now {_size(rates[0])}/s and {_size(rates[1])}/s)"
    yield f"{traffic}, waiting {_size(tunnel.buffered_bytes)}, streams {len(tunnel.streams) + tunnel.more_streams}"
    for stream in tunnel.streams[:8]:
        waiting = f", waiting {_size(stream.buffered_bytes)}" if stream.buffered_bytes else ""
        yield f"      stream {stream.id} to {stream.target}{waiting}"
    if (more := len(tunnel.streams[8:]) + tunnel.more_streams) > 0:
        yield f"      and {more} more"
    for change in tunnel.changes[-3:]:
        detail = f" ({change.detail})" if change.detail else ""
        yield f"    {_clock(change.at)} {change.before} -> {change.after}: {change.reason}{detail}"
    for decision in [each for each in tunnel.decisions if each.action != "hold"][-3:]:
        trigger = decision.trigger or "set-up"
        yield f"    {_clock(decision.at)} {trigger}: {decision.action}, as {decision.reason}"


def _totals(tunnel: TunnelStatus) -> tuple[int, int]:
    return tunnel.sent_bytes, tunnel.received_bytes


def _path(path: PathStatus | None) -> str:
    if path is None:
        return "no path"
    through = f" through {path.relay}" if path.relay else ""
    return f"{path.kind} by {path.protocol}{through}, {path.local or '?'} to {path.remote or '?'}"


def _clock(at: float) -> str:
    return time.strftime("%F %T", time.localtime(at))


def _span(seconds: float) -> str:
    """Its two largest units."""
    left = max(round(seconds), 0)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def _size(count: float) -> str:
    """Bytes, decimal units."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"
