"""The network of a Linux machine, from rtnetlink (rtnetlink(7)).

1. A hint is any message of the kernel's groups; what it says is not read. A buffer that overran is a hint like any
   other.
2. A look asks for all links and addresses, and per family for the route to an address on the internet: the kernel's own
   choice, with its rules, metrics and dead next hops, and as fast where a table holds a million routes.
3. The kernel works out up to 1 s late that a link runs (IFF_RUNNING: linkwatch takes one turn a second), while packets
   flow already, and a dump tells what it has worked out. Asked for one link alone, it does that first: since Linux 6.8
   (`linkwatch_sync_dev` in `rtnl_getlink`). So a link that has carrier and is not said to run is asked for alone.
   Older kernels answer as in the dump, and the news comes when they have it.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from typing import TYPE_CHECKING

from perdure.netmon.rtnetlink import (
    GROUPS,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTN_UNICAST,
    Link,
    Message,
    all_addresses,
    all_links,
    error_number,
    one_link,
    read_address,
    read_link,
    read_route,
    route_to,
    split,
)
from perdure.netmon.state import ON_THE_INTERNET, Address, DefaultRoute, Family, Interface, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_DEFAULT_PREFIX = 3
"""Bits. `0.0.0.0/1` with `128.0.0.0/1` (many VPNs) and `2000::/3` are default routes in all but name."""

ANSWER_TIMEOUT = 1.0
"""Seconds. The kernel answers while it is asked; only a broken sandbox does not."""

_RECEIVE_BYTES = 65536
"""More than any datagram of a dump: the kernel fills 32 KiB."""

_MAX_DRAINED = 256
"""Messages read at one go, so that a storm of them does not hold up the loop; the rest comes with the
loop's next turn."""

_MAX_DUMPS = 3
"""Times that a dump is begun which changes interrupted; then it is taken as it is, as another hint is already there."""


class NetlinkSource:
    """rtnetlink of the network namespace that the calling thread is in."""

    name = "netlink"

    def __init__(self, *, receive_buffer_bytes: int | None = None) -> None:
        self._receive_buffer_bytes = receive_buffer_bytes
        self._watched: tuple[asyncio.AbstractEventLoop, socket.socket] | None = None

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
            links = [_up_to_date(asked, read_link(message.body)) for message in _dump(asked, all_links())]
            addresses = [read for message in _dump(asked, all_addresses()) if (read := read_address(message.body))]
            names = {link.index: link.name for link in links}
            defaults = [route for family in Family if (route := _default_route(asked, family, names))]
        of_link: dict[int, set[Address]] = {}
        for index, address in addresses:
            of_link.setdefault(index, set()).add(address)
        interfaces = [
            Interface(link.name, link.is_up, frozenset(of_link.get(link.index, ())), link.kind, link.is_loopback)
            for link in links
        ]
        return Snapshot(tuple(interfaces), tuple(defaults))

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


def _up_to_date(asked: socket.socket, link: Link) -> Link:
    if not link.may_be_late:
        return link
    try:
        [answer] = _ask(asked, one_link(link.index), is_dump=False)
    except OSError as error:
        if error.errno == errno.ETIMEDOUT:
            raise
        return link  # it is gone: another hint is already there
    return read_link(answer.body)


def _default_route(asked: socket.socket, family: Family, names: dict[int, str]) -> DefaultRoute | None:
    for destination in ON_THE_INTERNET[family]:
        try:
            [answer] = _ask(asked, route_to(family, destination), is_dump=False)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                continue  # refused by a route (blackhole, unreachable, prohibit), or there is none
            if family is Family.IPV4:
                raise
            return None  # a kernel without IPv6
        route = read_route(answer.body)
        if route.kind == RTN_UNICAST and route.prefix_length <= LONGEST_DEFAULT_PREFIX:
            if route.hop.index not in names:
                return None  # it came after the links were asked for: another hint is already there
            return DefaultRoute(family, names[route.hop.index], route.hop.gateway)
    return None


_NOT_THERE = (errno.EOPNOTSUPP, errno.EPERM, errno.ETIMEDOUT)
"""What says something about the system, and not about its routes."""


def _open(groups: int) -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    try:
        opened.bind((0, groups))
    except OSError:
        opened.close()
        raise
    return opened


def _dump(asked: socket.socket, question: bytes) -> list[Message]:
    for _ in range(_MAX_DUMPS):
        *messages, done = _ask(asked, question, is_dump=True)
        if not any(message.flags & NLM_F_DUMP_INTR for message in (*messages, done)):
            break
    return messages


def _ask(asked: socket.socket, question: bytes, *, is_dump: bool) -> list[Message]:
    """The messages that answer it: one, or a dump's with the `NLMSG_DONE` at its end.

    Raises:
        OSError: the kernel refuses, or a dump fails half-way, with the kernel's `errno`; or it does not answer.
    """
    asked.send(question)
    messages: list[Message] = []
    while True:
        try:
            datagram = asked.recv(_RECEIVE_BYTES)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, "rtnetlink does not answer") from error
        for message in split(datagram):
            if message.kind in (NLMSG_ERROR, NLMSG_DONE) and (number := error_number(message.body)) > 0:
                raise OSError(number, os.strerror(number))
            messages.append(message)
            if message.kind == NLMSG_DONE:
                return messages
        if not is_dump:
            return messages
