"""The model held against reality: the simulator's silences beside the lab's, as benchmarks/README.md has them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from perdure.scenario import figures
from perdure.scenario.library import load
from perdure.scenario.results import ScenarioFacts, ScenarioReport
from perdure.sim.play import play

BENCHMARKS = Path(__file__).parents[2] / "benchmarks" / "README.md"
SEEDS = range(1, 4)


def lab_median(name: str) -> tuple[str, float]:
    """What is measured, and its median of the lab's 20 runs in seconds."""
    found = re.search(rf"^\| {name} \| (silence|after it is back) \| ([\d.]+) (m?s) \|", BENCHMARKS.read_text(), re.M)
    assert found is not None
    return found[1], float(found[2]) / (1000 if found[3] == "ms" else 1)


@pytest.mark.parametrize(
    "name",
    [
        "address-renewed-50ms",
        "black-hole",
        "black-hole-uplink",
        "ethernet-to-wifi-50ms",
        "intermittent",
        "mobile-hand-off",
        "nat-mapping-lost",
        "new-address-50ms",
        "quality-degradation",
        "rapid-changes",
        "relay-only",
        "rendezvous-restart",
    ],
)
def test_a_silence_is_the_labs_within_a_factor_of_two(name: str) -> None:
    scenario = load(name)
    what, expected = lab_median(name)
    report = ScenarioReport(ScenarioFacts.of(scenario), tuple(play(scenario, seed) for seed in SEEDS))
    assert report.losses == ()
    spread = figures.spread(report, "silence" if what == "silence" else "after")
    assert spread is not None
    assert not spread.p50.at_least
    assert 0.5 <= spread.p50.seconds / expected <= 2.0
