"""The links between the machines: what a packet would meet, each way, and what NATs remember."""

from __future__ import annotations

from random import Random

import pytest

from perdure_lab.scenario.model import Cut, Link, LinkName, Nat
from perdure_lab.sim.internet import SERVICES_DELAY, Bursts, Internet, Way
from perdure_lab.sim.world import World

CLIENT = LinkName("client", "wlan")
GATEWAY = LinkName("gateway", "eth")
HERE, THERE = "192.168.10.10", "10.0.0.10"


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.fixture
def internet(world: World) -> Internet:
    links = {
        CLIENT: Link(addresses=(HERE,), delay=0.02, nat=Nat.ENDPOINT_INDEPENDENT),
        GATEWAY: Link(addresses=(THERE,), delay=0.01),
    }
    return Internet(world, links, mapping_lifetime=30.0)


def out(internet: Internet) -> Way | None:
    return internet.way("client", HERE, "gateway", THERE)


def back(internet: Internet) -> Way | None:
    return internet.way("gateway", THERE, "client", HERE)


def test_a_way_is_both_links_sum(internet: Internet) -> None:
    way = out(internet)
    assert way is not None
    assert way.delay == pytest.approx(0.03 + SERVICES_DELAY)
    assert way.round_trip == pytest.approx(2 * way.delay)
    assert way.is_steady


@pytest.mark.parametrize(("field", "lost"), [("is_mute", "out"), ("is_deaf", "back")])
def test_a_link_may_carry_one_way_only(internet: Internet, field: str, lost: str) -> None:
    internet.befall(CLIENT, **{field: True})
    assert (out(internet) is None, back(internet) is None) == (lost == "out", lost == "back")
    to, fro = internet.way_to_services("client", HERE), internet.way_from_services("client", HERE)
    assert (to is None, fro is None) == (lost == "out", lost == "back")
    internet.befall(CLIENT, **{field: False})
    assert None not in (out(internet), back(internet))


@pytest.mark.parametrize(("cut", "lost"), [(Cut.OUTGOING, "out"), (Cut.INCOMING, "back")])
def test_a_router_may_swallow_one_direction_only(internet: Internet, cut: Cut, lost: str) -> None:
    internet.change(CLIENT, cut=cut)
    there = internet.way_by_relay("client", HERE, "gateway", THERE)
    here = internet.way_by_relay("gateway", THERE, "client", HERE)
    to, fro = internet.way_to_services("client", HERE), internet.way_from_services("client", HERE)
    for one, other in ((out(internet), back(internet)), (there, here), (to, fro)):
        assert (one is None, other is None) == (lost == "out", lost == "back")


def test_a_delay_of_one_way_counts_once_in_a_round_trip(internet: Internet) -> None:
    internet.befall(CLIENT, late_out=0.3)
    there, here = out(internet), back(internet)
    assert there is not None
    assert here is not None
    assert there.delay - here.delay == pytest.approx(0.3)
    assert there.round_trip == pytest.approx(here.round_trip)


def test_a_change_is_seen_at_once(internet: Internet) -> None:
    assert out(internet) is not None
    internet.change(GATEWAY, cut=Cut.PEERS)
    assert out(internet) is None
    assert internet.way_to_services("gateway", THERE) is not None
    internet.change(GATEWAY, cut=Cut.NONE, up=False)
    assert internet.way_to_services("gateway", THERE) is None
    assert internet.addresses("gateway") == []


def test_bursts_take_their_share_of_the_time_and_say_the_same_when_asked_again() -> None:
    bursts = Bursts(Random(1), 0.25, 0.0)
    instants = [number / 100 for number in range(100_000)]
    lasting = [bursts.lasts_at(instant) for instant in instants]
    assert sum(lasting) / len(lasting) == pytest.approx(0.25, abs=0.03)
    assert [bursts.lasts_at(instant) for instant in instants] == lasting


def test_a_nat_forgets_who_is_silent_for_too_long(world: World, internet: Internet) -> None:
    def silent_for(seconds: float) -> int:
        internet.machine_changed("client", is_silent=True)
        world.run(world.now + seconds)
        internet.machine_changed("client", is_silent=False)
        return internet.rebindings[CLIENT]

    assert silent_for(29.0) == 0
    assert silent_for(29.0) == 0
    assert silent_for(31.0) == 1
    internet.change(CLIENT, plugged=False)
    world.run(world.now + 31.0)
    internet.change(CLIENT, plugged=True)
    assert internet.rebindings[CLIENT] == 2


def test_where_there_is_no_nat_nothing_is_forgotten(world: World, internet: Internet) -> None:
    internet.machine_changed("gateway", is_silent=True)
    world.run(1000.0)
    internet.machine_changed("gateway", is_silent=False)
    internet.lose_mappings(GATEWAY)
    assert internet.rebindings[GATEWAY] == 0


def test_who_listens_is_told_of_each_change(internet: Internet) -> None:
    told: list[int] = []
    unlisten = internet.listen(lambda: told.append(len(told)))
    internet.change(CLIENT, up=False)
    internet.befall(GATEWAY, is_deaf=True)
    internet.lose_mappings(CLIENT)
    assert len(told) == 3
    unlisten()
    internet.change(CLIENT, up=True)
    assert len(told) == 3
