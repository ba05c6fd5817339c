"""The network where the system does not tell of changes: looked at again and again, through psutil.

There is no table of routes: which interface has the default route is asked of a connected UDP socket, which sends
nothing. Gateways stay unknown, so another network that gives the same address on the same interface is not noticed.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import psutil

from perdure.netmon.state import ON_THE_INTERNET, Address, DefaultRoute, Family, Interface, Snapshot, canonical

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_INTERVAL = 0.5
"""Seconds. A look takes under 1 ms; twice a second a change waits for 0.25 s, and an idle process costs 0.2 %
of a core."""

_FAMILIES = {socket.AF_INET: Family.IPV4, socket.AF_INET6: Family.IPV6}

_DISCARD_PORT = 9


class PollingSource:
    """Hints every `interval` seconds that something may have changed."""

    name = "polling"

    def __init__(self, interval: float = POLL_INTERVAL) -> None:
        self._interval = interval
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        """See `source.Source.watch`. It never fails."""
        loop = asyncio.get_running_loop()

        def poll() -> None:
            self._timer = loop.call_later(self._interval, poll)
            hint()

        self._timer = loop.call_later(self._interval, poll)

    def look(self) -> Snapshot:
        """See `source.Source.look`."""
        states = psutil.net_if_stats()
        interfaces = tuple(
            Interface(
                name,
                is_up=name in states and states[name].isup,
                addresses=frozenset(Address(canonical(it.address)) for it in addresses if it.family in _FAMILIES),
                is_loopback=name in states and "loopback" in states[name].flags.split(","),
            )
            for name, addresses in psutil.net_if_addrs().items()
        )
        defaults = [_default_route(interfaces, family) for family in _FAMILIES]
        return Snapshot(interfaces, tuple(route for route in defaults if route))

    def close(self) -> None:
        """See `source.Source.close`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _default_route(interfaces: tuple[Interface, ...], family: socket.AddressFamily) -> DefaultRoute | None:
    for destination in ON_THE_INTERNET[_FAMILIES[family]]:
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as unsent:
                unsent.connect((destination, _DISCARD_PORT))
                ip = canonical(unsent.getsockname()[0])
        except OSError:
            continue  # refused by a route, or there is none
        for interface in interfaces:
            if interface.is_up and any(address.ip == ip for address in interface.addresses):
                return DefaultRoute(_FAMILIES[family], interface.name)
    return None
