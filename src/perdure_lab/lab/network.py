"""The network of one run: built from a scenario's links, and changed while it carries traffic."""

from __future__ import annotations

import asyncio
import sys

import msgspec

from perdure_lab.lab import namespaces
from perdure_lab.lab.children import Helper, IpShell
from perdure_lab.lab.forwarder import Links, LinkState
from perdure_lab.lab.router import ruleset
from perdure_lab.lab.topology import INTERNET, SERVICES_NAME, SERVICES_V4, SERVICES_V6, Topology, forwarder_routes
from perdure_lab.scenario.model import LinkChange, LinkName, Scenario

PORT_DELAY = 0.005
"""Seconds until the other end of a cable that came up carries packets too: a real machine sees its carrier not before
the other end is ready, but a veth's other end drops what it sends for some 0.1 ms. An answer to the machine's first
ARP would be lost with it, and Linux asks again after 1 s (measured: 1 of 6)."""


class Network:
    """Namespaces `client` and `gateway`, a router for each link, the internet, and `services` in it.

    It belongs into the first process of private namespaces (`tools.isolated`), and ends with that process. Every call
    raises `LabError` where the system refuses something.

    Args:
        seed: of the losses and the jitter.
    """

    def __init__(self, scenario: Scenario, seed: int) -> None:
        self._topology = Topology(scenario)
        self._links = dict(scenario.links)
        self._seed = seed
        self._is_impaired = scenario.is_impaired
        self._mappings_lost = dict.fromkeys(scenario.links, 0)
        self._shells: dict[str, IpShell] = {}
        self._forwarder: Helper | None = None

    @property
    def impairment(self) -> str:
        """How delay and loss are made, as `results.RunResult` says it."""
        return "none" if self._forwarder is None else "userspace"

    async def build(self) -> None:
        namespaces.make_private_world({SERVICES_NAME: (SERVICES_V4, SERVICES_V6)})
        namespaces.add_namespaces(self._topology.namespaces)
        for router in self._topology.routers:
            namespaces.let_forward(router)
        for namespace, lines in self._topology.construction(self._links):
            namespaces.configure(namespace, lines)
        for name in self._topology.changing:
            self._shells[name] = IpShell(name)
            await self._shells[name].start()
        for link in self._links:
            await self._filter(link)
        if self._is_impaired:
            await self._start_forwarder()

    async def change(self, change: LinkChange) -> None:
        """Within some milliseconds."""
        name, before = change.link, self._links[change.link]
        after = self._links[name] = change.applied(before)
        for namespace, lines in self._topology.change(name, before, after):
            await self._shells[namespace].do(lines)
            if lines[-1].endswith(" up"):
                await asyncio.sleep(PORT_DELAY)
        if before.cut != after.cut:
            await self._filter(name)
        if self._forwarder is not None:
            await self._forwarder.tell(self._impairment())

    async def forget_mappings(self, name: LinkName) -> None:
        """The link's NAT knows nobody any more, and gives new mappings other ports."""
        self._mappings_lost[name] += 1
        await self._filter(name)
        await namespaces.mappings_forgotten(self._topology.places[name].router)

    async def check(self) -> None:
        """Raises `LabError` where the network has not lasted: what was silent then is not the tunnel's doing."""
        if self._forwarder is not None:
            await self._forwarder.check()

    async def _start_forwarder(self) -> None:
        command = [sys.executable, "-m", "perdure_lab.lab.forwarder", str(self._seed)]
        self._forwarder = Helper("forwarder", namespaces.command_in(INTERNET, *command))
        await self._forwarder.start()
        await self._forwarder.answer()
        await self._forwarder.tell(self._impairment())
        for namespace, lines in forwarder_routes(self._topology):
            namespaces.configure(namespace, lines)

    def _impairment(self) -> str:
        states = (
            LinkState(
                tuple(self._topology.places[name].addresses_in_internet), link.delay, link.jitter, link.loss, link.rate
            )
            for name, link in self._links.items()
        )
        return msgspec.json.encode(Links(tuple(states))).decode()

    async def _filter(self, name: LinkName) -> None:
        place = self._topology.places[name]
        await namespaces.filtered(place.router, ruleset(place, self._links[name], self._mappings_lost[name]))
