"""The network between the machines: the scenario's links as they are now, and what a packet would meet.

A path leaves by the link that has its local address (its sockets do: `transport.own_interface`), and enters by the link
that has the remote one; what it meets is both links' sum. The services (rendezvous, relay) are in the middle: one link
away.

A kernel may say late that a link runs (IFF_RUNNING), while packets flow already: before Linux 6.8 up to 1 s late, as
linkwatch takes one turn a second. The network monitor and the engine go by what it says, a TCP connection does not.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from perdure.netmon.state import Address, DefaultRoute, Family, Interface, Snapshot
from perdure_lab.scenario.model import Cut, Link, LinkName, Nat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

    from perdure_lab.sim.world import World

SERVICES_DELAY = 0.0002
"""Seconds one way between a link's router and the services, and between two routers."""


LONGEST_LATENESS = 1.0
"""Seconds between two turns of the kernel's linkwatch."""

_NOTHING_OUT = (Cut.ALL, Cut.OUTGOING)
_NOTHING_IN = (Cut.ALL, Cut.INCOMING)
"""By a link whose router cuts that, not even to the services, or from them."""

_PEERS_OUT = (Cut.NONE, Cut.INCOMING)
_PEERS_IN = (Cut.NONE, Cut.OUTGOING)
"""Of what the router may cut, that which lets the peers' packets out, and in."""

MAPPING_LIFETIME = 120.0
"""Seconds without a packet after which a NAT forgets: RFC 4787 REQ-5, and Linux."""

LIFE_OF_A_SHORT_FLOW = 0.2
"""Seconds, at most."""

BURST_SECONDS = 0.08
"""The mean length of a burst of losses: some ten packets in a row, as a radio that fades."""


class Bursts:
    """When a link swallows everything: a part of the time, a moment at a time (Gilbert's model of losses)."""

    def __init__(self, random: Random, share: float, since: float) -> None:
        self.share = share
        self._random = random
        self._turns = [since]
        """When a burst begins, ends, begins, …; only as far as anybody has asked."""

    def lasts_at(self, instant: float) -> bool:
        turns, share = self._turns, self.share
        while turns[-1] <= instant:
            is_on = len(turns) % 2 == 0
            mean = BURST_SECONDS if is_on else BURST_SECONDS * (1 - share) / share
            turns.append(turns[-1] + self._random.expovariate(1 / mean))
        return bisect_right(turns, instant) % 2 == 0


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls a link beside what a scenario can say of it."""

    is_deaf: bool = False
    """Nothing gets in to the site."""
    is_mute: bool = False
    """Nothing gets out of it."""
    late_in: float = 0.0
    """Seconds more, one direction only."""
    late_out: float = 0.0
    bursts: Bursts | None = None
    disorder: float = 0.0
    """The share of packets that others overtake: they come `DISORDER_SECONDS` later."""
    doubled: float = 0.0
    """The share of packets that come twice. SCTP and TCP take one; the line has to carry both."""


FAIR = Weather()

DISORDER_SECONDS = 0.03


class Way(NamedTuple):
    """What a packet meets on its way, one direction."""

    delay: float
    jitter: float
    loss: float
    rate: float | None
    back: float
    """The delay of the other direction."""
    disorder: float = 0.0
    doubled: float = 0.0
    bursts: tuple[Bursts, ...] = ()

    @property
    def is_steady(self) -> bool:
        """Whether every packet takes just `delay`."""
        return not (self.loss or self.jitter or self.rate is not None or self.disorder or self.bursts)

    @property
    def round_trip(self) -> float:
        return self.delay + self.back

    @property
    def lost_share(self) -> float:
        """Of all packets, over a time."""
        kept = 1 - self.loss
        for bursts in self.bursts:
            kept *= 1 - bursts.share
        return 1 - kept

    def seconds(self, random: Random) -> float:
        """How long a packet takes, but for its own length."""
        taken = self.delay
        if self.jitter:
            taken += self.jitter * (2 * random.random() - 1)
        if self.disorder and random.random() < self.disorder:
            taken += DISORDER_SECONDS
        return max(0.0, taken)

    def on_the_line(self, random: Random, size: int) -> float:
        """Seconds for which a packet of `size` bytes keeps the line from others."""
        if self.rate is None:
            return 0.0
        return size / self.rate * (2 if self.doubled and random.random() < self.doubled else 1)

    def loses(self, random: Random, instant: float) -> bool:
        """Whether a packet that is sent then is lost."""
        if self.loss and random.random() < self.loss:
            return True
        return bool(self.bursts) and any(bursts.lasts_at(instant) for bursts in self.bursts)


class Internet:
    """The links of all sites. Who listens is told after each change."""

    def __init__(
        self,
        world: World,
        links: Mapping[LinkName, Link],
        *,
        mapping_lifetime: float = MAPPING_LIFETIME,
        says_late: bool = False,
    ) -> None:
        """`says_late`: whether the kernels say late that a link runs."""
        self.links = dict(links)
        self.weather = dict.fromkeys(links, FAIR)
        self.rebindings = dict.fromkeys(links, 0)
        """How often each link's NAT has lost its mappings."""
        self.ends_new_flows = 0.0
        """The share of new carriers that are lost right after one end has opened them."""
        self.life_of_new_flows = LIFE_OF_A_SHORT_FLOW
        """Seconds, at most, for which those last."""
        self._world = world
        self.mapping_lifetime = mapping_lifetime
        self.says_late = says_late
        self._lateness = world.dice("lateness") if says_late else None
        self._unsaid: Counter[LinkName] = Counter()
        """How often each link has come up, while the kernel does not say yet that it runs."""
        self._silent_sites: set[str] = set()
        self._silent_since: dict[LinkName, float] = {}
        self._listeners: list[Callable[[], None]] = []
        self._home: dict[tuple[str, str], LinkName] = {}
        self._snapshots: dict[str, Snapshot] = {}
        """Those that were asked for since a link changed."""
        self._ways: dict[tuple[LinkName | None, LinkName | None], Way | None] = {}
        """The same, whether the addresses are there or not."""
        self._index()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # What happens to it.

    def change(self, name: LinkName, **values: object) -> None:
        before = self.links[name]
        link = self.links[name] = dataclasses.replace(before, **values)  # type: ignore[arg-type]
        if self._lateness is not None and _has_carrier(link) and not _has_carrier(before):
            self._unsaid[name] += 1
            self._world.after(self._lateness.uniform(0.0, LONGEST_LATENESS), self._say_running, name)
        self._index()
        self.told()

    def _say_running(self, name: LinkName) -> None:
        """The kernel says what has been so for a while."""
        self._unsaid[name] -= 1
        if self._runs(name):
            self._index()
            self.told()

    def _runs(self, name: LinkName) -> bool:
        """Whether the kernel says that the link runs."""
        return _has_carrier(self.links[name]) and not self._unsaid[name]

    def befall(self, name: LinkName, **values: object) -> None:
        """Its weather changes."""
        self.weather[name] = dataclasses.replace(self.weather[name], **values)  # type: ignore[arg-type]
        self._ways.clear()
        self.told()

    def lose_mappings(self, name: LinkName) -> None:
        """Where there is a NAT, it forgets them."""
        if self.links[name].nat is not Nat.NONE:
            self.rebindings[name] += 1
            self.told()

    def let_new_flows_live(self) -> None:
        """New carriers last again."""
        self.ends_new_flows, self.life_of_new_flows = 0.0, LIFE_OF_A_SHORT_FLOW

    def machine_changed(self, site: str, *, is_silent: bool) -> None:
        """Its machine runs, or does not (`is_silent`): no packet leaves it then."""
        if is_silent:
            self._silent_sites.add(site)
        else:
            self._silent_sites.discard(site)
        self.told()

    def _index(self) -> None:
        self._snapshots.clear()
        self._ways.clear()
        self._home = {
            (name.site, address): name
            for name, link in self.links.items()
            if _has_carrier(link)
            for address in link.addresses
        }

    def told(self) -> None:
        """Something is different now, of the links or of the machines at their ends."""
        self._age_mappings()
        for listener in list(self._listeners):
            listener()

    def _age_mappings(self) -> None:
        speaking = {name for name in self._home.values() if name.site not in self._silent_sites}
        now = self._world.now
        for name, link in self.links.items():
            if link.nat is Nat.NONE:
                continue
            if name not in speaking:
                self._silent_since.setdefault(name, now)
            elif now - self._silent_since.pop(name, now) > self.mapping_lifetime:
                self.rebindings[name] += 1

    # What is there.

    def home(self, site: str, address: str) -> LinkName | None:
        """The link of `site` that has `address` and can be used, as far as the machine can see."""
        return self._home.get((site, address))

    def addresses(self, site: str, interface: str | None = None) -> list[str]:
        """What a socket of `site` may be bound to, of all its interfaces or of one; the default route's first."""
        found = [
            (self.links[name].metric, address)
            for (at, address), name in self._home.items()
            if at == site and interface in {None, interface_of(name)}
        ]
        return [address for _, address in sorted(found)]

    def gathered(self, site: str) -> list[str]:
        """The `addresses` of the interfaces that run, as far as the kernel says: those that the engine knows."""
        return [address for address in self.addresses(site) if self._runs(self._home[site, address])]

    def is_translated(self, site: str, address: str) -> bool:
        """Whether a NAT hides `address` from the other sites."""
        home = self.home(site, address)
        return home is not None and self.links[home].nat is not Nat.NONE

    def way(self, site: str, address: str, peer_site: str, peer_address: str) -> Way | None:
        """From one peer's address to the other's; `None`: nothing arrives."""
        here, there = self.home(site, address), self.home(peer_site, peer_address)
        if here is None or there is None or (":" in address) != (":" in peer_address):
            return None
        if self.links[here].cut not in _PEERS_OUT or self.links[there].cut not in _PEERS_IN:
            return None
        return self._between(here, there)

    def way_by_relay(self, site: str, address: str, peer_site: str, peer_address: str) -> Way | None:
        """As `way`, through the relay."""
        here, there = self.home(site, address), self.home(peer_site, peer_address)
        if here is None or there is None:
            return None
        if self.links[here].cut in _NOTHING_OUT or self.links[there].cut in _NOTHING_IN:
            return None
        return self._between(here, there)

    def way_to_services(self, site: str, address: str) -> Way | None:
        """From a peer's address to the rendezvous or the relay."""
        here = self.home(site, address)
        return None if here is None or self.links[here].cut in _NOTHING_OUT else self._between(here, None)

    def way_from_services(self, site: str, address: str) -> Way | None:
        """From the rendezvous or the relay to a peer's address."""
        here = self.home(site, address)
        return None if here is None or self.links[here].cut in _NOTHING_IN else self._between(None, here)

    def _between(self, here: LinkName | None, there: LinkName | None) -> Way | None:
        """Out by one link and in by the other; `None` stands for the services."""
        try:
            return self._ways[here, there]
        except KeyError:
            found = self._ways[here, there] = self._way_between(here, there)
            return found

    def _way_between(self, here: LinkName | None, there: LinkName | None) -> Way | None:
        first, out = (self.links[here], self.weather[here]) if here is not None else (_MIDDLE, FAIR)
        second, into = (self.links[there], self.weather[there]) if there is not None else (_MIDDLE, FAIR)
        if out.is_mute or into.is_deaf:
            return None
        delay = SERVICES_DELAY + first.delay + second.delay
        rates = [rate for rate in (first.rate, second.rate) if rate is not None]
        return Way(
            delay=delay + out.late_out + into.late_in,
            jitter=first.jitter + second.jitter,
            loss=1 - (1 - first.loss) * (1 - second.loss),
            rate=min(rates, default=None),
            back=delay + out.late_in + into.late_out,
            disorder=max(out.disorder, into.disorder),
            doubled=max(out.doubled, into.doubled),
            bursts=tuple(weather.bursts for weather in (out, into) if weather.bursts is not None),
        )

    def snapshot(self, site: str) -> Snapshot:
        """What the machine of `site` sees of its network."""
        if (found := self._snapshots.get(site)) is None:
            found = self._snapshots[site] = self._seen(site)
        return found

    def _seen(self, site: str) -> Snapshot:
        mine = {name: link for name, link in self.links.items() if name.site == site}
        interfaces = tuple(
            _interface(name, self._runs(name), link.addresses if _has_carrier(link) else ())
            for name, link in mine.items()
        )
        defaults = []
        for family in Family:
            ready = [
                (link.metric, interface_of(name), gateway)
                for name, link in mine.items()
                if _has_carrier(link) and (gateway := _gateway(link.addresses, family)) is not None
            ]
            if ready:
                _, interface, gateway = min(ready)
                defaults.append(DefaultRoute(family, interface, gateway))
        return Snapshot(interfaces, tuple(defaults))


def _has_carrier(link: Link) -> bool:
    return link.up and link.plugged


def interface_of(name: LinkName) -> str:
    """As in the lab."""
    return f"{name.name}0"


_MIDDLE = Link()


@cache
def _interface(name: LinkName, is_up: bool, addresses: tuple[str, ...]) -> Interface:
    return Interface(interface_of(name), is_up, frozenset(map(Address, addresses)))


@cache
def _gateway(addresses: tuple[str, ...], family: Family) -> str | None:
    """The router of the first network of that family."""
    version = 4 if family is Family.IPV4 else 6
    for address in addresses:
        parsed = ipaddress.ip_address(address)
        if parsed.version == version:
            return str(ipaddress.ip_network(f"{address}/{24 if version == 4 else 64}", strict=False)[1])
    return None
