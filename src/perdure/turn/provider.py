"""The seam between a tunnel and whoever issues its TURN credentials."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from perdure.ice_server import IceServer, parse_ice_server


@dataclass(frozen=True, slots=True)
class IssuedIceServers:
    """ICE servers with credentials, and how long these last.

    Raises:
        TypeError, ValueError: a server is no `IceServer`, or the lifetime is not above 0.
    """

    servers: tuple[IceServer, ...]
    lifetime: float | None = None
    """Seconds, from when they were asked for; `None`: not known."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "servers", tuple(self.servers))
        for server in self.servers:
            if not isinstance(server, IceServer):
                raise TypeError(f"an ICE server is an IceServer(url, …), not {type(server).__name__}")
        if self.lifetime is not None and not 0 < self.lifetime < math.inf:
            raise ValueError(f"credentials last for some seconds, not {self.lifetime!r}")


class IceServerProvider(Protocol):
    """Issues ICE servers with credentials that expire."""

    async def ice_servers(self) -> IssuedIceServers:
        """New ones. It is asked again before they expire, by one call at a time, and cancelled where it takes long.

        Raises:
            PerdureError, OSError: there are none now. The text is logged and told to the application: it says why, and
                holds no secret. Of any other exception only the type is told.
        """


class FixedIceServers:
    """Always the same servers, as `stun:HOST:PORT`, `turn:USER:PASSWORD@HOST:PORT` or `IceServer`.

    Raises:
        ValueError: one is no ICE server.
    """

    def __init__(self, servers: Iterable[IceServer | str]) -> None:
        self._issued = IssuedIceServers(
            tuple(parse_ice_server(each) if isinstance(each, str) else each for each in servers)
        )

    async def ice_servers(self) -> IssuedIceServers:
        return self._issued
