"""The internet's delay, jitter, loss and rate: a program behind a TUN device through which every packet goes.

It reads each packet that crosses the internet, and writes it back when its time has come. Its randomness has a seed.
Started as `python -m perdure_lab.lab.forwarder SEED` in the internet's namespace; it makes `tun0`, says `ready`, and
takes a JSON line for each state of the links on standard input, whose end is its own.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import select
import struct
import sys
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from random import Random
from time import monotonic

import msgspec

DEVICE = "tun0"

MAX_QUEUED = 2000
"""Packets of one direction of a link that wait at most; further ones are dropped, as netem does (its limit is 1000).
2000 full packets at 400 ms of delay are 7 MB/s."""

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000
_LARGEST_PACKET = 65536
_BURST = 64
"""Packets read before the due ones are written."""


class LinkState(msgspec.Struct, frozen=True):
    """One link as the forwarder knows it; `networks` says which packets are its."""

    networks: tuple[str, ...]
    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    rate: float | None = None


class Links(msgspec.Struct, frozen=True):
    """A line of standard input: every link, always in the same order."""

    links: tuple[LinkState, ...]


@dataclass(slots=True)
class Lane:
    """One direction of one link."""

    link: int
    free_at: float = 0.0
    """The wire is busy until then, where there is a rate."""
    last_due_at: float = 0.0
    queued: int = 0

    def due_at(self, state: LinkState, size: int, now: float, random: Random) -> float | None:
        """When a packet that enters at `now` leaves; `None`: it is lost."""
        if (state.loss and random.random() < state.loss) or self.queued >= MAX_QUEUED:
            return None
        sent_at = now
        if state.rate:
            sent_at = self.free_at = max(now, self.free_at) + size / state.rate
        late = random.uniform(-state.jitter, state.jitter) if state.jitter else 0.0
        self.last_due_at = max(self.last_due_at, sent_at + max(0.0, state.delay + late))
        return self.last_due_at


@dataclass(slots=True)
class Impairment:
    """What happens to each packet. `send` is called with those whose time has come."""

    random: Random
    links: tuple[LinkState, ...] = ()
    up: dict[int, Lane] = field(default_factory=dict)
    down: dict[int, Lane] = field(default_factory=dict)
    heap: list[tuple[float, int, bytes, tuple[Lane, ...]]] = field(default_factory=list)
    """When each packet leaves the lane that it is in, and that lane with those that follow."""
    _owners: dict[bytes, int | None] = field(default_factory=dict)
    _order: int = 0

    def become(self, links: tuple[LinkState, ...]) -> None:
        """The links are so from now on; what is in a lane stays as it was. A shorter path overtakes a longer one."""
        if links != self.links:
            self.links = links
            self._owners.clear()
            for lane in (*self.up.values(), *self.down.values()):
                lane.last_due_at = 0.0

    def arrived(self, packet: bytes, now: float) -> None:
        version = packet[0] >> 4
        source, target = (packet[12:16], packet[16:20]) if version == 4 else (packet[8:24], packet[24:40])
        lanes = []
        for lane_of, owner in ((self.up, self._owner(source)), (self.down, self._owner(target))):
            if owner is not None:
                lanes.append(lane_of.setdefault(owner, Lane(owner)))
        self._enter(packet, tuple(lanes), now)

    def due(self, now: float) -> list[bytes]:
        """The packets that leave by now."""
        leaving = []
        while self.heap and self.heap[0][0] <= now:
            left_at, _, packet, lanes = heapq.heappop(self.heap)
            if lanes:
                lanes[0].queued -= 1
            if lanes[1:]:
                self._enter(packet, lanes[1:], left_at)
            else:
                leaving.append(packet)
        return leaving

    @property
    def next_at(self) -> float | None:
        return self.heap[0][0] if self.heap else None

    def _enter(self, packet: bytes, lanes: tuple[Lane, ...], now: float) -> None:
        """The packet enters the first of `lanes`, and each further one when it gets there: with a place reserved now, a
        slow link's packet would hold up those of a fast one."""
        due_at = lanes[0].due_at(self.links[lanes[0].link], len(packet), now, self.random) if lanes else now
        if due_at is None:
            return
        if lanes:
            lanes[0].queued += 1
        self._order += 1
        heapq.heappush(self.heap, (due_at, self._order, packet, lanes))

    def _owner(self, address: bytes) -> int | None:
        """The number of the link that the address is of; the addresses of a lab are few."""
        if address not in self._owners:
            self._owners[address] = self._find_owner(ip_address(address))
        return self._owners[address]

    def _find_owner(self, address: IPv4Address | IPv6Address) -> int | None:
        for number, link in enumerate(self.links):
            if any(address in ip_network(network) for network in link.networks):
                return number
        return None


def main(seed: int) -> None:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    impairment, told = Impairment(Random(seed)), sys.stdin.fileno()
    unread = b""
    while True:
        next_at = impairment.next_at
        timeout = None if next_at is None else max(0.0, next_at - monotonic())
        readable, _, _ = select.select([tun, told], [], [], timeout)
        if told in readable:
            data = os.read(told, _LARGEST_PACKET)
            if not data:
                return
            *lines, unread = (unread + data).split(b"\n")
            for line in lines:
                impairment.become(msgspec.json.decode(line, type=Links).links)
                sys.stdout.write("done\n")
                sys.stdout.flush()
        if tun in readable:
            _read(tun, impairment)
        for packet in impairment.due(monotonic()):
            with contextlib.suppress(OSError):  # the interface behind is gone, or its queue is full: lost
                os.write(tun, packet)


def _read(tun: int, impairment: Impairment) -> None:
    for _ in range(_BURST):
        try:
            packet = os.read(tun, _LARGEST_PACKET)
        except BlockingIOError:
            return
        impairment.arrived(packet, monotonic())


if __name__ == "__main__":
    main(int(sys.argv[1]))
