"""A gateway's ICE servers as its clients are told them, and back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.ice_server import IceServer
from perdure.signaling.channel import check_sendable
from perdure.signaling.messages import MAX_ICE_SERVERS, IceServers, RTCIceServer

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SHOWN = 60
"""Characters of a wrong server's URL that an error repeats: a sensible one is shorter."""


def for_clients(servers: Sequence[IceServer]) -> tuple[RTCIceServer, ...]:
    """What the clients of a gateway that uses `servers` are told.

    Raises:
        ValueError: a client would not read it. The message names the server, without its password.
    """
    if len(servers) > MAX_ICE_SERVERS:
        raise ValueError(f"a gateway tells its clients {MAX_ICE_SERVERS} ICE servers at most, not {len(servers)}")
    told = tuple(RTCIceServer(each.url, each.username or "", each.credential or "") for each in servers)
    for each in told:
        try:
            check_sendable(IceServers((each,)))
        except ValueError as error:
            raise ValueError(f"clients cannot be told the ICE server {each.urls[:MAX_SHOWN]!r}: {error}") from None
    try:
        check_sendable(IceServers(told))
    except ValueError as error:
        raise ValueError(f"clients cannot be told these ICE servers together: {error}") from None
    return told


def of_gateway(servers: Iterable[RTCIceServer]) -> tuple[IceServer, ...]:
    """Those that a gateway has told.

    Raises:
        ValueError: one is no ICE server.
    """
    return tuple(IceServer(each.urls, each.username or None, each.credential or None) for each in servers)
