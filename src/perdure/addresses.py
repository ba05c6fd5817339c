"""What an IP address says of where packets to it come to. Pure."""

from __future__ import annotations

import ipaddress
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

METADATA = tuple(map(ipaddress.ip_address, ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254")))
"""Metadata services at addresses that are not link-local: Alibaba, Azure's wire server, Oracle, AWS."""

_EMBEDDING = tuple(map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))
"""NAT64 (RFC 6052 §2.1, RFC 8215), SIIT (RFC 2765), IPv4-compatible (RFC 4291): ends with an IPv4 address."""


def literal(host: str) -> Address | None:
    """The address that `host` is, if it is one; one with a zone is none."""
    try:
        return None if "%" in host else ipaddress.ip_address(host)
    except ValueError:
        return None


def reached_address(address: Address) -> Address:
    """Where packets to `address` come to: the IPv4 address within it, if there is one."""
    if isinstance(address, ipaddress.IPv4Address) or address.is_loopback or address.is_unspecified:
        return address
    embedded = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
    if embedded is None and any(address in network for network in _EMBEDDING):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address if embedded is None else embedded


def is_special(address: Address) -> bool:
    """Whether only an entry that names `address` itself allows it."""
    return (
        address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in METADATA
        or (isinstance(address, ipaddress.IPv4Address) and (int(address) >> 24 == 0 or int(address) >> 28 == 15))
    )
