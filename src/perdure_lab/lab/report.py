"""The lab's report for a terminal and for machines; `html` has it as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from perdure_lab.scenario import figures, judgement
from perdure_lab.scenario.figures import Measure
from perdure_lab.scenario.results import Direction, Finding, ScenarioReport

FORMAT_VERSION = 2
"""Of the JSON: another one where a program that read this one would err."""

SHOWN_PROBLEMS = 12
"""Lines of losses or misses that a terminal shows of one scenario; the JSON has all."""

ROWS: tuple[tuple[str, Direction | None], ...] = (("both", None), ("up", "up"), ("down", "down"))
"""Of a measure: the direction that waited longer, then each."""

_ABOUT_MISSES = "missed is not lost: a busy machine adds silence; repeat it (--repeat 5)"

VERDICT_STYLES = {"passed": "bold green", "missed": "bold yellow", "failed": "bold red", "measured": "dim"}


def terminal_table(reports: Sequence[ScenarioReport]) -> RenderableType:
    """Every scenario with its figures, what was lost or missed, the peers as ratios, and the sum of it."""
    groups = figures.by_scenario(reports)
    parts: list[RenderableType] = [_figures_table(groups)]
    for report in (report for group in groups for report in group):
        parts.extend(_remarks(report))
    if any(map(misses, reports)):
        parts.append(Text(_ABOUT_MISSES, "dim"))
    if any(len(group) > 1 for group in groups):
        parts.append(_peer_table(groups))
    parts.append(_sum(reports))
    return Group(*parts)


def to_json(reports: Sequence[ScenarioReport]) -> bytes:
    """One object a scenario and subject with its runs. Seconds are floats.

    `{"version": 2, "reports": [{"scenario", "subject", "verdict", "losses", "misses", "figures", "runs"}, …]}`, where
    `scenario` and `runs` are `results.ScenarioFacts` and `results.RunResult`, and `figures` has `silence` and `after`,
    each with `both`, `up` and `down` (null, or `count`, `p50`, `p95`, `worst` as `{"seconds", "at_least"}`),
    `recoveries` (`figures.Recoveries`), `totals` (`figures.Totals`), and `ratio_to_perdure` (null, or
    `{"times", "at_least"}`).
    """
    own = {report.scenario.name: report for report in reports if figures.is_own(report)}
    described = [_described(report, own.get(report.scenario.name)) for report in reports]
    return msgspec.json.encode({"version": FORMAT_VERSION, "reports": described})


def measures_of(report: ScenarioReport) -> tuple[Measure, ...]:
    """What a reader is shown: silence always, the time after an event where the scenario is about it."""
    return ("silence",) if figures.main_measure(report.scenario.expectation) == "silence" else ("after", "silence")


def losses(report: ScenarioReport) -> list[str]:
    """Why the report failed, a line a reason; the same of several runs is one line."""
    return _together(report.losses) if report.runs else ["it was not run"]


def misses(report: ScenarioReport) -> list[str]:
    """As `losses`, what was expected and not met."""
    return _together(judgement.misses(report))


def summary(reports: Sequence[ScenarioReport]) -> str:
    """`3 scenarios, 60 runs of perdure: 2 passed, 1 failed; 3 scenarios, 60 runs of socat`: peers only ever fail."""
    by_subject: dict[str, list[ScenarioReport]] = {}
    for report in sorted(reports, key=figures.is_own, reverse=True):
        by_subject.setdefault(figures.subject(report), []).append(report)
    return "; ".join(_counted(name, group) for name, group in by_subject.items()) or "nothing was run"


def _figures_table(groups: Sequence[Sequence[ScenarioReport]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=0, title="perdure lab", title_justify="left")
    table.add_column("scenario", overflow="fold", min_width=15)
    table.add_column("runs", justify="right")
    table.add_column("time", style="dim", no_wrap=True)
    for name in ("p50", "p95", "worst"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("kept", justify="right", no_wrap=True)
    table.add_column("lost", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    for group in groups:
        for report in group:
            sums = figures.totals(report)
            title = Text(report.scenario.name)
            if len(group) > 1:
                title.append(f"\n  {figures.subject(report)}")
            title.append(f"\n  {figures.recoveries(report)}", "dim")
            lost = sums.bytes_lost + sums.bytes_wrong
            kept_all = sums.connections_kept == sums.connections
            verdict = judgement.verdict(report)
            table.add_row(
                title,
                str(len(report.runs)),
                *_spread_cells(report),
                Text(f"{sums.connections_kept}/{sums.connections}", "" if kept_all else "bold red"),
                Text(f"{lost:,}", "bold red" if lost else ""),
                Text(verdict, VERDICT_STYLES[verdict]),
            )
    return table


def _spread_cells(report: ScenarioReport) -> list[str]:
    """The label, p50, p95 and worst of each measure and direction, a line each."""
    lines = []
    for measure in measures_of(report):
        for name, direction in ROWS:
            found = figures.spread(report, measure, direction)
            if found is not None:
                label = measure if name == "both" else f"  {name}"
                lines.append((label, str(found.p50), str(found.p95), str(found.worst)))
    return ["\n".join(column) for column in zip(*lines, strict=True)] or ["", "-", "-", "-"]


def _remarks(report: ScenarioReport) -> list[Text]:
    name = report.scenario.name
    if not figures.is_own(report):
        name += f" with {figures.subject(report)}"
    found = [("failed", "bold red", loss) for loss in losses(report)]
    found.extend(("missed", "yellow", miss) for miss in misses(report))
    lines = [Text.assemble((f"{kind}: ", style), f"{name}: {text}") for kind, style, text in found[:SHOWN_PROBLEMS]]
    if len(found) > SHOWN_PROBLEMS:
        lines.append(Text(f"{name}: {len(found) - SHOWN_PROBLEMS} more of these", "dim"))
    if report.scenario.settings_reason:
        lines.append(Text(f"settings: {name}: {report.scenario.settings_reason}", "dim"))
    return lines


def _together(findings: Sequence[Finding]) -> list[str]:
    """One line for the same finding of several runs: `runs 3, 5: 7 bytes lost`."""
    runs_of: dict[str, list[str]] = {}
    for finding in findings:
        runs_of.setdefault(finding.text, []).extend([] if finding.run is None else [str(finding.run)])
    return [
        f"run{'s' if len(runs) > 1 else ''} {', '.join(runs)}: {text}" if runs else text
        for text, runs in runs_of.items()
    ]


def _peer_table(groups: Sequence[Sequence[ScenarioReport]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="beside the peers, medians", title_justify="left")
    table.add_column("scenario", overflow="fold")
    table.add_column("subject")
    table.add_column("time", style="dim")
    table.add_column("p50", justify="right", no_wrap=True)
    table.add_column("times perdure's", justify="right", no_wrap=True)
    table.add_column("kept", justify="right")
    for group in groups:
        if len(group) == 1:
            continue
        own = group[0] if figures.is_own(group[0]) else None
        for index, report in enumerate(group):
            measure = figures.main_measure(report.scenario.expectation)
            found = figures.spread(report, measure)
            times = None if own is None or report is own else figures.ratio(report, own)
            sums = figures.totals(report)
            table.add_row(
                "" if index else Text(report.scenario.name),
                Text(figures.subject(report)),
                measure,
                "-" if found is None else str(found.p50),
                "" if report is own else "-" if times is None else str(times),
                f"{sums.connections_kept}/{sums.connections}",
            )
    return table


def _counted(subject: str, reports: Sequence[ScenarioReport]) -> str:
    runs = sum(len(report.runs) for report in reports)
    found = ["failed" if losses(report) else judgement.verdict(report) for report in reports]
    counts = ", ".join(f"{found.count(name)} {name}" for name in ("passed", "missed", "failed") if name in found)
    scenarios = f"{len(reports)} scenario{'' if len(reports) == 1 else 's'}"
    return f"{scenarios}, {runs} run{'' if runs == 1 else 's'} of {subject}{counts and f': {counts}'}"


def _sum(reports: Sequence[ScenarioReport]) -> Text:
    found = {judgement.verdict(report) for report in reports}
    if not judgement.is_clean(reports, strict=False):
        found.add("failed")
    worst = next((verdict for verdict in ("failed", "missed", "passed") if verdict in found), "measured")
    return Text(summary(reports), VERDICT_STYLES[worst])


def _described(report: ScenarioReport, own: ScenarioReport | None) -> dict[str, Any]:
    return {
        "scenario": report.scenario,
        "subject": figures.subject(report),
        "verdict": judgement.verdict(report),
        "losses": [str(loss) for loss in report.losses],
        "misses": [str(miss) for miss in judgement.misses(report)],
        "figures": {
            "silence": {name: figures.spread(report, "silence", direction) for name, direction in ROWS},
            "after": {name: figures.spread(report, "after", direction) for name, direction in ROWS},
            "recoveries": figures.recoveries(report),
            "totals": figures.totals(report),
            "ratio_to_perdure": None if own is None or own is report else figures.ratio(report, own),
        },
        "runs": report.runs,
    }
