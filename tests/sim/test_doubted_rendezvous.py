"""The simulation's rendezvous and its connections, seen by a real link whose uplink falls silent."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from perdure.signaling.frames import Join, Role
from perdure.signaling.websocket import RendezvousLink
from perdure_lab.scenario.model import Cut, Link, LinkName
from perdure_lab.sim.internet import Internet
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.rendezvous import Rendezvous, Socket
from perdure_lab.sim.world import World
from support.links import Owner

if TYPE_CHECKING:
    from collections.abc import Iterator

ETH, WLAN = LinkName("client", "eth"), LinkName("client", "wlan")
ON_ETH, ON_WLAN = "192.168.10.10", "192.168.11.10"


def raised(machine: Machine, error: BaseException) -> None:
    raise error


class Client:
    """A machine with two uplinks, and its link, which has joined."""

    def __init__(self) -> None:
        self.world = World(1)
        links = {
            ETH: Link(addresses=(ON_ETH,), delay=0.02, metric=100),
            WLAN: Link(addresses=(ON_WLAN,), delay=0.04, metric=200),
        }
        self.internet = Internet(self.world, links)
        self.machine = Machine(self.world, "client", raised)
        self.rendezvous = Rendezvous(self.world, self.internet)
        self.owner = Owner()
        self.link = RendezvousLink(
            "ws://127.0.0.1:1",
            join=lambda challenge: Join("0" * 32, Role.CLIENT, "1" * 32),
            listener=self.owner,
            random=Random(7),
            interfaces=lambda: ["eth0", "wlan0"],
            open_socket=self._open,
        )
        self.machine.loop.deliver(0.0, self.link.start)
        self.world.run(1.0)
        assert self.link.local_address == ON_ETH

    async def _open(self, interface: str | None) -> Socket:
        return await self.rendezvous.open(self.machine, interface)

    def doubt(self) -> None:
        self.machine.loop.deliver(0.0, self.link.doubt)


@pytest.fixture
def client() -> Iterator[Client]:
    client = Client()
    yield client
    client.machine.crash()  # its tasks go with it


@pytest.mark.parametrize("silence", [{"cut": Cut.ALL}, {"is_mute": True}, {"is_deaf": True}])
def test_a_doubted_link_leaves_an_uplink_that_is_silent_both_ways_or_one_way(
    client: Client, silence: dict[str, object]
) -> None:
    if "cut" in silence:
        client.internet.change(ETH, **silence)
    else:
        client.internet.befall(ETH, **silence)
    client.doubt()
    client.world.run(2.0)
    assert client.link.local_address == ON_WLAN
    assert (client.owner.ups, client.owner.downs) == (2, [])


def test_a_doubted_link_whose_uplink_works_stays(client: Client) -> None:
    client.doubt()
    client.world.run(2.0)
    assert client.link.local_address == ON_ETH
    assert client.owner.ups == 1


def test_a_ping_that_was_lost_is_answered_once_the_uplink_is_back(client: Client) -> None:
    client.internet.change(WLAN, cut=Cut.ALL)
    client.internet.change(ETH, cut=Cut.ALL)
    client.doubt()
    client.world.run(2.0)
    client.internet.change(ETH, cut=Cut.NONE)
    client.world.run(8.0)
    assert client.link.local_address == ON_ETH
    assert (client.owner.ups, client.owner.downs) == (1, [])


def test_a_rendezvous_that_is_back_is_found_soon_where_a_path_is_doubted(client: Client) -> None:
    client.rendezvous.stop()
    client.world.run(20.0)  # the waits between two attempts are up to 2 s long now
    client.doubt()
    client.world.run(24.0)
    client.rendezvous.start()
    client.world.run(24.5)
    assert client.link.is_up


def test_a_rendezvous_that_is_away_for_long_is_spared_again(client: Client) -> None:
    client.rendezvous.stop()
    client.doubt()
    client.world.run(60.0)
    attempts = len(client.owner.downs)
    client.world.run(100.0)
    assert 30 <= len(client.owner.downs) - attempts <= 60, "a second apart, on average"
