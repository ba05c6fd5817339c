"""Which connections the rendezvous takes: as many as it has descriptors for, and so many of one address. Pure.

1. Some more are taken than may have joined a room, so that each may join and show what it has proved (`Standing`).
   Where there are too many that have not joined, one of these is closed for a new one.
2. Where as many have joined as may, one that has proved less is closed for one that has proved more; or, of those that
   have proved as much, one of an address that has more of them than the new one's.
3. In each case it is the longest there of the address that has most of them.
4. Where the rendezvous itself speaks TLS, a connection is counted when its TLS handshake has ended.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Generic, TypeVar

from perdure.signaling.standing import Standing

ConnectionT = TypeVar("ConnectionT")

ACCEPTED_AT_ONCE = 16
"""Connections that the event loop takes from the system in one turn."""

RESERVED_DESCRIPTORS = 16 + 7 * ACCEPTED_AT_ONCE
"""Of the process: the event loop's, the log's and the listening sockets', and connections that are not counted yet, or
are being closed: asyncio takes two turns to tell of one, and three to close it."""

LOG_INTERVAL = 60.0
"""Seconds between two lines about connections that were not taken."""


HTTP_CONNECTIONS = 32
"""Connections beside those that have joined: for health checks and metrics, and to join in the place of another."""


def most_connections(wanted: int, descriptors: int | None) -> int:
    """How many of the `wanted` connections `descriptors` allow; `None`: no limit is known."""
    if descriptors is None:
        return wanted
    return max(1, min(wanted, descriptors - RESERVED_DESCRIPTORS - HTTP_CONNECTIONS))


class Gate(Generic[ConnectionT]):
    """Counts connections.

    Args:
        most: connections at a time that have joined, and `HTTP_CONNECTIONS` more that have not.
        most_of_one: of one IPv4 address, or one /64 of IPv6. Loopback is not counted so: behind a proxy on this machine
            all come from there.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self.most = most
        self._most_of_one = most_of_one
        self._taken: dict[ConnectionT, tuple[str | None, Standing]] = {}
        """With the network that each is counted for."""
        self._standing: dict[Standing, dict[str | None, dict[ConnectionT, None]]] = {each: {} for each in Standing}
        """By network; in each the longest there first."""
        self._by_network: Counter[str] = Counter()
        self._joined = 0
        self._not_taken = 0
        self._told_at: float | None = None

    def take(self, connection: ConnectionT, address: str | None) -> ConnectionT | None:
        """A new connection, from `address`; the one that is to be closed for it, or itself, where any is."""
        network = counted_as(address)
        gone: ConnectionT | None = None
        has_too_many = network is not None and self._by_network[network] >= self._most_of_one
        if has_too_many or len(self._taken) >= self.most + HTTP_CONNECTIONS:
            self._not_taken += 1
            new = self._standing[Standing.NEW]
            gone = _longest(new.get(network) if has_too_many else _fullest(new))
            if gone is None:
                return connection
            self.left(gone)
        self._put(connection, network, Standing.NEW)
        if network is not None:
            self._by_network[network] += 1
        return gone

    def has_room_for(self, connection: ConnectionT, standing: Standing) -> bool:
        """Whether one that was taken may join, and have proved so much."""
        return self._joined < self.most or self._gives_way(connection, standing) is not None

    def stands(self, connection: ConnectionT, standing: Standing) -> ConnectionT | None:
        """One has joined, and has proved so much, or its standing has changed; the one that is to be closed for it,
        where it has just joined and too many have. One that was not taken, or has left: nothing."""
        if connection not in self._taken:
            return None
        network, before = self._taken[connection]
        if before is standing:
            return None
        gone: ConnectionT | None = None
        if before is Standing.NEW and self._joined >= self.most:
            gone = self._gives_way(connection, standing)
            if gone is not None:
                self._not_taken += 1
                self.left(gone)
        self._remove(connection)
        self._put(connection, network, standing)
        return gone

    def left(self, connection: ConnectionT) -> None:
        """It has ended. One that was not taken, or has left before: nothing."""
        if connection not in self._taken:
            return
        network = self._remove(connection)
        if network is not None:
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    def _gives_way(self, connection: ConnectionT, standing: Standing) -> ConnectionT | None:
        """Who would go, of those that have joined, for one that has proved so much."""
        for lower in Standing:
            if Standing.NEW < lower < standing and self._standing[lower]:
                return _longest(_fullest(self._standing[lower]))
        equals = self._standing[standing]
        fullest = _fullest({network: held for network, held in equals.items() if network is not None})
        own = equals.get(self._taken[connection][0], {}) if connection in self._taken else {}
        return _longest(fullest) if len(fullest) > len(own) + 1 else None

    def _put(self, connection: ConnectionT, network: str | None, standing: Standing) -> None:
        self._taken[connection] = network, standing
        self._standing[standing].setdefault(network, {})[connection] = None
        self._joined += standing is not Standing.NEW

    def _remove(self, connection: ConnectionT) -> str | None:
        """The network that it was counted for."""
        network, standing = self._taken.pop(connection)
        held = self._standing[standing][network]
        del held[connection]
        if not held:
            del self._standing[standing][network]
        self._joined -= standing is not Standing.NEW
        return network

    def take_report(self, now: float) -> int:
        """How many connections were closed for want of room since this said so last; 0: none, or that was just now."""
        if not self._not_taken or (self._told_at is not None and now < self._told_at + LOG_INTERVAL):
            return 0
        count, self._not_taken, self._told_at = self._not_taken, 0, now
        return count


def _fullest(by_network: dict[str | None, dict[ConnectionT, None]]) -> dict[ConnectionT, None]:
    """Those of the network that has most; of several, of the one that was there first."""
    return max(by_network.values(), key=len, default={})


def _longest(held: dict[ConnectionT, None] | None) -> ConnectionT | None:
    return next(iter(held), None) if held else None


def counted_as(address: str | None) -> str | None:
    """The host of `address`, as far as a limit counts them together; `None`: for no limit."""
    if address is None:
        return None
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return None if parsed.is_loopback else str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
        parsed = parsed.ipv4_mapped
    return None if parsed.is_loopback else str(parsed)
