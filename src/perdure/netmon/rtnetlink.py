"""rtnetlink's messages (rtnetlink(7)): the questions that are asked, and what is used of the answers.

Numbers and layouts are the kernel's, from linux/netlink.h, rtnetlink.h, if.h, if_link.h and if_addr.h, named as there.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

from perdure.netmon.state import Address, Family

if TYPE_CHECKING:
    from collections.abc import Iterator

NLM_F_REQUEST = 0x1
NLM_F_DUMP_INTR = 0x10
"""Something changed while the dump was made: it may have what never was at one time."""
NLM_F_DUMP = 0x300

NLMSG_ERROR = 2
NLMSG_DONE = 3

GROUPS = 0x1 | 0x10 | 0x100 | 0x40 | 0x400 | 0x80 | 0x40000
"""RTMGRP_LINK, _IPV4_IFADDR, _IPV6_IFADDR, _IPV4_ROUTE, _IPV6_ROUTE, _IPV4_RULE, _IPV6_RULE: what changes a `look`."""

RTN_UNICAST = 1
"""A route that leads somewhere, and does not refuse."""


class Kind(IntEnum):
    """What is asked for."""

    RTM_GETLINK = 18
    RTM_GETADDR = 22
    RTM_GETROUTE = 26


class UnreadableMessage(ValueError):
    """A message is not as the kernel makes it."""


@dataclass(frozen=True, slots=True)
class Message:
    kind: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Link:
    index: int
    name: str
    kind: str
    """The kernel's word for how it was made; empty for hardware."""
    is_up: bool
    is_loopback: bool
    may_be_late: bool = False
    """Whether it is switched on and has carrier, and is only not said to run: it is dormant, or the kernel has not
    worked that out yet."""


@dataclass(frozen=True, slots=True)
class NextHop:
    index: int
    """Of the interface; 0 where the route names none."""
    gateway: str | None


@dataclass(frozen=True, slots=True)
class Route:
    kind: int
    """`RTN_UNICAST`, or another number."""
    prefix_length: int
    """Bits of the destination."""
    hop: NextHop
    """The first living one, where it has several."""


_NLMSGHDR = struct.Struct("=IHHII")
"""Length, type, flags, sequence number, the sender's port."""
_IFINFOMSG = struct.Struct("=BxHiII")
"""Family, type, index, flags, change."""
_IFADDRMSG = struct.Struct("=BBBBI")
"""Family, prefix length, flags, scope, index."""
_RTMSG = struct.Struct("=8BI")
"""Family, bits of the destination, bits of the source, TOS, table, protocol, scope, type; flags."""
_RTNEXTHOP = struct.Struct("=HBBi")
"""Length, flags, hops, index."""
_ATTRIBUTE = struct.Struct("=HH")
"""Length, type."""
_U32 = struct.Struct("=I")
_ERRNO = struct.Struct("=i")
"""Negative; 0 where nothing failed."""

_TYPE_MASK = 0x3FFF
"""An attribute's type, without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""

_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_EXT_MASK, _IFLA_INFO_KIND = 3, 18, 29, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_MULTIPATH, _RTA_VIA = 1, 4, 5, 9, 18

_IFF_LOOPBACK = 0x8
_IFF_RUNNING = 0x40
_UP = 0x1 | _IFF_RUNNING | 0x10000
"""IFF_UP, IFF_RUNNING, IFF_LOWER_UP: switched on; not dormant, as a Wi-Fi is before it is authenticated (RFC 2863's
state); and with carrier."""

_IFA_F_TEMPORARY, _IFA_F_OPTIMISTIC, _IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x1, 0x4, 0x8, 0x20, 0x40
_RTNH_F_DEAD, _RTNH_F_LINKDOWN = 0x1, 0x10

_RTEXT_FILTER_SKIP_STATS = 1 << 3
"""Without the counters, which are most of a link's message."""

_RTM_F_FIB_MATCH = 0x2000
"""Answer with the route that matched, not only with where it leads (Linux 4.13)."""

_AF_INET, _AF_INET6 = 2, 10


def all_links() -> bytes:
    """The question for them."""
    body = _IFINFOMSG.pack(0, 0, 0, 0, 0) + _attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))
    return _request(Kind.RTM_GETLINK, NLM_F_DUMP, body)


def one_link(index: int) -> bytes:
    """The question for one of them."""
    body = _IFINFOMSG.pack(0, 0, index, 0, 0) + _attribute(_IFLA_EXT_MASK, _U32.pack(_RTEXT_FILTER_SKIP_STATS))
    return _request(Kind.RTM_GETLINK, 0, body)


def all_addresses() -> bytes:
    """The question for them."""
    return _request(Kind.RTM_GETADDR, NLM_F_DUMP, _IFADDRMSG.pack(0, 0, 0, 0, 0))


def route_to(family: Family, destination: str) -> bytes:
    """The question for the route that the kernel would take to an address of `family`."""
    packed = ipaddress.ip_address(destination).packed
    number = _AF_INET if family is Family.IPV4 else _AF_INET6
    body = _RTMSG.pack(number, 8 * len(packed), 0, 0, 0, 0, 0, 0, _RTM_F_FIB_MATCH) + _attribute(_RTA_DST, packed)
    return _request(Kind.RTM_GETROUTE, 0, body)


def split(datagram: bytes) -> Iterator[Message]:
    """Its messages.

    Raises:
        UnreadableMessage: one ends where it cannot.
    """
    position = 0
    while position < len(datagram):
        length, kind, flags, _, _ = _unpack(_NLMSGHDR, datagram, position)
        if not _NLMSGHDR.size <= length <= len(datagram) - position:
            raise UnreadableMessage(f"a message of {length} bytes in {len(datagram) - position}")
        yield Message(kind, flags, datagram[position + _NLMSGHDR.size : position + length])
        position += _aligned(length)


def error_number(body: bytes) -> int:
    """The errno that an `NLMSG_ERROR` tells, or the `NLMSG_DONE` of a dump; 0: nothing failed.

    Raises:
        UnreadableMessage: it is too short to.
    """
    [number] = _unpack(_ERRNO, body, 0)
    return -number


def read_link(body: bytes) -> Link:
    """What an RTM_NEWLINK tells.

    Raises:
        UnreadableMessage: it is none.
    """
    _, _, index, flags, _ = _unpack(_IFINFOMSG, body, 0)
    attributes = _attributes(body[_IFINFOMSG.size :])
    info = _attributes(attributes.get(_IFLA_LINKINFO, b""))
    return Link(
        index,
        _text(attributes.get(_IFLA_IFNAME, b"")),
        _text(info.get(_IFLA_INFO_KIND, b"")),
        is_up=flags & _UP == _UP,
        is_loopback=bool(flags & _IFF_LOOPBACK),
        may_be_late=flags & _UP == _UP & ~_IFF_RUNNING,
    )


def read_address(body: bytes) -> tuple[int, Address] | None:
    """What an RTM_NEWADDR tells, with the index of its interface; `None`: it is not of IPv4 or IPv6 (of a modem's
    Phonet, or of MCTP, whose addresses have one byte).

    Raises:
        UnreadableMessage: it is none.
    """
    family, _, flags, _, index = _unpack(_IFADDRMSG, body, 0)
    if family not in (_AF_INET, _AF_INET6):
        return None
    attributes = _attributes(body[_IFADDRMSG.size :])
    if _IFA_FLAGS in attributes:  # the header has room for eight of them
        [flags] = _unpack(_U32, attributes[_IFA_FLAGS], 0)
    # On a point-to-point link IFA_ADDRESS is the other end's.
    ip = _address(attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS, b""))
    is_unproven = bool(flags & _IFA_F_TENTATIVE) and not flags & _IFA_F_OPTIMISTIC
    return index, Address(
        ip,
        is_tentative=is_unproven or bool(flags & _IFA_F_DADFAILED),
        is_deprecated=bool(flags & _IFA_F_DEPRECATED),
        # For IPv4 the same bit means "secondary".
        is_temporary=family == _AF_INET6 and bool(flags & _IFA_F_TEMPORARY),
    )


def read_route(body: bytes) -> Route:
    """What an RTM_NEWROUTE tells.

    Raises:
        UnreadableMessage: it is none.
    """
    _, prefix_length, _, _, _, _, _, kind, _ = _unpack(_RTMSG, body, 0)
    attributes = _attributes(body[_RTMSG.size :])
    if _RTA_MULTIPATH in attributes:
        return Route(kind, prefix_length, _first_living_hop(attributes[_RTA_MULTIPATH]))
    [index] = _unpack(_U32, attributes.get(_RTA_OIF, bytes(4)), 0)
    return Route(kind, prefix_length, NextHop(index, _gateway(attributes)))


def _first_living_hop(data: bytes) -> NextHop:
    """The first at all, where none lives."""
    hops: list[tuple[bool, NextHop]] = []
    while data:
        length, flags, _, index = _unpack(_RTNEXTHOP, data, 0)
        if not _RTNEXTHOP.size <= length <= len(data):
            raise UnreadableMessage(f"a next hop of {length} bytes in {len(data)}")
        is_dead = bool(flags & (_RTNH_F_DEAD | _RTNH_F_LINKDOWN))
        hops.append((is_dead, NextHop(index, _gateway(_attributes(data[_RTNEXTHOP.size : length])))))
        data = data[_aligned(length) :]
    if not hops:
        raise UnreadableMessage("a route of several next hops without any")
    return min(hops, key=lambda hop: hop[0])[1]


def _gateway(attributes: dict[int, bytes]) -> str | None:
    if gateway := attributes.get(_RTA_GATEWAY):
        return _address(gateway)
    if via := attributes.get(_RTA_VIA):  # of the other family (RFC 5549), which its first two bytes tell
        return _address(via[2:])
    return None


def _request(kind: Kind, flags: int, body: bytes) -> bytes:
    return _NLMSGHDR.pack(_NLMSGHDR.size + len(body), kind, NLM_F_REQUEST | flags, 0, 0) + body


def _attribute(kind: int, value: bytes) -> bytes:
    padding = bytes(_aligned(len(value)) - len(value))
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind) + value + padding


def _attributes(data: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    position = 0
    while position < len(data):
        length, kind = _unpack(_ATTRIBUTE, data, position)
        if not _ATTRIBUTE.size <= length <= len(data) - position:
            raise UnreadableMessage(f"an attribute of {length} bytes in {len(data) - position}")
        found[kind & _TYPE_MASK] = data[position + _ATTRIBUTE.size : position + length]
        position += _aligned(length)
    return found


def _unpack(layout: struct.Struct, data: bytes, position: int) -> tuple[int, ...]:
    try:
        return layout.unpack_from(data, position)
    except struct.error as error:
        raise UnreadableMessage(f"{layout.size} bytes are wanted of {len(data) - position}") from error


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _address(packed: bytes) -> str:
    try:
        return str(ipaddress.ip_address(packed))
    except ValueError as error:
        raise UnreadableMessage(f"an address of {len(packed)} bytes") from error


def _text(value: bytes) -> str:
    """The kernel takes any bytes for a name."""
    return value.rstrip(b"\0").decode(errors="replace")
