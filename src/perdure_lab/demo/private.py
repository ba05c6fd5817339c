"""The demo in a small network of its own, as the lab makes it: what breaks there is what breaks for people.

The client has Ethernet and Wi-Fi, each behind a router with a NAT; the gateway has a public address, and the
rendezvous is elsewhere in the internet.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from perdure_lab.demo.stage import Fault, both_killed, rendezvous_restarted
from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.network import Network
from perdure_lab.lab.subject import RENDEZVOUS_PORT
from perdure_lab.lab.tools import LabError, check_programs
from perdure_lab.lab.topology import SERVICES, SERVICES_NAME
from perdure_lab.scenario.model import Cut, Link, LinkChange, LinkName, Nat, Scenario, Step

if TYPE_CHECKING:
    from perdure_lab.demo.programs import Programs

_ETHERNET, _WIFI, _GATEWAY = LinkName("client", "eth"), LinkName("client", "wlan"), LinkName("gateway", "eth")

_NAMES = {_ETHERNET: "Ethernet", _WIFI: "Wi-Fi"}

_ADDRESSES = {_ETHERNET: ("192.168.10.10", "192.168.50.20"), _WIFI: ("192.168.11.10", "192.168.51.20")}
"""Of each link those that it has in turns, each in a network of its own."""

_WATCH_SECONDS = 0.1
"""For which the interfaces' counters are watched, to see which one is in use: 100 kB in each direction at least."""


class PrivateNetwork:
    """A `Stage`; it belongs into the first process of private namespaces."""

    rendezvous = f"{SERVICES_NAME}:{RENDEZVOUS_PORT}"
    options: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.skipped: list[str] = []
        self._network = Network(_scenario(), seed=1)
        self._addresses = {link: addresses[0] for link, addresses in _ADDRESSES.items()}

    def namespace(self, program: str) -> str | None:
        return SERVICES if program == "rendezvous" else program

    async def build(self) -> None:
        await self._network.build()
        try:
            check_programs(["conntrack"])
            await self._network.forget_mappings(_ETHERNET)
        except LabError as error:
            self.skipped.append(f"a NAT that forgets its mappings: {error}")

    async def faults(self, programs: Programs) -> AsyncIterator[Fault]:
        change, forget = self._network.change, self._network.forget_mappings
        while True:
            used = await self._in_use()
            other = _WIFI if used == _ETHERNET else _ETHERNET
            name = _NAMES[used]
            off, on = LinkChange(used, {"up": False}), LinkChange(used, {"up": True})
            yield Fault(f"{name} is switched off, {_NAMES[other]} takes over", partial(change, off))
            yield Fault(f"{name} is switched on again", partial(change, on))

            used = await self._in_use()
            yield Fault(f"{_NAMES[used]} gets another address", partial(change, self._renewed(used)))

            used = await self._in_use()
            cut, whole = LinkChange(used, {"cut": Cut.PEERS}), LinkChange(used, {"cut": Cut.NONE})
            swallowed = f"{_NAMES[used]}'s path swallows every packet, and nothing tells of it"
            yield Fault(swallowed, partial(change, cut), mend=partial(change, whole))

            if not self.skipped:
                used = await self._in_use()
                yield Fault(f"{_NAMES[used]}'s NAT forgets its mappings", partial(forget, used))
            yield rendezvous_restarted(programs)
            yield both_killed(programs)

    def _renewed(self, link: LinkName) -> LinkChange:
        first, second = _ADDRESSES[link]
        self._addresses[link] = second if self._addresses[link] == first else first
        return LinkChange(link, {"addresses": (self._addresses[link],)})

    async def _in_use(self) -> LinkName:
        """The client's link that carries more."""
        before = _bytes_carried()
        await asyncio.sleep(_WATCH_SECONDS)
        after = _bytes_carried()
        return max(_NAMES, key=lambda link: after[link] - before[link])


def _bytes_carried() -> dict[LinkName, int]:
    """By each of the client's links, both ways."""
    with entered(_ETHERNET.site):
        lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()
    counts = {name.strip(): columns.split() for name, _, columns in (line.partition(":") for line in lines)}
    return {link: int(counts[f"{link.name}0"][0]) + int(counts[f"{link.name}0"][8]) for link in _NAMES}


def _scenario() -> Scenario:
    """The network, and in its steps every address that there ever is: routers know their networks from the start."""
    links = {
        _ETHERNET: Link(_ADDRESSES[_ETHERNET][:1], metric=100, nat=Nat.ENDPOINT_INDEPENDENT),
        _WIFI: Link(_ADDRESSES[_WIFI][:1], metric=600, nat=Nat.ENDPOINT_INDEPENDENT),
        _GATEWAY: Link(("192.168.20.10",)),
    }
    renewals = tuple(LinkChange(link, {"addresses": addresses}) for link, addresses in _ADDRESSES.items())
    return Scenario("demo", "The demo", "What the demo does.", 0.0, links, (Step(0.0, renewals, "", measured=False),))
