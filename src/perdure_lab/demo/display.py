"""What a person sees of the demo: a live picture in a terminal, a line a fault elsewhere, and the table at the end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from perdure_lab.lab.picture import Picture

if TYPE_CHECKING:
    from collections.abc import Collection
    from types import TracebackType

    from perdure_lab.demo.report import FaultResult, Report
    from perdure_lab.demo.show import Show

_BARS = " ▁▂▃▄▅▆▇█"
_STATE_STYLES = {"connected": "bold green", "reconnecting": "bold yellow", "failed": "bold red", "closed": "dim"}
_NETWORKS = {True: "one of its own: a client with Ethernet and Wi-Fi, NATs, a gateway", False: "127.0.0.1"}


class Display:
    """Shows a running `Show`; a context manager around it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._screen = Picture(console)
        self._printed_at = -1.0

    def changed(self, show: Show) -> None:
        """Show it as it is now."""
        if self._screen.draw(lambda: _picture(show)):
            return
        fault = show.faults[-1] if show.faults else None
        if fault is not None and fault.silence is not None and fault.at > self._printed_at:
            self._printed_at = fault.at
            self._console.print(
                f"{fault.at:6.1f} s  {fault.name}: {_silence(fault).plain}", highlight=False, soft_wrap=True
            )

    def __enter__(self) -> Display:
        self._screen.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._screen.__exit__(kind, error, trace)


def _picture(show: Show) -> RenderableType:
    moment = show.moment
    head = Table.grid(padding=(0, 2))
    head.add_row("network", _NETWORKS[show.is_private])
    head.add_row("state", Text(moment.state, style=_STATE_STYLES.get(moment.state, "bold")))
    head.add_row("time", f"{min(moment.elapsed, show.seconds):.0f} of {show.seconds:.0f} s, {moment.phase}")
    rate = show.throughput[-1] if show.throughput else 0.0
    head.add_row("delivered", Text(f"{rate / 1e6:5.1f} MB/s  ") + Text(_sparkline(show.throughput), style="cyan"))
    shown = (
        Text(f"{moment.outage * 1000:.0f} ms without a byte", style="bold yellow")
        if moment.outage > 0.1
        else Text("none", "green")
    )
    head.add_row("outage now", shown)
    faults = Table(box=None, pad_edge=False, header_style="dim")
    faults.add_column("at", justify="right")
    faults.add_column("fault")
    faults.add_column("silence", justify="right")
    for fault in show.faults:
        faults.add_row(f"{fault.at:.1f} s", fault.name, _silence(fault))
    title = "perdure demo: four TCP connections through one WebRTC tunnel that keeps breaking"
    return Panel(Group(head, Text(), faults), title=title, border_style="blue")


def print_result(console: Console, report: Report) -> None:
    """For a person."""
    table = Table(show_header=False, title="perdure demo", title_justify="left")
    table.add_column(style="dim")
    table.add_column(justify="right")
    table.add_row("faults", str(len(report.faults)))
    table.add_row("connections kept", f"{report.connections_kept} of {report.connections}")
    table.add_row("bytes sent", f"{report.bytes_sent:,}")
    table.add_row("bytes lost or wrong", f"{report.bytes_lost_or_wrong:,}")
    median, worst = report.recovery_median, report.recovery_max
    table.add_row("recovery, median", "-" if median is None else f"{median * 1000:.0f} ms")
    table.add_row("recovery, maximum", "-" if worst is None else f"{worst * 1000:.0f} ms")
    if report.bytes_sent == 0:
        verdict = Text("it ended before anything was sent", "bold yellow")
    elif report.is_clean:
        verdict = Text("nothing was lost", "bold green")
    else:
        verdict = Text("something was lost", "bold red")
    console.print(table, verdict, sep="\n")
    for skipped in report.skipped:
        console.print(f"left out: {skipped}", style="yellow", highlight=False, soft_wrap=True)


def _silence(fault: FaultResult) -> Text:
    if fault.silence is None:
        return Text("…", "yellow")
    if not fault.recovered:
        return Text("not recovered", "bold red")
    return Text(f"{fault.silence * 1000:.0f} ms")


def _sparkline(values: Collection[float]) -> str:
    top = max(values, default=0.0) or 1.0
    return "".join(_BARS[round(value / top * (len(_BARS) - 1))] for value in values)
