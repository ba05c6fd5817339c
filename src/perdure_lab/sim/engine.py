"""The WebRTC engine of a simulated process: behaves as `perdure.transport.rtc` does, as far as perdure can see.

1. It reads the machine's networks when its first connection begins, and then every 2 s. The list goes with the last
   connection.
2. After `renew` a new carrier waits until the earlier ones are closed, at most 50 ms; see `transport.base.Transport`.
3. A carrier that is not open yet adds what a later reading of the list brings. One that keeps off a link leaves it out.
4. Each gathering asks the relay for an allocation (`relay_client`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.description import ice_ufrag
from perdure.netmon.uplinks import uplinks
from perdure.transport.base import IceState, LossReason, Path, PathStatistics
from perdure_lab.sim.association import Association
from perdure_lab.sim.flow import CARRIER_BUFFER_BYTES
from perdure_lab.sim.ice_checks import IceChecks
from perdure_lab.sim.relay_client import RelayClient

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure.ice_server import IceServer
    from perdure.netmon.state import Snapshot
    from perdure.transport.base import Carrier, CarrierListener, OpenChannel, TurnServersListener
    from perdure.turn.pool import ServerFailure
    from perdure_lab.scenario.model import LinkName
    from perdure_lab.sim.flow import Flow
    from perdure_lab.sim.internet import Internet
    from perdure_lab.sim.machine import Loop, Machine
    from perdure_lab.sim.relay import Relay
    from perdure_lab.sim.unruly_peers import UnrulyPeers
    from perdure_lab.sim.world import World

REREAD_INTERVAL = 2.0
"""Seconds between two readings of the list of networks: libwebrtc's, measured."""

PATIENCE = 0.05
"""Seconds that a new carrier waits for earlier ones after `renew`: `transport.rtc`'s."""

FACTORY_GOES_AFTER = 0.003
"""Seconds until the engine has forgotten its list when its last connection is closed: docs/design.md."""

DESCRIBES_AFTER = 0.002
"""Seconds that an offer or an answer takes to make."""


class Engine:
    """The `Transport` of one process.

    Args:
        carriers: every carrier of the simulation by its name, by which a description refers to it.
        peers: add to what both ends of a carrier say.
        misused: told of what a real engine would refuse, or what could not work with one.
        closes: told of each carrier that works and is closed here, with the name of the other end's.
    """

    def __init__(
        self,
        world: World,
        internet: Internet,
        machine: Machine,
        carriers: dict[str, SimCarrier],
        *,
        peers: UnrulyPeers,
        misused: Callable[[str], None],
        closes: Callable[[SimCarrier, str], None],
        relay: Relay | None = None,
    ) -> None:
        self.peers, self.world, self.internet = peers, world, internet
        self.machine, self.loop = machine, machine.loop
        self.site, self.carriers, self.misused, self.closes = machine.name, carriers, misused, closes
        self.relay_client = RelayClient(world, machine.loop, relay)
        self.alive: list[SimCarrier] = []
        """The connections that were made and not closed, in their order."""
        self._known: list[str] = []
        self._reads_since = 0.0
        """When the first of the connections began: readings are a multiple of `REREAD_INTERVAL` later."""
        self._is_to_reread = False
        self._outdated: set[SimCarrier] = set()
        self._outdated_until = self._progress_at = 0.0
        self._unlisten = internet.listen(self._network_changed)

    # Transport.

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:
        return self._begin(generation, listener)

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:
        carrier = self._begin(generation, listener)
        carrier.answers = ice_ufrag(sdp)  # the offerer takes the answer, and associates both
        return carrier

    def count_uplinks(self, network: Snapshot | None) -> int:
        return max(1, len(uplinks(network or self.internet.snapshot(self.site))))

    def offer_apart(self, generation: int, listener: CarrierListener, address: str) -> Carrier:
        return self._begin(generation, listener, self.internet.home(self.site, address))

    def are_apart(self, one: str, other: str) -> bool:
        return None not in (links := {self.internet.home(self.site, each) for each in (one, other)}) and len(links) == 2

    def use_all_links(self, carrier: SimCarrier) -> None:
        carrier.keeps_off = None

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self.relay_client.use(servers)

    def tell_of_turn_servers(self, listener: TurnServersListener) -> None:
        self.relay_client.listener = listener

    def turn_failures(self) -> Sequence[ServerFailure]:
        return self.relay_client.pool.failures

    def renew(self) -> None:
        self._outdated.update(self.alive)
        self._outdated_until = self.world.now + REREAD_INTERVAL
        self._progress_at = self.world.now

    # What carriers ask.

    def networks(self, keeps_off: LinkName | None) -> list[str]:
        return [each for each in self._known if keeps_off is None or self.internet.home(self.site, each) != keeps_off]

    def gone(self, carrier: SimCarrier) -> None:
        """A connection was closed."""
        if carrier in self.alive:
            self.alive.remove(carrier)
        if carrier in self._outdated:
            self._outdated.discard(carrier)
            self._progress_at = self.world.now

    def crash(self) -> None:
        """The process is gone: its peers hear nothing."""
        self._unlisten()
        for carrier in list(self.alive):
            carrier.vanish()

    def _begin(self, generation: int, listener: CarrierListener, off: LinkName | None = None) -> SimCarrier:
        name = f"{self.site}-{self.world.serial()}"
        carrier = SimCarrier(self, name, generation, listener)
        carrier.keeps_off = off
        self.carriers[name] = carrier
        self._start_when_ready(carrier)
        return carrier

    def _start_when_ready(self, carrier: SimCarrier) -> None:
        if carrier.is_closed:
            return
        now = self.world.now
        waits = now < self._outdated_until and self._outdated and now - self._progress_at < PATIENCE
        if waits:
            self.loop.call_later(0.001, self._start_when_ready, carrier)
            return
        if now < self._outdated_until and not self._outdated and self._known:
            self._outdated_until = 0.0
            self.loop.call_later(FACTORY_GOES_AFTER, self._start_when_ready, carrier)
            return
        if not self.alive:
            self._known = self.internet.gathered(self.site)
            self._reads_since = now
        self.alive.append(carrier)
        carrier.start()

    def _network_changed(self) -> None:
        if self.alive and not self._is_to_reread:
            self._is_to_reread = True
            past = (self.world.now - self._reads_since) % REREAD_INTERVAL
            self.loop.deliver(REREAD_INTERVAL - past, self._reread)

    def _reread(self) -> None:
        self._is_to_reread = False
        if self.alive:
            self._known = self.internet.gathered(self.site)
            for carrier in list(self.alive):
                carrier.networks_read(self.networks(carrier.keeps_off))


class SimCarrier:
    """One end of an `Association`, or of what may become one."""

    def __init__(self, engine: Engine, name: str, generation: int, listener: CarrierListener) -> None:
        self.name = name
        self.generation = generation
        """The one that made it; `Carrier.generation`."""
        self.can_restart = True
        self.keeps_off: LinkName | None = None  # a link that it does not use
        self.local: list[str] = []
        """The addresses that it has gathered."""
        self.remote: set[str] = set()
        """Those of the peer's candidates."""
        self.answers: str | None = None
        """The ufrag of the peer's offer that it answered last."""
        self.is_closed = False
        self.listener = listener
        self.said_at = 0.0  # when something was said on it last, on its machine's clock: that may jump
        self.machine = engine.machine
        self.messages_said, self.begun_at = 0, self.machine.always_clock
        self._engine = engine
        self._negotiation = generation
        self._restarts = 0
        self._association: Association | None = None
        self._flow: Flow | None = None
        self._checks = IceChecks()
        self._allocation_ends_at = 0.0

    @property
    def loop(self) -> Loop:
        return self._engine.loop

    @property
    def site(self) -> str:
        return self._engine.site

    @property
    def _ufrag(self) -> str:
        return f"{self.name}.{self._restarts}"

    @property
    def runs(self) -> bool:
        """Whether it can do anything now."""
        return self.is_there and self.machine.runs

    @property
    def is_there(self) -> bool:
        """Whether packets reach it, though it may be stalled."""
        return self.machine.loop is self._engine.loop and not self.machine.is_asleep

    @property
    def has_allocation(self) -> bool:
        return self._engine.world.now < self._allocation_ends_at

    # Carrier.

    @property
    def has_room(self) -> bool:
        return self._flow is not None and self._flow.has_room

    @property
    def local_address(self) -> str | None:
        if self._association is None or (pair := self._association.pair) is None:
            return None
        return pair.addresses[self._association.ends.index(self)]

    def path(self) -> Path | None:
        if self._association is None or (pair := self._association.pair) is None:
            return None
        here = self._association.ends.index(self)
        rtt = self._checks.rtt_of(pair.addresses)
        url = self._engine.relay_client.url if pair.relay == here else None
        return Path(pair.relay is not None, "udp", pair.addresses[here], pair.addresses[1 - here], rtt, url)

    def limit_buffer(self, size: int) -> None:
        if self._flow is not None:
            self._flow.limit_bytes = min(size, CARRIER_BUFFER_BYTES)

    def apply_answer(self, sdp: str) -> None:
        if self.is_closed or (peer := self._read(sdp)) is None:
            return
        if peer.answers != self._ufrag:
            self._engine.misused(f"{self._ufrag} was given the answer to {peer.answers}")
            return
        if self._association is None:
            association = Association(self._engine.world, self._engine.internet, self._engine.peers, self, peer)
            for carrier in (self, peer):
                carrier.associated(association)
        else:
            self.remote.clear()
            self._association.restarted()

    def restart(self, generation: int) -> None:
        self._regather(generation)

    def answer_restart(self, generation: int, sdp: str) -> None:
        self.answers = ice_ufrag(sdp)
        self.remote.clear()
        self._regather(generation)

    def measure(self) -> None:
        self.loop.call_soon(self._measured)

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if self.is_closed:
            return
        self.remote.add(candidate.split()[4])
        if self._association is not None:
            self._association.network_changed()

    def send(self, message: bytes) -> None:
        if self._flow is not None and not self.is_closed:
            self.said_at = self.machine.always_clock
            self.messages_said += 1
            self._flow.send(message)

    def kill(self) -> None:
        self.loop.call_soon(self.lost, LossReason.KILLED, "")

    def close(self) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._engine.gone(self)
        self._engine.carriers.pop(self.name, None)
        if self._association is not None:
            ends = self._association.ends
            if self._association.is_open and None not in self._association.ways:
                self._engine.closes(self, ends[1 - ends.index(self)].name)
            self._association.close(self)

    # What its engine and its association do.

    def start(self) -> None:
        self._engine.relay_client.begin(self._gather)

    def vanish(self) -> None:
        self.is_closed = True
        self._engine.carriers.pop(self.name, None)

    def networks_read(self, known: list[str]) -> None:
        """The engine has read its list anew."""
        if self.is_closed or (self._association is not None and self._association.is_open):
            return
        for address in known:
            if address not in self.local:
                self.local.append(address)
                self._tell_candidate(self._negotiation, address)
        if self._association is not None:
            self._association.network_changed()

    def associated(self, association: Association) -> None:
        self._association = association
        self._flow = association.flow_from(self)

    def opened(self, channel: OpenChannel) -> None:
        if not self.is_closed:
            self._checks.read_rtt(self._association)
            self.listener.carrier_opened(self.generation, channel)

    def received(self, message: bytes) -> None:
        if not self.is_closed:
            self.listener.carrier_message(self.generation, message)

    def drained(self) -> None:
        if not self.is_closed:
            self.listener.carrier_writable(self.generation)

    def allocation_ended(self) -> None:
        if self._association is not None:
            self._association.network_changed()

    def doubted(self, state: IceState) -> None:
        if not self.is_closed:
            self.listener.carrier_ice_state(self.generation, state)

    def lost(self, reason: LossReason, detail: str) -> None:
        if not self.is_closed:
            self.close()
            self.listener.carrier_lost(self.generation, reason, detail)

    def _regather(self, generation: int) -> None:
        if self.is_closed:
            return
        self._negotiation = generation
        self._restarts += 1
        self._engine.relay_client.begin(self._gather)

    def _gather(self) -> None:
        if self.is_closed:
            return
        self.local = list(self._engine.networks(self.keeps_off))
        self._allocation_ends_at = self._engine.relay_client.allocate(self)
        self._describe()

    def _describe(self) -> None:
        sdp = f"v=0\r\na=ice-ufrag:{self._ufrag}\r\na=ice-pwd:x\r\n"
        self.loop.call_later(DESCRIBES_AFTER, self._described, self._negotiation, sdp, list(self.local))

    def _described(self, negotiation: int, sdp: str, addresses: list[str]) -> None:
        if self.is_closed or negotiation != self._negotiation:
            return
        self.listener.carrier_description(negotiation, sdp)
        for address in addresses:
            self._tell_candidate(negotiation, address)

    def _tell_candidate(self, negotiation: int, address: str) -> None:
        if not self.is_closed:
            self.listener.carrier_candidate(negotiation, f"candidate:1 1 udp 1 {address} 9 typ host", "0", 0)

    def _read(self, sdp: str) -> SimCarrier | None:
        """The carrier that a description is of; `None` where that is gone."""
        return self._engine.carriers.get((ice_ufrag(sdp) or "").rpartition(".")[0])

    def _measured(self) -> None:
        if self.is_closed or self._association is None or not self._association.is_open:
            return
        counts = self._checks.counted(self._engine.world.now, *self._association.ways)
        rtt = self._checks.read_rtt(self._association)
        self.listener.carrier_measured(self.generation, PathStatistics(rtt, *counts, 0, 0))
