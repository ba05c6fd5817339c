"""Has the engine's UDP sockets send by the interface of their own address, whatever the routes prefer.

1. The kernel picks the interface by the destination: without policy routes all sockets send by the default route's,
   whatever address they are bound to. A path from a standby's address then dies with the active link.
2. `IP_UNICAST_IF` says by which interface a socket sends. `SO_BINDTODEVICE` does too, but it also drops what arrives by
   another one, as it does where two interfaces are on one network, and nobody without privileges can take it back.
3. The engine has no such option, but its sockets are this process's descriptors: one is found by the address and port
   of its candidate. A relay by UDP is reached from the same socket. A TCP connection to a relay is left alone: once it
   is found, its packets have gone by the routes' interface, and a NAT there knows it.
4. A carrier may have to keep off an interface. Its sockets there are bound to the loopback interface
   (`SO_BINDTODEVICE`), so that nothing leaves or arrives, and the peer is not told of their candidates. The others are
   bound to their own interfaces: rule 2's option is a hint in IPv6, which a route of a lower metric outweighs.
5. No other socket may send in its place: see `engine.ONE_SOCKET`.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import logging
import os
import socket
import struct
import sys
from enum import Enum, auto
from typing import TYPE_CHECKING

from perdure.eventlog import error_fields, log_event
from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.state import canonical
from perdure.netmon.uplinks import may_have_uplinks, uplink_of, uplinks
from perdure.transport.candidate import base_address, host_endpoint
from perdure.transport.endpoint import SOCKADDR_BYTES, key_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.netmon.state import Snapshot
    from perdure.transport.endpoint import Endpoint

_logger = logging.getLogger("perdure.transport")

DESCRIPTORS_AT_ONCE = 100
"""Looked at in one turn of the event loop: 0.3 ms (measured), however many a process has."""

_NOT_SEEN = (OSError, ValueError)
"""What a look at the network may raise: see `netmon.source.Source.look`."""

MAX_SOUGHT = 256
"""Sockets that are sought at the same time; the oldest is forgotten. A machine with 4 uplinks has 8 a carrier."""


def may_choose() -> bool:
    """Whether this machine has several uplinks, or may have them once a cable is plugged in or a radio is on.

    Asked when a transport is made: what the engine needs for it is fixed with its first connection.
    """
    try:
        return sys.platform == "linux" and may_have_uplinks(NetlinkSource().look())
    except _NOT_SEEN as error:
        _say_why(error)
        return False


class Binding(Enum):
    HINTED = auto()
    """It sends by its own interface, as far as rule 2's option goes."""
    OWN = auto()
    """It sends and hears by its own interface alone."""
    NOWHERE = auto()
    """It gets nowhere."""


class OwnInterfaces:
    """Of one event loop. What is a socket's interface, the machine's network at that moment says."""

    def __init__(self) -> None:
        self._sought: dict[Endpoint, Binding] = {}
        self._steps: Iterator[None] | None = None
        """What is left of the look at the descriptors that is under way."""
        self._is_said = False
        """Whether the log says that it cannot be done."""

    def gathered(self, candidate: str, binding: Binding = Binding.HINTED) -> bool:
        """The engine has gathered a local candidate; its socket, where it has one of its own, is sought soon. Returns
        whether the peer is to know the candidate."""
        is_known = binding is not Binding.NOWHERE
        if (endpoint := host_endpoint(candidate)) is None:
            return is_known
        self._sought[endpoint] = binding
        if len(self._sought) > MAX_SOUGHT:
            del self._sought[next(iter(self._sought))]
        if self._steps is None:
            self._steps = self._look()
            asyncio.get_running_loop().call_soon(self._go_on)
        return is_known

    def _go_on(self) -> None:
        assert self._steps is not None
        try:
            next(self._steps)
        except StopIteration:
            self._steps = None
            if self._sought:  # gathered meanwhile
                self._steps = self._look()
        if self._steps is not None:
            asyncio.get_running_loop().call_soon(self._go_on)

    def _look(self) -> Iterator[None]:
        """Look at all descriptors, some in each turn."""
        sought, self._sought = self._sought, {}
        try:
            snapshot = NetlinkSource().look()
            found = {
                end.key: (name, binding)
                for end, binding in sought.items()
                if (name := uplink_of(snapshot, end.address)) is not None
            }
            if found:
                yield from self._find(found)
        except _NOT_SEEN as error:
            self._say(error)

    def _find(self, sought: dict[bytes, tuple[str, Binding]]) -> Iterator[None]:
        bound_at = _BoundAt()
        with os.scandir("/proc/self/fd") as descriptors:
            for count, entry in enumerate(descriptors, 1):
                descriptor = int(entry.name)
                found = bound_at(descriptor)
                if found in sought and self._bind(descriptor, bound_at, *sought[found]):
                    del sought[found]
                    if not sought:
                        return
                if not count % DESCRIPTORS_AT_ONCE:
                    yield

    def _bind(self, descriptor: int, bound_at: _BoundAt, interface: str, binding: Binding) -> bool:
        """Whether this is the socket."""
        try:
            held = os.dup(descriptor)  # the engine may close its own meanwhile
        except OSError:
            return False
        try:
            same = socket.socket(fileno=held)
        except OSError:
            os.close(held)
            return False
        with same:
            if same.type != socket.SOCK_DGRAM or bound_at(held) != bound_at(descriptor):
                return False
            try:
                if binding is Binding.HINTED:
                    level, option = _OPTIONS[same.family]
                    same.setsockopt(level, option, struct.pack("!I", socket.if_nametoindex(interface)))
                else:
                    name = interface if binding is Binding.OWN else _NOWHERE
                    same.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name.encode())
            except OSError as error:
                if error.errno not in _INTERFACE_GONE:
                    self._say(error)
        return True

    def _say(self, error: Exception) -> None:
        if not self._is_said:
            self._is_said = True
            _say_why(error)


class KeptOff:
    """The local candidates of a carrier that keeps off the interface of `address`.

    Raises:
        ValueError: that is no uplink's, or there is no other.
    """

    def __init__(self, own: OwnInterfaces, address: str) -> None:
        self._own = own
        self._addresses = _on_link_of(address)
        if not self._addresses:
            raise ValueError(f"{address} is not on one of several uplinks")
        self._hosts: list[str] = []

    def gathered(self, candidate: str) -> bool:
        """As `OwnInterfaces.gathered`."""
        if host_endpoint(candidate) is not None and len(self._hosts) < MAX_SOUGHT:
            self._hosts.append(candidate)
        base = base_address(candidate, self._hosts)
        is_off = base is not None and canonical(base) in self._addresses
        return self._own.gathered(candidate, Binding.NOWHERE if is_off else Binding.OWN)


def are_apart(one: str, other: str) -> bool:
    """Whether two of this machine's addresses are of different uplinks."""
    link = _on_link_of(one)
    return bool(link) and bool(_on_link_of(other)) and canonical(other) not in link


def count_uplinks(network: Snapshot | None) -> int:
    """Of `network`, or of this machine as it is now; 1 where there is nothing to choose."""
    try:
        return max(1, len(uplinks(network or NetlinkSource().look())))
    except _NOT_SEEN:
        return 1


def _on_link_of(address: str) -> frozenset[str]:
    """The addresses of that one's uplink, as the machine is now; none where it is not of one of several."""
    try:
        snapshot = NetlinkSource().look()
    except _NOT_SEEN:
        return frozenset()
    link = uplink_of(snapshot, canonical(address))
    found = (each.addresses for each in snapshot.interfaces if each.name == link)
    return frozenset(each.ip for addresses in found for each in addresses)


def _say_why(error: Exception) -> None:
    why = "no socket may choose its interface here: a standby link carries only what the routes send there"
    log_event(_logger, logging.WARNING, "sockets-follow-routes", why=why, **error_fields(error))


class _BoundAt:
    """Where descriptors are bound that others own, by `getsockname(2)`: a `socket.socket` would take them over."""

    def __init__(self) -> None:
        self._getsockname = ctypes.CDLL(None).getsockname
        self._name = ctypes.create_string_buffer(SOCKADDR_BYTES)
        self._length = ctypes.c_uint32()

    def __call__(self, descriptor: int) -> bytes | None:
        """As `key_of` says it; `None`: it is no IP socket, or is closed."""
        self._length.value = SOCKADDR_BYTES
        if self._getsockname(descriptor, self._name, ctypes.byref(self._length)):
            return None
        return key_of(self._name.raw)


_OPTIONS = {socket.AF_INET: (socket.IPPROTO_IP, 50), socket.AF_INET6: (socket.IPPROTO_IPV6, 76)}
"""Level and number of `IP_UNICAST_IF` and `IPV6_UNICAST_IF` (linux/in.h and in6.h, since Linux 3.4), which `socket`
does not name. They take the interface's number in network byte order."""

_NOWHERE = "lo"
"""The loopback interface. Without privileges a socket is bound to an interface since Linux 5.7 (2020); where it cannot,
the log says so, and the carrier may be found on the link that it was to keep off."""

_INTERFACE_GONE = (errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)
"""Since the network was looked at."""
