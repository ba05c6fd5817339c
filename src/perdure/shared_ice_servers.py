"""The ICE servers that the tubes of a registry share: set for all, and what each tube is told of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from perdure.turn.shared_secret import expiry_of

if TYPE_CHECKING:
    from perdure.config import IceServer
    from perdure.managed_tube import ManagedTube
    from perdure.transport.base import Transport
    from perdure.turn.refresher import FetchFailure


class SharedIceServers:
    """Those of `transport`.

    Args:
        tubes: the registry's.
    """

    def __init__(self, transport: Transport, tubes: Callable[[], Iterable[ManagedTube]]) -> None:
        self._transport = transport
        self._tubes = tubes

    def set(self, servers: tuple[IceServer, ...], expires_in: float | None) -> None:
        """Use `servers`, which expire in so many seconds. Raises `CarrierError` where the engine refuses one."""
        self._transport.set_ice_servers(servers)
        expires_in = _expires_in(servers) if expires_in is None else expires_in
        for tube in self._tubes():
            tube.publisher.ice_servers_changed(servers, expires_in)

    def renew_paths(self) -> None:
        """There are other credentials: paths through relays of ours get new allocations."""
        for tube in self._tubes():
            tube.relay_credentials_renewed()

    def fetch_failed(self, failure: FetchFailure) -> None:
        """A provider had no new ones."""
        for tube in self._tubes():
            tube.publisher.turn_credentials_failed(failure.reason, failure.retry_in, failure.expires_in)


def _expires_in(servers: Iterable[IceServer]) -> float | None:
    """Seconds, where the servers' user names say so."""
    expiries = [at for server in servers if (at := expiry_of(server.username)) is not None]
    return min(expiries) - time.time() if expiries else None
