"""A client that is stopped: how long its tube's goodbye takes, and what it takes along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from perdure.core.closing import FAREWELL_SECONDS, GOODBYE_TIMEOUT
from perdure_lab.scenario.model import Link, LinkName
from perdure_lab.sim.simulation import Simulation

ONE_WAY_DELAY = 0.05

LINKS = {
    LinkName("client", "eth"): Link(addresses=("192.168.10.10",), delay=ONE_WAY_DELAY),
    LinkName("gateway", "eth"): Link(addresses=("10.0.0.10",)),
}
SOON = 0.01


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """With a stream, over which a word has gone."""
    simulation = Simulation(1, LINKS)
    try:
        simulation.run(5.0)
        simulation.act("client", simulation.client.open_stream)
        simulation.act("client", simulation.client.workloads[0].say, 100)
        simulation.run(10.0)
        yield simulation
    finally:
        simulation.close()
    assert simulation.violations == []


def say_and_stop(simulation: Simulation, count: int) -> None:
    def act() -> None:
        simulation.client.workloads[0].say(count)
        simulation.client.stop()

    simulation.act("client", act)


def has_ended(simulation: Simulation) -> bool:
    manager = simulation.client.manager
    assert manager is not None
    return manager.state.is_final


def test_an_idle_tube_ends_at_once(simulation: Simulation) -> None:
    say_and_stop(simulation, 0)
    simulation.run(10.0 + FAREWELL_SECONDS + SOON)
    assert has_ended(simulation)


def test_the_other_end_acknowledges_a_goodbye_though_the_tube_has_ended_there(simulation: Simulation) -> None:
    say_and_stop(simulation, 0)
    simulation.run(10.0 + FAREWELL_SECONDS + 4 * ONE_WAY_DELAY)
    assert not simulation.client.is_at_work


def test_what_was_said_last_arrives_and_takes_no_longer_than_it_needs(simulation: Simulation) -> None:
    say_and_stop(simulation, 1_000_000)
    simulation.run(10.0 + GOODBYE_TIMEOUT)
    sent = simulation.client.workloads[0].mine
    assert (sent.sent_bytes, sent.received_bytes) == (1_000_100, 1_000_100)
    assert has_ended(simulation)


def test_a_peer_that_never_reads_puts_the_end_off_by_no_more_than_its_bound(simulation: Simulation) -> None:
    simulation.gateway.workloads[0].reads_after = 1e6
    simulation.act("client", simulation.client.workloads[0].say, 8_000_000)
    simulation.run(15.0)  # it has all that it granted credit for
    say_and_stop(simulation, 0)
    simulation.run(15.0 + GOODBYE_TIMEOUT)
    assert not has_ended(simulation)
    simulation.run(15.0 + GOODBYE_TIMEOUT + FAREWELL_SECONDS + SOON)
    assert has_ended(simulation)


def test_a_peer_that_cannot_be_reached_puts_the_end_off_by_no_more_than_its_bound(simulation: Simulation) -> None:
    simulation.crash("gateway")
    say_and_stop(simulation, 1000)
    simulation.run(10.0 + GOODBYE_TIMEOUT + FAREWELL_SECONDS + SOON)
    assert has_ended(simulation)
