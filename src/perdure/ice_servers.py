"""A gateway's ICE servers as its clients are told them, and back. Pure.

Which host a client asks is then the gateway's word. So of those that a gateway names, a client takes none

1. at an address that a candidate could not have either (`addresses.peer_may_name`): loopback and link-local unless
   the client may use its machine's loopback, and no other special one;
2. at `localhost`, or a name below it, which is loopback everywhere (RFC 6761 §6.3), unless likewise;
3. at a text that only some systems read as an address: `127.1`, `2130706433`, `0x7f000001`.

Other names are not judged: the engine looks them up.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from perdure.addresses import peer_may_name
from perdure.ice_server import IceServer, host_of
from perdure.signaling.channel import check_sendable
from perdure.signaling.messages import MAX_ICE_SERVERS, IceServers, RTCIceServer

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_SHOWN = 60
"""Characters of a wrong server's URL that an error repeats: a sensible one is shorter."""

_NUMBER_AT_THE_END = re.compile(r"(?:.*\.)?(?:\d+|0x[0-9a-f]*)\.?", re.ASCII | re.IGNORECASE)
"""`inet_aton` reads such a host as an IPv4 address, and no domain name ends so (RFC 3696 §2)."""

_LOCALHOST = re.compile(r"(?:.*\.)?localhost\.?", re.IGNORECASE)


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


def out_of_reach(server: IceServer, *, loopback: bool) -> str | None:
    """Why a client does not ask `server` on its gateway's word; `None`: it does.

    Args:
        loopback: whether the client may use its machine's loopback and link-local addresses.
    """
    host = host_of(server)
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if _NUMBER_AT_THE_END.fullmatch(host):
            return "its host is a number, which only some systems read as an address"
        is_loopbacks = _LOCALHOST.fullmatch(host) is not None
        return "its host is this machine" if is_loopbacks and not loopback else None
    if not peer_may_name(address, loopback=loopback):
        return "its address is loopback, link-local, or no usual host's"
    return None
