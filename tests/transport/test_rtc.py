"""The transport on the real engine: both ends in this process."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest
import wrtc

from perdure.config import IceServer, TransportConfig
from perdure.transport.base import Carrier, IceState, LossReason
from perdure.transport.rtc import BUFFERED_HIGH_BYTES, RtcTransport, channel_binding

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TIMEOUT = 10.0


class Peer:
    """A listener that signals to the other one directly and records what it hears."""

    def __init__(self, transport: RtcTransport) -> None:
        self.transport = transport
        self.other: Peer | None = None
        self.carrier: Carrier | None = None
        self.binding: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[LossReason] = asyncio.get_running_loop().create_future()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.writable = asyncio.Event()
        self.descriptions: list[str] = []
        self.candidates: list[str] = []

    def offer(self, generation: int) -> None:
        self.carrier = self.transport.offer(generation, self)

    def carrier_description(self, generation: int, sdp: str) -> None:
        assert not self.candidates, "candidates come after the description"
        self.descriptions.append(sdp)
        assert self.other is not None
        if self.other.carrier is None:
            self.other.carrier = self.transport.answer(generation, sdp, self.other)
        else:
            self.other.carrier.apply_answer(sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.candidates.append(candidate)
        if self.other is not None and self.other.carrier is not None:
            self.other.carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, binding: bytes) -> None:
        self.binding.set_result(binding)

    def carrier_message(self, generation: int, message: bytes) -> None:
        self.messages.put_nowait(message)

    def carrier_writable(self, generation: int) -> None:
        self.writable.set()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        pass

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        self.lost.set_result(reason)


class Peers:
    def __init__(self) -> None:
        transport = RtcTransport(TransportConfig(loopback=True))
        self.offerer, self.answerer = Peer(transport), Peer(transport)
        self.offerer.other, self.answerer.other = self.answerer, self.offerer

    async def open(self) -> tuple[Carrier, Carrier]:
        self.offerer.offer(3)
        async with asyncio.timeout(TIMEOUT):
            bindings = await asyncio.gather(self.offerer.binding, self.answerer.binding)
        assert bindings[0] == bindings[1]
        assert self.offerer.carrier is not None
        assert self.answerer.carrier is not None
        return self.offerer.carrier, self.answerer.carrier

    def close(self) -> None:
        for peer in (self.offerer, self.answerer):
            if peer.carrier is not None:
                peer.carrier.close()


@pytest.fixture
async def peers() -> AsyncIterator[Peers]:
    peers = Peers()
    yield peers
    peers.close()


async def test_messages_cross_whole_and_in_order(peers: Peers) -> None:
    here, _ = await peers.open()
    sent = [b"a", b"b" * 65536, b"c"]
    for message in sent:
        here.send(message)
    async with asyncio.timeout(TIMEOUT):
        assert [await peers.answerer.messages.get() for _ in sent] == sent


async def test_candidates_are_trickled_and_loopback_is_among_them_when_asked(peers: Peers) -> None:
    await peers.open()
    assert not any("a=candidate" in sdp for sdp in peers.offerer.descriptions + peers.answerer.descriptions)
    assert any(" 127.0.0.1 " in candidate for candidate in peers.offerer.candidates)


async def test_a_full_carrier_says_so_and_says_when_it_has_drained(peers: Peers) -> None:
    here, _ = await peers.open()
    count = 0
    while here.has_room:
        here.send(bytes(65536))
        count += 1
        assert count * 65536 <= BUFFERED_HIGH_BYTES + 16 * 65536, "the carrier never fills"
    async with asyncio.timeout(TIMEOUT):
        await peers.offerer.writable.wait()
    assert here.has_room


async def test_killing_one_end_is_noticed_by_the_other_at_once(peers: Peers) -> None:
    here, _ = await peers.open()
    here.kill()
    async with asyncio.timeout(2):
        assert await peers.offerer.lost is LossReason.KILLED
        assert await peers.answerer.lost is LossReason.CHANNEL_CLOSED


async def test_nothing_is_heard_after_close_and_closing_or_sending_again_is_fine(peers: Peers) -> None:
    here, _ = await peers.open()
    here.close()
    here.close()
    here.send(b"late")
    here.add_candidate("candidate:1 1 udp 1 127.0.0.1 9 typ host", "0", 0)
    here.apply_answer("late")
    async with asyncio.timeout(2):
        await peers.answerer.lost
    assert not peers.offerer.lost.done()


async def test_an_offer_that_cannot_be_read_loses_the_carrier_with_that_reason() -> None:
    peer = Peer(RtcTransport(TransportConfig(loopback=True)))
    peer.carrier = peer.transport.answer(3, "v=0\r\nthis is no description\r\n", peer)
    async with asyncio.timeout(TIMEOUT):
        assert await peer.lost is LossReason.REFUSED_DESCRIPTION


async def test_a_candidate_that_cannot_be_read_changes_nothing(peers: Peers) -> None:
    here, there = await peers.open()
    there.add_candidate("this is no candidate", "0", 0)
    there.add_candidate("candidate:1 1 udp 1 300.0.0.1 9 typ host", "nowhere", 7)
    here.send(b"still here")
    async with asyncio.timeout(TIMEOUT):
        assert await peers.answerer.messages.get() == b"still here"
    assert not peers.answerer.lost.done()


async def test_ice_servers_of_the_configuration_reach_the_engine() -> None:
    transport = RtcTransport(TransportConfig((IceServer("stun:127.0.0.1:9"), IceServer("turn:127.0.0.1:9", "u", "p"))))
    peer = Peer(transport)
    peer.other = Peer(transport)
    peer.offer(3)
    assert peer.carrier is not None
    peer.carrier.close()


async def test_the_engines_factory_goes_with_the_last_carrier() -> None:
    # With it goes the engine's list of local networks, so the next carrier sees the networks of that moment.
    for _ in range(3):
        peers = Peers()
        await peers.open()
        assert wrtc._alive_factories() == 1
        peers.close()
        del peers
        async with asyncio.timeout(2):
            while wrtc._alive_factories():
                gc.collect()
                await asyncio.sleep(0.005)


def test_the_binding_names_both_certificates_whoever_asks() -> None:
    mine, yours = "v=0\r\na=fingerprint:sha-256 AA:BB\r\n", "v=0\r\na=fingerprint:sha-256 CC:DD\r\n"
    assert channel_binding(mine, yours) == channel_binding(yours, mine)
    assert channel_binding(mine, yours) != channel_binding(mine, mine)
    with pytest.raises(ValueError, match="fingerprint"):
        channel_binding(mine, "v=0\r\n")
