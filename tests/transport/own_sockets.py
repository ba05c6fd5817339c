"""Started in private namespaces by `test_own_interface`: which of this process's sockets send by an interface of their
own, once the engine has gathered a candidate of each."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from typing import TYPE_CHECKING

from perdure.transport.own_interface import OwnInterfaces
from perdure_lab.lab.namespaces import configure, entered
from perdure_lab.lab.tools import search_path
from support.two_uplinks import CLIENT, ETH, ETH_V6, WLAN, WLAN_V6, build

if TYPE_CHECKING:
    from collections.abc import Callable

TWICE, ELSEWHERE = "10.3.0.2", "172.17.0.2"
OPTIONS = {socket.AF_INET: (socket.IPPROTO_IP, 50), socket.AF_INET6: (socket.IPPROTO_IPV6, 76)}


def opened(address: str, port: int = 0, kind: int = socket.SOCK_DGRAM) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, kind)
    made.bind((address, port))
    return made


def candidate(made: socket.socket, kind: str = "host") -> str:
    address, port, *_ = made.getsockname()
    return f"candidate:1 1 udp 2122260223 {address} {port} typ {kind} generation 0"


def sends_by(made: socket.socket) -> str | None:
    [index] = struct.unpack("!I", made.getsockopt(*OPTIONS[made.family], 4))
    return socket.if_indextoname(index) if index else None


async def settled(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 — the kernel does not say
            await asyncio.sleep(0.001)


async def main() -> dict[str, str | None]:
    others = [socket.socket() for _ in range(300)]  # more than are looked at in one turn
    sought = {name: opened(name) for name in (ETH, WLAN, ETH_V6, WLAN_V6, "127.0.0.1", "::1", TWICE, ELSEWHERE)}
    unknown = opened(WLAN)
    tcp = opened(WLAN, sought[WLAN].getsockname()[1], socket.SOCK_STREAM)
    own = OwnInterfaces()
    for made in sought.values():
        own.gathered(candidate(made))
    own.gathered(candidate(unknown, "srflx"))
    own.gathered("no candidate")
    await settled(lambda: sends_by(sought[WLAN_V6]) is not None)
    later = opened(ETH)
    own.gathered(candidate(later))  # behind all others: when it is done, they are
    await settled(lambda: sends_by(later) is not None)
    found = {name: sends_by(made) for name, made in sought.items()}
    found |= {"no host candidate": sends_by(unknown), "TCP": sends_by(tcp)}
    for made in (*others, *sought.values(), unknown, tcp, later):
        assert made.fileno() >= 0
        made.getsockname()  # nobody has closed it
        made.close()
    return found


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    build()
    configure(CLIENT, ["link add docker0 type bridge", "link set docker0 up", f"addr add {ELSEWHERE}/16 dev docker0"])
    configure(CLIENT, [f"addr add {TWICE}/32 dev {name}" for name in ("eth0", "wlan0")])
    with entered(CLIENT):
        print(json.dumps(asyncio.run(main())))  # noqa: T201
