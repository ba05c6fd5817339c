"""A relay of the simulation, whose credentials expire, and what the tunnel through it makes of that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perdure.core.decision import DecisionReason, RecoveryAction
from perdure.core.state import State
from perdure_lab.scenario.model import Cut, Link, LinkName
from perdure_lab.sim.relay import Terms
from perdure_lab.sim.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Iterator

LINKS = {
    LinkName("client", "eth"): Link(addresses=("192.168.10.10",), delay=0.02),
    LinkName("gateway", "eth"): Link(addresses=("10.0.0.10",), delay=0.01, cut=Cut.PEERS),
}
"""Nothing but a relay is between the two ends."""

LIFETIME = 60.0


@pytest.fixture(params=[True, False], ids=["strict", "lenient"])
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """Connected through the relay."""
    simulation = Simulation(5, LINKS, relay=Terms(LIFETIME, is_strict=request.param))
    simulation.run(5.0)
    assert is_up(simulation)
    yield simulation
    simulation.close()
    assert simulation.violations == []


def is_up(simulation: Simulation) -> bool:
    manager = simulation.client.manager
    return manager is not None and manager.state.is_up


def times_lost(simulation: Simulation) -> int:
    return sum(change.after is State.RECONNECTING for _, _, change in simulation.changes)


def renewed(simulation: Simulation) -> list[RecoveryAction]:
    return [
        decision.action for _, _, decision in simulation.decisions if decision.reason is DecisionReason.RELAYS_RENEWED
    ]


def issue(simulation: Simulation, *, issues: bool) -> None:
    assert simulation.relay is not None
    simulation.relay.issues = issues


def test_a_path_outlives_its_credentials_and_stays_connected(simulation: Simulation) -> None:
    simulation.run(10 * LIFETIME)
    assert times_lost(simulation) == 0
    assert renewed(simulation).count(RecoveryAction.SPARE) >= 10


def test_a_path_whose_credentials_expire_while_nobody_issues_any_lives_as_long_as_its_server_lets_it(
    simulation: Simulation,
) -> None:
    assert simulation.relay is not None
    issue(simulation, issues=False)
    simulation.run(3 * LIFETIME)
    assert is_up(simulation) is not simulation.relay.terms.is_strict
    issue(simulation, issues=True)
    simulation.run(5 * LIFETIME)
    assert is_up(simulation)
    assert times_lost(simulation) == (2 if simulation.relay.terms.is_strict else 0)


def test_an_attempt_that_the_relay_refused_begins_anew_with_the_credentials_that_come_meanwhile(
    simulation: Simulation,
) -> None:
    issue(simulation, issues=False)
    simulation.run(3 * LIFETIME)
    simulation.crash("client")
    simulation.start("client")
    simulation.run(3 * LIFETIME + 2.0)
    assert not is_up(simulation)
    issue(simulation, issues=True)
    simulation.run(4 * LIFETIME + 10.0)
    assert is_up(simulation)
