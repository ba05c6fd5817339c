"""Which of a peer's ICE candidates the engine is given: what ICE sends to is named by the peer. Pure.

1. UDP, unless TCP is asked for: a TCP candidate makes the engine open a connection to any address and port.
2. Literal addresses, and names as browsers give them to their own (`mdns`): 36 hexadecimal digits and dashes, then
   `.local`. Any other name would be looked up wherever the peer wants. At most `MAX_NAMES` for one carrier.
3. No loopback and no link-local address, unless the tube may use this machine's loopback; never another special one
   (`addresses.peer_may_name`). An IPv6 address that a translator sends on to an IPv4 one is judged by both.
4. At most `MAX_ADDRESSES` addresses and `MAX_ENDPOINTS` pairs of address and port for one carrier.
"""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from perdure.addresses import peer_may_name, unmapped

if TYPE_CHECKING:
    from perdure.addresses import Address

MAX_ADDRESSES = 32
"""A machine with ten interfaces has 20, and a few more behind NATs and at TURN servers."""

MAX_NAMES = 16
"""Names for one carrier: a browser has one for each of its machine's addresses. Each is asked for on this network."""

MAX_ENDPOINTS = 128
"""An ICE restart, of which a carrier may have eight, brings new ports."""

MAX_CANDIDATE_CHARACTERS = 512
"""libwebrtc's own have 150."""

_CANDIDATE = re.compile(
    r"(?:a=)?candidate:(?P<foundation>[A-Za-z0-9+/]{1,32}) (?P<component>\d{1,3}) (?P<protocol>[A-Za-z]{1,8}) "
    r"(?P<priority>\d{1,10}) (?P<address>[0-9A-Za-z.:-]{1,253}) (?P<port>\d{1,5}) typ (?P<kind>[a-z]{1,8})"
    r"(?: +[\x21-\x7e]+)* *",
    re.ASCII,
)
"""RFC 8839 §5.1."""

_LOCAL_NAME = re.compile(r"[0-9a-f-]{36}\.local", re.ASCII | re.IGNORECASE)
"""draft-ietf-mmusic-mdns-ice-candidates §3.1.1: a random UUID."""


class Reach:
    """What one carrier may be told of its peer's candidates.

    Args:
        loopback: whether loopback and link-local addresses are in reach.
        tcp: whether TCP candidates are.
    """

    def __init__(self, *, loopback: bool, tcp: bool) -> None:
        self._loopback = loopback
        self._tcp = tcp
        self._endpoints: set[tuple[str, str]] = set()
        self._names: set[str] = set()

    def refusal(self, candidate: str) -> str | None:
        """Why the engine is not to have `candidate`; `None` where it may, which then counts.

        One with a `local_name` is judged once more when its address is known (`with_address`).
        """
        found = _CANDIDATE.fullmatch(candidate) if len(candidate) <= MAX_CANDIDATE_CHARACTERS else None
        if found is None:
            return "it is no candidate"
        if not self.takes_protocol(found["protocol"]):
            return "it is not for UDP"
        port = int(found["port"])
        if not 0 < port < 65536:
            return "it has no port"
        if _LOCAL_NAME.fullmatch(found["address"]):
            return self._count_name(found["address"].lower())
        try:
            address = unmapped(ipaddress.ip_address(found["address"]))
        except ValueError:
            return "it names no literal address"
        if not peer_may_name(address, loopback=self._loopback):
            return "its address is loopback, link-local, or no usual host's"
        return self._count(str(address), found["port"])

    def takes_protocol(self, protocol: str) -> bool:
        """Whether candidates of this protocol are in use, this end's too."""
        return protocol.lower() == "udp" or (self._tcp and protocol.lower() == "tcp")

    def _count(self, address: str, port: str) -> str | None:
        endpoints = {*self._endpoints, (address, port)}
        if len(endpoints) > MAX_ENDPOINTS or len({host for host, _ in endpoints}) > MAX_ADDRESSES:
            return f"the peer named {MAX_ADDRESSES} addresses or {MAX_ENDPOINTS} ports before"
        self._endpoints = endpoints
        return None

    def _count_name(self, name: str) -> str | None:
        if name not in self._names and len(self._names) >= MAX_NAMES:
            return f"the peer named {MAX_NAMES} names before"
        self._names.add(name)
        return None


def local_name(candidate: str) -> str | None:
    """The `.local` name that stands in the address's place, in lower case; `None`: there is none."""
    found = _CANDIDATE.fullmatch(candidate)
    if found is None or _LOCAL_NAME.fullmatch(found["address"]) is None:
        return None
    return found["address"].lower()


def with_address(candidate: str, address: Address) -> str:
    """`candidate` with `address` in its name's place."""
    fields = candidate.split(" ")
    fields[4] = str(address)
    return " ".join(fields)


def protocol_of(candidate: str) -> str:
    """`udp`, `tcp`, or what else the candidate names."""
    return candidate.split(" ", 3)[2].lower() if candidate.count(" ") >= 3 else ""
