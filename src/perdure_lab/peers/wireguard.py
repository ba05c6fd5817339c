"""WireGuard in userspace (wireguard-go) between two plain TCP copies, with a hook for changes of the network.

    python -m perdure_lab.peers.wireguard gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.wireguard client FOLDER PORT

WireGuard answers to where the last packet came from, and wireguard-go sends from the address that the last one came
to. So the hook, at both ends: on each change of links, addresses or routes the peer's endpoint is set anew. The
gateway's present addresses are told beside the network, as by a name service that never fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from asyncio.trsock import TransportSocket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.state import family_of
from perdure_lab.peers import exchange, wireguard_interface, words
from perdure_lab.peers.exchange import Exchange, Message
from perdure_lab.peers.tcp_copy import Ends, carry
from perdure_lab.peers.wireguard_interface import End, Interface
from perdure_lab.peers.words import Words

PORT = 9000
"""Of the gateway's TCP copy, inside of the tunnel."""

LONGEST_RTO_MS = 1000
"""Of the TCP inside of the tunnel: the shortest bound that the kernel takes. By default it is 120 s; after 20 s without
a path, TCP then sent nothing for 6 s more."""

USER_TIMEOUT_MS = 900_000
"""How long that TCP goes on without an answer, about as by default. Without it, the bound above would make it give up
after some 15 s."""

_TCP_RTO_MAX_MS = 44
"""linux/tcp.h, since Linux 6.15."""

GATEWAY = End("wg-gateway", "10.99.0.1", port=51820)
CLIENT = End("wg-client", "10.99.0.2", port=0)


def main() -> None:
    given = words.parsed(__doc__)
    wireguard_interface.require()
    asyncio.run(_gateway(given) if given.is_gateway else _client(given))


class Changes:
    """Of this namespace's network, and what else the hook has to look at."""

    def __init__(self) -> None:
        self._source = NetlinkSource()
        self._changed = asyncio.Event()

    async def follow(self, hook: Callable[[], Awaitable[None]]) -> NoReturn:
        """Call it at first, and again after each change."""
        self._source.watch(self.hint, self._failed)
        while True:
            self._changed.clear()
            await hook()
            await self._changed.wait()

    def hint(self) -> None:
        self._changed.set()

    def addresses(self) -> list[str]:
        """Those of this end that can be reached."""
        return sorted({address.ip for address in self._source.look().bindable})

    def reachable(self, addresses: list[str]) -> list[str]:
        """Those for which there is a route."""
        now = self._source.look()
        return [address for address in addresses if now.default(family_of(address)) is not None]

    @staticmethod
    def _failed(error: OSError) -> None:
        words.refuse(f"rtnetlink: {error}")


class Gateway:
    """Tells its addresses, and sends from the present one to where the client was last."""

    def __init__(self, interface: Interface, changes: Changes) -> None:
        self._interface = interface
        self._changes = changes
        self._addresses: list[str] = []
        self._joined: set[Exchange] = set()

    async def hook(self) -> None:
        self._addresses, before = self._changes.addresses(), self._addresses
        if self._addresses != before:
            for joined in self._joined:
                self._say(joined)
        if (endpoint := await self._interface.endpoint()) is not None:
            await self._interface.set_endpoint(endpoint)

    async def tell(self, joined: Exchange) -> None:
        self._say(joined)
        self._joined.add(joined)
        try:
            async for _ in joined.messages():
                pass
        finally:
            self._joined.discard(joined)

    def _say(self, joined: Exchange) -> None:
        joined.send(addresses=" ".join(self._addresses))


class Client:
    """Sends from its present address to the gateway's."""

    def __init__(self, interface: Interface, changes: Changes) -> None:
        self._interface = interface
        self._changes = changes
        self._gateway: list[str] = []

    def told(self, message: Message) -> None:
        self._gateway = message["addresses"].split()

    async def hook(self) -> None:
        for address in self._changes.reachable(self._gateway)[:1]:
            host = f"[{address}]" if ":" in address else address
            await self._interface.set_endpoint(f"{host}:{GATEWAY.port}")

    async def hear(self, folder: Path) -> NoReturn:
        """What the gateway tells, and again where it is started anew."""
        while True:
            with contextlib.suppress(TimeoutError):
                joined = await exchange.join(folder)
                async for message in joined.messages():
                    self.told(message)
                    self._changes.hint()
                joined.close()


async def _gateway(given: Words) -> None:
    wireguard_interface.make_keys(given.folder, GATEWAY, CLIENT)
    interface, changes = Interface(given.folder, GATEWAY, CLIENT), Changes()
    await interface.open()
    gateway = Gateway(interface, changes)
    to_target = partial(asyncio.open_connection, given.host, given.port)
    server = await asyncio.start_server(partial(carry, to_target), GATEWAY.address, PORT)
    for listener in server.sockets:
        _limit_backoff(listener)  # and with it the connections that it accepts
    async with asyncio.TaskGroup() as group:
        group.create_task(interface.last())
        group.create_task(server.serve_forever())
        group.create_task(changes.follow(gateway.hook))
        group.create_task(exchange.serve(given.folder, gateway.tell))


async def _client(given: Words) -> None:
    interface, changes = Interface(given.folder, CLIENT, GATEWAY), Changes()
    await interface.open()
    client = Client(interface, changes)
    client.told(await exchange.ask(given.folder))
    await client.hook()
    server = await asyncio.start_server(partial(carry, _connected), given.host, given.port)
    async with asyncio.TaskGroup() as group:
        group.create_task(interface.last())
        group.create_task(server.serve_forever())
        group.create_task(client.hear(given.folder))
        group.create_task(changes.follow(client.hook))


async def _connected() -> Ends:
    """To the gateway, inside of the tunnel."""
    reader, writer = await asyncio.open_connection(GATEWAY.address, PORT)
    _limit_backoff(writer.get_extra_info("socket"))
    return reader, writer


def _limit_backoff(tcp: socket.socket | TransportSocket) -> None:
    with contextlib.suppress(OSError):  # an older kernel keeps its own
        tcp.setsockopt(socket.IPPROTO_TCP, _TCP_RTO_MAX_MS, LONGEST_RTO_MS)
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)


if __name__ == "__main__":
    main()
