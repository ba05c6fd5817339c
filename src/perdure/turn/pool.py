"""Which of the known TURN servers the engine is given, and which are left out for a while. Pure.

1. The engine allocates at every server that it is given, at each ICE restart: `MOST_GIVEN` at most.
2. One for each way to get there first (UDP, TCP, TLS: the first is quickest, the last passes most firewalls), then on
   different hosts, then in the order of the list.
3. A server that refuses or does not answer is left out for `LEFT_OUT_INTERVAL`, until its credentials are others where
   these were refused, or until the network has changed where it was out of reach. Where all are left out, none is.
4. Each failure is told once for a server and code, and again after the server worked: that other credentials are
   refused too is no news. That it is silent or out of reach is told where nothing else was.
5. Where no server serves, and one that refused gets other credentials, what seeks a path has to begin anew. The same
   where a server refuses after its credentials are others. Not so where such a server has refused others, too, that
   were no older than `FRESH_INTERVAL`: its secret or clock is another one. The next attempt asks by the next ones.

STUN servers allocate nothing and are always given.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from perdure.turn.schedule import SOUGHT_INTERVAL

if TYPE_CHECKING:
    from perdure.ice_server import IceServer

MOST_GIVEN = 3
"""TURN servers: one over UDP, TCP and TLS each, or three hosts."""

LEFT_OUT_INTERVAL = 60.0
"""Seconds. A server that is being restarted is back by then; one that is gone costs the engine 40 s of sending each
time that it is tried (measured), beside the others."""

FRESH_INTERVAL = SOUGHT_INTERVAL
"""Seconds. Credentials that are refused within it have not grown old."""

NO_ANSWER_TIMEOUT = 3.0
"""Seconds after which a server that said nothing counts as one that does not answer. Three round trips of a bad path;
libwebrtc alone tells it after 39.8 s (measured)."""

UNREACHABLE = 701
"""W3C's code for a server that could not be reached (RTCPeerConnectionIceErrorEvent.errorCode)."""

_VAGUE = (0, UNREACHABLE)
"""No news where anything was told before: of a certificate that is not trusted the engine says 701."""

_URL = re.compile(
    r"(turns?):(?:\[([^]]+)\]|([^:?\[\]]+))(?::(\d+))?(?:\?transport=(udp|tcp))?", re.ASCII | re.IGNORECASE
)

_RANKS = {"udp": 0, "tcp": 1, "tls": 2}

_DEFAULT_PORTS = {"turn": 3478, "turns": 5349}
"""RFC 7065 §3.1."""


class ServerAddress(NamedTuple):
    """Where a TURN server is, however its URL is written."""

    host: str
    port: int
    transport: str
    """`udp`, `tcp` or `tls`."""


def address_of(url: str) -> ServerAddress | None:
    """`None`: it is no TURN server's."""
    found = _URL.fullmatch(url)
    if found is None:
        return None
    scheme, ipv6, host, port, transport = found.groups()
    transport = "tls" if scheme.lower() == "turns" else (transport or "udp").lower()
    return ServerAddress((ipv6 or host).lower(), int(port or _DEFAULT_PORTS[scheme.lower()]), transport)


class Trouble(Enum):
    """What is wrong with a server, as far as it says when to try it again."""

    CREDENTIALS = "credentials"
    """It refuses them; others may work."""
    QUOTA = "quota"
    """This user has as many allocations as it may; another user may have some."""
    REACH = "reach"
    """It cannot be reached from here; from another network it may."""
    OTHER = "other"


_REFUSALS = (Trouble.CREDENTIALS, Trouble.QUOTA)


@dataclass(frozen=True, slots=True)
class ServerFailure:
    """A TURN server does not serve us."""

    url: str
    """As it was configured."""
    code: int
    """STUN's (RFC 8656 §19), 701 where it cannot be reached; 0: it said nothing."""
    reason: str
    """What is wrong, for a person."""
    trouble: Trouble
    username: str | None
    is_news: bool = True
    """Whether it has not been told before."""
    is_outdated: bool = False
    """Whether the server refused credentials that are not in use any more: it may take those that are."""

    @property
    def is_refusal(self) -> bool:
        """Whether other credentials may help."""
        return self.trouble in _REFUSALS

    def sentence(self, expired_for: float | None) -> str:
        """
        Args:
            expired_for: seconds since the credentials expired, where they have.
        """
        says_expired = self.trouble is Trouble.CREDENTIALS and expired_for is not None and expired_for > 0
        return f"{self.url} {self.reason}" + (f": they expired {expired_for:.0f} s ago" if says_expired else "")


def explained(code: int, text: str) -> tuple[str, Trouble]:
    """What an error of the engine's (`RTCPeerConnectionIceErrorEvent`) says of its server."""
    match code:
        case 400 | 401 | 403 | 438 | 441:
            return f"refuses the credentials ({code})", Trouble.CREDENTIALS
        case 486:
            return "has no room for this user: quota reached (486)", Trouble.QUOTA
        case 508:
            return "has no room: capacity reached (508)", Trouble.OTHER
        case 701 if "lookup" in text:
            return "cannot be found: its name has no address", Trouble.REACH
        case 701:
            return "cannot be reached (701)", Trouble.REACH
        case _:
            return f"failed ({code})", Trouble.OTHER


NO_ANSWER = f"gives no answer in {NO_ANSWER_TIMEOUT:.0f} s", Trouble.REACH


@dataclass(slots=True)
class _Known:
    """A TURN server."""

    server: IceServer
    since: float = -math.inf
    """When its credentials came."""
    failure: ServerFailure | None = None
    """Of the last time that it was asked."""
    follows_refusal: bool = False
    """Whether it refused the credentials before these."""
    refuses_all: bool = False
    """Whether it refused these as well, when they had just come."""
    has_served: bool = False
    """Whether it gave an allocation that time."""
    left_out_until: float = 0.0
    told: set[int] = field(default_factory=set)
    """The codes of the failures that were told."""
    refused_before: bool = False
    """Whether it is told that the server refused earlier credentials after these had come."""


class ServerPool:
    """The ICE servers of a transport."""

    def __init__(self, servers: Iterable[IceServer] = ()) -> None:
        self.is_revived = False
        """Whether what seeks a path by the servers of the pool before has to begin anew."""
        self._servers = tuple(servers)
        self._known: dict[ServerAddress, _Known] = {}
        for server in self._servers:
            if (address := address_of(server.url)) is not None:
                self._known.setdefault(address, _Known(server))

    def with_servers(self, servers: Iterable[IceServer], now: float) -> ServerPool:
        """A pool of `servers`, which remembers what is known of those that are in this one too."""
        renewed = ServerPool(servers)
        serves = any(known.has_served for known in self._known.values())
        for address, new in renewed._known.items():
            new.since = now
            if (old := self._known.get(address)) is None:
                continue
            new.failure, new.has_served, new.told = old.failure, old.has_served, set(old.told)
            if old.server == new.server:
                new.since, new.follows_refusal, new.refuses_all = old.since, old.follows_refusal, old.refuses_all
            elif old.failure is not None and old.failure.is_refusal:
                new.follows_refusal = True
                renewed.is_revived = renewed.is_revived or not (serves or old.refuses_all)
                continue
            new.left_out_until = old.left_out_until
        return renewed

    @property
    def failures(self) -> tuple[ServerFailure, ...]:
        """Of the servers that did not serve when they were asked last."""
        return tuple(known.failure for known in self._known.values() if known.failure is not None)

    def chosen(self, now: float) -> tuple[IceServer, ...]:
        """What the engine is given: each TURN server once, with the first credentials that stand in the list."""
        in_use = [address for address, known in self._known.items() if known.left_out_until <= now]
        best = _best(in_use or list(self._known))
        stun = [server for server in self._servers if address_of(server.url) is None]
        return (*stun, *(known.server for address, known in self._known.items() if address in best))

    def server_at(self, address: ServerAddress) -> IceServer | None:
        known = self._known.get(address)
        return None if known is None else known.server

    def worked(self, address: ServerAddress) -> None:
        """It has given an allocation."""
        if (known := self._known.get(address)) is not None:
            known.failure, known.has_served, known.left_out_until = None, True, 0.0
            known.follows_refusal = known.refuses_all = False
            known.told.clear()

    def failed(
        self,
        address: ServerAddress,
        code: int,
        why: tuple[str, Trouble],
        now: float,
        *,
        asked: IceServer | None = None,
    ) -> ServerFailure | None:
        """It has not. `None`: it is none of these, or that it refused earlier credentials is known: each of a machine's
        addresses is refused.

        Args:
            asked: the server with the credentials that it was asked with; `None`: those of now.
        """
        known = self._known.get(address)
        if known is None:
            return None
        (reason, trouble), used = why, asked or known.server
        if trouble in _REFUSALS and used != known.server:
            if known.refused_before:
                return None
            known.refused_before = True
            url = known.server.url
            return ServerFailure(url, code, reason, trouble, used.username, is_news=False, is_outdated=True)
        is_news = code not in known.told and not (known.told and code in _VAGUE)
        failure = ServerFailure(known.server.url, code, reason, trouble, used.username, is_news)
        known.refuses_all = failure.is_refusal and known.follows_refusal and now < known.since + FRESH_INTERVAL
        known.failure, known.has_served, known.left_out_until = failure, False, now + LEFT_OUT_INTERVAL
        known.told.add(code)
        return failure

    def network_changed(self) -> None:
        """What was out of reach may be in reach."""
        for known in self._known.values():
            if known.failure is not None and known.failure.trouble is Trouble.REACH:
                known.failure, known.left_out_until = None, 0.0


def _best(addresses: list[ServerAddress]) -> list[ServerAddress]:
    chosen: list[ServerAddress] = []
    while addresses and len(chosen) < MOST_GIVEN:
        transports, hosts = {each.transport for each in chosen}, {each.host for each in chosen}
        best = min(
            addresses,
            key=lambda each: (each.transport in transports, each.host in hosts, _RANKS[each.transport]),
        )
        addresses = [each for each in addresses if each != best]
        chosen.append(best)
    return chosen
