"""A TURN server of the simulation, and whoever issues its credentials.

1. It refuses an allocation to credentials that have expired.
2. Where it is strict, it checks each request: an allocation ends with its credentials. Where it is lenient, as coturn,
   the allocation lives as long as its carrier.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.errors import PerdureError
from perdure.ice_server import IceServer
from perdure.turn.provider import IssuedIceServers

if TYPE_CHECKING:
    from perdure_lab.sim.world import World

URL = "turn:relay.sim"

ISSUES_AFTER = 0.05
"""Seconds that a provider takes: an HTTPS request."""


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a relay serves.

    Attributes:
        lifetime: seconds, of credentials; `None`: it serves anybody.
        is_strict: whether an allocation ends with its credentials.
    """

    lifetime: float | None = None
    is_strict: bool = False

    def __str__(self) -> str:
        if self.lifetime is None:
            return "a relay for anybody"
        return f"a {'strict' if self.is_strict else 'lenient'} relay, whose credentials last {self.lifetime:g} s"


class Relay:
    """Also a provider (`perdure.IceServerProvider`) of its credentials."""

    def __init__(self, world: World, terms: Terms) -> None:
        self.terms = terms
        self.issues = True
        """Whether there are new credentials now."""
        self._world = world
        self._expiries: dict[str, float] = {}

    async def ice_servers(self) -> IssuedIceServers:
        await asyncio.sleep(ISSUES_AFTER)
        lifetime = self.terms.lifetime
        if lifetime is None or not self.issues:
            raise PerdureError("no credentials are issued")
        user = f"user {self._world.serial()}"
        self._expiries[user] = self._world.now + lifetime
        return IssuedIceServers((IceServer(URL, user, "password"),), lifetime)

    def allocation_ends_at(self, server: IceServer | None) -> float | None:
        """When an allocation would end that is asked for now; `None`: the relay refuses."""
        if self.terms.lifetime is None:
            return math.inf
        expires_at = self._expiries.get((server.username or "") if server is not None else "", 0.0)
        if self._world.now >= expires_at:
            return None
        return expires_at if self.terms.is_strict else math.inf
