"""What the simulator has found in perdure: each find is a history of its own, short and named."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest

from perdure.core.decision import Trigger
from perdure.core.state import Reason
from perdure_lab.scenario.model import Cut, Link, LinkName
from perdure_lab.sim.simulation import Simulation

CLIENT = LinkName("client", "eth")
GATEWAY = LinkName("gateway", "eth")
LINKS = {CLIENT: Link(addresses=("192.168.10.10",), delay=0.05), GATEWAY: Link(addresses=("10.0.0.10",))}


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    simulation = Simulation(1, LINKS)
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


@pytest.mark.parametrize(
    ("seed", "flapping", "turning", "talking", "max_restarts_per_minute"),
    [(99, 1.0, 0.2, 0.3, 1), (168, 3.0, 0.05, 0.05, 2), (210, 4.0, 0.2, 0.05, 1), (346, 1.0, 0.2, 0.05, 2)],
)
def test_a_path_that_carries_one_way_only_ends_no_session(
    seed: int, flapping: float, turning: float, talking: float, max_restarts_per_minute: int
) -> None:
    """Found by seed 103380: on a network that came and went, and with no restart left, one end heard the other for 30 s
    and was not heard. It took that for a peer which never acknowledges what it got, and ended the tube."""
    dice = Random(seed)
    simulation = Simulation(1, LINKS, settings={"restart.max_restarts_per_minute": max_restarts_per_minute})
    try:
        simulation.run(5.0)
        simulation.act("client", simulation.client.open_stream)
        simulation.run(6.0)
        workloads = {site: simulation.process(site).workloads[0] for site in ("gateway", "client")}
        is_up, changes_at = True, 6.0 + flapping
        for half in range(13, 241):
            simulation.run(half / 2)
            if half / 2 >= changes_at:
                is_up, changes_at = not is_up, half / 2 + flapping
                simulation.internet.change(GATEWAY, up=is_up)
            if dice.random() < turning:
                is_deaf, is_mute = dice.choice([(False, False), (True, False), (False, True)])
                simulation.internet.befall(CLIENT, is_deaf=is_deaf, is_mute=is_mute)
            for site, workload in workloads.items():
                if dice.random() < talking:
                    simulation.act(site, workload.say, 100)
        assert Reason.PEER_STALLED not in [change.reason for _, _, change in simulation.changes]
    finally:
        simulation.close()
    assert simulation.violations == []


def test_who_was_away_for_longer_than_the_rendezvous_keeps_mail_is_told_again(simulation: Simulation) -> None:
    """Found by seed 207025: the gateway's offers waited at the rendezvous until that dropped them, a minute after it
    had noticed that the client was away. When the client came back the gateway waited for answers, and took the
    client's own offers for older than its own: two attempts failed on a good network, half a minute in all."""
    simulation.run(2.0)
    simulation.act("client", simulation.client.open_stream)
    simulation.run(100.0)
    simulation.internet.change(CLIENT, cut=Cut.ALL)
    for workload in simulation.gateway.workloads:
        simulation.act("gateway", workload.say, 100)
    simulation.run(300.0)
    simulation.internet.change(CLIENT, cut=Cut.NONE)
    simulation.run(305.0)
    manager = simulation.client.manager
    assert manager is not None
    assert manager.state.is_up
    assert simulation.gateway.registry.manager(manager.tube_id).state.is_up


def test_a_tube_whose_first_attempts_all_fail_is_the_one_that_connects_at_last() -> None:
    """The gateway waited a minute for the first carrier, though the client's offers came: it ended the tube, and with
    it the connections that waited at the client."""
    simulation = Simulation(1, LINKS, settings={"restart.max_restart_attempts": 1000})
    try:
        simulation.internet.change(GATEWAY, cut=Cut.PEERS_UDP)
        simulation.run(5.0)
        assert simulation.client.manager is not None
        first = simulation.client.manager.tube_id
        simulation.run(300.0)
        simulation.internet.change(GATEWAY, cut=Cut.NONE)
        simulation.run(400.0)
        manager = simulation.client.manager
        assert (manager.tube_id, manager.state.is_up) == (first, True)
    finally:
        simulation.close()
    assert simulation.violations == []
