"""What a carrier reads in ICE candidates (RFC 8839 §5.1). Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, NamedTuple

from perdure.transport.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterable

_HIDDEN = ("0.0.0.0", "::")
"""The base's address where a relay-only policy keeps it back."""


def base_address(used: str, gathered: Iterable[str]) -> str | None:
    """The machine's own address that `used`, one of this end's candidates, sends from; `None` where it is not told.

    Args:
        used: the candidate-attribute of the selected pair's local candidate.
        gathered: those of this end's candidates. A relayed one names its TURN server's address and the one that the
            server saw; which of the machine's it is, is told by the host candidate of the same network.
    """
    candidate = _parse(used)
    match candidate.kind:
        case "host":
            return candidate.address
        case "srflx" | "prflx" if candidate.related not in _HIDDEN:
            return candidate.related
    for host in map(_parse, gathered):
        if host.kind == "host" and host.network is not None and host.found_by == candidate.found_by:
            return host.address
    return None


def host_endpoint(attribute: str) -> Endpoint | None:
    """Where the UDP socket of a host candidate of this end is bound; `None`: it is another candidate."""
    candidate = _parse(attribute)
    if candidate.kind != "host" or candidate.protocol != "udp" or not candidate.port.isdecimal():
        return None
    try:
        address = ipaddress.ip_address(candidate.address)
    except ValueError:  # a `.local` name
        return None
    return Endpoint(str(address), int(candidate.port))


class _Candidate(NamedTuple):
    kind: str
    protocol: str
    address: str
    port: str
    related: str | None
    network: str | None
    ufrag: str | None

    @property
    def found_by(self) -> tuple[str | None, str | None]:
        """Which network, in which gathering: after an ICE restart a network may have another address."""
        return self.network, self.ufrag


def _parse(attribute: str) -> _Candidate:
    """Six fields have their places; names and values follow."""
    fields = attribute.split()
    named = dict(zip(fields[6::2], fields[7::2], strict=False))
    protocol, address, port = (fields[2].lower(), *fields[4:6]) if len(fields) > 5 else ("", "", "")
    return _Candidate(
        named.get("typ", ""), protocol, address, port, named.get("raddr"), named.get("network-id"), named.get("ufrag")
    )
