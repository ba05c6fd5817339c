"""The carriers that a tube has beside the current one: which are kept, and which are closed."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

from perdure.tube.carrier_set import CarrierSet
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
