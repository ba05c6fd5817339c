"""The network between the machines: the scenario's links as they are now, and what a packet would meet.

A path leaves by the link that has its local address, as in the lab (source routing), and enters by the link that has
the remote one; what it meets is both links' sum. The services (rendezvous, relay) are in the middle: one link away.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from perdure.netmon.state import Address, DefaultRoute, Family, Interface, Snapshot
from perdure.scenario.model import Cut, Link, LinkName, Nat

if TYPE_CHECKING:
    from collections.abc import Mapping
    from random import Random

SERVICES_DELAY = 0.0002
"""Seconds one way between a link's router and the services, and between two routers."""


class Way(NamedTuple):
    """What a packet meets on its way, one direction."""

    delay: float
    jitter: float
    loss: float
    rate: float | None

    def seconds(self, random: Random, size: int) -> float:
        """How long a packet of `size` bytes takes."""
        taken = self.delay
        if self.jitter:
            taken += self.jitter * (2 * random.random() - 1)
        if self.rate is not None:
            taken += size / self.rate
        return max(0.0, taken)


class Internet:
    """The links of all sites. Who listens is told after each change."""

    def __init__(self, links: Mapping[LinkName, Link]) -> None:
        self.links = dict(links)
        self.rebindings = dict.fromkeys(links, 0)
        """How often each link's NAT has lost its mappings."""
        self._listeners: list[Callable[[], None]] = []
        self._home: dict[tuple[str, str], LinkName] = {}
        self._index()

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after each change; what is returned ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    # What happens to it.

    def change(self, name: LinkName, **values: object) -> None:
        self.links[name] = dataclasses.replace(self.links[name], **values)  # type: ignore[arg-type]
        self._index()
        self.told()

    def lose_mappings(self, name: LinkName) -> None:
        self.rebindings[name] += 1
        self.told()

    def _index(self) -> None:
        self._home = {
            (name.site, address): name
            for name, link in self.links.items()
            if link.up and link.plugged
            for address in link.addresses
        }

    def told(self) -> None:
        """Something is different now, of the links or of the machines at their ends."""
        for listener in list(self._listeners):
            listener()

    # What is there.

    def home(self, site: str, address: str) -> LinkName | None:
        """The link of `site` that has `address` and can be used, as far as the machine can see."""
        return self._home.get((site, address))

    def addresses(self, site: str) -> list[str]:
        """What a socket of `site` may be bound to, the default route's first."""
        found = [(self.links[name].metric, address) for (at, address), name in self._home.items() if at == site]
        return [address for _, address in sorted(found)]

    def is_translated(self, site: str, address: str) -> bool:
        """Whether a NAT hides `address` from the other sites."""
        home = self.home(site, address)
        return home is not None and self.links[home].nat is not Nat.NONE

    def way(self, site: str, address: str, peer_site: str, peer_address: str) -> Way | None:
        """From one peer's address to the other's; `None`: nothing arrives."""
        here, there = self.home(site, address), self.home(peer_site, peer_address)
        if here is None or there is None or (":" in address) != (":" in peer_address):
            return None
        first, second = self.links[here], self.links[there]
        if first.cut is not Cut.NONE or second.cut is not Cut.NONE:
            return None
        return _sum(first, second)

    def way_to_services(self, site: str, address: str) -> Way | None:
        """From a peer's address to the rendezvous or the relay."""
        here = self.home(site, address)
        if here is None or self.links[here].cut is Cut.ALL:
            return None
        return _sum(self.links[here], _MIDDLE)

    def way_by_relay(self, site: str, address: str, peer_site: str, peer_address: str) -> Way | None:
        """As `way`, through the relay."""
        here, there = self.home(site, address), self.home(peer_site, peer_address)
        if here is None or there is None:
            return None
        first, second = self.links[here], self.links[there]
        return None if Cut.ALL in (first.cut, second.cut) else _sum(first, second)

    def snapshot(self, site: str) -> Snapshot:
        """What the machine of `site` sees of its network."""
        mine = {name: link for name, link in self.links.items() if name.site == site}
        interfaces = tuple(
            Interface(
                interface_of(name),
                link.up and link.plugged,
                frozenset(map(Address, link.addresses)) if link.up and link.plugged else frozenset(),
            )
            for name, link in mine.items()
        )
        defaults = []
        for family in Family:
            ready = [
                (link.metric, interface_of(name), gateway)
                for name, link in mine.items()
                if link.up and link.plugged and (gateway := _gateway(link, family)) is not None
            ]
            if ready:
                _, interface, gateway = min(ready)
                defaults.append(DefaultRoute(family, interface, gateway))
        return Snapshot(interfaces, tuple(defaults))


def interface_of(name: LinkName) -> str:
    """As in the lab."""
    return f"{name.name}0"


_MIDDLE = Link()


def _sum(first: Link, second: Link) -> Way:
    rates = [rate for rate in (first.rate, second.rate) if rate is not None]
    return Way(
        SERVICES_DELAY + first.delay + second.delay,
        first.jitter + second.jitter,
        1 - (1 - first.loss) * (1 - second.loss),
        min(rates, default=None),
    )


def _gateway(link: Link, family: Family) -> str | None:
    """The router of the first network of that family."""
    version = 4 if family is Family.IPV4 else 6
    for address in link.addresses:
        parsed = ipaddress.ip_address(address)
        if parsed.version == version:
            return str(ipaddress.ip_network(f"{address}/{24 if version == 4 else 64}", strict=False)[1])
    return None
