"""A tube of which one end, like a browser, tells `.local` names for its addresses, and the other is firewalled."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from perdure import TransportConfig
from perdure.transport.rtc import RtcTransport
from support.carriers import carrier_of
from support.mdns_responder import HERE, Responder
from support.own_signaling import ApplicationLink, OwnEnds
from support.recorder import Recorder
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure import TunnelConnectionManager
    from perdure.transport.base import Carrier, CarrierListener

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the responder joins a group on Linux' loopback")

NAME = "1f4712db-ea17-4bcf-a596-105139dfd8bf.local"


class Telling:
    """Stands between a carrier and its tube: of its candidates the peer is told what `tells` makes of them."""

    def __init__(self, listener: CarrierListener, tells: Callable[[str], str | None]) -> None:
        self._listener = listener
        self._tells = tells

    def __getattr__(self, name: str) -> object:
        return getattr(self._listener, name)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if (told := self._tells(candidate)) is not None:
            self._listener.carrier_candidate(generation, told, sdp_mid, sdp_mline)


class TellingTransport(RtcTransport):
    def __init__(self, tells: Callable[[str], str | None]) -> None:
        super().__init__(TransportConfig(loopback=True))
        self._tells = tells

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:  # type: ignore[override]
        return super().offer(generation, self._telling(listener))

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:  # type: ignore[override]
        return super().answer(generation, sdp, self._telling(listener))

    def _telling(self, listener: CarrierListener) -> CarrierListener:
        return Telling(listener, self._tells)  # type: ignore[return-value]  # by __getattr__


def by_name(candidate: str) -> str | None:
    """The one address that is told, by its name."""
    fields = candidate.split(" ")
    if fields[4] != HERE:
        return None
    fields[4] = NAME
    return " ".join(fields)


def nothing(candidate: str) -> None:
    """A firewall lets in only what answers: nobody can begin from outside."""


async def still_carries(manager: TunnelConnectionManager) -> None:
    stream = Recorder.open(manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"


@pytest.mark.parametrize("browser", ["here", "there"])
async def test_a_tube_connects_by_a_local_name_alone_and_again_after_a_loss(browser: str) -> None:
    named, firewalled = TellingTransport(by_name), TellingTransport(nothing)
    here, there = (named, firewalled) if browser == "here" else (firewalled, named)
    async with Responder() as responder, OwnEnds(here=here, there=there) as ends:
        responder.addresses = {NAME: HERE}
        ends.run(ApplicationLink())
        await ends.connected()
        await still_carries(ends.here)
        asking = ends.there if browser == "here" else ends.here
        assert asking.path is not None
        assert (asking.path.remote_address or "").startswith(HERE), "the engine has the address, and never the name"

        carrier = carrier_of(ends.here)
        ends.here.tube.kill_carrier()
        await eventually(lambda: carrier_of(ends.here) > carrier)
        await ends.connected()
        await still_carries(ends.here)
        assert [name for name, kind in responder.questions if kind == "A"] == [NAME, NAME], "once for each carrier"
