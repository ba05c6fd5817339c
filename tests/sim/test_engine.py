"""The simulated WebRTC engine tells what the real one tells."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from perdure.transport.base import Path
from perdure_lab.scenario.model import Link, LinkName, Nat
from perdure_lab.sim.engine import Engine, SimCarrier
from perdure_lab.sim.internet import Internet
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.relay import Relay, Terms
from perdure_lab.sim.unruly_peers import UnrulyPeers
from perdure_lab.sim.world import World

if TYPE_CHECKING:
    from perdure.transport.base import Carrier

HERE, THERE = "192.168.10.10", "10.0.0.10"


def raised(machine: Machine, error: BaseException) -> None:
    raise error


class Pair:
    """Two machines, each with a carrier that signals to the other at once."""

    def __init__(self, nat: Nat, relay: Terms | None = None) -> None:
        self.world = World(1)
        links = {
            LinkName("client", "wlan"): Link(addresses=(HERE,), delay=0.02, nat=nat),
            LinkName("gateway", "eth"): Link(addresses=(THERE,), delay=0.01, nat=nat),
        }
        internet = Internet(self.world, links, mapping_lifetime=30.0)
        carriers: dict[str, SimCarrier] = {}
        engines = [
            Engine(
                self.world,
                internet,
                Machine(self.world, site, raised),
                carriers,
                peers=UnrulyPeers(self.world),
                misused=pytest.fail,
                closes=Mock(),
                relay=None if relay is None else Relay(self.world, relay),
            )
            for site in ("client", "gateway")
        ]
        offering, answering = Mock(), Mock()
        offering.carrier_description.side_effect = partial(self._offered, engines[1], answering)
        answering.carrier_description.side_effect = lambda _, sdp: self.client.apply_answer(sdp)
        offering.carrier_candidate.side_effect = lambda _, *candidate: self.gateway.add_candidate(*candidate)
        answering.carrier_candidate.side_effect = lambda _, *candidate: self.client.add_candidate(*candidate)
        self.client: Carrier = engines[0].offer(3, offering)
        self.gateway: Carrier

    def _offered(self, engine: Engine, listener: Mock, generation: int, sdp: str) -> None:
        self.gateway = engine.answer(generation, sdp, listener)


def test_a_direct_path_has_both_machines_addresses_and_an_rtt() -> None:
    pair = Pair(Nat.NONE)
    assert pair.client.path() is None
    pair.world.run(5.0)
    here, there = pair.client.path(), pair.gateway.path()
    assert here is not None
    assert there is not None
    assert here.rtt == there.rtt == pytest.approx(0.06, abs=0.01)
    assert here == Path(is_relayed=False, protocol="udp", local_address=HERE, remote_address=THERE, rtt=here.rtt)
    assert (there.local_address, there.remote_address) == (THERE, HERE)


def test_a_path_through_the_relay_says_so() -> None:
    pair = Pair(Nat.SYMMETRIC, Terms())
    pair.world.run(5.0)
    path = pair.client.path()
    assert path is not None
    assert path.is_relayed
