"""What a peer's candidates make the real engine do, and what they cannot."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from perdure.config import TransportConfig
from perdure.transport.rtc import RtcTransport
from transport.peers import TIMEOUT, Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Bystander:
    """A TCP service on loopback that no tube has business with."""

    def __init__(self) -> None:
        self.was_reached = asyncio.Event()
        self.candidate = ""

    async def _reached(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.was_reached.set()
        writer.close()

    async def listen(self) -> asyncio.Server:
        server = await asyncio.start_server(self._reached, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        self.candidate = f"candidate:1 1 tcp 1518280447 127.0.0.1 {port} typ host tcptype passive"
        return server


@pytest.fixture
async def bystander() -> AsyncIterator[Bystander]:
    bystander = Bystander()
    async with await bystander.listen():
        yield bystander


class Naming(Peer):
    """A peer that names the bystander among its candidates, or in its description."""

    def __init__(self, transport: RtcTransport, bystander: Bystander, *, in_description: bool) -> None:
        super().__init__(transport)
        self._bystander = bystander
        self._in_description = in_description

    def carrier_description(self, generation: int, sdp: str) -> None:
        line = f"a={self._bystander.candidate}\r\n" if self._in_description else ""
        super().carrier_description(generation, sdp + line)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        super().carrier_candidate(generation, candidate, sdp_mid, sdp_mline)
        if not self._in_description:
            super().carrier_candidate(generation, self._bystander.candidate, sdp_mid, sdp_mline)


@pytest.mark.parametrize("in_description", [False, True])
@pytest.mark.parametrize("is_asked_for", [False, True])
async def test_a_peer_reaches_a_tcp_port_only_where_tcp_was_asked_for(
    bystander: Bystander, in_description: bool, is_asked_for: bool
) -> None:
    hostile = Naming(RtcTransport(TransportConfig(loopback=True)), bystander, in_description=in_description)
    attacked = Peer(RtcTransport(TransportConfig(loopback=True, tcp_candidates=is_asked_for)), initiator=False)
    hostile.other, attacked.other = attacked, hostile
    try:
        hostile.offer(3)
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(hostile.binding, attacked.binding)
            if is_asked_for:
                await bystander.was_reached.wait()
        assert bystander.was_reached.is_set() is is_asked_for
        own = [candidate for _, candidate in attacked.candidates]
        assert is_asked_for or not any(" tcp " in candidate for candidate in own)
    finally:
        for peer in (hostile, attacked):
            if peer.carrier is not None:
                peer.carrier.close()
