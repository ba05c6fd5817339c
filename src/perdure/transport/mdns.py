"""Who on this link has a `.local` name? mDNS (RFC 6762), for the names that browsers give their addresses.

1. Questions go to the group of each interface, in IPv4 and in IPv6, for an address of either: Chromium listens to
   IPv4's alone (150, on Linux), and tells IPv6 addresses there as well.
2. Answers are awaited where they go: at the group, port 5353. Chromium sends none to the asker alone, and a firewall
   that knows mDNS lets the group's through.
3. A question is asked twice at most, and its sockets are open only until it is answered or given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from perdure.eventlog import error_fields, log_event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from perdure.addresses import Address

PORT = 5353
GROUPS: dict[int, str] = {4: "224.0.0.251", 6: "ff02::fb"}

PATIENCE = (1.0, 2.0)
"""Seconds that a question waits for its answer, the first time and the second. Chromium answers about one name once a
second (RFC 6762 §6): that a name has no IPv4 address it says at once, and which IPv6 one it has a second later."""

_ASKED: dict[int, tuple[Literal[4, 6], ...]] = {4: (4, 6), 6: (6, 4)}
"""Which addresses are asked for in which family's group, in this order: the first answer does not wait."""

MAX_QUESTIONS = 64
"""Names that one transport asks for at a time: four carriers' worth (`reach.MAX_NAMES`)."""

MAX_SOCKETS = 16
"""One for each interface and family; a laptop has 2 to 6. IPv4 goes first, as a host of containers has many interfaces
with nothing but a link-local IPv6 address."""

_IP_MULTICAST_ALL = 49
"""Linux (`linux/in.h`); 0: hear only what comes by the interface that was joined, not what others joined as well."""

_HOPS = 255
"""RFC 6762 §11: some drop what has fewer."""

_log = logging.getLogger("perdure.transport")


class Resolver:
    """Asks for addresses. Needs a running event loop.

    Args:
        loopback: whether to ask on the loopback interface too.
        patience: see `PATIENCE`.
    """

    def __init__(self, *, loopback: bool, patience: Sequence[float] = PATIENCE) -> None:
        self._loopback = loopback
        self._patience = patience
        self._waiting: dict[asyncio.Future[Address], str] = {}
        self._members: list[_Member] = []
        self._is_told = False
        """Whether the log says that there is no interface to ask on."""
        self._opening = asyncio.Lock()

    async def resolve(self, name: str) -> Address | None:
        """The address that has `name`; `None` where nobody says so in time, or too much is asked. Cancelling this is
        fine."""
        if len(self._waiting) >= MAX_QUESTIONS:
            return None
        answer: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._waiting[answer] = name.lower()
        try:
            async with self._opening:
                self._members = self._members or await self._open()
            if not self._members:
                return None
            for seconds in self._patience:
                self._ask(name)
                await asyncio.wait([answer], timeout=seconds)
                if answer.done():
                    return answer.result()
            return None
        finally:
            del self._waiting[answer]
            if not self._waiting:
                _close(self._members)

    def _ask(self, name: str) -> None:
        from perdure.transport.mdns_message import question  # with dnspython, which few tubes need: 40 ms

        for member in self._members:
            for family in _ASKED[member.family]:
                member.transport.sendto(question(name, family), member.group)

    def _heard(self, datagram: bytes) -> None:
        from perdure.transport.mdns_message import answers

        for name, address in answers(datagram):
            for waiting, wanted in self._waiting.items():
                if wanted == name and not waiting.done():
                    waiting.set_result(address)

    async def _open(self) -> list[_Member]:
        loop = asyncio.get_running_loop()
        members: list[_Member] = []
        why: OSError | None = None
        try:
            for family, interface in _interfaces(loopback=self._loopback):
                try:
                    joined, group = _join(family, interface)
                except OSError as error:  # an interface without multicast, or another program has the port for itself
                    why = error
                    continue
                transport, _ = await loop.create_datagram_endpoint(lambda: _Protocol(self._heard), sock=joined)
                members.append(_Member(family, transport, group))
        except BaseException:
            _close(members)
            raise
        if not members and not self._is_told:
            self._is_told = True
            fields = {} if why is None else error_fields(why)
            log_event(_log, logging.WARNING, "mdns-unavailable", **fields)
        return members


@dataclass(frozen=True, slots=True)
class _Member:
    """A socket in the group of one interface."""

    family: Literal[4, 6]
    transport: asyncio.DatagramTransport
    group: tuple[Any, ...]


def _close(members: list[_Member]) -> None:
    for member in members:
        member.transport.close()
    members.clear()


class _Protocol(asyncio.DatagramProtocol):
    def __init__(self, heard: Callable[[bytes], None]) -> None:
        self._heard = heard

    def datagram_received(self, data: bytes, address: tuple[Any, ...]) -> None:
        if address[1] == PORT:  # RFC 6762 §6: nobody answers from another one
            self._heard(data)

    def error_received(self, error: Exception) -> None:
        """An interface went: nobody there answers."""


def _interfaces(*, loopback: bool) -> Iterator[tuple[Literal[4, 6], str]]:
    """Each family and interface to ask on: in IPv4 by its address, in IPv6 by its name."""
    import psutil  # 40 ms, and only where a name is asked for

    stats, known = psutil.net_if_stats(), psutil.net_if_addrs()
    found: list[tuple[Literal[4, 6], str]] = []
    for name, addresses in known.items():
        if name in stats and not stats[name].isup:
            continue
        here = {each.family: each.address for each in reversed(addresses)}
        if (ipv4 := here.get(socket.AF_INET)) is not None and (loopback or not ipv4.startswith("127.")):
            found.append((4, ipv4))
        if socket.AF_INET6 in here and (loopback or here[socket.AF_INET6] != "::1"):
            found.append((6, name))
    yield from sorted(found, key=lambda each: each[0])[:MAX_SOCKETS]


def _join(family: Literal[4, 6], interface: str) -> tuple[socket.socket, tuple[Any, ...]]:
    """A socket that hears the group on this interface and asks there, and the group's address for `sendto`."""
    with contextlib.ExitStack() as failing:
        joined = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        failing.callback(joined.close)
        joined.setblocking(False)
        joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            joined.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        group = _join_ipv4(joined, interface) if family == 4 else _join_ipv6(joined, interface)
        failing.pop_all()
    return joined, group


def _join_ipv4(joined: socket.socket, address: str) -> tuple[Any, ...]:
    group, here = GROUPS[4], socket.inet_aton(address)
    joined.bind((_bound_to(group), PORT))
    if sys.platform == "linux":
        joined.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
    joined.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + here)
    joined.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
    joined.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _HOPS)
    return group, PORT


def _join_ipv6(joined: socket.socket, interface: str) -> tuple[Any, ...]:
    group, index = GROUPS[6], socket.if_nametoindex(interface)
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    joined.bind((_bound_to(group), PORT, 0, index if _bound_to(group) else 0))
    member = socket.inet_pton(socket.AF_INET6, group) + struct.pack("@I", index)
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    joined.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _HOPS)
    return group, PORT, 0, index


def _bound_to(group: str) -> str:
    """Linux binds to a group: then nothing is taken that others on this machine, such as Avahi, are sent alone. macOS
    could not send from such a socket, and Windows does not bind it."""
    return group if sys.platform == "linux" else ""
