"""The ICE servers that the tubes of a registry share: set for all, and what each tube is told of them."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from perdure.config import TransportConfig
from perdure.core.relay_troubles import RelayTroubles
from perdure.eventlog import log_event
from perdure.ice_server import read_ice_servers
from perdure.tube import clock
from perdure.turn.pool import ServerAddress, Trouble, address_of
from perdure.turn.shared_secret import expiry_of

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.transport.base import KnowsTurnServers, Transport
    from perdure.tube import Environment
    from perdure.turn.pool import ServerFailure
    from perdure.turn.refresher import FetchFailure, Refresher

log = logging.getLogger("perdure.turn")


class SharedIceServers:
    """Those of the transport of `environment`, which hears what is wrong with them.

    Args:
        config: what the transport was made by, where it is known.
        registry: whose tubes use them; it is not kept alive.
    """

    def __init__(
        self,
        environment: Environment,
        config: TransportConfig | Transport | None,
        registry: Iterable[TunnelConnectionManager],
    ) -> None:
        transport = self._transport = environment.transport
        environment.relay_troubles = self.describe_troubles
        self._registry = weakref.ref(registry)
        known = config if isinstance(config, TransportConfig) else TransportConfig()
        self._logins, self._is_relay_only = _logins(known.ice_servers), known.relay_only
        self._fetch_failure = ""
        """Why a provider had no servers when it was last asked, where it had none."""
        self._expires_at: float | None = None
        """On the tubes' clock, where whoever issued the credentials said so."""
        self.refresher: Refresher | None = None
        """Asks a provider for new ones, where there is one."""
        self._knowing: KnowsTurnServers | None = None
        if hasattr(transport, "tell_of_turn_servers"):
            self._knowing = cast("KnowsTurnServers", transport)
            self._knowing.tell_of_turn_servers(self)

    def describe_troubles(self) -> RelayTroubles:
        """What is wrong with TURN servers now."""
        if self._is_relay_only and not self._logins:
            why = f" (the last fetch failed: {self._fetch_failure})" if self._fetch_failure else ""
            return RelayTroubles((f"relay_only is set and no TURN server is known{why}",), allow_no_path=True)
        failures = () if self._knowing is None else self._knowing.turn_failures()
        return RelayTroubles(tuple(failure.sentence(self._expired_for(failure)) for failure in failures))

    def set(self, given: Iterable[IceServer | str], expires_in: float | None) -> None:
        """Use those `given`, which expire in so many seconds. A path through a TURN server whose credentials are others
        now gets a new allocation. Raises as `TubeRegistry.set_ice_servers`."""
        servers = read_ice_servers(given)
        self._transport.set_ice_servers(servers)
        self._fetch_failure = ""
        expires_in = _expires_in(servers) if expires_in is None else expires_in
        self._expires_at = None if expires_in is None else clock() + expires_in
        for manager in self._managers():
            manager.tube.publisher.ice_servers_changed(servers, expires_in)
        before, self._logins = self._logins, _logins(servers)
        renewed = {address for address, login in self._logins.items() if before.get(address) != login}
        for manager in self._managers():
            manager.tube.relay_credentials_renewed(lambda url: address_of(url) in renewed)

    # What the transport tells.

    def turn_server_failed(self, failure: ServerFailure) -> None:
        if failure.is_news:
            sentence = failure.sentence(self._expired_for(failure))
            log_event(log, logging.WARNING, "turn-server-failed", server=failure.url, code=failure.code, why=sentence)
            for manager in self._managers():
                manager.tube.publisher.turn_server_failed(failure.url, failure.code, sentence)
        if failure.trouble is Trouble.CREDENTIALS and self.refresher is not None:
            self.refresher.refused()

    def turn_servers_revived(self) -> None:
        for manager in self._managers():
            manager.tube.turn_servers_revived()

    def turn_credentials_awaited(self) -> Awaitable[None] | None:
        return None if self.refresher is None else self.refresher.awaited()

    # What a provider tells.

    def fetch_failed(self, failure: FetchFailure) -> None:
        """A provider had no new ones."""
        self._fetch_failure = failure.reason
        for manager in self._managers():
            manager.tube.publisher.turn_credentials_failed(failure.reason, failure.retry_in, failure.expires_in)

    def _managers(self) -> Iterable[TunnelConnectionManager]:
        registry = self._registry()
        return () if registry is None else registry

    def _expired_for(self, failure: ServerFailure) -> float | None:
        """Seconds since the credentials that were refused expired, where that is known."""
        expiry = expiry_of(failure.username)
        if expiry is not None:
            return time.time() - expiry
        return None if self._expires_at is None else clock() - self._expires_at


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
