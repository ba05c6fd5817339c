"""perdure on another engine: a tube whose ends use aiortc, or each an engine of its own, and no byte is lost."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import psutil
import pytest

from perdure import State
from perdure.core.decision import DecisionReason, RecoveryAction
from support.aiortc_transport import AiortcTransport
from support.carriers import carrier_of, on_another_carrier
from support.own_signaling import ApplicationLink, OwnEnds
from support.recorder import TIMEOUT, Recorder
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import TunnelConnectionManager


def has_a_network() -> bool:
    """aiortc leaves loopback out."""
    families = (socket.AF_INET, socket.AF_INET6)
    addresses = [each.address for known in psutil.net_if_addrs().values() for each in known if each.family in families]
    return any(not address.startswith(("127.", "::1", "fe80:")) for address in addresses)


pytestmark = pytest.mark.skipif(not has_a_network(), reason="this machine has no address besides loopback")

SIZE = 2 * 1024 * 1024
"""Bytes: a second of aiortc's SCTP (6.7 MB/s, measured), each way."""

KILLS = 3


class Ends(OwnEnds):
    """`engines`: which ends use aiortc."""

    def __init__(self, engines: str) -> None:
        self.second = AiortcTransport() if "here" in engines else None
        self.other_second = AiortcTransport() if "there" in engines else None
        super().__init__(here=self.second, there=self.other_second)

    @property
    def transports(self) -> list[AiortcTransport]:
        return [each for each in (self.second, self.other_second) if each is not None]


@pytest.fixture(params=["here", "there", "here and there"])
async def ends(request: pytest.FixtureRequest) -> AsyncIterator[Ends]:
    ends = Ends(request.param)
    async with ends:
        ends.run(ApplicationLink())
        await ends.connected()
        yield ends


def content(size: int) -> bytes:
    """Bytes whose place shows, four at a time: what is lost, doubled or swapped differs."""
    return b"".join(number.to_bytes(4, "big") for number in range(size // 4))


async def test_a_stream_loses_and_doubles_nothing_while_its_carrier_is_killed_three_times(ends: Ends) -> None:
    data = content(SIZE)
    stream = Recorder.open(ends.here)
    sending = asyncio.ensure_future(stream.send(data))
    for kill in range(KILLS):
        await stream.received((kill + 1) * SIZE // (KILLS + 1))
        await eventually(lambda: carrier_of(ends.here) == carrier_of(ends.there))  # or the one left is killed
        carrier = carrier_of(ends.here)
        (ends.there if kill == 1 else ends.here).tube.kill_carrier()
        await eventually(lambda carrier=carrier: carrier_of(ends.here) > carrier)  # type: ignore[misc]
    assert await stream.received(SIZE) == data
    await sending
    stream.finish()
    async with asyncio.timeout(TIMEOUT):
        await stream.finished.wait()
    assert stream.data == data, "nothing came twice"
    assert ends.here.metrics.reconnection_attempts + ends.there.metrics.reconnection_attempts >= KILLS


async def test_an_ice_restart_that_is_asked_for_becomes_a_rebuild(ends: Ends) -> None:
    unable = ends.here if ends.second is not None else ends.there
    able = ends.there if unable is ends.here else ends.here
    for asking in (unable, able):
        carrier = carrier_of(ends.here)
        await asking.restart_ice()
        await on_another_carrier(ends.here, ends.there, than=carrier)
        await still_carries(ends.here)
    decided = [(each.action, each.reason) for each in unable.decisions]
    assert (RecoveryAction.SPARE, DecisionReason.CANNOT_RESTART) in decided
    assert (RecoveryAction.ICE_RESTART, DecisionReason.ASKED) not in decided


async def test_what_the_engine_does_not_count_is_unknown_and_no_loss(ends: Ends) -> None:
    unable = ends.here if ends.second is not None else ends.there
    unable.tube.driver.carriers.held.measure()
    await still_carries(ends.here)
    assert unable.metrics.packet_loss_rate == 0.0
    assert unable.path is None
    assert unable.state is State.CONNECTED


async def test_a_tube_has_ended_when_its_carriers_are_closed(ends: Ends) -> None:
    ends.here.tube.kill_carrier()
    await ends.here.shutdown()
    await ends.there.wait_ended()
    carriers = [carrier for transport in ends.transports for carrier in transport.carriers]
    assert carriers
    assert all(carrier.is_gone for carrier in carriers)


async def still_carries(manager: TunnelConnectionManager) -> None:
    stream = Recorder.open(manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"
