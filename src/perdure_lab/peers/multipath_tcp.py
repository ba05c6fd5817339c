"""The kernel's MPTCP between two plain TCP copies; the endpoints are kept by `perdure_lab.peers.endpoints`.

    python -m perdure_lab.peers.multipath_tcp gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.multipath_tcp client FOLDER PORT

Each TCP connection is an MPTCP connection of its own. The gateway's addresses are asked for beside the network.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from pathlib import Path

from perdure_lab.peers import exchange, words
from perdure_lab.peers.endpoints import Endpoints, present
from perdure_lab.peers.exchange import Exchange
from perdure_lab.peers.tcp_copy import Ends, carry
from perdure_lab.peers.words import Words

PORT = 9000
IPPROTO_MPTCP = 262
"""linux/in.h. Python has the name only where it was built with headers that do."""

CONNECT_TIMEOUT = 3.0
"""Seconds for each of the gateway's addresses."""

_ENABLED = Path("/proc/sys/net/mptcp/enabled")


def main() -> None:
    given = words.parsed(__doc__)
    words.require_programs("mptcp", {"ip": "iproute2"})
    if not _ENABLED.exists() or _ENABLED.read_text(encoding="ascii").strip() != "1":
        words.refuse("the peer mptcp needs a kernel with MPTCP (net.mptcp.enabled = 1)")
    asyncio.run(_gateway(given) if given.is_gateway else _client(given))


async def _gateway(given: Words) -> None:
    to_target = partial(asyncio.open_connection, given.host, given.port)
    async with asyncio.TaskGroup() as group:
        for family in (socket.AF_INET, socket.AF_INET6):
            server = await asyncio.start_server(partial(carry, to_target), sock=_listener(family))
            group.create_task(server.serve_forever())
        group.create_task(Endpoints("signal", reopen=False).keep())
        group.create_task(exchange.serve(given.folder, _tell))


def _listener(family: socket.AddressFamily) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    listener.bind(("", PORT))
    return listener


async def _tell(joined: Exchange) -> None:
    joined.send(addresses=" ".join(await present()))
    async for _ in joined.messages():
        pass


async def _client(given: Words) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(Endpoints("subflow", reopen=True).keep())
        server = await asyncio.start_server(partial(carry, partial(_connected, given)), given.host, given.port)
        group.create_task(server.serve_forever())


async def _connected(given: Words) -> Ends:
    """To the gateway, by MPTCP."""
    told = await exchange.ask(given.folder)
    refused: OSError = ConnectionRefusedError("it has no address")
    for address in told["addresses"].split():
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        connection = socket.socket(family, socket.SOCK_STREAM, IPPROTO_MPTCP)
        connection.settimeout(CONNECT_TIMEOUT)
        try:
            # Not by asyncio, which asks getaddrinfo, and that does not know MPTCP.
            await asyncio.to_thread(connection.connect, (address, PORT))
            connection.setblocking(False)
            return await asyncio.open_connection(sock=connection)
        except OSError as error:
            connection.close()
            refused = error
    raise refused


if __name__ == "__main__":
    main()
