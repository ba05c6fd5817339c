"""Carriers on libwebrtc, through PyPI `wrtc`: how they are made."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from perdure.errors import CarrierError
from perdure.transport import engine
from perdure.transport.mdns import Resolver
from perdure.transport.own_interface import OwnInterfaces, may_choose
from perdure.transport.peer_candidates import PeerCandidates
from perdure.transport.reach import Reach
from perdure.transport.rtc_carrier import REFUSALS, RtcCarrier

if TYPE_CHECKING:
    from collections.abc import Sequence

    from perdure.config import IceServer, TransportConfig
    from perdure.transport.base import CarrierListener


class RtcTransport:
    """Makes carriers on libwebrtc. Needs a running event loop.

    Raises:
        RuntimeError: loopback candidates are asked for after the process has made a connection without them; the
            engine decides that once, for the process.
    """

    def __init__(self, config: TransportConfig) -> None:
        chooses = config.own_interfaces and may_choose()
        engine.prepare(loopback=config.loopback, one_socket=chooses)
        self._configuration = engine.configuration(config.ice_servers)
        self._carriers: weakref.WeakSet[RtcCarrier] = weakref.WeakSet()
        self._renewal = engine.Renewal()
        self._loopback = config.loopback
        self._tcp = config.tcp_candidates
        self._own_interfaces = OwnInterfaces() if chooses else None
        self._resolver = Resolver(loopback=config.loopback)

    def offer(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        carrier = self._carrier(generation, listener)
        carrier.start_offer()
        return carrier

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> RtcCarrier:
        carrier = self._carrier(generation, listener)
        carrier.start_answer(sdp)
        return carrier

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        configuration = engine.configuration(servers)
        for carrier in list(self._carriers):
            carrier.configure(configuration)
        self._configuration = configuration

    def renew(self) -> None:
        self._renewal.begin()

    def _carrier(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        reach = Reach(loopback=self._loopback, tcp=self._tcp)
        carrier = RtcCarrier(generation, listener, PeerCandidates(generation, reach, self._resolver.resolve))
        if self._own_interfaces is not None:
            carrier.on_gathered = self._own_interfaces.gathered
        if self._renewal.is_under_way:
            carrier.connect_after(self._renewal, lambda: self._configuration)
        else:
            try:
                carrier.connect(*engine.connect(carrier, self._configuration))
            except REFUSALS as error:
                raise CarrierError(
                    f"the WebRTC engine refuses a new connection: {error}", generation=generation
                ) from error
        self._carriers.add(carrier)
        return carrier
