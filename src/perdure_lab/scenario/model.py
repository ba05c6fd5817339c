"""A scenario as data: two sites with their links, the internet between them, and what changes when.

It says nothing of how it is played: the lab does it with network namespaces, a simulator in virtual time. Delays are
one way; each direction of a link has them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, NamedTuple, TypeAlias

from msgspec import Meta

from perdure.fields import number
from perdure_lab.scenario.expectation import Expectation

SITES = ("client", "gateway")
PROCESSES = ("client", "gateway", "rendezvous")

INTERNET_NETWORKS = ("203.0.113.0/24", "2001:db8:ffff::/64", "100.64.0.0/16", "fd64::/16")
"""Of the internet between the sites: its services' two, and the routers' public addresses. No link has one of them."""


class Nat(StrEnum):
    """How the link's router translates addresses; mappings are kept as RFC 4787 names it."""

    NONE = "none"
    ENDPOINT_INDEPENDENT = "endpoint-independent"
    SYMMETRIC = "symmetric"


class Cut(StrEnum):
    """What the link's router swallows without a word; no interface and no address shows it."""

    NONE = "none"
    ALL = "all"
    OUTGOING = "outgoing"
    """What the site sends by this link; what comes in by it arrives."""
    INCOMING = "incoming"
    PEERS = "peers"
    """Everything but the way to and from the services: the rendezvous and the relay."""
    PEERS_UDP = "udp-between-peers"
    """UDP but that to and from the services: a firewall that leaves the relay."""


class LinkName(NamedTuple):
    """`client.eth`: the site, and the link's name there; its interface is called `eth0`."""

    site: str
    name: str

    def __str__(self) -> str:
        return f"{self.site}.{self.name}"


@dataclass(frozen=True, slots=True)
class Link:
    """One network attachment of a site, with a router of its own."""

    addresses: Annotated[tuple[str, ...], Meta(max_length=8)] = ()
    """Without prefix; IPv4 lives in a /24, IPv6 in a /64, whose first address is the router's."""
    up: bool = True
    """The interface is switched on."""
    plugged: bool = True
    """The cable is in, or the radio associated. Without, the machine's network manager takes the addresses away."""
    metric: Annotated[int, number("", 0, 1_000_000)] = 100
    """The default route goes over the lowest metric."""
    delay: Annotated[float, number("s", 0, 10)] = 0.0
    jitter: Annotated[float, number("s", 0, 10)] = 0.0
    """Seconds; each packet's delay is `delay` ± `jitter`, and the order of packets stays."""
    loss: Annotated[float, number("", 0, 1)] = 0.0
    """The share of packets lost, each way, 0 to 1."""
    rate: Annotated[float, number("", 0, 1e9)] | None = None
    """Bytes a second, each way."""
    nat: Nat = Nat.NONE
    cut: Cut = Cut.NONE

    @property
    def is_impaired(self) -> bool:
        return bool(self.delay or self.jitter or self.loss or self.rate)


@dataclass(frozen=True, slots=True)
class LinkChange:
    """Fields of `Link` get new values."""

    link: LinkName
    values: Mapping[str, object]

    def applied(self, link: Link) -> Link:
        return dataclasses.replace(link, **self.values)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class MappingLost:
    """The NAT of the link forgets its mappings; new ones get other public ports."""

    link: LinkName


class ProcessAction(StrEnum):
    """What happens to a process."""

    STOP = "stop"
    """SIGSTOP: it sleeps."""
    CONTINUE = "continue"
    KILL = "kill"
    START = "start"
    ROTATE = "rotate"
    """perdure's tubes begin another carrier beside the one in use, as when TURN credentials are renewed."""


@dataclass(frozen=True, slots=True)
class ProcessChange:
    process: str
    action: ProcessAction


@dataclass(frozen=True, slots=True)
class ClockJump:
    """The process' clock of real time (CLOCK_BOOTTIME) jumps ahead of its monotonic one: what a sleep looks like."""

    process: str
    seconds: float


Action: TypeAlias = LinkChange | MappingLost | ProcessChange | ClockJump


@dataclass(frozen=True, slots=True)
class Step:
    at: float
    """Seconds after the traffic began."""
    actions: tuple[Action, ...]
    text: str
    measured: bool


TICK_SECONDS = 0.01
"""How often a source writes; silence shorter than this cannot be told from a pause between two writes."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """TCP connections through the tunnel, each with as many bytes a second in each direction."""

    connections: Annotated[int, number("", 1, 250)] = 2
    rate: Annotated[float, number("", 1000, 100e6)] = 200_000.0


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    title: str
    text: str
    seconds: float
    links: Mapping[LinkName, Link]
    steps: tuple[Step, ...]
    """In the order of their instants; a repeated step stands here as often as it happens."""
    short_seconds: float | None = None
    """How long it takes in the short form, which runs with every change of the code; `None`: it is not part of that."""
    relay: bool = False
    """There is a TURN relay beside the rendezvous, and both peers know it."""
    policy_routes: bool = True
    """What comes from a link's address leaves by that link. Without them, as on most machines, what the default route
    prefers."""
    late_running: bool = False
    """The kernel says up to 1 s late that an interface runs (IFF_RUNNING). The simulator's tells who asks."""
    busy: bool = False
    """Other programs keep every core busy while the traffic flows. In the simulator code takes no time."""
    settings: Mapping[str, object] = field(default_factory=dict)
    """perdure's settings by full name."""
    settings_reason: str = ""
    traffic: Traffic = field(default_factory=Traffic)
    expectation: Expectation = field(default_factory=Expectation)

    def shortened(self) -> Scenario:
        """Its short form: it ends earlier, and what would happen later does not."""
        if self.short_seconds is None:
            return self
        steps = tuple(step for step in self.steps if step.at < self.short_seconds)
        return dataclasses.replace(self, seconds=self.short_seconds, steps=steps)

    @property
    def is_impaired(self) -> bool:
        """Whether any link ever delays, drops or limits."""
        return any(link.is_impaired for link in self.links.values()) or any(
            isinstance(action, LinkChange) and action.applied(Link()).is_impaired
            for step in self.steps
            for action in step.actions
        )
