"""The lab's report as one page that needs nothing else: no network, no server, no explanation."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from importlib.resources import files

from perdure_lab.lab.report import ROWS, losses, measures_of, misses, summary
from perdure_lab.lab.timeline import HIGHEST_RATE, happenings, timeline
from perdure_lab.scenario import figures
from perdure_lab.scenario.judgement import verdict
from perdure_lab.scenario.results import SILENCE_FLOOR, RunResult, ScenarioReport

SHOWN_HAPPENINGS = 60
"""Lines of a run's table; a flapping network has thousands."""

SHOWN_PROBLEMS = 20
"""Losses, and misses, that a scenario's section lists."""

STATES = ("connected", "degraded", "reconnecting", "connecting", "failed", "closed")
"""As the key shows them; `chart/page.css` has the colour and the pattern of each."""

_VERDICT_WORDS = {
    "passed": ("met", "✓ passed"),
    "missed": ("missed", "✗ missed"),
    "failed": ("failed", "✗ failed"),
    "measured": ("measured", "measured"),
}

_INTRODUCTION = """
perdure forwards TCP connections through a WebRTC tunnel that must outlive the network under it. This lab builds a small
internet from Linux network namespaces, with real links, routers and NATs; runs both ends of the tunnel in it as
processes of their own; sends numbered bytes through several TCP connections in both directions all the time; and then
does to the network what the scenario says. It measures the <em>silence</em>: how long a connection waited for its next
byte. A run in which a connection drops, or one byte is lost or wrong, has failed, however short the silence was.
"""

_HOW_TO_READ = f"""
Above the middle line is what arrived at the gateway from the client each moment, below it what arrived at the client.
The band over the plot is the client's own view of its tunnel; dashed lines are what happened to the network. Drag
over a plot to look closer, double-click to see all of it again. Bursts above {HIGHEST_RATE:.0f} times the steady rate
are cut off at the edge. A silence is marked from {SILENCE_FLOOR * 1000:.0f} ms on; it is one connection's, so the
others may still carry bytes in it.
"""


def page(
    reports: Sequence[ScenarioReport],
    *,
    kept_runs: int | None = None,
    about: Mapping[str, str] | None = None,
    commands: Mapping[str, str] | None = None,
) -> str:
    """The whole page.

    Args:
        kept_runs: how many runs of a scenario and subject keep their timeline: the median run first, then the worst,
            the second worst, …; the figures are of all. `None`: every run.
        about: where and with what it was measured, such as `{"kernel": "6.18"}`.
        commands: of each scenario's name the command line that runs it again; one that is not there is not shown.
    """
    groups = figures.by_scenario(reports)
    runs = _RunNumbers()
    sections = "".join(_section(index, group, kept_runs, runs, commands or {}) for index, group in enumerate(groups, 1))
    facts = "".join(f"<li>{escape(name)}: {escape(value)}</li>" for name, value in (about or {}).items())
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>perdure lab: {escape(summary(reports))}</title>
<link rel="icon" href="data:,">
<style>{_asset("uPlot.min.css")}</style>
<style>{_asset("page.css")}</style>
</head>
<body>
<h1>perdure lab: how long is the silence when the network moves?</h1>
<p>{_INTRODUCTION.strip()}</p>
<p><strong>{escape(summary(reports))}.</strong></p>
{_summary_table(groups)}
<h3>How to read the timelines</h3>
<p>{_HOW_TO_READ.strip()}</p>
{_key()}
<noscript><p class="problems">A script draws the timelines, and this browser does not run it. The figures are complete.
</p></noscript>
{sections}
<footer>
<ul class="faint">{facts}<li>charts: uPlot, MIT licence, © Leon Sorokin</li></ul>
</footer>
<script>{_asset("uPlot.iife.min.js")}</script>
<script>{_asset("timeline.js")}</script>
</body>
</html>
"""


class _RunNumbers:
    """Numbers the timelines of a page."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


def _asset(name: str) -> str:
    return files("perdure_lab.lab").joinpath("chart", name).read_text("utf-8").strip()


def _summary_table(groups: Sequence[Sequence[ScenarioReport]]) -> str:
    rows = []
    has_peers = any(len(group) > 1 for group in groups)
    for index, group in enumerate(groups, 1):
        for report in group:
            sums = figures.totals(report)
            measure = figures.main_measure(report.scenario.expectation)
            found = figures.spread(report, measure)
            after = ' <span class="faint">after it was back</span>' if measure == "after" else ""
            peer = "" if len(group) == 1 else f' <span class="faint">{escape(figures.subject(report))}</span>'
            recoveries = escape(str(figures.recoveries(report))).replace(" × ", "&nbsp;×&nbsp;")
            spread = ("–", "–", "–") if found is None else (str(found.p50), str(found.p95), str(found.worst))
            rows.append(
                f'<tr><th scope="row"><a href="#scenario-{index}">{escape(report.scenario.title)}</a>{peer}{after}</th>'
                f"<td>{_verdict(report)}</td>"
                + _numbers(str(len(report.runs)), *spread)
                + f"<td>{recoveries}</td>"
                + _numbers(
                    f"{sums.connections_kept} of {sums.connections}",
                    f"{sums.bytes_lost + sums.bytes_wrong:,}",
                    *([_ratio_text(report, group)] if has_peers else []),
                )
                + "</tr>"
            )
    heads = (
        *("scenario", "verdict", "runs", "silence p50", "p95", "worst", "recovered by", "connections kept"),
        "bytes lost",
        *(["times perdure’s"] if has_peers else []),
    )
    return (
        '<p class="faint">Of each measured event the direction that waited longer. '
        "p50 and p95: half of the events, and 19 of 20, took at most so long.</p>"
        '<div class="scroll"><table class="summary"><thead><tr>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _ratio_text(report: ScenarioReport, group: Sequence[ScenarioReport]) -> str:
    if len(group) == 1 or not figures.is_own(group[0]) or report is group[0]:
        return ""
    return str(figures.ratio(report, group[0]) or "–")


def _key() -> str:
    states = "".join(f'<li><span class="state {name}">{name}</span></li>' for name in STATES)
    return (
        '<ul class="key"><li><span class="swatch up"></span>client → gateway</li>'
        '<li><span class="swatch down"></span>gateway → client</li>'
        '<li><span class="swatch silence"></span>silence, with its length</li>'
        f'<li><span class="swatch event"></span>what happened to the network</li>{states}</ul>'
    )


def _section(
    index: int,
    group: Sequence[ScenarioReport],
    kept_runs: int | None,
    runs: _RunNumbers,
    commands: Mapping[str, str],
) -> str:
    facts = group[0].scenario
    reason = f'<p class="faint">Settings: {escape(facts.settings_reason)}</p>' if facts.settings_reason else ""
    command = commands.get(facts.name)
    shown = f' <code class="faint">{escape(command)}</code>' if command else ""
    parts = []
    for report in group:
        head = f"<h3>{escape(figures.subject(report))}</h3>" if len(group) > 1 else ""
        parts.append(head + _report(report, group, kept_runs, runs))
    return (
        f'<section id="scenario-{index}"><h2>{escape(facts.title)}</h2><p>{escape(facts.text)}{shown}</p>'
        f"{reason}{''.join(parts)}</section>\n"
    )


def _report(report: ScenarioReport, group: Sequence[ScenarioReport], kept_runs: int | None, runs: _RunNumbers) -> str:
    return _facts(report, group) + _figures_table(report) + _problems(report) + _runs(report, kept_runs, runs)


def _facts(report: ScenarioReport, group: Sequence[ScenarioReport]) -> str:
    sums = figures.totals(report)
    sentences = [
        f"{len(report.runs)} run{'' if len(report.runs) == 1 else 's'}",
        f"recovered by: {figures.recoveries(report)}",
        f"{sums.connections_kept} of {sums.connections} connections kept",
        f"{sums.bytes_lost:,} of {sums.bytes_sent:,} bytes lost, {sums.bytes_wrong:,} wrong",
    ]
    expect = report.scenario.expectation
    if expect.max_restarts is not None:
        sentences.append(f"expected of a run: at most {expect.max_restarts} ICE restarts, rebuilds and spares")
    if expect.spares_a_minute is not None:
        sentences.append(f"expected within a minute: at most {expect.spares_a_minute} spares")
    if expect.states_never:
        sentences.append(f"expected never to show: {', '.join(state.upper() for state in expect.states_never)}")
    if expect.states:
        sentences.append(f"expected to show: {', '.join(state.upper() for state in expect.states)}")
    times = _ratio_text(report, group)
    if times:
        sentences.append(f"{times} perdure’s median")
    made = sorted({run.impairment for run in report.runs} - {"none"})
    if made:
        sentences.append(f"delay and loss made by: {', '.join(made)}")
    return f"<p>{_verdict(report)} {escape('; '.join(sentences))}.</p>"


def _figures_table(report: ScenarioReport) -> str:
    expect = report.scenario.expectation
    allowed = {
        "silence": (expect.silence_p50, expect.silence_worst),
        "after": (expect.after_p50, expect.after_worst),
    }
    names = {
        "silence": {"both": "silence", "up": "client → gateway", "down": "gateway → client"},
        "after": {"both": "silence after the network was back", "up": "client → gateway", "down": "gateway → client"},
    }
    is_own = figures.is_own(report)
    rows = []
    for measure in measures_of(report):
        for name, direction in ROWS:
            found = figures.spread(report, measure, direction)
            if found is None:
                continue
            label = names[measure][name] if name == "both" else f"&ensp;{names[measure][name]}"
            median, worst = allowed[measure] if name == "both" else (None, None)
            rows.append(
                f'<tr><th scope="row">{label}</th>'
                + _numbers(str(found.count), str(found.p50), str(found.p95), str(found.worst))
                + (_numbers(_allowed(median), _allowed(worst)) if is_own else "")
                + "</tr>"
            )
    if not rows:
        return ""
    heads = ("", "events measured", "p50", "p95", "worst", *(["expected p50", "expected worst"] if is_own else []))
    return (
        '<div class="scroll"><table><thead><tr>'
        + "".join(f'<th scope="col">{head}</th>' for head in heads)
        + f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _allowed(seconds: float | None) -> str:
    return "" if seconds is None else f"≤ {figures.duration(seconds)}"


def _problems(report: ScenarioReport) -> str:
    parts = []
    for title, lines in (("Failed", losses(report)), ("Expected, and not met", misses(report))):
        if lines:
            items = "".join(f"<li>{escape(line)}</li>" for line in lines[:SHOWN_PROBLEMS])
            more = f"<li>and {len(lines) - SHOWN_PROBLEMS} more</li>" if len(lines) > SHOWN_PROBLEMS else ""
            parts.append(f'<div class="problems"><strong>{title}</strong><ul>{items}{more}</ul></div>')
    return "".join(parts)


def _runs(report: ScenarioReport, kept_runs: int | None, runs: _RunNumbers) -> str:
    """The median run and the worst open, the others behind a line."""
    ranked = figures.best_to_worst(report)
    if not ranked:
        return "<p>It was not run.</p>"
    median, worst = figures.median_run(report), ranked[-1]
    named = {median: "the median run", worst: "the worst run"}
    if median == worst:
        named = {worst: "the only run" if len(ranked) == 1 else "the median run, and the worst"}
    order = [*named, *(index for index in reversed(ranked) if index not in named)]
    kept = order if kept_runs is None else order[: max(0, kept_runs)]
    drawn = {index: _run(index, report.runs[index], named.get(index, ""), runs) for index in kept}
    opened = "".join(text for index, text in drawn.items() if index in named)
    others = "".join(text for index, text in drawn.items() if index not in named)
    left_out = len(ranked) - len(kept)
    if others:
        others = f'<details class="others"><summary>The other runs, the worst first</summary>{others}</details>'
    if left_out:
        others += f'<p class="faint">{left_out} more run{"" if left_out == 1 else "s"} in the figures, not drawn.</p>'
    return opened + others


def _run(index: int, run: RunResult, name: str, runs: _RunNumbers) -> str:
    number = runs.next()
    title = f"Run {index + 1}" + (f", {name}" if name else "")
    longest = {
        direction: max((each.silence for each in run.outcomes if each.direction == direction), default=0.0)
        for direction in ("up", "down")
    }
    said = [
        f"longest silence: client → gateway {figures.Figure(longest['up'])}, "
        f"gateway → client {figures.Figure(longest['down'])}",
        f"seed {run.seed}",
        *run.losses,
    ]
    about = escape("; ".join(said))
    data = json.dumps(timeline(run), ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    is_open = " open" if name else ""
    return (
        f'<details class="run"{is_open}><summary><strong>{title}</strong>: {about}</summary>'
        f'<div class="timeline" data-run="run-{number}" role="img" aria-label="Timeline of run {index + 1}"></div>'
        f'<script type="application/json" id="run-{number}">{data}</script>'
        f'<details><summary class="faint">What happened, in order</summary>{"".join(_happened(run))}</details>'
        "</details>\n"
    )


def _happened(run: RunResult) -> Iterator[str]:
    lines = happenings(run)
    yield '<div class="scroll"><table class="happened"><tbody>'
    for line in lines[:SHOWN_HAPPENINGS]:
        important = ' class="network"' if line.kind == "network" else ""
        badge = "" if line.event is None else f'<span class="badge">{line.event}</span> '
        yield (
            f'<tr{important}><td class="n">{line.at:.3f} s</td><td>{line.kind}</td>'
            f"<td>{badge}{escape(line.text)}</td></tr>"
        )
    yield "</tbody></table></div>"
    if len(lines) > SHOWN_HAPPENINGS:
        yield f'<p class="faint">and {len(lines) - SHOWN_HAPPENINGS} more</p>'


def _numbers(*texts: str) -> str:
    return "".join(f'<td class="n">{escape(text)}</td>' for text in texts)


def _verdict(report: ScenarioReport) -> str:
    kind, words = _VERDICT_WORDS[verdict(report)]
    return f'<span class="verdict {kind}">{words}</span>'
