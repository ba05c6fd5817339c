"""In a network namespace of its own, which has IPv6 addresses only: the TURN server that a carrier gets a candidate at.

`python only_ipv6.py FOLDER`: for the server's certificate, and what it writes.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

from perdure import IceServer
from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from support.certificates import certificate
from support.gathering import Gatherer
from support.signaling import eventually
from support.turn_server import free_port, turn_server

NETWORK = (
    "link set lo up",
    "link add eth0 type veth peer name eth1",
    "-6 addr add 2001:db8::2/64 dev eth0 nodad",
    "link set eth0 up",
    "link set eth1 up",
    "-6 route add default via 2001:db8::1 dev eth0",
)


async def main(folder: Path) -> None:
    certificate(folder)
    port, gatherer = free_port(), Gatherer()
    async with turn_server(folder, port, "ada", "the password", tls=True):
        server = IceServer(f"turns:127.0.0.1:{port}", "ada", "the password")
        transport = RtcTransport(TransportConfig((server,), turn_ca=str(folder / "server.pem")))
        carrier = transport.offer(1, gatherer)
        await eventually(lambda: bool(gatherer.relayed))
        print(gatherer.relayed[0])  # noqa: T201  for the test
        carrier.close()


for line in NETWORK:
    subprocess.run(["ip", *line.split()], check=True)
asyncio.run(main(Path(sys.argv[1])))
