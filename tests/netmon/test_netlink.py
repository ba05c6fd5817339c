"""A real kernel's changes, in a network namespace of the test's own, are told as soon as the kernel tells of them.

Nothing but the kernel's messages makes the monitor look here: its tick is an hour away. When it looks after a message
is `Debounce`'s, and tested with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from perdure.netmon.debounce import LOOK_INTERVAL, LOOKS_AT_ONCE
from perdure.netmon.monitor import NetworkMonitor
from perdure.netmon.polling import PollingSource
from support.processes import Lines

if not sys.platform.startswith("linux"):
    pytest.skip("netlink is Linux'", allow_module_level=True)

from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.rtnetlink import NLM_F_DUMP_INTR, NLMSG_DONE
from perdure.netmon.state import ON_THE_INTERNET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    Said = dict[str, Any]

WATCHING = Path(__file__).with_name("watching.py")

TIMEOUT = 30.0
"""Seconds that anything may take; a hang is a failure."""

CARRIER_TIMEOUT = 1.5
"""Seconds. The kernel itself tells of a second loss of carrier within 1 s as late as that second's end (linkwatch)."""

_numbers = itertools.count(1)


class Namespace:
    """A network namespace with an interface eth0 whose cable ends in `far0`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def ip(self, *commands: str) -> None:
        """Run `ip` commands, all in one go."""
        batch = "\n".join(commands)
        subprocess.run(["ip", "-n", self.name, "-b", "-"], input=batch, text=True, check=True, timeout=TIMEOUT)

    def run(self, *words: bytes) -> None:
        """Run one `ip` command of any bytes."""
        subprocess.run([b"ip", b"-n", self.name.encode(), *words], check=True, timeout=TIMEOUT)

    def probes_of_duplicates(self, interface: str, count: int) -> None:
        """How often an IPv6 address of `interface` asks whether somebody else has it (RFC 4862 §5.1)."""
        setting = f"/proc/sys/net/ipv6/conf/{interface}/dad_transmits"
        command = ["ip", "netns", "exec", self.name, "sh", "-c", f"echo {count} > {setting}"]
        subprocess.run(command, check=True, timeout=TIMEOUT)


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    problem = None
    name = f"perdure-netmon-{os.getpid()}-{next(_numbers)}"
    if shutil.which("ip") is None:
        problem = "`ip` is missing (Debian: iproute2)"
    elif os.geteuid() != 0:
        problem = "network namespaces need root"
    elif (made := subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, timeout=TIMEOUT)).stderr:
        problem = f"network namespaces are not permitted: {made.stderr.strip()}"
    if problem is not None:
        if os.environ.get("CI") and os.geteuid() == 0:
            pytest.fail(f"{problem}; as root in CI these tests must run")
        pytest.skip(problem)
    try:
        namespace = Namespace(name)
        namespace.ip("link set lo up", "link add eth0 type veth peer name far0", "link set far0 up", "link set eth0 up")
        yield namespace
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True, timeout=TIMEOUT)


class Watch:
    """A `watching.py` in a namespace."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self._lines = Lines()
        self._position = 0
        assert process.stdout is not None
        self._reading = asyncio.create_task(self._lines.read_from(process.stdout))

    async def next(self, what: str, timeout: float = TIMEOUT) -> Said:
        """The next line that says `what`."""
        line = await self._lines.find(lambda it: json.loads(it)["what"] == what, since=self._position, timeout=timeout)
        self._position = self._lines.seen.index(line, self._position) + 1
        said: Said = json.loads(line)
        return said

    async def moved(self, text: str, timeout: float = TIMEOUT) -> Said:
        """The next event whose detail has `text`."""
        while True:
            said = await self.next("moved", timeout)
            if text in said["detail"]:
                return said

    async def report(self) -> Said:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        return await self.next("report")

    @property
    def moves(self) -> list[Said]:
        return [said for line in self._lines.seen if (said := json.loads(line))["what"] == "moved"]


@asynccontextmanager
async def watching(namespace: Namespace, *options: str) -> AsyncIterator[Watch]:
    process = await asyncio.create_subprocess_exec(
        *("ip", "netns", "exec", namespace.name, sys.executable, "-W", "error", str(WATCHING), *options),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    watch = Watch(process)
    try:
        await watch.next("ready", timeout=60.0)
        yield watch
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(TIMEOUT):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
                process.kill()
            await process.wait()
        await watch._reading


def test_this_machine_can_be_looked_at_without_privileges() -> None:
    source = NetlinkSource()
    snapshot = source.look()
    assert [it.name for it in snapshot.interfaces if it.is_loopback] == ["lo"]
    assert {it.name for it in snapshot.interfaces} == {it.name for it in PollingSource().look().interfaces}
    assert source.look() == snapshot


class DoctoredKernel:
    """The kernel's answers, but for the ends of dumps, which say what the test wants, one each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions = 0
        self.ends: list[tuple[int, int]] = []
        """Flags and errno."""
        kernel = self

        class Doctored(socket.socket):
            def send(self, data: Any, flags: int = 0) -> int:
                kernel.questions += 1
                return super().send(data, flags)

            def recv(self, size: int, flags: int = 0) -> bytes:
                datagram = super().recv(size, flags)
                length, kind, header_flags, sequence, port, number = DUMP_END.unpack(datagram[-DUMP_END.size :])
                if (length, kind) != (DUMP_END.size, NLMSG_DONE) or not kernel.ends:
                    return datagram
                more_flags, number = kernel.ends.pop(0)
                end = DUMP_END.pack(length, kind, header_flags | more_flags, sequence, port, -number)
                return datagram[: -DUMP_END.size] + end

        monkeypatch.setattr("perdure.netmon.netlink.socket", SimpleNamespace(**vars(socket) | {"socket": Doctored}))


DUMP_END = struct.Struct("=IHHIIi")
"""Length, type, flags, sequence number, port, and the errno, negative."""


def test_a_dump_that_fails_half_way_is_not_taken_for_the_whole_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DoctoredKernel(monkeypatch)
    for ends in ([(0, errno.ENOMEM)], [(0, 0), (0, errno.ENOMEM)]):
        kernel.ends = ends
        with pytest.raises(OSError, match="Cannot allocate memory") as failed:
            NetlinkSource().look()
        assert failed.value.errno == errno.ENOMEM
    assert NetlinkSource().look().interfaces


def test_a_dump_whose_end_says_that_it_was_interrupted_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = DoctoredKernel(monkeypatch)
    undisturbed = NetlinkSource().look()
    questions, kernel.questions = kernel.questions, 0
    kernel.ends = [(NLM_F_DUMP_INTR, 0), (0, 0), (NLM_F_DUMP_INTR, 0)]
    assert NetlinkSource().look() == undisturbed
    assert kernel.questions == questions + 2


def descriptors() -> set[str]:
    """What this process has open: each socket by its inode."""
    found = set[str]()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the list's own
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return found


async def test_a_monitor_gives_its_descriptors_back() -> None:
    async with NetworkMonitor():  # what is imported for it, and the loop, keep theirs
        pass
    before = descriptors()  # of which tests before this one may still give some back
    for _ in range(20):
        async with NetworkMonitor():
            assert len(descriptors() - before) <= 1
    assert descriptors() <= before


RENEWED = ("addr add 10.0.0.9/24 dev eth0", "route add default via 10.0.0.1")
ADDRESSED = ("addr add 10.0.0.2/24 dev eth0", "route add default via 10.0.0.1")


async def test_an_interface_may_be_called_anything(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        for name in (b"\xff\xfe", b'a"={}', "über".encode()):
            namespace.run(b"link", b"add", name, b"type", b"veth")
            namespace.run(b"link", b"set", name, b"up")
        namespace.ip("addr add 10.0.0.9/24 dev eth0")
        await watch.moved("10.0.0.9 new on eth0")
    async with watching(namespace) as watch:
        namespace.ip("addr del 10.0.0.9/24 dev eth0")
        await watch.moved("10.0.0.9 lost from eth0")


async def test_a_first_address_and_its_route_are_one_event(namespace: Namespace) -> None:
    async with watching(namespace) as watch:
        namespace.ip(*ADDRESSED)
        said = await watch.next("moved")
        # A busy machine may look between the two commands; an address alone leads nowhere, and is not told.
        assert said["detail"].startswith("IPv4 default route appeared on eth0")
        assert said["has_address"]


async def test_an_address_renewed_on_the_same_interface(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip("addr del 10.0.0.2/24 dev eth0", *RENEWED)
        said = await watch.moved("10.0.0.9 new on eth0")
        assert said["is_new_address"]


async def test_the_active_interface_is_switched_off_and_the_standby_takes_over(namespace: Namespace) -> None:
    namespace.ip(
        *("addr add 10.0.0.2/24 dev eth0", "route add default via 10.0.0.1 metric 100"),
        *("link add wlan0 type veth peer name far1", "link set far1 up", "link set wlan0 up"),
        *("addr add 10.0.1.2/24 dev wlan0", "route add default via 10.0.1.1 metric 600"),
    )
    async with watching(namespace) as watch:
        namespace.ip("link set eth0 down")
        said = await watch.next("moved")
        assert "IPv4 default route moved eth0 -> wlan0; eth0 went; 10.0.0.2 lost from eth0" in said["detail"]
        assert said["trigger"] == "INTERFACE_CHANGE"
        assert not said["is_new_address"]


async def test_a_cable_is_pulled(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip("link set far0 down")
        said = await watch.moved("eth0 went", timeout=CARRIER_TIMEOUT + TIMEOUT)
        assert not said["has_address"]
        namespace.ip("link set far0 up")
        said = await watch.moved("eth0 came", timeout=CARRIER_TIMEOUT + TIMEOUT)
        assert said["has_address"]


async def test_an_interface_vanishes(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip("link del eth0")
        said = await watch.next("moved")
        assert not said["has_address"]


async def test_another_gateway_with_the_same_address(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip("route replace default via 10.0.0.254")
        said = await watch.next("moved")
        assert said["detail"] == "IPv4 gateway on eth0 changed 10.0.0.1 -> 10.0.0.254"


async def test_ipv4_to_ipv6_only(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip(
            "addr add 2001:db8:5::2/64 dev eth0 nodad",
            "route add default via fe80::1 dev eth0",
            "addr del 10.0.0.2/24 dev eth0",
        )
        said = await watch.moved("10.0.0.2 lost from eth0")
        assert said["has_address"]
        assert (await watch.report())["addresses"] == [["eth0", "2001:db8:5::2"]]


async def test_an_ipv6_address_counts_when_it_is_proven_unique_and_until_it_goes(namespace: Namespace) -> None:
    async with watching(namespace) as watch:
        namespace.probes_of_duplicates("eth0", 1000)  # one a second
        namespace.ip("addr add 2001:db8:5::1/64 dev eth0", "addr add 10.0.0.2/24 dev eth0")
        await watch.moved("10.0.0.2 new on eth0")
        assert (await watch.report())["addresses"] == [["eth0", "10.0.0.2"]]
        namespace.probes_of_duplicates("eth0", 1)
        namespace.ip("addr add 2001:db8:5::2/64 dev eth0")
        await watch.moved("2001:db8:5::2 new on eth0")
        namespace.ip("addr change 2001:db8:5::2/64 dev eth0 preferred_lft 0 valid_lft 100")
        namespace.ip("addr del 2001:db8:5::2/64 dev eth0")
        said = await watch.next("moved")
        assert "2001:db8:5::2 lost from eth0" in said["detail"]


async def test_containers_and_bridges_are_told_to_nobody(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        namespace.ip(
            *("link add docker0 type bridge", "addr add 172.17.0.1/16 dev docker0", "link set docker0 up"),
            *("link add veth1 type veth peer name veth2", "link set veth1 master docker0", "link set veth1 up"),
            *("link set veth2 up", "link del veth1", "link del docker0"),
        )
        namespace.ip("addr add 10.0.0.9/24 dev eth0")
        said = await watch.next("moved")
        assert said["detail"] == "10.0.0.9 new on eth0"


@pytest.mark.parametrize(
    "routes",
    [
        ["route add 0.0.0.0/1 via 10.8.0.1", "route add 128.0.0.0/1 via 10.8.0.1"],
        ["route add default dev tun0 table 51820", "rule add table 51820 priority 100"],
    ],
    ids=["two halves", "a table of its own"],
)
async def test_a_vpn_takes_the_default_route(namespace: Namespace, routes: list[str]) -> None:
    namespace.ip(*ADDRESSED)
    # A VPN's interface by its name: a real tun device has no carrier until a program opens it.
    namespace.ip("link add tun0 type veth peer name far1", "link set far1 up", "link set tun0 up")
    namespace.ip("addr add 10.8.0.6/24 dev tun0")
    async with watching(namespace) as watch:
        namespace.ip(*routes)
        said = await watch.moved("IPv4 default route moved eth0 -> tun0")
        assert "10.8.0.6 new on tun0" in said["detail"]


@pytest.mark.parametrize("options", [[], ["--poll"]], ids=["netlink", "polling"])
async def test_a_list_of_bogons_does_not_hide_the_default_route(namespace: Namespace, options: list[str]) -> None:
    namespace.ip(
        *("addr add 10.0.0.2/24 dev eth0", "addr add fd00:5::2/64 dev eth0 nodad"),
        *("route add blackhole 192.0.2.0/24", "route add unreachable 198.51.100.0/24"),
        *("route add prohibit 203.0.113.0/24", "route add blackhole 2001:db8::/32", "route add unreachable 3fff::/20"),
    )
    async with watching(namespace, *options) as watch:
        namespace.ip("route add default via 10.0.0.1")
        await watch.moved("IPv4 default route appeared on eth0")
        namespace.ip("route add default via fe80::1 dev eth0")
        await watch.moved("IPv6 default route appeared on eth0")


async def test_an_interface_that_flaps_is_bounded_work(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace) as watch:
        before = await watch.report()
        namespace.ip(*["link set eth0 down", "link set eth0 up"] * 150, "route replace default via 10.0.0.1")
        async with asyncio.timeout(TIMEOUT):
            while (after := await watch.report())["default_routes"] == [] or after["addresses"] == []:
                continue
        looks = after["looks"] - before["looks"]
        assert looks <= LOOKS_AT_ONCE + (after["at"] - before["at"]) / LOOK_INTERVAL
        assert len(watch.moves) <= looks
        assert after["addresses"] == [["eth0", "10.0.0.2"]]
        assert after["descriptors"] == before["descriptors"]


async def test_a_buffer_that_overran_is_a_reason_to_look_and_no_crash(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace, "--receive-buffer", "1") as watch:
        watch.process.send_signal(signal.SIGSTOP)
        namespace.ip(*(f"addr add 10.7.{number}.2/24 dev eth0" for number in range(200)))
        watch.process.send_signal(signal.SIGCONT)
        said = await watch.next("moved")
        assert "more" in said["detail"]
        before = await watch.report()
        assert len(before["addresses"]) == 201
        # And it goes on, by the kernel's messages.
        namespace.ip("link set eth0 down")
        assert not (await watch.moved("eth0 went"))["has_address"]
        assert (await watch.report())["hints"] > before["hints"]


async def test_a_machine_with_two_hundred_interfaces(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    for number in range(100):
        namespace.ip(
            f"link add port{number} type veth peer name away{number}",
            f"addr add 10.1.{number}.2/24 dev port{number}",
            # Without link-local addresses, which would make hints for two more seconds.
            f"link set port{number} addrgenmode none up",
            f"link set away{number} addrgenmode none up",
        )
    async with watching(namespace) as watch:
        before = await watch.report()
        for number in range(10):
            namespace.ip(f"addr add 10.2.{number}.2/24 dev eth0")
            await watch.moved(f"10.2.{number}.2 new on eth0")
        after = await watch.report()
    looks = after["looks"] - before["looks"]
    # Links and addresses in a dump each, and a route in two families: nothing is asked for each interface.
    assert after["questions"] - before["questions"] <= looks * (2 + sum(map(len, ON_THE_INTERNET.values())))
    # The kernel fills some 32 KiB of a datagram; 200 links have 300 KiB.
    assert after["answers"] - before["answers"] <= looks * 40


async def test_a_stopped_process_slept_and_hears_what_it_missed(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace, "--tick", "0.1", "--shortest-stop", "0.5") as watch:
        watch.process.send_signal(signal.SIGSTOP)
        namespace.ip("addr add 10.0.0.9/24 dev eth0")
        await asyncio.sleep(1.0)
        watch.process.send_signal(signal.SIGCONT)
        said = await watch.next("moved")
        assert said["trigger"] == "WAKE_UP"
        assert said["slept_seconds"] >= 0.5
        await watch.moved("10.0.0.9 new on eth0")


async def test_polling_sees_the_same_later(namespace: Namespace) -> None:
    namespace.ip(*ADDRESSED)
    async with watching(namespace, "--poll") as watch:
        namespace.ip("addr add 10.0.0.9/24 dev eth0")
        assert (await watch.next("moved"))["detail"] == "10.0.0.9 new on eth0"
        namespace.ip("link set eth0 down")
        said = await watch.next("moved")
        assert "IPv4 default route lost from eth0; eth0 went" in said["detail"]
        assert not said["has_address"]
