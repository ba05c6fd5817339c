"""Which path a carrier says that it uses, on the real engine."""

from __future__ import annotations

import asyncio
import re
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import webrtc

from perdure.config import TransportConfig
from perdure.transport.base import Path as NetworkPath
from perdure.transport.rtc import RtcTransport
from perdure.transport.statistics import selected_path
from support.turn_server import free_port, turn_server
from transport.peers import TIMEOUT, Peer, Peers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from perdure.ice_server import IceServer
    from perdure.transport.base import Carrier


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    peers = Peers()
    yield peers
    peers.close()


async def path_of(carrier: Carrier) -> NetworkPath:
    """The path of `carrier`, once it has one whose RTT was read."""
    async with asyncio.timeout(TIMEOUT):
        while (path := carrier.path()) is None or path.rtt is None:  # noqa: ASYNC110  the engine does not tell
            await asyncio.sleep(0.001)
    return path


async def test_a_direct_path_has_the_two_addresses_that_the_ends_gathered(peers: Peers) -> None:
    here, there = await peers.open()
    mine, yours = await path_of(here), await path_of(there)
    assert (mine.is_relayed, mine.protocol) == (False, "udp")
    assert (mine.local_address, mine.remote_address) == (yours.remote_address, yours.local_address)
    gathered = [candidate.split() for _, candidate in peers.offerer.candidates]
    assert mine.local_address in [f"{fields[4]}:{fields[5]}" for fields in gathered] + [
        f"[{fields[4]}]:{fields[5]}" for fields in gathered
    ]
    assert mine.rtt is not None
    assert mine.rtt >= 0


async def test_there_is_no_path_before_one_was_found_and_after_close(peers: Peers) -> None:
    peers.offerer.offer(3)
    assert peers.offerer.carrier is not None
    assert peers.offerer.carrier.path() is None
    async with asyncio.timeout(TIMEOUT):
        await peers.offerer.binding
    await path_of(peers.offerer.carrier)
    peers.offerer.carrier.close()
    assert peers.offerer.carrier.path() is None


async def test_the_path_after_a_restart_is_another(peers: Peers) -> None:
    here, there = await peers.open()
    before = await path_of(here)
    peers.offerer.restart(4)
    async with asyncio.timeout(TIMEOUT):
        while (path := here.path()) is None or path.local_address == before.local_address:
            here.send(b"use it")
            there.send(b"use it")
            await asyncio.sleep(0.01)
        assert path.rtt is None, "that of the path before"
        here.measure()
        await peers.offerer.measured.get()
    assert (await path_of(here)).rtt is not None


class Hidden(Peer):
    """Signals none of its candidates but `told`, or where that is `None` its relayed ones."""

    told: str | None = None

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if self.told is not None:
            candidate = self.told
        elif " typ relay " not in candidate:
            return
        super().carrier_candidate(generation, candidate, sdp_mid, sdp_mline)


@pytest.mark.parametrize("protocol", ["udp", "tcp"])
async def test_a_relayed_path_says_so_and_how_the_turn_server_is_reached(tmp_path: Path, protocol: str) -> None:
    async with turn_server(tmp_path, free_port(), "user", "secret") as server:
        await relayed_by(replace(server, url=f"{server.url}?transport={protocol}"), protocol)


async def relayed_by(server: IceServer, protocol: str) -> None:
    offerer = Hidden(RtcTransport(TransportConfig(loopback=True)))
    answerer = Hidden(RtcTransport(TransportConfig((server,), loopback=True)), initiator=False)
    offerer.other, answerer.other = answerer, offerer
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    # Nobody answers there, but because of it the relay lets 127.0.0.1 in.
    offerer.told = f"candidate:1 1 udp 1 127.0.0.1 {silent.getsockname()[1]} typ host"
    try:
        offerer.offer(3)
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(offerer.binding, answerer.binding)
        assert offerer.carrier is not None
        assert answerer.carrier is not None
        here, there = await path_of(offerer.carrier), await path_of(answerer.carrier)
    finally:
        for peer in (offerer, answerer):
            if peer.carrier is not None:
                peer.carrier.close()
        silent.close()
    assert (here.is_relayed, here.protocol) == (True, "udp")
    assert (there.is_relayed, there.protocol) == (True, protocol)
    assert here.remote_address == there.local_address, "the address at the TURN server"
    assert here.local_address is not None
    assert re.fullmatch(r"127\.0\.0\.1:\d+", here.local_address)
    assert there.remote_address is None, "it was never signaled"


def test_the_port_of_an_ipv6_address_stands_behind_brackets() -> None:
    here, there = (
        webrtc.RTCIceCandidate(f"candidate:1 1 udp 1 {address} 50000 typ host", "0") for address in ("::1", "10.0.0.1")
    )
    path = selected_path(webrtc.RTCIceCandidatePair(here, there))
    assert (path.local_address, path.remote_address) == ("[::1]:50000", "10.0.0.1:50000")
