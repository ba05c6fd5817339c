"""One end of a WireGuard tunnel: wireguard-go on a TUN device of this namespace, with one peer, set up by `wg`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from perdure_lab.peers import words

KEEPALIVE = 1
"""Seconds: the shortest there is. The other end so learns a new address also from an end that has nothing to send."""

START_TIMEOUT = 10.0
"""Seconds for wireguard-go to take commands; it takes a few hundredths of one."""

_START_POLL_INTERVAL = 0.01

_PACKAGES = {
    "wireguard-go": "wireguard-go",
    "wg": "wireguard-tools",
    "ip": "iproute2",
    "setpriv": "util-linux",
}

_TUN = Path("/dev/net/tun")
_SOCKETS = Path("/var/run/wireguard")
"""Where wireguard-go takes commands from `wg`; /run is the run's own, and both ends see it."""


@dataclass(frozen=True, slots=True)
class End:
    name: str
    """Of its interface, and of its keys' files."""
    address: str
    """Inside of the tunnel."""
    port: int
    """Of UDP, to which the other end sends first; 0: it has any, and the other end learns it."""


def require() -> None:
    """End where a program or the device is not there."""
    words.require_programs("wireguard", _PACKAGES)
    if not os.access(_TUN, os.R_OK | os.W_OK):
        words.refuse(f"the peer wireguard must open {_TUN}, and may not: run the lab as root")


def make_keys(folder: Path, *ends: End) -> None:
    """Of each end a file with its private key, and one with its public key."""
    for end in ends:
        path = _private_key(folder, end)
        if not _public_key(folder, end).exists():  # a gateway that is started anew keeps its keys
            key = subprocess.run(["wg", "genkey"], stdout=subprocess.PIPE, check=True).stdout
            path.touch(mode=0o600)
            path.write_bytes(key)
            public = subprocess.run(["wg", "pubkey"], input=key, stdout=subprocess.PIPE, check=True).stdout
            _public_key(folder, end).write_bytes(public)


class Interface:
    """The tunnel at this end, from `open` on. It ends with this process, however that ends."""

    def __init__(self, folder: Path, own: End, peer: End) -> None:
        self._folder = folder
        self._own = own
        self._peer = peer
        self._peer_key = _public_key(folder, peer).read_text(encoding="ascii").strip()
        self._process: asyncio.subprocess.Process | None = None

    async def open(self) -> None:
        """Its address can be bound to then. The end that begins sends nothing before `set_endpoint`: a handshake fails
        without an endpoint, and the next one comes only after 5 s.
        """
        name = self._own.name
        await self._start()
        port = ("listen-port", str(self._own.port)) if self._own.port else ()
        key = str(_private_key(self._folder, self._own))
        peer = ("peer", self._peer_key, "allowed-ips", self._peer.address)
        for each in (
            ("wg", "set", name, "private-key", key, *port, *peer),
            ("ip", "address", "add", self._own.address, "peer", self._peer.address, "dev", name),
            ("ip", "link", "set", name, "up"),
        ):
            if await _run(*each) is None:
                words.refuse(f"the interface {name} could not be set up")

    async def last(self) -> NoReturn:
        """As long as wireguard-go does; then end."""
        assert self._process is not None
        words.refuse(f"wireguard-go ended with code {await self._process.wait()}")

    async def endpoint(self) -> str | None:
        """Where the peer's last packet came from, or what was set since; `None`: it is not known."""
        shown = await _run("wg", "show", self._own.name, "endpoints")
        found = (shown or "").split()
        return found[1] if len(found) == 2 and found[1] != "(none)" else None

    async def set_endpoint(self, endpoint: str) -> None:
        """Also where it is the same: wireguard-go forgets the local address that it sent from, and asks the routes.

        Keepalives begin when they are switched on, so that the peer learns this end's new address at once.
        """
        peer = ("peer", self._peer_key)
        off, on = ("persistent-keepalive", "0"), ("persistent-keepalive", str(KEEPALIVE))
        if await _run("wg", "set", self._own.name, *peer, *off, *peer, "endpoint", endpoint, *on) is not None:
            words.complain(f"endpoint {endpoint} set")

    async def _start(self) -> None:
        socket = _SOCKETS / f"{self._own.name}.sock"
        socket.unlink(missing_ok=True)  # of one that was killed
        environment = os.environ | {"WG_PROCESS_FOREGROUND": "1", "LOG_LEVEL": "error"}
        command = ("setpriv", "--pdeathsig", "KILL", "wireguard-go", "-f", self._own.name)
        self._process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=sys.stderr)
        lasting = asyncio.create_task(self.last())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT):
                while not socket.exists():  # noqa: ASYNC110
                    await asyncio.sleep(_START_POLL_INTERVAL)
        lasting.cancel()
        if not socket.exists():
            words.refuse(f"wireguard-go took no commands within {START_TIMEOUT:.0f} s")


def _private_key(folder: Path, end: End) -> Path:
    return folder / f"{end.name}.key"


def _public_key(folder: Path, end: End) -> Path:
    return folder / f"{end.name}.pub"


async def _run(*command: str) -> str | None:
    """What it said; `None`: it failed, which is told."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, said = await process.communicate()
    if process.returncode != 0:
        words.complain(f"`{' '.join(command)}`: {said.decode().strip()}")
        return None
    return out.decode()
