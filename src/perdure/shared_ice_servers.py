"""The ICE servers that the tubes of a registry share: set for all, and what each tube is told of them."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from perdure.config import TransportConfig
from perdure.eventlog import log_event
from perdure.tube import clock
from perdure.turn.pool import ServerAddress, Trouble, address_of
from perdure.turn.shared_secret import expiry_of

if TYPE_CHECKING:
    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.transport.base import Transport
    from perdure.turn.pool import ServerFailure
    from perdure.turn.refresher import FetchFailure

log = logging.getLogger("perdure.turn")


class SharedIceServers:
    """Those of `transport`.

    Args:
        config: what the transport was made by, where it is known.
        registry: whose tubes use them; it is not kept alive.
    """

    def __init__(
        self,
        transport: Transport,
        config: TransportConfig | Transport | None,
        registry: Iterable[TunnelConnectionManager],
    ) -> None:
        self._transport = transport
        self._registry = weakref.ref(registry)
        self._logins = _logins(config.ice_servers if isinstance(config, TransportConfig) else ())
        self._expires_at: float | None = None
        """On the tubes' clock, where whoever issued the credentials said so."""
        self._troubles: dict[str, str] = {}
        """What was told of servers since they were set, by URL."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called where a server refuses the credentials."""
        tell = getattr(transport, "tell_server_failures", None)  # see `TellsServerFailures`
        if tell is not None:
            tell(self._server_failed)

    @property
    def troubles(self) -> tuple[str, ...]:
        """What is wrong with TURN servers, a sentence each."""
        return tuple(self._troubles.values())

    def set(self, servers: tuple[IceServer, ...], expires_in: float | None) -> None:
        """Use `servers`, which expire in so many seconds. A path through a TURN server whose credentials are others now
        gets a new allocation. Raises `CarrierError` where the engine refuses one."""
        self._transport.set_ice_servers(servers)
        self._troubles.clear()
        expires_in = _expires_in(servers) if expires_in is None else expires_in
        self._expires_at = None if expires_in is None else clock() + expires_in
        for manager in self._managers():
            manager.tube.publisher.ice_servers_changed(servers, expires_in)
        before, self._logins = self._logins, _logins(servers)
        renewed = {address for address, login in self._logins.items() if before.get(address) != login}
        for manager in self._managers():
            path = manager.path
            if path is not None and path.relay_url is not None and address_of(path.relay_url) in renewed:
                manager.relay_credentials_renewed()

    def fetch_failed(self, failure: FetchFailure) -> None:
        """A provider had no new ones."""
        for manager in self._managers():
            manager.tube.publisher.turn_credentials_failed(failure.reason, failure.retry_in, failure.expires_in)

    def _managers(self) -> Iterable[TunnelConnectionManager]:
        registry = self._registry()
        return () if registry is None else registry

    def _server_failed(self, failure: ServerFailure) -> None:
        expiry = expiry_of(failure.username)
        expired_for = None if expiry is None else time.time() - expiry
        if expired_for is None and self._expires_at is not None:
            expired_for = clock() - self._expires_at
        sentence = self._troubles[failure.url] = failure.sentence(expired_for)
        log_event(log, logging.WARNING, "turn-server-failed", server=failure.url, code=failure.code, why=sentence)
        for manager in self._managers():
            manager.tube.publisher.turn_server_failed(failure.url, failure.code, sentence)
        if failure.trouble is Trouble.CREDENTIALS:
            self.on_refused()


def _logins(servers: Iterable[IceServer]) -> dict[ServerAddress, tuple[str | None, str | None]]:
    """By which user name and password each TURN server is used."""
    found: dict[ServerAddress, tuple[str | None, str | None]] = {}
    for server in servers:
        if (address := address_of(server.url)) is not None:
            found.setdefault(address, (server.username, server.credential))
    return found


def _expires_in(servers: Iterable[IceServer]) -> float | None:
    """Seconds, where the servers' user names say so."""
    expiries = [at for server in servers if (at := expiry_of(server.username)) is not None]
    return min(expiries) - time.time() if expiries else None
