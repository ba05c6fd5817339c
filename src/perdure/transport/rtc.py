"""Carriers on libwebrtc, through PyPI `wrtc`: how they are made."""

from __future__ import annotations

import contextlib
import weakref
from typing import TYPE_CHECKING

from perdure.errors import CarrierError
from perdure.transport import engine
from perdure.transport.gathering import Gathering
from perdure.transport.mdns import Resolver
from perdure.transport.own_interface import KeptOff, OwnInterfaces, are_apart, count_uplinks, may_choose
from perdure.transport.peer_candidates import PeerCandidates
from perdure.transport.reach import Reach
from perdure.transport.rtc_carrier import REFUSALS, RtcCarrier
from perdure.transport.turn_servers import TurnServers

if TYPE_CHECKING:
    from collections.abc import Sequence

    import webrtc

    from perdure.config import TransportConfig
    from perdure.ice_server import IceServer
    from perdure.netmon.state import Snapshot
    from perdure.transport.base import Carrier, CarrierListener, TurnServersListener
    from perdure.turn.pool import ServerFailure, ServerPool


class RtcTransport:
    """Makes carriers on libwebrtc. Needs a running event loop.

    Raises:
        RuntimeError: loopback candidates are asked for after the process has made a connection without them; the
            engine decides that once, for the process.
    """

    def __init__(self, config: TransportConfig) -> None:
        chooses = config.own_interfaces and may_choose()
        engine.prepare(loopback=config.loopback, one_socket=chooses)
        self._turn_servers = TurnServers(config.ice_servers, config.turn_ca, self._reconfigure)
        self._carriers: weakref.WeakSet[RtcCarrier] = weakref.WeakSet()
        self._renewal = engine.Renewal()
        self._loopback = config.loopback
        self._relay_only = config.relay_only
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

    def count_uplinks(self, network: Snapshot | None) -> int:
        # A relay-only policy tells no address of this machine, nor where its sockets are.
        return 1 if self._own_interfaces is None or self._relay_only else count_uplinks(network)

    def offer_apart(self, generation: int, listener: CarrierListener, address: str) -> RtcCarrier:
        if self._own_interfaces is None:
            raise CarrierError("no carrier can choose its link here", generation=generation)
        try:
            kept_off = KeptOff(self._own_interfaces, address)
        except ValueError as error:
            raise CarrierError(str(error), generation=generation) from error
        carrier = self._carrier(generation, listener)
        carrier.on_gathered = kept_off.gathered
        carrier.start_offer()
        return carrier

    def are_apart(self, one: str, other: str) -> bool:
        return are_apart(one, other)

    def use_all_links(self, carrier: Carrier) -> None:
        if isinstance(carrier, RtcCarrier) and self._own_interfaces is not None:
            carrier.on_gathered = self._own_interfaces.gathered

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        pool = self._turn_servers.renewed(servers)
        if carriers := list(self._carriers):
            configuration = self._configuration(pool)
            for carrier in carriers:
                carrier.configure(configuration)
        self._turn_servers.use(pool)

    def tell_of_turn_servers(self, listener: TurnServersListener) -> None:
        self._turn_servers.listener = listener

    def turn_failures(self) -> Sequence[ServerFailure]:
        return self._turn_servers.failures

    def renew(self) -> None:
        self._turn_servers.network_changed()
        self._renewal.begin()

    def _carrier(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        reach = Reach(loopback=self._loopback, tcp=self._tcp)
        self._turn_servers.refresh()
        candidates = PeerCandidates(generation, reach, self._resolver.resolve)
        carrier = RtcCarrier(generation, listener, candidates, Gathering(self._turn_servers))
        if self._own_interfaces is not None:
            carrier.on_gathered = self._own_interfaces.gathered
        if self._renewal.is_under_way:
            carrier.connect_after(self._renewal, self._configuration)
        else:
            try:
                carrier.connect(*engine.connect(carrier, self._configuration()))
            except REFUSALS as error:
                raise CarrierError(
                    f"the WebRTC engine refuses a new connection: {error}", generation=generation
                ) from error
        self._carriers.add(carrier)
        return carrier

    def _configuration(self, pool: ServerPool | None = None) -> webrtc.RTCConfiguration:
        return engine.configuration(self._turn_servers.for_engine(pool), relay_only=self._relay_only)

    def _reconfigure(self) -> None:
        """A server is left out: ICE restarts do without it."""
        configuration = self._configuration()
        for carrier in list(self._carriers):
            with contextlib.suppress(CarrierError):  # it goes on with what it has
                carrier.configure(configuration)
