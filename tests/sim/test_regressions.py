"""What the simulator has found in perdure: each find is a history of its own, short and named."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure.core.decision import Trigger
from perdure.scenario.model import Link, LinkName
from perdure.sim.simulation import Simulation

CLIENT = LinkName("client", "eth")
GATEWAY = LinkName("gateway", "eth")


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    links = {CLIENT: Link(addresses=("192.168.10.10",), delay=0.05), GATEWAY: Link(addresses=("10.0.0.10",))}
    simulation = Simulation(1, links)
    try:
        yield simulation
    finally:
        simulation.close()
    assert simulation.violations == []


def test_after_a_sleep_no_deadline_is_late_by_it(simulation: Simulation) -> None:
    """Found by seeds 54184, 57326 and 58948: the timers of the event loop stand still while the machine sleeps, and an
    idle tube's next deadline was late by the sleep. Then it took that for another sleep, and built a carrier anew; a
    deadline that happened to share the late tick was late as well, an attempt's end too: the tube hung."""
    simulation.run(100.0)
    simulation.stop("client", asleep=True)
    simulation.run(160.0)
    simulation.wake("client")
    simulation.run(200.0)
    settled = len(simulation.decisions)
    simulation.run(2000.0)
    assert simulation.client.manager is not None
    assert simulation.client.manager.state.is_up
    later = simulation.decisions[settled:]
    assert [decision.trigger for _, _, decision in later if decision.trigger is Trigger.WAKE_UP] == []


def test_a_client_that_slept_through_the_end_of_its_first_session_begins_another(simulation: Simulation) -> None:
    """Found by seed 50505: the client fell asleep before it heard the gateway's first word, which gave up. It woke and
    went on with the same session, of which the gateway told its application after it had told that it was closed."""
    while not len(simulation.gateway.registry):
        simulation.run(simulation.world.now + 0.001)
    simulation.stop("client", asleep=True)
    (first,) = (manager.tube_id for manager in simulation.gateway.registry)
    simulation.run(120.0)
    assert first not in simulation.gateway.registry
    simulation.wake("client")
    simulation.run(150.0)
    assert simulation.client.manager is not None
    assert simulation.client.manager.state.is_up
    assert simulation.client.manager.tube_id != first
