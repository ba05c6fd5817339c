"""MPTCP's endpoints of this namespace, kept as its addresses come and go: what a path manager such as mptcpd does.

The kernel opens a subflow from an endpoint once: when the endpoint is added. So one is added only when its interface
has a default route, and added again when its subflow was reset (by a NAT that forgot it, or by the other end).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket

from perdure_lab.peers import words

LIMIT = 8
"""Subflows of a connection, and addresses taken from the peer: the most that the kernel lets one set."""

REOPEN_DELAY = 0.05
"""Seconds between the reset of a subflow and the next one from the same address. The other connections are mostly reset
in the same moment, and a gateway that refuses must not make the program spin."""

_RTMGRP = 0x1 | 0x10 | 0x40 | 0x100 | 0x400
"""linux/rtnetlink.h: links, addresses of IPv4, routes of IPv4, addresses of IPv6, routes of IPv6."""

_READ_BYTES = 1 << 16

_ENDED = re.compile(r"SF_CLOSED\b.*?\bsaddr[46]=([0-9a-f.:]+).*\berror=")
"""A line of `ip mptcp monitor` that tells of a subflow's end. It has an error where this end did not close it."""

Places = dict[str, str]
"""Addresses, each with its interface."""


class Endpoints:
    """Those of this namespace.

    Args:
        flags: of every endpoint, as `ip mptcp endpoint add` takes them.
        reopen: add an endpoint again when its subflow was reset. The subflows of other connections from there are
            opened anew with it, as the kernel cannot do it for one connection.
    """

    def __init__(self, *flags: str, reopen: bool) -> None:
        self._flags = flags
        self._reopen = reopen
        self._kept: Places = {}
        self._ended: set[str] = set()
        self._changed = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()

    async def keep(self) -> None:
        """For ever."""
        await _ip("mptcp", "limits", "set", "subflows", str(LIMIT), "add_addr_accepted", str(LIMIT))
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
            netlink.setblocking(False)
            netlink.bind((0, _RTMGRP))
            asyncio.get_running_loop().add_reader(netlink, self._heard, netlink)
            await asyncio.gather(self._follow(), self._monitor())

    def _heard(self, netlink: socket.socket) -> None:
        with contextlib.suppress(OSError):  # more came than the kernel keeps for us: everything is looked at anyway
            netlink.recv(_READ_BYTES)
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            self._changed.clear()
            async with self._one_at_a_time:
                await self._change_to(await present())
            await self._changed.wait()

    async def _change_to(self, places: Places) -> None:
        """New ones first, so that a connection always has a subflow where there is one to have."""
        for address in places.keys() - self._kept.keys():
            await self._add(address, places[address])
        for address in self._kept.keys() - places.keys():
            await self._delete(address)

    async def _add(self, address: str, interface: str) -> None:
        words.complain(f"endpoint {address} on {interface} added")
        self._kept[address] = interface
        await _ip("mptcp", "endpoint", "add", address, "dev", interface, *self._flags)

    async def _delete(self, address: str) -> None:
        words.complain(f"endpoint {address} deleted")
        del self._kept[address]
        for endpoint in json.loads(await _ip("-j", "mptcp", "endpoint", "show") or "[]"):
            if endpoint["address"] == address:
                await _ip("mptcp", "endpoint", "delete", "id", str(endpoint["id"]))

    async def _monitor(self) -> None:
        monitor = await asyncio.create_subprocess_exec("ip", "mptcp", "monitor", stdout=asyncio.subprocess.PIPE)
        assert monitor.stdout is not None
        async with asyncio.TaskGroup() as group:
            async for line in monitor.stdout:
                words.complain(line.decode().strip())
                ended = _ENDED.search(line.decode())
                if self._reopen and ended is not None and ended[1] not in self._ended:
                    self._ended.add(ended[1])
                    group.create_task(self._add_again(ended[1]))
            words.refuse("`ip mptcp monitor` ended")

    async def _add_again(self, address: str) -> None:
        """Once for all connections that lost their subflow."""
        await asyncio.sleep(REOPEN_DELAY)
        self._ended.discard(address)
        async with self._one_at_a_time:
            if (interface := self._kept.get(address)) is not None:
                await self._delete(address)
                await self._add(address, interface)


async def present() -> Places:
    """Addresses that packets can leave from: those of interfaces with a default route."""
    every = json.loads(await _ip("-j", "address", "show", "up", "scope", "global") or "[]")
    routed = set()
    for family in ("-4", "-6"):
        routed |= {route["dev"] for route in json.loads(await _ip(family, "-j", "route", "show", "default") or "[]")}
    return {
        str(address["local"]): str(interface["ifname"])
        for interface in every
        for address in interface.get("addr_info", ())
        if "local" in address and interface["ifname"] in routed
    }


async def _ip(*arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "ip", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        words.complain(f"`ip {' '.join(arguments)}`: {said.decode().strip()}")
    return out.decode()
