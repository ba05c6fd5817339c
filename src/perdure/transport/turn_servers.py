"""The engine's TURN servers: which it is given, by which URL, and what becomes of them."""

from __future__ import annotations

import logging
import ssl
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from perdure.eventlog import log_event
from perdure.turn.endpoint import client_context
from perdure.turn.pool import ServerAddress, ServerFailure, ServerPool, Trouble, address_of
from perdure.turn.tls_bridge import TlsBridge

if TYPE_CHECKING:
    from perdure.ice_server import IceServer
    from perdure.transport.base import Path, TurnServersListener

log = logging.getLogger("perdure.turn")

MAX_BRIDGES = 16
"""As many as servers that are told; beyond it the oldest takes no further connection. A service may name other hosts
each time that it is asked."""


class TurnServers:
    """Those of one transport.

    Args:
        ca_file: certificates that are trusted for `turns:` servers, beside the system's.
        on_changed: the engine is to be given others from now on.

    Raises:
        ValueError: `ca_file` cannot be used.
    """

    def __init__(self, servers: Sequence[IceServer], ca_file: str | None, on_changed: Callable[[], None]) -> None:
        self.listener: TurnServersListener | None = None
        self._pool = ServerPool(servers)
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None if ca_file is None else client_context(ca_file)
        self._on_changed = on_changed
        self._bridges: dict[ServerAddress, TlsBridge] = {}
        """By the server's address, while there is a carrier."""
        self._given: tuple[IceServer, ...] = ()
        """What the engine's carriers have."""
        self._users: weakref.WeakSet[object] = weakref.WeakSet()
        """A part of each carrier that is not closed."""

    def renewed(self, servers: Sequence[IceServer]) -> ServerPool:
        """What `use` takes, for `servers`."""
        return self._pool.with_servers(servers, time.monotonic())

    def for_engine(self, pool: ServerPool | None = None) -> tuple[IceServer, ...]:
        """What the engine is given now; needs a running event loop where a `turns:` server is among it."""
        self._given = (pool or self._pool).chosen(time.monotonic())
        return tuple(map(self._bridged, self._given))

    def refresh(self) -> None:
        """Have the engine's carriers be given others, where some were left out meanwhile, or for long enough."""
        if self._given != self._pool.chosen(time.monotonic()):
            self._on_changed()

    def use(self, pool: ServerPool) -> None:
        """From now on; the engine has it."""
        self._pool = pool
        if pool.is_revived and self.listener is not None:
            self.listener.turn_servers_revived()

    @property
    def failures(self) -> Sequence[ServerFailure]:
        """Of the servers that did not serve when they were asked last."""
        return self._pool.failures

    def awaited(self) -> Awaitable[None] | None:
        """Gathering waits for this, where there is something; see `TurnServersListener`."""
        return None if self.listener is None else self.listener.turn_credentials_awaited()

    def opened(self, user: object) -> None:
        """There is a new carrier, of which `user` is a part."""
        self._users.add(user)

    def asked(self) -> dict[ServerAddress, IceServer]:
        """Those that the engine asks when it gathers now."""
        self.refresh()
        return {address: server for server in self._given if (address := address_of(server.url)) is not None}

    def address_of(self, engine_url: str | None) -> ServerAddress | None:
        """Which server is meant by a URL that the engine tells; `None`: it is no TURN server."""
        address = None if engine_url is None else address_of(engine_url)
        if address is None:
            return None
        return next((real for real, bridge in self._bridges.items() if bridge.is_at(address)), address)

    def shown(self, path: Path) -> Path:
        """`path` with the server's own URL, and its protocol, where the engine knows a bridge."""
        address = self.address_of(path.relay_url)
        if address is None:
            return path
        server = self._pool.server_at(address)
        protocol = "tls" if address in self._bridges and address.transport == "tls" else path.protocol
        return replace(path, relay_url=path.relay_url if server is None else server.url, protocol=protocol)

    def network_changed(self) -> None:
        self._pool.network_changed()

    def closed(self, user: object) -> None:
        """Its carrier is closed; with the last one, so are the bridges' ports."""
        self._users.discard(user)
        if not self._users:
            for bridge in self._bridges.values():
                bridge.close()
            self._bridges.clear()

    def failed(
        self, address: ServerAddress, code: int, why: tuple[str, Trouble], asked: IceServer | None = None
    ) -> None:
        """A server does not serve us, asked with the credentials of `asked` or those of now: the next gathering does
        without it."""
        tell_failure(self._pool.failed(address, code, why, time.monotonic(), asked=asked), self.listener)

    def worked(self, address: ServerAddress) -> None:
        """It has given an allocation."""
        self._pool.worked(address)

    def _bridged(self, server: IceServer) -> IceServer:
        address = address_of(server.url)
        if address is None or address.transport != "tls":
            return server
        bridge = self._bridges.get(address)
        if bridge is None:
            if self._context is None:
                self._context = client_context(None)
            if len(self._bridges) >= MAX_BRIDGES:
                self._bridges.pop(next(iter(self._bridges))).close()
            try:
                bridge = self._bridges[address] = TlsBridge(server, address, self._context, self.failed)
            except OSError as error:
                log_event(log, logging.WARNING, "turn-tls-failed", server=server.url, why=error.strerror)
                return server  # the engine knows some certificates
        return replace(server, url=bridge.engine_url)


def tell_failure(failure: ServerFailure | None, listener: TurnServersListener | None) -> None:
    """What the pool makes of a server that does not serve, to who listens; `None`: nothing."""
    if failure is None or listener is None:
        return
    if failure.is_outdated:
        listener.turn_servers_revived()
    else:
        listener.turn_server_failed(failure)
