"""The network of a Linux machine, from rtnetlink (rtnetlink(7)).

1. A hint is any message of the kernel's groups; what it says is not read. A buffer that overran is a hint like any
   other.
2. A look asks for all links and addresses, and per family for the route to an address on the internet: the kernel's own
   choice, with its rules, metrics and dead next hops, and as fast where a table holds a million routes.
3. A message that the look before has seen is not decoded again: of 200 interfaces the kernel tells in 2 ms, decoding
   takes 40.

Importing this imports pyroute2, which takes more than 0.1 s.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from pyroute2.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NLMSG_DONE, NLMSG_ERROR, nla, nlmsg
from pyroute2.netlink.rtnl import (
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTMGRP_IPV4_IFADDR,
    RTMGRP_IPV4_ROUTE,
    RTMGRP_IPV4_RULE,
    RTMGRP_IPV6_IFADDR,
    RTMGRP_IPV6_ROUTE,
    RTMGRP_IPV6_RULE,
    RTMGRP_LINK,
    rtypes,
)
from pyroute2.netlink.rtnl.ifaddrmsg import (
    IFA_F_DADFAILED,
    IFA_F_DEPRECATED,
    IFA_F_OPTIMISTIC,
    IFA_F_TEMPORARY,
    IFA_F_TENTATIVE,
    ifaddrmsg,
)
from pyroute2.netlink.rtnl.ifinfmsg import IFF_LOOPBACK, IFF_LOWER_UP, IFF_RUNNING, IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import RTNH_F_DEAD, RTNH_F_LINKDOWN, rtmsg

from perdure.netmon.state import Address, DefaultRoute, Family, Interface, Snapshot, canonical

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ON_THE_INTERNET = {
    Family.IPV4: ("192.0.2.1", "198.51.100.1", "203.0.113.1"),
    Family.IPV6: ("2001:db8::1", "3fff::1"),
}
"""Addresses of documentation (RFC 5737, 3849, 9637), to which a default route leads; some, in case that a test
network uses one."""

LONGEST_DEFAULT_PREFIX = 3
"""Bits. `0.0.0.0/1` with `128.0.0.0/1` (many VPNs) and `2000::/3` are default routes in all but name."""

GROUPS = (
    RTMGRP_LINK
    | RTMGRP_IPV4_IFADDR
    | RTMGRP_IPV6_IFADDR
    | RTMGRP_IPV4_ROUTE
    | RTMGRP_IPV6_ROUTE
    | RTMGRP_IPV4_RULE
    | RTMGRP_IPV6_RULE
)

ANSWER_TIMEOUT = 1.0
"""Seconds. The kernel answers while it is asked; only a broken sandbox does not."""

_RECEIVE_BYTES = 65536
"""More than any datagram of a dump: the kernel fills 32 KiB."""

_MAX_DRAINED = 256
"""Messages read at one go, so that a storm of them does not hold up the loop; the rest comes with the
loop's next turn."""

_MAX_DUMPS = 3
"""Times that a dump is begun which changes interrupted; then it is taken as it is, as another hint is already there."""

_SKIP_STATISTICS = 1 << 3
"""RTEXT_FILTER_SKIP_STATS, linux/rtnetlink.h: counters would make every message a new one."""

_FIB_MATCH = 0x2000
"""RTM_F_FIB_MATCH, linux/rtnetlink.h (4.13): answer with the route that matched, not only with where it leads."""

_HEADER = struct.Struct("=IHHI")
"""The begin of nlmsghdr: length, type, flags, sequence number; the sender's port follows."""

_HEADER_BYTES = 16

_UNICAST = rtypes["RTN_UNICAST"]

T = TypeVar("T")


class NetlinkSource:
    """rtnetlink of the network namespace that the calling thread is in."""

    name = "netlink"

    def __init__(self, *, receive_buffer_bytes: int | None = None) -> None:
        self._receive_buffer_bytes = receive_buffer_bytes
        self._watched: tuple[asyncio.AbstractEventLoop, socket.socket] | None = None
        self._links = _Decoder(_link)
        self._addresses = _Decoder(_address)

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        """See `source.Source.watch`."""
        watched = _open(GROUPS)
        if self._receive_buffer_bytes is not None:
            watched.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer_bytes)
        watched.setblocking(False)
        loop = asyncio.get_running_loop()
        loop.add_reader(watched, self._readable, watched, hint, failed)
        self._watched = loop, watched

    def look(self) -> Snapshot:
        """See `source.Source.look`."""
        with _open(0) as asked:
            asked.settimeout(ANSWER_TIMEOUT)
            links = self._links.decode(_dump(asked, _request(ifinfmsg(), RTM_GETLINK, IFLA_EXT_MASK=_SKIP_STATISTICS)))
            addresses = self._addresses.decode(_dump(asked, _request(ifaddrmsg(), RTM_GETADDR)))
            names = {link.index: link.name for link in links}
            defaults = [route for family in Family if (route := _default_route(asked, family, names))]
        of_link: dict[int, list[Address]] = {}
        for index, address in addresses:
            of_link.setdefault(index, []).append(address)
        return Snapshot(tuple(link.interface(of_link.get(link.index, ())) for link in links), tuple(defaults))

    def close(self) -> None:
        """See `source.Source.close`."""
        if self._watched is not None:
            loop, watched = self._watched
            loop.remove_reader(watched)
            watched.close()
            self._watched = None

    def _readable(self, watched: socket.socket, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        try:
            for _ in range(_MAX_DRAINED):
                try:
                    watched.recv(1)  # a datagram; the rest of it is thrown away unread
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:  # more happened than the buffer holds
                        raise
        except OSError as error:
            self.close()
            failed(error)
        else:
            hint()


@dataclass(frozen=True, slots=True)
class _Link:
    index: int
    name: str
    kind: str
    flags: int

    def interface(self, addresses: Iterable[Address]) -> Interface:
        return Interface(
            self.name,
            is_up=self.flags & _UP == _UP,
            addresses=frozenset(addresses),
            kind=self.kind,
            is_loopback=bool(self.flags & IFF_LOOPBACK),
        )


_UP = IFF_UP | IFF_LOWER_UP | IFF_RUNNING
"""Switched on; with carrier; and not dormant, as a Wi-Fi is before it is authenticated (RFC 2863's state)."""


class _Decoder(Generic[T]):
    """Decodes messages, and remembers those of the last time."""

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self._decode = decode
        self._decoded: dict[bytes, T] = {}

    def decode(self, messages: Iterable[bytes]) -> list[T]:
        known, self._decoded = self._decoded, {}
        for message in messages:
            body = message[_HEADER_BYTES:]  # the header differs each time
            self._decoded[body] = known[body] if body in known else self._decode(message)
        return list(self._decoded.values())


class _LinkMessage(nlmsg):  # type: ignore[misc]  # pyroute2 has no types
    """`ifinfmsg` with the two attributes of its 60 that are used, which decodes twice as fast."""

    fields = ifinfmsg.fields
    nla_map = ((3, "IFLA_IFNAME", "asciiz"), (18, "IFLA_LINKINFO", "linkinfo"))

    class linkinfo(nla):  # type: ignore[misc]  # pyroute2 finds it by this name
        nla_map = ((1, "IFLA_INFO_KIND", "asciiz"),)


def _link(message: bytes) -> _Link:
    link = _LinkMessage(message)
    link.decode()
    info = link.get_attr("IFLA_LINKINFO")
    kind = info.get_attr("IFLA_INFO_KIND") if info else None
    name = link.get_attr("IFLA_IFNAME")
    if isinstance(name, bytes):  # pyroute2 gives what is not UTF-8 as it is; the kernel takes any bytes
        name = name.decode(errors="replace")
    return _Link(link["index"], name, kind or "", link["flags"])


def _address(message: bytes) -> tuple[int, Address]:
    """Also the index of its interface."""
    decoded = ifaddrmsg(message)
    decoded.decode()
    flags = decoded.get_attr("IFA_FLAGS") or decoded["flags"]
    # On a point-to-point link IFA_ADDRESS is the other end's.
    ip = canonical(decoded.get_attr("IFA_LOCAL") or decoded.get_attr("IFA_ADDRESS"))
    is_ipv6 = decoded["family"] == socket.AF_INET6
    is_unproven = bool(flags & IFA_F_TENTATIVE) and not flags & IFA_F_OPTIMISTIC
    return decoded["index"], Address(
        ip,
        is_tentative=is_unproven or bool(flags & IFA_F_DADFAILED),
        is_deprecated=bool(flags & IFA_F_DEPRECATED),
        is_temporary=is_ipv6 and bool(flags & IFA_F_TEMPORARY),  # for IPv4 the same bit means "secondary"
    )


def _default_route(asked: socket.socket, family: Family, names: dict[int, str]) -> DefaultRoute | None:
    for destination in ON_THE_INTERNET[family]:
        route = _route_to(asked, family, destination)
        if route is None:
            return None
        if route["type"] == _UNICAST and route["dst_len"] <= LONGEST_DEFAULT_PREFIX:
            index, gateway = _next_hop(route)
            if index not in names:
                return None  # it came after the links were asked for: another hint is already there
            return DefaultRoute(family, names[index], gateway)
    return None


def _route_to(asked: socket.socket, family: Family, destination: str) -> Any:
    """The `rtmsg` of the route that the kernel would take; `None`: there is none."""
    is_ipv4 = family is Family.IPV4
    question = rtmsg()
    question["family"] = socket.AF_INET if is_ipv4 else socket.AF_INET6
    question["dst_len"] = 32 if is_ipv4 else 128
    question["flags"] = _FIB_MATCH
    try:
        [answer] = _ask(asked, _request(question, RTM_GETROUTE, RTA_DST=destination))
    except OSError as error:
        if is_ipv4 and error.errno in _NOT_THERE:
            raise
        return None  # unreachable, prohibited; or a kernel without IPv6
    route = rtmsg(answer)
    route.decode()
    return route


_NOT_THERE = (errno.EOPNOTSUPP, errno.EPERM, errno.ETIMEDOUT)
"""What says something about the system, and not about its routes."""


def _next_hop(route: Any) -> tuple[int, str | None]:
    """The interface's index and the gateway; the first living one where a route has several."""
    hops = route.get_attr("RTA_MULTIPATH")
    if not hops:
        return route.get_attr("RTA_OIF"), _gateway(route)
    living = [hop for hop in hops if not hop["flags"] & (RTNH_F_DEAD | RTNH_F_LINKDOWN)]
    hop = (living or hops)[0]
    return hop["oif"], _gateway(hop)


def _gateway(hop: Any) -> str | None:
    if gateway := hop.get_attr("RTA_GATEWAY"):
        return canonical(gateway)
    via = hop.get_attr("RTA_VIA")  # a gateway of the other family (RFC 5549)
    return canonical(via["addr"]) if via else None


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def _request(message: Any, kind: int, **attributes: object) -> Any:
    message["header"]["type"] = kind
    message["attrs"] = list(attributes.items())
    return message


def _dump(asked: socket.socket, request: Any) -> list[bytes]:
    for _ in range(_MAX_DUMPS):
        messages = _ask(asked, request, NLM_F_DUMP)
        if not any(_HEADER.unpack_from(message)[2] & NLM_F_DUMP_INTR for message in messages):
            break
    return messages


def _ask(asked: socket.socket, request: Any, flags: int = 0) -> list[bytes]:
    """The messages that answer `request`.

    Raises:
        OSError: the kernel refuses, with its `errno`; or it does not answer.
    """
    request["header"]["flags"] = NLM_F_REQUEST | flags
    request.encode()
    asked.send(request.data)
    messages: list[bytes] = []
    while True:
        try:
            datagram = asked.recv(_RECEIVE_BYTES)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, "rtnetlink does not answer") from error
        position = 0
        while position + _HEADER_BYTES <= len(datagram):
            length, kind, _, _ = _HEADER.unpack_from(datagram, position)
            message = datagram[position : position + length]
            position += max((length + 3) & ~3, _HEADER_BYTES)
            if kind == NLMSG_DONE:
                return messages
            if kind == NLMSG_ERROR:
                code = -struct.unpack_from("=i", message, _HEADER_BYTES)[0]
                raise OSError(code, os.strerror(code))
            messages.append(message)
        if not flags & NLM_F_DUMP:
            return messages
