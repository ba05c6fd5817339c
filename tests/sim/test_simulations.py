"""Whole peers in virtual time: nothing is lost, everything comes back, and a seed says all."""

from __future__ import annotations

import pytest

from perdure.scenario.library import load
from perdure.sim.chaos import Chaos
from perdure.sim.play import play

SHORT_FORM = [
    "black-hole",
    "ethernet-to-wifi",
    "intermittent",
    "mobile-hand-off",
    "quality-degradation",
    "rapid-changes",
]


@pytest.mark.parametrize("name", SHORT_FORM)
def test_a_scenario_of_the_lab_is_played_without_a_loss(name: str) -> None:
    run = play(load(name).shortened(), 1)
    assert run.losses == ()
    assert run.connections_kept == 2


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_chaos_harms_nobody_and_all_is_well_when_it_is_over(first: int) -> None:
    for seed in range(first, first + 10):
        chaos = Chaos(seed)
        chaos.run()
        assert chaos.simulation.violations == [], f"seed {seed}"


def test_the_same_seed_is_the_same_history_and_another_one_another() -> None:
    first, again, other = Chaos(7), Chaos(7), Chaos(8)
    for chaos in (first, again, other):
        chaos.run()
    assert first.simulation.trace == again.simulation.trace
    assert first.simulation.fingerprint == again.simulation.fingerprint
    assert first.simulation.fingerprint != other.simulation.fingerprint
