"""The carriers that a tube has beside the current one: which are kept, and which are closed."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from perdure.session import StandbyAsked
from perdure.tube.carrier_set import CarrierSet
from perdure.tube.standby import told
from perdure.tube.standby_places import StandbyPlaces


class Carriers:
    """A tube's, on an engine that makes them at once."""

    def __init__(self) -> None:
        self.closed: list[int] = []
        transport: Any = SimpleNamespace(offer=self._made)
        self.held = CarrierSet(Mock(), transport, Mock(), StandbyPlaces())
        self.held.offer(1, is_spare=False)

    def _made(self, generation: int, listener: object) -> object:
        return SimpleNamespace(generation=generation, can_restart=True, close=lambda: self.closed.append(generation))

    def switch_to(self, generation: int) -> None:
        self.held.offer(generation, is_spare=True)
        self.held.switch()


async def test_the_carrier_before_is_kept_at_the_switch() -> None:
    carriers = Carriers()
    carriers.switch_to(3)
    assert carriers.held.is_current(3)
    assert carriers.held.is_old(1)
    assert carriers.closed == []


async def test_a_spare_that_gave_way_is_kept_like_the_carrier_before() -> None:
    carriers = Carriers()
    carriers.switch_to(3)
    carriers.held.offer(5, is_spare=True)
    carriers.held.offer(7, is_spare=True)
    assert carriers.held.is_spare(7)
    assert carriers.held.is_old(5)
    assert carriers.closed == [1]
    carriers.held.switch()
    assert carriers.closed == [1, 5]


async def test_of_the_carriers_before_only_the_last_is_kept() -> None:
    """Found by the simulator: the one before was closed by nobody."""
    carriers = Carriers()
    carriers.switch_to(3)
    carriers.switch_to(5)
    assert carriers.closed == [1]
    assert carriers.held.is_old(3)
    carriers.held.close(1)  # the core says so too
    assert carriers.closed == [1]
    carriers.held.close(3)
    assert carriers.closed == [1, 3]


class TwoLinks:
    """A transport of an application's, whose carriers raise where `raises` says so."""

    def __init__(self) -> None:
        self.raises = False

    def __call__(self, generation: int, *arguments: object) -> object:
        return SimpleNamespace(
            generation=generation, can_restart=True, has_room=True, local_address="192.0.2.1", send=self._may_raise
        )

    offer = answer = offer_apart = __call__

    def count_uplinks(self, network: object) -> int:
        self._may_raise(b"")
        return 2

    def are_apart(self, one: str, other: str) -> bool:
        return True

    def use_all_links(self, carrier: object) -> None:
        self._may_raise(b"")

    def _may_raise(self, message: bytes) -> None:
        if self.raises:
            raise ValueError("a mistake")

    def with_warm_spare(self, listener: Any) -> CarrierSet:
        transport: Any = self
        held = CarrierSet(listener, transport, Mock(), StandbyPlaces())
        held.offer(1, is_spare=False)
        held.offer(3, is_spare=True, stands_by=True)
        return held


async def test_a_transport_that_fails_at_the_switch_to_a_warm_spare_costs_that_carrier_alone() -> None:
    # Found by review: the core was not told of the switch, and went on with the carrier before for good.
    transport, listener = TwoLinks(), Mock()
    held = transport.with_warm_spare(listener)
    transport.raises = True
    held.switch()
    assert held.is_current(3)
    await asyncio.sleep(0)
    listener.carrier_gone.assert_called_once_with(3, "an error here: ValueError")


async def test_a_warm_spare_that_cannot_answer_costs_itself_alone() -> None:
    # Found by review: what it raised reached the engine's callback, and the rest of the message was not read.
    transport, listener = TwoLinks(), Mock()
    held = transport.with_warm_spare(listener)
    transport.raises = True
    told(StandbyAsked(3, b"pong"), held, listener, Mock())
    await asyncio.sleep(0)
    listener.carrier_gone.assert_called_once_with(3, "an error here: ValueError")


async def test_a_transport_that_cannot_count_the_uplinks_has_one() -> None:
    # Found by review: who waited for the tube to connect was not told, and of a change no other tube was.
    transport = TwoLinks()
    held = transport.with_warm_spare(Mock())
    assert held.count_uplinks(None) == 2
    transport.raises = True
    assert held.count_uplinks(None) == 1
