"""What a simulated engine does with TURN servers: asks the relay for allocations, and tells who listens how that went.

Which server it asks, and what is news, `perdure.turn.pool` says, as in the real one.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from perdure.transport.turn_servers import tell_failure
from perdure.turn.pool import ServerAddress, ServerPool, explained
from perdure_lab.sim.relay import URL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from perdure.ice_server import IceServer
    from perdure.transport.base import TurnServersListener
    from perdure_lab.sim.machine import Loop
    from perdure_lab.sim.relay import Relay
    from perdure_lab.sim.world import World

ANSWERS_AFTER = 0.06
"""Seconds until the server has refused: it challenges a first request, and judges the second."""

_ADDRESS = ServerAddress("relay.sim", 3478, "udp")
_BAD_REQUEST = 400
"""What strict servers say of credentials that have expired."""


class Allocating(Protocol):
    """A carrier that gathers."""

    is_closed: bool

    def allocation_ended(self) -> None: ...


class RelayClient:
    """One engine's. `relay`: the one that there is."""

    def __init__(self, world: World, loop: Loop, relay: Relay | None) -> None:
        self.listener: TurnServersListener | None = None
        self.pool = ServerPool()
        self.renewals = 0
        """How often other servers were set."""
        self._servers: tuple[IceServer, ...] = ()
        self._world = world
        self._loop = loop
        self._relay = relay

    @property
    def url(self) -> str | None:
        """The relay's, where it was configured."""
        return URL if self._servers else None

    def use(self, servers: Sequence[IceServer]) -> None:
        """From now on."""
        if tuple(servers) != self._servers:
            self.renewals += 1
        self._servers = tuple(servers)
        self.pool = self.pool.with_servers(servers, self._world.now)
        if self.pool.is_revived and self.listener is not None:
            self.listener.turn_servers_revived()

    def begin(self, gather: Callable[[], None]) -> None:
        """Call `gather`, at once or when there are credentials that are worth it."""
        awaited = None if self.listener is None else self.listener.turn_credentials_awaited()
        if awaited is None:
            gather()
        else:
            self._loop.create_task(_after(awaited, gather))

    def allocate(self, carrier: Allocating) -> float:
        """Ask for an allocation; until when it lasts, 0 where there is none."""
        server = next(iter(self.pool.chosen(self._world.now)), None)
        if self._relay is None:
            return 0.0
        if (ends_at := self._relay.allocation_ends_at(server)) is not None:
            self.pool.worked(_ADDRESS)
            if ends_at < math.inf:
                self._world.after(ends_at - self._world.now, carrier.allocation_ended)
            return ends_at
        if server is not None:
            self._loop.call_later(ANSWERS_AFTER, self._refused, carrier, server)
        return 0.0

    def _refused(self, carrier: Allocating, asked: IceServer) -> None:
        why = explained(_BAD_REQUEST, "")
        if not carrier.is_closed:
            tell_failure(self.pool.failed(_ADDRESS, _BAD_REQUEST, why, self._world.now, asked=asked), self.listener)


async def _after(awaited: Awaitable[None], call: Callable[[], None]) -> None:
    await awaited
    call()
