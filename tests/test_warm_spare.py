"""A warm spare on the real engine: real tubes that use it when their carrier dies, and lose neither a byte nor a state.

The engine here has loopback alone; that a carrier keeps off a link is tested in `transport/test_own_interface.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perdure import RestartPolicy, State, TransportConfig
from perdure.core.decision import RecoveryAction
from perdure.transport.base import CarrierListener
from perdure.transport.rtc import RtcTransport
from perdure.tube.carrier_set import CarrierSet
from perdure.tube.standby_places import MAX_STANDBYS, StandbyPlaces
from support.carriers import carrier_of
from support.own_signaling import ApplicationLink, OwnEnds
from support.recorder import TIMEOUT, Recorder
from support.session_pair import position_coded
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import TunnelConnectionManager
    from perdure.netmon.state import Snapshot
    from perdure.transport.base import Carrier
    from perdure.transport.rtc_carrier import RtcCarrier


class TwoLinks(RtcTransport):
    """As if loopback were two links."""

    def __init__(self) -> None:
        super().__init__(TransportConfig(loopback=True))
        self.is_apart = True
        self.asked = 0
        """How many carriers were to keep off a link."""

    def count_uplinks(self, network: Snapshot | None) -> int:
        return 2

    def offer_apart(self, generation: int, listener: CarrierListener, address: str) -> RtcCarrier:
        self.asked += 1
        return self.offer(generation, listener)

    def are_apart(self, one: str, other: str) -> bool:
        return self.is_apart

    def use_all_links(self, carrier: Carrier) -> None:
        pass


class InUse:
    """Two ends, of which one has two links, and a stream that is never idle."""

    def __init__(self, ends: OwnEnds, transport: TwoLinks) -> None:
        self.ends = ends
        self.transport = transport
        self.states: list[State] = []
        for end in (ends.here, ends.there):
            end.add_state_change_callback(lambda change: self.states.append(change.after))
        self._stream = Recorder.open(ends.here)
        self._is_over = False
        self._sending = asyncio.ensure_future(self._send())

    async def _send(self) -> int:
        sent = 0
        while not self._is_over:
            await self._stream.send(position_coded(sent, 2000))
            sent += 2000
            await asyncio.sleep(0.005)
        return sent

    async def ready(self) -> None:
        """Both ends have a warm spare, and are proved on it."""
        await eventually(lambda: all(map(has_warm_spare, (self.ends.here, self.ends.there))), seconds=TIMEOUT)

    async def is_whole(self) -> None:
        """Every byte came back, once and in order."""
        self._is_over = True
        sent = await self._sending
        assert await self._stream.received(sent) == position_coded(0, sent)


def has_warm_spare(end: TunnelConnectionManager) -> bool:
    beside = end.tube.driver.carriers.session.beside
    return beside is not None and beside.standby is not None


@contextlib.asynccontextmanager
async def in_use(*, policy: RestartPolicy | None = None, by_initiator: bool = True) -> AsyncIterator[InUse]:
    transport = TwoLinks()
    here, there = (transport, None) if by_initiator else (None, transport)
    async with OwnEnds(policy, here=here, there=there) as ends:
        ends.run(ApplicationLink())
        await ends.connected()
        yield InUse(ends, transport)


async def test_a_carrier_that_dies_is_replaced_by_the_warm_spare_and_no_state_changes() -> None:
    async with in_use() as tube:
        await tube.ready()
        before = carrier_of(tube.ends.here)
        tube.ends.here.tube.kill_carrier()
        await eventually(lambda: carrier_of(tube.ends.here) > before, seconds=TIMEOUT)
        await tube.is_whole()
        assert tube.states == []
        assert RecoveryAction.SWITCH in {decision.action for decision in tube.ends.here.decisions}


async def test_the_end_that_answers_uses_it_too() -> None:
    async with in_use(by_initiator=False) as tube:
        await tube.ready()
        tube.ends.here.tube.kill_carrier()
        await eventually(lambda: carrier_of(tube.ends.there) != 3, seconds=TIMEOUT)
        await tube.is_whole()
        assert tube.states == []


async def test_another_one_is_begun_after_it_was_used() -> None:
    async with in_use() as tube:
        await tube.ready()
        tube.ends.here.tube.kill_carrier()
        await eventually(lambda: tube.transport.asked == 2, seconds=TIMEOUT)
        await tube.ready()
        await tube.is_whole()


async def test_one_that_is_on_the_link_in_use_is_dropped_and_the_tube_goes_on() -> None:
    async with in_use() as tube:
        tube.transport.is_apart = False
        await eventually(lambda: tube.transport.asked == 1, seconds=TIMEOUT)
        ends = tube.ends.here, tube.ends.there
        await eventually(lambda: all(end.tube.driver.carriers.held.spare is None for end in ends), seconds=TIMEOUT)
        await tube.is_whole()
        assert tube.states == []


@pytest.mark.parametrize("is_own", [False, True])
async def test_a_registry_holds_a_bounded_number_of_them_and_as_many_of_its_peers(
    is_own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone: list[str] = []
    listener: Any = SimpleNamespace(
        tube_id="tube", feed=lambda event: None, carrier_gone=lambda generation, why: gone.append(why)
    )

    def take(*arguments: object) -> Any:
        return SimpleNamespace(can_restart=True, generation=5, close=lambda: None)

    transport, places = TwoLinks(), StandbyPlaces()
    for name in ("offer", "offer_apart", "answer"):
        monkeypatch.setattr(transport, name, take)
    held = [CarrierSet(listener, transport, listener, places) for _ in range(MAX_STANDBYS + 2)]

    current: Any = SimpleNamespace(local_address="192.0.2.1", generation=3)

    def begin(each: CarrierSet, *, is_own: bool) -> None:
        each.current = current
        if is_own:
            each.offer(5, is_spare=True, stands_by=True)
        else:
            each.answer(5, "", is_spare=True, stands_by=True)

    for each in held[:-1]:
        begin(each, is_own=is_own)
    await asyncio.sleep(0)
    assert gone == [f"{MAX_STANDBYS} warm spares are held"]
    begin(held[-1], is_own=not is_own)
    await asyncio.sleep(0)
    assert len(gone) == 1, "the other end's have places of their own"
    held[0].close(5)
    begin(held[-2], is_own=is_own)
    await asyncio.sleep(0)
    assert len(gone) == 1, "there is room again"
    for each in held:
        each.close(5)
