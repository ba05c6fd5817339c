"""Two carriers that know each other's description: which pair of addresses they use, and what flows over it.

Measured on the engine (docs/reliability.md):
1. A data channel opens 2.6 round trips after the answer, and a restart changes the pair 1.5 after it. One end has it
   half a round trip before the other, which waits for a packet that may be lost (SCTP's COOKIE ACK: RFC 9260 §5.1).
2. Where the pair in use dies and another works, ICE changes over after 5.8 s. Where none works it says "disconnected"
   after 7.5 s (5 to 10 were measured), "failed" after 20 s, and nothing but a restart heals that.
3. A NAT that has lost its mapping gives a new one with the next packet; the peer's ICE takes 2.8 s to follow.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

from perdure.transport.base import IceState, LossReason, OpenChannel
from perdure.wire import MAX_MESSAGE_BYTES
from perdure_lab.sim.flow import MAX_TRIES, Flow
from perdure_lab.sim.pair import Pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure_lab.sim.internet import Internet, Way
    from perdure_lab.sim.machine import Loop
    from perdure_lab.sim.unruly_peers import UnrulyPeers
    from perdure_lab.sim.world import World

OPENING_ROUND_TRIPS = 2.6
RESTART_ROUND_TRIPS = 1.5
SHORTEST_OPENING = 0.004
"""Seconds, where the round trip is next to nothing: the engine's own work."""

COOKIE_AGAIN_AFTER = 1.0
"""Seconds until SCTP repeats a COOKIE ECHO whose answer has not come: dcSCTP's T1 timer."""

CHECK_AGAIN_AFTER = 0.25
"""Seconds until ICE's checks find out that a path has come."""

STANDBY_AFTER = 5.8
DISCONNECTED_AFTER = 7.5
FAILED_AFTER = 20.0
REBOUND_AFTER = 2.8


class End(Protocol):
    """A carrier, as its association sees it."""

    name: str
    local: list[str]
    """The addresses that it has gathered."""
    remote: set[str]
    """Those of the peer's candidates."""

    @property
    def site(self) -> str:
        """The machine's name."""

    @property
    def loop(self) -> Loop:
        """Of the process; what the end is told, it is told there."""

    @property
    def is_there(self) -> bool:
        """Whether packets reach it, though it may be stalled."""

    @property
    def runs(self) -> bool:
        """Whether it can do anything now."""

    @property
    def has_allocation(self) -> bool:
        """Whether a TURN server relays for it now."""

    def opened(self, channel: OpenChannel) -> None: ...

    def received(self, message: bytes) -> None: ...

    def drained(self) -> None: ...

    def doubted(self, state: IceState) -> None: ...

    def lost(self, reason: LossReason, detail: str) -> None: ...


class Association:
    """Between the carrier that offered and the one that answered."""

    def __init__(self, world: World, internet: Internet, peers: UnrulyPeers, offerer: End, answerer: End) -> None:
        """`peers`: add to what both ends say."""
        self.ends = (offerer, answerer)
        self.peers = peers
        self.is_open = False
        self._world = world
        self._internet = internet
        self._random = world.dice(f"association {offerer.name} {answerer.name}")
        self._flows = (
            Flow(world, _Direction(self, 0), self._random),
            Flow(world, _Direction(self, 1), self._random),
        )
        self._pair: Pair | None = None
        self._ways: tuple[Way | None, Way | None] | None = None
        """From either end to the other, as far as they were asked for since something changed."""
        self._is_opening = False
        self._early: list[bytes] = []
        """What has come for the end that has not opened yet."""
        self._unopened: End | None = None
        self._is_restarting = False
        self._restarts = 0
        self._is_looking = False
        self._dead_since: float | None = None
        self._told = IceState.CONNECTED
        self._is_closed = False
        self._unlisten = internet.listen(self.network_changed)
        self.look()

    @property
    def pair(self) -> Pair | None:
        return self._pair

    def flow_from(self, carrier: End) -> Flow:
        return self._flows[self.ends.index(carrier)]

    @property
    def ways(self) -> tuple[Way | None, Way | None]:
        """What a packet would meet now: from the first end to the second, and back."""
        if self._ways is None:
            is_over = self._is_closed or self._told is IceState.FAILED
            self._ways = (None, None) if is_over or self._pair is None else self._ways_of(self._pair)
        return self._ways

    def close(self, by: End) -> None:
        """One end has closed it. The other hears of it where a packet gets through, and from ICE otherwise."""
        if self._is_closed:
            return
        place = self.ends.index(by)
        other, way = self.ends[1 - place], self.ways[place]
        self._end()
        if way is not None:
            other.loop.deliver(way.delay, other.lost, LossReason.CHANNEL_CLOSED, "")
        else:
            other.loop.deliver(FAILED_AFTER, other.doubted, IceState.FAILED)

    def given_up(self) -> None:
        """SCTP has retransmitted as often as it does."""
        if self._is_closed:
            return
        self._end()
        for end in self.ends:
            end.loop.deliver(0.0, end.lost, LossReason.CHANNEL_CLOSED, "the association failed")

    def _end(self) -> None:
        self._is_closed = True
        self._ways = None
        self._unlisten()
        for flow in self._flows:
            flow.close()

    # ICE.

    def restarted(self) -> None:
        """Both ends have the other's new credentials."""
        self._restarts += 1
        self._is_restarting = True
        self.look()

    def network_changed(self) -> None:
        """Something of the internet, or of what the ends know, is different now."""
        self._ways = None
        if not self.is_open or self._is_restarting:
            self._look_soon()
        if self.is_open:  # also while a restart is under way, whose candidates may be lost
            self._judge()

    def look(self) -> None:
        """Whether there is a pair to open with, or to change to."""
        if self._is_closed or self._is_opening:
            return
        found = self._best()
        if found is None:
            return
        if not self.is_open:
            self._is_opening = True
            taken = SHORTEST_OPENING + self._exchange(found, OPENING_ROUND_TRIPS - 0.5, packets=6)
            self._world.after(taken, self._open, found)
        elif self._is_restarting:
            self._is_restarting = False
            taken = self._exchange(found, RESTART_ROUND_TRIPS, packets=2)
            self._world.after(taken, self._changed_over, self._restarts, found)

    def _look_soon(self) -> None:
        if not self._is_looking:
            self._is_looking = True
            self._world.after(CHECK_AGAIN_AFTER, self._look_now)

    def _look_now(self) -> None:
        self._is_looking = False
        self.look()

    def _exchange(self, pair: Pair, round_trips: float, *, packets: int) -> float:
        """Seconds for so many round trips on a pair that works, of which one or another packet is lost."""
        out, back = self._ways_of(pair)
        assert out is not None
        assert back is not None
        taken = round_trips * out.round_trip
        lost = 1 - (1 - out.lost_share) * (1 - back.lost_share)
        again = packets * lost / (1 + (packets - 1) * lost)
        for _ in range(MAX_TRIES):
            if not lost or self._random.random() >= again:
                break
            taken += max(0.1, out.round_trip)
        return taken

    def _open(self, pair: Pair) -> None:
        self._is_opening = False
        if self._is_closed:
            return
        if not self._works(pair):
            self._look_soon()
            return
        self.is_open = True
        self._pair, self._ways = pair, None
        first, self._unopened = self._random.sample(self.ends, 2)
        first.loop.deliver(0.0, first.opened, _channel(first, self._unopened))
        self._acknowledge_cookie(first, self._unopened)
        internet = self._internet
        if internet.ends_new_flows and self._random.random() < internet.ends_new_flows:
            self._world.after(self._random.uniform(0.0, internet.life_of_new_flows), self.given_up)
        self._judge()

    def _acknowledge_cookie(self, first: End, other: End) -> None:
        """The first end sends what opens the other one."""
        way = self.ways[self.ends.index(first)]
        if way is not None and not way.loses(self._random, self._world.now):
            self._world.after(way.seconds(self._random), self._open_other, first, other)
        elif not self._is_closed:
            self._world.after(COOKIE_AGAIN_AFTER, self._acknowledge_cookie, first, other)

    def _open_other(self, first: End, other: End) -> None:
        if self._is_closed:
            return
        self._unopened = None
        other.loop.hand_over(other.opened, _channel(other, first))
        early, self._early = self._early, []
        self.arrived(other, early)

    def arrived(self, receiver: End, messages: list[bytes]) -> None:
        """They have reached the receiver's machine."""
        if receiver is self._unopened:
            self._early += messages
            return
        for message in messages:
            receiver.loop.hand_over(receiver.received, message)

    def _changed_over(self, restart: int, pair: Pair) -> None:
        """What a restart's checks have come to."""
        if restart != self._restarts:
            return
        if self._works(pair):
            self._use(pair)
        else:
            self._is_restarting = True
            self._look_soon()

    def _use(self, pair: Pair) -> None:
        if not self._is_closed:
            self._pair, self._ways = pair, None
            self._heal()
            self._judge()

    def _best(self) -> Pair | None:
        """The pair that ICE would choose: direct before relayed, the default routes' addresses first."""
        first, second = self.ends
        for relay in (None, 0, 1):
            for here in first.local:
                for there in second.local:
                    pair = Pair((here, there), relay, self._rebindings((here, there)))
                    if self._is_known(pair) and self._works(pair):
                        return pair
        return None

    def _is_known(self, pair: Pair) -> bool:
        """Whether the ends' candidates lead to it: one end's check reaches the other, which then knows where from."""
        (here, there), (first, second) = pair.addresses, self.ends
        if pair.relay is not None:
            return self.ends[pair.relay].has_allocation
        hidden = [self._internet.is_translated(end.site, at) for end, at in zip(self.ends, pair.addresses, strict=True)]
        knows_there = there in first.remote and not hidden[1]
        knows_here = here in second.remote and not hidden[0]
        return knows_there or knows_here

    def _works(self, pair: Pair) -> bool:
        """Whether a check and its answer get through."""
        return all(end.runs for end in self.ends) and None not in self._ways_of(pair)

    def _ways_of(self, pair: Pair) -> tuple[Way | None, Way | None]:
        first, second = self.ends
        if not (first.is_there and second.is_there) or pair.rebindings != self._rebindings(pair.addresses):
            return None, None
        if pair.relay is not None and not self.ends[pair.relay].has_allocation:
            return None, None
        (here, there) = pair.addresses
        find = self._internet.way if pair.relay is None else self._internet.way_by_relay
        return find(first.site, here, second.site, there), find(second.site, there, first.site, here)

    def _rebindings(self, addresses: tuple[str, str]) -> tuple[int, int]:
        first, second = self.ends
        homes = (self._internet.home(first.site, addresses[0]), self._internet.home(second.site, addresses[1]))
        one, other = (0 if home is None else self._internet.rebindings[home] for home in homes)
        return one, other

    # How long the pair in use has not worked.

    def _judge(self) -> None:
        if self._is_closed or self._pair is None or not self.is_open:
            return
        works = self._works(self._pair)
        if works and self._told is not IceState.FAILED:
            self._heal()
        elif self._dead_since is None and not works:
            self._dead_since = since = self._world.now
            for delay, call in (
                (REBOUND_AFTER, self._rebind),
                (STANDBY_AFTER, self._stand_by),
                (DISCONNECTED_AFTER, self._disconnect),
                (FAILED_AFTER, self._fail),
            ):
                self._world.after(delay, self._if_still_dead, since, call)

    def _heal(self) -> None:
        self._dead_since = None
        if self._told is not IceState.CONNECTED:
            self._tell(IceState.CONNECTED)

    def _tell(self, state: IceState) -> None:
        self._told, self._ways = state, None
        for end in self.ends:
            end.loop.deliver(0.0, end.doubted, state)

    def _if_still_dead(self, since: float, call: Callable[[], None]) -> None:
        if self._dead_since == since and not self._is_closed:
            call()

    def _rebind(self) -> None:
        """The peer's ICE follows a NAT's new mapping."""
        if self._pair is not None:
            self._pair = self._pair._replace(rebindings=self._rebindings(self._pair.addresses))
            self._ways = None
            self._judge()

    def _stand_by(self) -> None:
        if (other := self._best()) is not None:
            self._use(other)

    def _disconnect(self) -> None:
        self._tell(IceState.DISCONNECTED)

    def _fail(self) -> None:
        self._tell(IceState.FAILED)


class _Direction:
    """From one end of an association to the other."""

    def __init__(self, association: Association, sender: int) -> None:
        self._association = association
        self._sender = sender

    def way(self) -> Way | None:
        return self._association.ways[self._sender]

    @property
    def is_acknowledged(self) -> bool:
        receiver = self._association.ends[1 - self._sender]
        return receiver.runs and self._association.ways[1 - self._sender] is not None

    def arrived(self, messages: list[bytes]) -> None:
        association = self._association
        opens_streams = association.ends[self._sender].site == "client"
        come = association.peers.spoil(self, messages, opens_streams=opens_streams)
        association.arrived(association.ends[1 - self._sender], come)

    def drained(self) -> None:
        sender = self._association.ends[self._sender]
        sender.loop.deliver(0.0, sender.drained)

    def given_up(self) -> None:
        self._association.given_up()


def _channel(end: End, peer: End) -> OpenChannel:
    """As `end` sees it. The names' digests stand for those of the certificates."""
    certificates = [hashlib.sha256(each.name.encode()).digest() for each in (end, peer)]
    return OpenChannel(certificates[0], certificates[1], MAX_MESSAGE_BYTES)
