#!/usr/bin/env python3
"""The basic validation: five classic histories of a network, each played by perdure in virtual time, and judged.

    python3 tests/network_simulator.py [--seeds 5]

A scenario fails where a connection dropped or a byte was lost, where a check of the simulator was violated, or where a
figure that it expects was missed. Exits with 1 if one failed, whoever reads what is printed. In the lab,
`perdure lab run NAME` plays the same descriptions on a real network.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from collections.abc import Iterator

from perdure.cli.running import output_failed, say
from perdure_lab.scenario import figures, judgement
from perdure_lab.scenario.library import load
from perdure_lab.scenario.model import Scenario
from perdure_lab.scenario.results import RunResult, ScenarioFacts, ScenarioReport
from perdure_lab.sim.play import play

CLASSICS = ("ethernet-to-wifi", "mobile-hand-off", "intermittent", "rapid-changes", "quality-degradation")


def main() -> int:
    parser = argparse.ArgumentParser(description="Five classic histories of a network, played in virtual time.")
    parser.add_argument("--seeds", type=int, default=5, help="how often each is played, with other dice (default: 5)")
    seeds = parser.parse_args().seeds
    if seeds < 1:
        parser.error(f"--seeds is at least 1, not {seeds}")
    try:
        failed = [name for name in CLASSICS if not _validates(load(name), seeds)]
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    say(f"{len(failed)} of {len(CLASSICS)} failed: {', '.join(failed)}" if failed else f"all {len(CLASSICS)} passed")
    return 1 if failed or output_failed() else 0


def _validates(scenario: Scenario, seeds: int) -> bool:
    """Play it, tell how it went, and say whether it passed."""
    say(f"{scenario.title} ({scenario.name}, {scenario.seconds:g} s)")
    say(textwrap.fill(scenario.text, 110, initial_indent="  ", subsequent_indent="  "))
    runs = tuple(play(scenario, seed) for seed in range(1, seeds + 1))
    report = ScenarioReport(ScenarioFacts.of(scenario), runs)
    for line in _history(runs[0]):
        say(f"    {line}")
    totals = figures.totals(report)
    say(
        f"  {seeds} {'run' if seeds == 1 else 'runs'}: {totals.connections_kept} of {totals.connections} connections "
        f"kept, {totals.bytes_sent:,} bytes sent, {totals.bytes_lost:,} lost; {figures.recoveries(report)}"
    )
    measure = figures.main_measure(report.scenario.expectation)
    if (spread := figures.spread(report, measure)) is not None:
        what = "silence" if measure == "silence" else "silence after the network is back"
        say(f"  {what}: half within {spread.p50}, the worst {spread.worst}")
    wrong = (*report.losses, *judgement.misses(report))
    for finding in wrong:
        say(f"  {finding}")
    say(f"  {'FAILED' if wrong else 'passed'}\n")
    return not wrong


def _history(run: RunResult) -> Iterator[str]:
    """Of the first run: what happened to the network, what was decided, and, behind it, what state that led to."""
    happened = [(event.at, event.text) for event in run.events]
    happened += [
        (used.at, f"the {used.side} decides {used.action}: {used.reason}") for used in run.actions_taken if used.at > 0
    ]
    happened += [(state.at, f"the client is {state.state.upper()}") for state in run.states if state.at > 0]
    for at, text in sorted(happened, key=lambda each: each[0]):
        yield f"{at:7.3f} s  {text}"


if __name__ == "__main__":
    sys.exit(main())
