"""A gateway's TURN server takes new credentials only: a tunnel through it comes back by those that the gateway told."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import perdure
from perdure.client import Tunnel
from perdure.gateway import Gateway
from perdure.transport.rtc import RtcTransport
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.tunnels import echo, rendezvous
from support.turn_server import free_port, turn_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from perdure import IceServer
    from perdure.transport.base import Carrier, CarrierListener, Transport


class OnlyRelayed:
    """A `Transport` on the real engine whose ends tell each other of no addresses but those at a TURN server."""

    def __init__(self) -> None:
        self._engine = RtcTransport(perdure.TransportConfig(loopback=True))
        self.users: list[tuple[str | None, ...]] = []
        """Of the ICE servers, each time that they were set."""

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:
        return self._engine.offer(generation, _Relayed(listener))

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:
        return self._engine.answer(generation, sdp, _Relayed(listener))

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self._engine.set_ice_servers(servers)
        self.users.append(tuple(server.username for server in servers))

    def renew(self) -> None:
        self._engine.renew()


class _Relayed:
    def __init__(self, listener: CarrierListener) -> None:
        self._listener = listener

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if " typ relay " in candidate:
            self._listener.carrier_candidate(generation, candidate, sdp_mid, sdp_mline)


@contextlib.asynccontextmanager
async def gateway_at(url: str, transport: Transport) -> AsyncIterator[Gateway]:
    store = perdure.TicketStore()
    store.create("default", now=0)
    async with Gateway(url, perdure.parse_allow([]), tickets=store, handler=echo, transport=transport) as gateway:
        yield gateway


async def test_a_relayed_tunnel_comes_back_by_the_credentials_that_the_gateway_told_meanwhile(tmp_path: Path) -> None:
    port, at_client = free_port(), OnlyRelayed()
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(rendezvous())
        gateway = await stack.enter_async_context(gateway_at(url, OnlyRelayed()))
        async with turn_server(tmp_path, port, "ada", "old") as old:
            gateway.set_ice_servers([old])
            tunnel = await stack.enter_async_context(Tunnel(gateway.ticket, transport=at_client))
            reader, writer = await tunnel.open_connection("echo", 7)
            writer.write(b"hello")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(5) == b"hello"
            assert tunnel.path is not None
            assert tunnel.path.is_relayed
            decided = tunnel.decisions
            gateway.set_ice_servers([perdure.IceServer(old.url, "bob", "new")])
            await eventually(lambda: at_client.users == [("ada",), ("bob",)])
            writer.write(b"still")
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(5) == b"still"
            assert tunnel.decisions == decided, "new ICE servers are no reason to recover"
        async with turn_server(tmp_path, port, "bob", "new"):
            writer.write(b"again")
            async with asyncio.timeout(3 * TIMEOUT):
                assert await reader.readexactly(5) == b"again"
            assert tunnel.path is not None
            assert tunnel.path.is_relayed
            writer.close()
            await stack.aclose()
