"""The model held against reality: the simulator's silences beside the lab's, as benchmarks/README.md has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perdure_lab.scenario import figures
from perdure_lab.scenario.library import load, names
from perdure_lab.scenario.model import ProcessAction, ProcessChange, Scenario
from perdure_lab.scenario.results import ScenarioFacts, ScenarioReport
from perdure_lab.sim.play import play

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "README.md"
BUSY = "busy-machine"
"""Is nothing but the machine's own work."""

OWN_WORK = 0.1
"""Seconds: a silence this short in the lab is the machine's own work, which takes no time in a simulation."""


def lab_median(name: str) -> tuple[str, float]:
    """What is measured, and its median of the lab's 20 runs in seconds."""
    found = re.search(rf"^\| {name} \| (silence|after it is back) \| ([\d.]+) (m?s) \|", BENCHMARKS.read_text(), re.M)
    assert found is not None
    return found[1], float(found[2]) / (1000 if found[3] == "ms" else 1)


def waits_for_the_rendezvous(scenario: Scenario) -> bool:
    """It is dialled now and then, and how long after its return is chance."""
    back = ProcessChange("rendezvous", ProcessAction.START)
    return any(back in step.actions for step in scenario.steps)


@pytest.mark.parametrize("name", names())
def test_a_silence_is_the_labs_within_a_factor_of_two(name: str) -> None:
    scenario = load(name)
    what, expected = lab_median(name)
    has_losses = any(link.loss for link in scenario.links.values())
    seeds = range(1, 6 if has_losses or waits_for_the_rendezvous(scenario) else 2)
    runs = tuple(play(scenario, seed) for seed in seeds)
    report = ScenarioReport(ScenarioFacts.of(scenario), runs)
    assert report.losses == ()
    spread = figures.spread(report, "silence" if what == "silence" else "after")
    assert spread is not None
    assert not spread.p50.at_least
    assert spread.p50.seconds <= 2 * expected
    assert spread.p50.seconds >= expected / 2 or expected <= OWN_WORK or name == BUSY
