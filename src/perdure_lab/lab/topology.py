"""Which namespaces, interfaces and addresses a scenario becomes, and the `ip` commands that make and change them. Pure.

    client ── client-eth ─┐               ┌─ gateway-eth ── gateway
       └───── client-wlan ┴── internet ───┘
                                 └── services (rendezvous, relay)

Each link is a pair of interfaces between its site and a router of its own, which has one more to the internet. The
lab is also the sites' network manager: it sets addresses and default routes as systemd-networkd would, and takes them
away when the carrier is lost. What carries a link's address leaves by that link (a rule each network), so that a
second path is one, unless the scenario is without policy routes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from perdure_lab.scenario.model import Link, LinkChange, LinkName, Scenario
from perdure_lab.scenario.parse import network_of

INTERNET = "internet"
SERVICES = "services"
SERVICES_V4, SERVICES_V6 = "203.0.113.10", "2001:db8:ffff::10"
SERVICES_NAME = "services.lab"

FORWARDER_TABLE = 100
"""The internet's routing table that leads through the forwarder."""

_FIRST_TABLE = 1001
"""The sites' routing tables, one for each network."""

_FIRST_INDEX = 10
_FIRST_ROUTER_INDEX = 100
"""Numbers of interfaces, in namespaces whose other interfaces have lower ones."""

_RULE_PREFERENCE = 1000

_EVERYWHERE = ("0.0.0.0/0", "::/0")
"""`default` of each family."""

Batches = list[tuple[str, list[str]]]
"""`ip` commands with the namespace that they belong into, in their order. Those that begin with -6 are for IPv6; most
say so by their addresses."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a link is."""

    name: LinkName
    number: int
    networks: Mapping[str, int]
    """Every network that the link ever has, and the site's routing table for it."""
    has_policy_routes: bool
    """Whether the site uses these tables."""
    runs_late: bool
    """Whether the kernel may say late that the interface runs."""

    @property
    def site(self) -> str:
        return self.name.site

    @property
    def interface(self) -> str:
        """The site's; called as real ones are, because programs tell a radio from a cable by it."""
        return f"{self.name.name}0"

    @property
    def index(self) -> int:
        """The number of the site's interface."""
        return _FIRST_INDEX + self.number

    @property
    def router_index(self) -> int:
        """The number of the router's interface to the site.

        Linux collects changes of carrier and looks at them once a second, but at once at those of an interface whose
        other end has another number: it takes it for one that stands on another interface (`linkwatch_urgent_event`).
        """
        return self.index if self.runs_late else _FIRST_ROUTER_INDEX + self.number

    @property
    def unasked_name(self) -> str:
        """What `ip` may call the interface without asking the kernel for it by name, after which it is said to run."""
        return f"if{self.index}" if self.runs_late else self.interface

    @property
    def switch_on(self) -> str:
        """The command that switches the machine's interface on: the end of its batch, see `Network.change`."""
        return f"link set {self.interface} up"

    @property
    def router(self) -> str:
        return f"{self.name.site}-{self.name.name}"

    @property
    def uplink(self) -> str:
        """The internet's interface to the router."""
        return f"up{self.number}"

    @property
    def public_v4(self) -> str:
        """The router's own address in the internet."""
        return f"100.64.{self.number}.2"

    @property
    def public_v6(self) -> str:
        return f"fd64:{self.number}::2"

    @property
    def addresses_in_internet(self) -> list[str]:
        """Networks whose packets in the internet are this link's."""
        return [*self.networks, f"{self.public_v4}/32", f"{self.public_v6}/128"]


class Topology:
    """The world of one scenario."""

    def __init__(self, scenario: Scenario) -> None:
        self.places: dict[LinkName, Place] = {}
        table = _FIRST_TABLE
        for number, name in enumerate(scenario.links):
            networks = {}
            for network in _networks_of(scenario, name):
                networks[network], table = table, table + 1
            self.places[name] = Place(name, number, networks, scenario.policy_routes, scenario.late_running)

    @property
    def namespaces(self) -> list[str]:
        return [INTERNET, SERVICES, *self.changing]

    @property
    def changing(self) -> list[str]:
        """Namespaces whose interfaces change during a run."""
        sites = dict.fromkeys(name.site for name in self.places)
        return [*sites, *(place.router for place in self.places.values())]

    @property
    def routers(self) -> list[str]:
        return [INTERNET, *(place.router for place in self.places.values())]

    def construction(self, links: Mapping[LinkName, Link]) -> Batches:
        """Everything, with the links as they are at first."""
        batches: Batches = [*_services()]
        for name, place in self.places.items():
            batches += _attachment(place, behind_nat=links[name].nat != "none")
            off = Link(addresses=links[name].addresses, up=False)
            batches += self.change(name, off, links[name])
        return batches

    def change(self, name: LinkName, before: Link, after: Link) -> Batches:
        """What the link's state as its machine sees it becomes; what its router swallows is `filter`'s."""
        place, batches = self.places[name], Batches()
        if before.plugged != after.plugged:
            batches.append((place.router, [f"link set lan {'up' if after.plugged else 'down'}"]))
        lines = list(_machine(place, before, after))
        switched_on = lines.index(place.switch_on) + 1 if place.switch_on in lines else 0
        batches += [(place.site, part) for part in (lines[:switched_on], lines[switched_on:]) if part]
        return batches


def forwarder_routes(topology: Topology) -> Batches:
    """All traffic across the internet takes the way through the forwarder's `tun0`."""
    incoming = ["srv", *(place.uplink for place in topology.places.values())]
    lines = ["link set tun0 up", *(f"route add {every} dev tun0 table {FORWARDER_TABLE}" for every in _EVERYWHERE)]
    lines += [
        f"{family}rule add iif {name} lookup {FORWARDER_TABLE} pref {_RULE_PREFERENCE}"
        for name in incoming
        for family in ("", "-6 ")
    ]
    return [(INTERNET, lines)]


def _machine(place: Place, before: Link, after: Link) -> Iterator[str]:
    """Commands in the site's namespace."""
    interface, flush = place.interface, f"addr flush dev {place.interface} scope global"
    was_usable, has_new_addresses = before.up and before.plugged, before.addresses != after.addresses
    if not after.up:
        if before.up:
            yield f"link set {interface} down"
        if has_new_addresses:
            yield flush  # Linux keeps those of IPv4 while the interface is down
        return
    if not after.plugged:
        if was_usable:
            yield from _without_default_routes(interface)
        if was_usable or not before.up:
            yield flush
        if not before.up:
            yield place.switch_on
        return
    if was_usable and (before.addresses, before.metric) == (after.addresses, after.metric):
        return
    if not before.up:
        if has_new_addresses:
            yield flush
        yield place.switch_on
    if was_usable:
        yield from _without_default_routes(interface)
    for address in before.addresses:
        if was_usable and address not in after.addresses:
            yield f"addr del {_with_prefix(address)} dev {interface}"
    for address in after.addresses:
        yield f"addr replace {_with_prefix(address)} dev {place.unasked_name}{' nodad' if ':' in address else ''}"
    for network in dict.fromkeys(map(network_of, after.addresses)):
        route = f"default via {ip_network(network)[1]} dev {place.unasked_name} proto static"
        yield f"route replace {route} metric {after.metric}"
        if place.has_policy_routes:
            yield f"route replace {route} table {place.networks[network]}"


def _without_default_routes(interface: str) -> Iterator[str]:
    for every in _EVERYWHERE:
        yield f"route flush exact {every} dev {interface} table main"


def _services() -> Batches:
    internet = [
        f"link add srv type veth peer name eth0 netns {SERVICES}",
        "addr add 203.0.113.1/24 dev srv",
        "addr add 2001:db8:ffff::1/64 dev srv nodad",
        "link set srv up",
    ]
    services = [
        f"addr add {SERVICES_V4}/24 dev eth0",
        f"addr add {SERVICES_V6}/64 dev eth0 nodad",
        "link set eth0 up",
        "route add default via 203.0.113.1",
        "route add default via 2001:db8:ffff::1",
    ]
    return [(INTERNET, internet), (SERVICES, services)]


def _attachment(place: Place, *, behind_nat: bool) -> Batches:
    number = place.number
    internet = [
        f"link add {place.uplink} type veth peer name wan netns {place.router}",
        f"addr add 100.64.{number}.1/30 dev {place.uplink}",
        f"addr add fd64:{number}::1/64 dev {place.uplink} nodad",
        f"link set {place.uplink} up",
    ]
    for network in () if behind_nat else place.networks:
        if ip_network(network).version == 4:
            internet.append(f"route add {network} via {place.public_v4}")
        else:
            internet.append(f"route add {network} via {place.public_v6}")
    end = f"peer name lan index {place.router_index} netns {place.router}"
    site = [f"link add {place.interface} index {place.index} type veth {end}"]
    for network, table in place.networks.items() if place.has_policy_routes else ():
        family = "-6 " if ":" in network else ""
        site.append(f"{family}rule add from {network} lookup {table} pref {_RULE_PREFERENCE}")
    router = [
        f"addr add {place.public_v4}/30 dev wan",
        f"addr add {place.public_v6}/64 dev wan nodad",
        "link set wan up",
        *(f"addr add {_router_address(network)} dev lan" for network in place.networks),
        "link set lan up",
        f"route add default via 100.64.{number}.1",
        f"route add default via fd64:{number}::1",
    ]
    batches = [(INTERNET, internet), (place.site, site), (place.router, router)]
    if place.runs_late:  # an interface that was never on is said to run at once
        batches.append((place.site, [place.switch_on, f"link set {place.interface} down"]))
    return batches


def _router_address(network: str) -> str:
    parsed = ip_network(network)
    return f"{parsed[1]}/{parsed.prefixlen}{' nodad' if parsed.version == 6 else ''}"


def _with_prefix(address: str) -> str:
    return f"{address}/{24 if ip_address(address).version == 4 else 64}"


def _networks_of(scenario: Scenario, name: LinkName) -> list[str]:
    addresses = list(scenario.links[name].addresses)
    for step in scenario.steps:
        for action in step.actions:
            if isinstance(action, LinkChange) and action.link == name:
                addresses += action.applied(Link()).addresses
    return list(dict.fromkeys(map(network_of, addresses)))
