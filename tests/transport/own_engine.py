"""Started in private namespaces by `test_own_interface`: by which interface the engine's own sockets send.

`python own_engine.py own|routes` says it as JSON, by the address that they are bound to.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.tools import search_path
from support.two_uplinks import CLIENT, ETH, WLAN, build
from transport.newcomer import Listener
from transport.own_sockets import sends_by


def engines() -> dict[str, str | None]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            is_socket = os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:
            continue
        if not is_socket:
            continue
        same = socket.socket(fileno=os.dup(int(name)))
        with same:
            if same.family == socket.AF_INET and same.type == socket.SOCK_DGRAM:
                found[same.getsockname()[0]] = sends_by(same)
    return found


async def main(*, own: bool) -> dict[str, str | None]:
    transport, listener = RtcTransport(TransportConfig(own_interfaces=own)), Listener()
    carrier = transport.offer(3, listener)
    async with asyncio.timeout(20):
        await listener.gathered(ETH)
        await listener.gathered(WLAN)
        while own and None in engines().values():  # noqa: ASYNC110 — the kernel does not say
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    found = engines()
    carrier.close()
    return found


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    build()
    with entered(CLIENT):
        print(json.dumps(asyncio.run(main(own=sys.argv[1] == "own"))))  # noqa: T201
