"""Which connections the rendezvous takes: as many as it has descriptors for, and so many of one address. Pure.

Where there are as many as there may be, the oldest that has not joined a room is closed for a new one. Where the
rendezvous itself speaks TLS, a connection is counted when its TLS handshake has ended.
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import Generic, TypeVar

ConnectionT = TypeVar("ConnectionT")

ACCEPTED_AT_ONCE = 16
"""Connections that the event loop takes from the system in one turn."""

RESERVED_DESCRIPTORS = 16 + 7 * ACCEPTED_AT_ONCE
"""Of the process: the event loop's, the log's and the listening sockets', and connections that are not counted yet, or
are being closed: asyncio takes two turns to tell of one, and three to close it."""

LOG_INTERVAL = 60.0
"""Seconds between two lines about connections that were not taken."""


HTTP_CONNECTIONS = 32
"""Connections beside those that join: for health checks and metrics, and to tell a peer that there is no room."""


def most_connections(wanted: int, descriptors: int | None) -> int:
    """How many of the `wanted` connections `descriptors` allow; `None`: no limit is known."""
    if descriptors is None:
        return wanted
    return max(1, min(wanted, descriptors - RESERVED_DESCRIPTORS - HTTP_CONNECTIONS))


class Gate(Generic[ConnectionT]):
    """Counts connections.

    Args:
        most: connections at a time, and `HTTP_CONNECTIONS` more.
        most_of_one: of one IPv4 address, or one /64 of IPv6. Loopback is not counted so: behind a proxy on this machine
            all come from there.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self.most = most
        self._most_of_one = most_of_one
        self._taken: dict[ConnectionT, str | None] = {}
        self._unjoined: dict[ConnectionT, None] = {}
        """The oldest first."""
        self._by_network: Counter[str] = Counter()
        self._not_taken = 0
        self._told_at: float | None = None

    def take(self, connection: ConnectionT, address: str | None) -> ConnectionT | None:
        """A new connection, from `address`; the one that is to be closed for it, or itself, where any is."""
        network = counted_as(address)
        gone: ConnectionT | None = None
        has_too_many = network is not None and self._by_network[network] >= self._most_of_one
        if has_too_many or len(self._taken) >= self.most + HTTP_CONNECTIONS:
            self._not_taken += 1
            closable = (each for each in self._unjoined if not has_too_many or self._taken[each] == network)
            gone = next(closable, None)
            if gone is None:
                return connection
            self.left(gone)
        self._taken[connection] = network
        self._unjoined[connection] = None
        if network is not None:
            self._by_network[network] += 1
        return gone

    def joined(self, connection: ConnectionT) -> None:
        """It is not closed for others any more."""
        self._unjoined.pop(connection, None)

    def left(self, connection: ConnectionT) -> None:
        """It has ended. One that was not taken, or has left before: nothing."""
        if connection not in self._taken:
            return
        network = self._taken.pop(connection)
        self._unjoined.pop(connection, None)
        if network is not None:
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    def take_report(self, now: float) -> int:
        """How many connections were closed for want of room since this said so last; 0: none, or that was just now."""
        if not self._not_taken or (self._told_at is not None and now < self._told_at + LOG_INTERVAL):
            return 0
        count, self._not_taken, self._told_at = self._not_taken, 0, now
        return count


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
