"""Network namespaces of a run, inside the private world that `tools.isolated` makes: nobody else sees them.

/run is a file system of the run's own: a namespace of the host's with the same name is neither seen nor touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from perdure_lab.lab.tools import LabError

_NAMED = Path("/run/netns")
_CLONE_NEWNET = 0x40000000
_COMMAND_TIMEOUT = 20.0

_libc = ctypes.CDLL(None, use_errno=True)


def make_private_world(hosts: dict[str, Sequence[str]]) -> None:
    """Own /run and own /etc/hosts with the lab's names; for the first process in the private namespaces.

    Raises:
        LabError: the system does not let it.
    """
    if os.getpid() != 1:
        raise RuntimeError("this would cover the machine's own /run; it belongs into private namespaces")
    _run(["mount", "-t", "tmpfs", "tmpfs", "/run"])
    _NAMED.mkdir()
    lines = ["127.0.0.1 localhost", "::1 localhost"]
    lines += [f"{address} {name}" for name, addresses in hosts.items() for address in addresses]
    own_hosts = Path("/run/hosts")
    own_hosts.write_text("\n".join(lines) + "\n", encoding="ascii")
    _run(["mount", "--bind", str(own_hosts), "/etc/hosts"])


def add_namespaces(names: Sequence[str]) -> None:
    """Each with its loopback up, without duplicate address detection and without reverse path filters."""
    _run(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in names))
    for name in names:
        with entered(name):
            for setting, value in _SYSCTLS.items():
                with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
                    Path("/proc/sys/net", setting).write_text(value, encoding="ascii")
        configure(name, ["link set lo up"])


def let_forward(name: str) -> None:
    """Make a router of it."""
    with entered(name):
        for setting in ("ipv4/ip_forward", "ipv6/conf/all/forwarding"):
            with contextlib.suppress(FileNotFoundError):
                Path("/proc/sys/net", setting).write_text("1", encoding="ascii")


@contextlib.contextmanager
def entered(name: str) -> Iterator[None]:
    """This thread is in the namespace: a socket made meanwhile stays there for good. Nothing may be awaited inside."""
    with open("/proc/thread-self/ns/net") as home, open(_NAMED / name) as there:
        _set_namespace(there.fileno())
        try:
            yield
        finally:
            _set_namespace(home.fileno())


def command_in(name: str, *command: str) -> list[str]:
    """`command` in the namespace."""
    return ["nsenter", f"--net={_NAMED / name}", "--", *command]


def configure(name: str, lines: Sequence[str]) -> None:
    """Commands of `ip`, all at once.

    Raises:
        LabError: one was refused.
    """
    for is_v6, group in groupby(lines, key=lambda line: line.startswith("-6 ")):
        family = ["-6"] if is_v6 else []
        given = "".join(f"{line.removeprefix('-6 ')}\n" for line in group)
        _run(["ip", *family, "-n", name, "-batch", "-"], given)


async def filtered(name: str, ruleset: str) -> None:
    """Load an nftables ruleset, in one transaction, while the traffic goes on."""
    await asyncio.to_thread(_run, command_in(name, "nft", "-f", "-"), ruleset)


async def mappings_forgotten(name: str) -> None:
    """Empty the table of connections that the namespace's NAT goes by."""
    await asyncio.to_thread(_run, command_in(name, "conntrack", "-F"))


_SYSCTLS = {
    # A machine says where it is when its interface comes up, as network managers do: else a router that has just asked
    # for it in vain asks again only after 1 s.
    "ipv4/conf/all/arp_notify": "1",
    "ipv4/conf/default/arp_notify": "1",
    "ipv4/conf/all/rp_filter": "0",  # paths may be asymmetric
    "ipv4/conf/default/rp_filter": "0",
    "ipv6/conf/all/disable_ipv6": "0",  # where it is off in a container, it need not be in the lab
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/all/accept_dad": "0",  # an address is usable at once
    "ipv6/conf/default/accept_dad": "0",
    "ipv6/conf/default/accept_ra": "0",
    "ipv6/conf/default/router_solicitations": "0",
}


def _set_namespace(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _run(command: list[str], given: str = "") -> None:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, timeout=_COMMAND_TIMEOUT, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"`{' '.join(command)}` failed: {error}") from error
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split())[:400]
        raise LabError(f"`{' '.join(command)}` failed: {said}")
