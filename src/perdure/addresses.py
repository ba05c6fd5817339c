"""What an IP address says of the host that packets to it reach. Pure."""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_METADATA = tuple(
    map(
        ipaddress.ip_network,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::/32", "fd20:ce::/32", "fd00:42::42"),
    )
)
"""Metadata services of clouds that are not link-local: Alibaba, Azure, Oracle; AWS, Google, Scaleway."""

_LOCAL_NAT64 = ipaddress.IPv6Network("64:ff9b:1::/48")
"""RFC 8215: where in it the IPv4 address stands is the network's choice, so nobody else can judge it."""

_IPV4_AT_THE_END = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "::ffff:0:0:0/96", "::/96")))
"""NAT64 (RFC 6052 §2.1), SIIT (RFC 2765), IPv4-compatible (RFC 4291)."""


@lru_cache(256)  # each connection asks for its target's, and there are few
def literal(host: str) -> Address | None:
    """The address that `host` is, if it is one; one with a zone is none."""
    try:
        return None if "%" in host else unmapped(ipaddress.ip_address(host))
    except ValueError:
        return None


def unmapped(address: Address) -> Address:
    """`::ffff:192.0.2.1` is 192.0.2.1 (RFC 4291 §2.5.5.2)."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped


def inner_address(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that packets to an IPv6 one are sent on to, where a translator or a tunnel does so."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return None
    if address.teredo is not None:
        return address.teredo[1]
    if address.sixtofour is None and any(address in network for network in _IPV4_AT_THE_END):
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.sixtofour


def peer_may_name(address: Address, *, loopback: bool) -> bool:
    """Whether packets are sent to `address` because a peer names it: as a candidate, or as an ICE server.

    One that a translator or a tunnel sends on to an IPv4 address is judged by both.

    Args:
        loopback: whether loopback and link-local addresses are in reach.
    """
    address = unmapped(address)
    reached = (each for each in (address, inner_address(address)) if each is not None)
    return all(loopback if each.is_loopback or each.is_link_local else not is_special(each) for each in reached)


@lru_cache(256)  # likewise
def is_special(address: Address) -> bool:
    """Whether this is no usual host's address: link-local, a cloud's metadata service, multicast, …"""
    if isinstance(address, ipaddress.IPv4Address):
        is_no_hosts = int(address) >> 24 == 0 or int(address) >> 28 == 15
    else:
        is_no_hosts = address.is_site_local or address in _LOCAL_NAT64
    return (
        is_no_hosts
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or any(address in network for network in _METADATA)
    )


def host_port(host: str, port: int) -> str:
    """As people and URLs write both: `192.0.2.1:80`, `[::1]:80`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
