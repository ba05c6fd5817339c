"""The transport on the real engine: both ends in this process."""

from __future__ import annotations

import asyncio
import gc
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY, Mock, call

import pytest
import webrtc
import wrtc

from perdure.config import IceServer, TransportConfig
from perdure.errors import CarrierError
from perdure.transport.base import Carrier, IceState, LossReason, PathStatistics
from perdure.transport.rtc import BUFFERED_HIGH_BYTES, RtcCarrier, RtcTransport, path_statistics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

TIMEOUT = 10.0

OFFER = "a=setup:actpass"
"""What only an offer says (RFC 8842 §5.2)."""


class Peer:
    """A listener that signals to the other one directly and records what it hears.

    As in a tube, an impolite peer holds to its own restart and does not hear the other's.
    """

    def __init__(self, transport: RtcTransport, *, polite: bool = False) -> None:
        self.transport = transport
        self.polite = polite
        self.other: Peer | None = None
        self.carrier: Carrier | None = None
        self.restarting = 0
        self.ignored = 0
        self.binding: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.lost: asyncio.Future[LossReason] = asyncio.get_running_loop().create_future()
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.measured: asyncio.Queue[PathStatistics] = asyncio.Queue()
        self.negotiated = asyncio.Event()
        self.candidate = asyncio.Event()
        self.writable = asyncio.Event()
        self.descriptions: list[tuple[int, str]] = []
        self.candidates: list[tuple[int, str]] = []

    def offer(self, generation: int) -> None:
        self.carrier = self.transport.offer(generation, self)

    def restart(self, generation: int) -> None:
        assert self.carrier is not None
        self.restarting = generation
        self.carrier.restart(generation)

    def hear(self, generation: int, sdp: str) -> None:
        if OFFER not in sdp:
            assert self.carrier is not None
            if generation >= self.restarting:
                self.restarting = 0
                self.carrier.apply_answer(sdp)
                self.negotiated.set()
        elif self.carrier is None:
            self.carrier = self.transport.answer(generation, sdp, self)
        elif self.restarting and not self.polite:
            self.ignored = generation
        else:
            self.restarting = 0
            self.carrier.answer_restart(generation, sdp)

    async def gathered(self, generation: int) -> None:
        """Wait for a candidate of `generation`."""
        while generation not in [told for told, _ in self.candidates]:
            self.candidate.clear()
            await self.candidate.wait()

    def carrier_description(self, generation: int, sdp: str) -> None:
        assert generation not in [told for told, _ in self.candidates], "candidates come after the description"
        self.descriptions.append((generation, sdp))
        assert self.other is not None
        self.other.hear(generation, sdp)
        if OFFER not in sdp:
            self.negotiated.set()

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self.candidates.append((generation, candidate))
        self.candidate.set()
        if self.other is not None and self.other.carrier is not None and self.other.ignored != generation:
            self.other.carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, binding: bytes) -> None:
        self.binding.set_result(binding)
        self.negotiated.clear()

    def carrier_message(self, generation: int, message: bytes) -> None:
        assert generation == 3
        self.messages.put_nowait(message)

    def carrier_writable(self, generation: int) -> None:
        self.writable.set()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        pass

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        assert generation == 3
        self.measured.put_nowait(statistics)

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        assert generation == 3
        self.lost.set_result(reason)


class Peers:
    def __init__(self) -> None:
        transport = RtcTransport(TransportConfig(loopback=True))
        self.transport = transport
        self.offerer, self.answerer = Peer(transport), Peer(transport, polite=True)
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


def credentials(sdp: str) -> tuple[str, str]:
    """The ICE ufrag and password."""
    found = re.search(r"^a=ice-ufrag:(\S+)\s+a=ice-pwd:(\S+)", sdp, re.MULTILINE)
    assert found is not None
    return found[1], found[2]


async def negotiated(peers: Peers) -> None:
    """Wait until both ends have the other's part of the restart, then begin anew."""
    async with asyncio.timeout(TIMEOUT):
        await asyncio.gather(peers.offerer.negotiated.wait(), peers.answerer.negotiated.wait())
    peers.offerer.negotiated.clear()
    peers.answerer.negotiated.clear()


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
    assert not any("a=candidate" in sdp for _, sdp in peers.offerer.descriptions + peers.answerer.descriptions)
    assert any(" 127.0.0.1 " in candidate for _, candidate in peers.offerer.candidates)


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
    here.restart(4)
    here.answer_restart(5, "late")
    here.measure()
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


async def test_an_ice_restart_renews_both_ends_credentials_and_gathers_anew(peers: Peers) -> None:
    await peers.open()
    peers.offerer.restart(4)
    await negotiated(peers)
    for peer in (peers.offerer, peers.answerer):
        (first, before), (second, after) = peer.descriptions
        assert (first, second) == (3, 4)
        assert not set(credentials(before)) & set(credentials(after))
        assert "a=candidate" not in after
        async with asyncio.timeout(TIMEOUT):
            await peer.gathered(4)


async def test_the_answering_end_may_restart_too(peers: Peers) -> None:
    _, there = await peers.open()
    peers.answerer.restart(4)
    await negotiated(peers)
    assert OFFER in peers.answerer.descriptions[-1][1]
    there.send(b"by the new path or the old")
    async with asyncio.timeout(TIMEOUT):
        assert await peers.offerer.messages.get() == b"by the new path or the old"


async def test_candidates_carry_the_generation_of_the_description_they_belong_to(peers: Peers) -> None:
    await peers.open()
    for generation in range(4, 14):
        # None waits until the one before has found all its candidates.
        peers.offerer.restart(generation)
    await negotiated(peers)
    for peer in (peers.offerer, peers.answerer):
        ufrags = {generation: credentials(sdp)[0] for generation, sdp in peer.descriptions}
        assert len(set(ufrags.values())) == 11
        async with asyncio.timeout(TIMEOUT):
            await peer.gathered(13)
        assert all(f" ufrag {ufrags[generation]} " in f"{candidate} " for generation, candidate in peer.candidates)


class HastyEngine:
    """A connection, and its channel, that finds candidates of the description being set and of the one before."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[object], None]] = {}
        self.ufrag = 0
        self.local_description = SimpleNamespace(sdp="")

    def on(self, name: str, handler: Callable[[object], None]) -> None:
        self.handlers[name] = handler

    def off(self) -> None: ...

    def close(self) -> None: ...

    def restart_ice(self) -> None: ...

    async def create_offer(self) -> None:
        self.ufrag += 1
        self.local_description = SimpleNamespace(sdp=f"{OFFER}\r\na=ice-ufrag:{self.ufrag}\r\na=fingerprint:x y\r\n")

    remote_description = SimpleNamespace(sdp="a=fingerprint:x z\r\n")

    async def set_local_description(self, offer: None) -> None:
        self.find(self.ufrag)
        self.find(self.ufrag - 1)

    def find(self, ufrag: int) -> None:
        found = SimpleNamespace(username_fragment=f"{ufrag}", candidate=f"of {ufrag}", sdp_mid="0", sdp_m_line_index=0)
        self.handlers["icecandidate"](SimpleNamespace(candidate=found))


async def test_a_candidate_waits_for_its_description_and_is_never_told_under_anothers() -> None:
    engine: Any = HastyEngine()
    listener = Mock()
    carrier = RtcCarrier(3, listener, engine, engine)
    carrier.start_offer()
    await asyncio.sleep(0.01)
    engine.handlers["open"](None)
    carrier.restart(4)
    await asyncio.sleep(0.01)
    engine.find(1)
    engine.find(2)
    carrier.close()
    assert listener.mock_calls == [
        call.carrier_description(3, ANY),
        call.carrier_candidate(3, "of 1", "0", 0),
        call.carrier_opened(3, ANY),
        call.carrier_candidate(3, "of 1", "0", 0),
        call.carrier_description(4, ANY),
        call.carrier_candidate(4, "of 2", "0", 0),
        call.carrier_candidate(4, "of 2", "0", 0),
    ]


async def test_messages_sent_during_restarts_arrive_once_and_in_order(peers: Peers) -> None:
    await peers.open()

    async def talk(speaker: Peer, hearer: Peer) -> None:
        """Keep 20 messages under way until both ends have negotiated four times."""
        assert speaker.carrier is not None
        sent = heard = 0
        while heard < sent or not done.is_set():
            while sent < heard + 20 and not done.is_set():
                speaker.carrier.send(b"%d " % sent + bytes(1000))
                sent += 1
            assert (await hearer.messages.get()).startswith(b"%d " % heard)
            heard += 1
        assert hearer.messages.empty()

    done = asyncio.Event()
    async with asyncio.timeout(TIMEOUT), asyncio.TaskGroup() as talking:
        talking.create_task(talk(peers.offerer, peers.answerer))
        talking.create_task(talk(peers.answerer, peers.offerer))
        for generation in range(4, 8):
            (peers.offerer, peers.answerer)[generation % 2].restart(generation)
            await negotiated(peers)
        done.set()


async def test_two_restarts_in_a_row_end_with_the_second(peers: Peers) -> None:
    here, _ = await peers.open()
    here.restart(4)
    peers.offerer.restart(5)
    await negotiated(peers)
    assert peers.answerer.descriptions[-1][0] == 5
    here.send(b"still here")
    async with asyncio.timeout(TIMEOUT):
        assert await peers.answerer.messages.get() == b"still here"
    assert not peers.offerer.lost.done()


async def test_of_two_restarts_at_once_the_polite_end_gives_its_own_up(peers: Peers) -> None:
    here, there = await peers.open()
    peers.offerer.restart(4)
    peers.answerer.restart(5)
    await negotiated(peers)
    assert [generation for generation, _ in peers.offerer.descriptions] == [3, 4]
    assert [generation for generation, _ in peers.answerer.descriptions] == [3, 5, 4]
    _, (_, given_up), (_, answer) = peers.answerer.descriptions
    assert OFFER in given_up
    assert OFFER not in answer
    assert not set(credentials(given_up)) & set(credentials(answer))
    here.send(b"here")
    there.send(b"there")
    async with asyncio.timeout(TIMEOUT):
        assert await peers.answerer.messages.get() == b"here"
        assert await peers.offerer.messages.get() == b"there"
    assert not peers.offerer.lost.done()
    assert not peers.answerer.lost.done()


async def test_a_carrier_that_has_not_opened_cannot_be_restarted(peers: Peers) -> None:
    peers.offerer.offer(3)
    with pytest.raises(RuntimeError, match="not opened"):
        peers.offerer.restart(4)


@pytest.mark.parametrize(
    "misuse",
    [
        lambda peers: peers.offerer.carrier.apply_answer(peers.answerer.descriptions[0][1]),
        lambda peers: peers.offerer.carrier.answer_restart(4, "v=0\r\nthis is no description\r\n"),
    ],
    ids=["an answer that nothing waits for", "an offer that cannot be read"],
)
async def test_a_description_that_does_not_fit_loses_the_carrier(peers: Peers, misuse: Callable[[Peers], None]) -> None:
    await peers.open()
    misuse(peers)
    async with asyncio.timeout(TIMEOUT):
        assert await peers.offerer.lost is LossReason.REFUSED_DESCRIPTION


async def test_a_restart_with_another_certificate_is_refused(peers: Peers) -> None:
    # The engine would take it and begin another DTLS connection, which the binding does not name.
    await peers.open()
    offer = peers.offerer.descriptions[0][1]
    other = re.sub(r"(a=fingerprint:sha-256) .*", r"\1 " + ":".join(["00"] * 32), offer)
    assert other != offer
    peers.answerer.hear(4, other)
    async with asyncio.timeout(TIMEOUT):
        assert await peers.answerer.lost is LossReason.REFUSED_DESCRIPTION


async def test_a_carrier_is_measured_once_at_a_time(peers: Peers) -> None:
    here, there = await peers.open()
    here.send(bytes(50_000))
    async with asyncio.timeout(TIMEOUT):
        await peers.answerer.messages.get()
    for _ in range(3):
        here.measure()
    there.measure()
    async with asyncio.timeout(TIMEOUT):
        mine, yours = await peers.offerer.measured.get(), await peers.answerer.measured.get()
    assert mine.rtt is not None
    assert 0 <= mine.rtt < 1
    assert 0 < mine.checks_answered <= mine.checks_sent
    assert mine.sent_bytes > 50_000
    assert yours.received_bytes > 50_000
    assert peers.offerer.measured.empty()
    here.measure()
    async with asyncio.timeout(TIMEOUT):
        assert (await peers.offerer.measured.get()).sent_bytes >= mine.sent_bytes


async def test_bytes_are_counted_on_across_a_restart(peers: Peers) -> None:
    here, _ = await peers.open()
    here.send(bytes(50_000))
    async with asyncio.timeout(TIMEOUT):
        await peers.answerer.messages.get()
    peers.offerer.restart(4)
    await negotiated(peers)
    here.measure()
    async with asyncio.timeout(TIMEOUT):
        assert (await peers.offerer.measured.get()).sent_bytes > 50_000


async def test_new_ice_servers_are_for_later_carriers_and_for_the_next_restart_of_living_ones(peers: Peers) -> None:
    # A TURN server that answers nobody, but counts who knocks.
    knocks: asyncio.Queue[bytes] = asyncio.Queue()

    class Knocks(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            knocks.put_nowait(data)

    loop = asyncio.get_running_loop()
    server, _ = await loop.create_datagram_endpoint(Knocks, local_addr=("127.0.0.1", 0))
    try:
        await peers.open()
        url = f"turn:127.0.0.1:{server.get_extra_info('sockname')[1]}"
        peers.transport.set_ice_servers([IceServer(url, "user", "secret")])
        assert knocks.empty()
        peers.offerer.restart(4)
        async with asyncio.timeout(TIMEOUT):
            await knocks.get()
        peers.close()
        while not knocks.empty():
            knocks.get_nowait()
        later = Peer(peers.transport)
        later.other = Peer(peers.transport)
        later.offer(3)
        async with asyncio.timeout(TIMEOUT):
            await knocks.get()
        for peer in (later, later.other):
            if peer.carrier is not None:
                peer.carrier.close()
    finally:
        server.close()


async def test_ice_servers_that_the_engine_refuses_change_nothing(peers: Peers) -> None:
    await peers.open()
    with pytest.raises(CarrierError, match="ICE servers") as refused:
        peers.transport.set_ice_servers([IceServer("turn:[:9", "user", "secret")])
    assert "secret" not in str(refused.value)
    peers.offerer.restart(4)
    await negotiated(peers)
    assert not peers.offerer.lost.done()


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


async def test_the_factory_goes_although_a_restart_and_a_measurement_are_under_way() -> None:
    for yields in range(0, 12, 3):
        peers = Peers()
        here, there = await peers.open()
        here.restart(4)
        there.restart(5)
        here.measure()
        for _ in range(yields):
            await asyncio.sleep(0)
        peers.close()
        del peers, here, there
        async with asyncio.timeout(2):
            while wrtc._alive_factories():
                gc.collect()
                await asyncio.sleep(0.005)


def test_of_several_nominated_pairs_the_selected_one_is_read() -> None:
    def pair(name: str, checks: int) -> webrtc.RTCIceCandidatePairStats:
        return webrtc.RTCIceCandidatePairStats(
            id=name,
            timestamp=0.0,
            type=webrtc.RTCStatsType.candidate_pair,
            transport_id="T",
            local_candidate_id="L",
            remote_candidate_id="R",
            state=webrtc.RTCStatsIceCandidatePairState.succeeded,
            nominated=True,
            requests_sent=checks,
            responses_received=checks - 1,
            current_round_trip_time=0.02,
        )

    def transport(selected: str | None) -> webrtc.RTCTransportStats:
        return webrtc.RTCTransportStats(
            id="T",
            timestamp=0.0,
            type=webrtc.RTCStatsType.transport,
            dtls_state=webrtc.RTCDtlsTransportState.connected,
            selected_candidate_pair_id=selected,
            bytes_sent=7,
            bytes_received=8,
        )

    def report(selected: str | None) -> webrtc.RTCStatsReport:
        return webrtc.RTCStatsReport({"old": pair("old", 9), "new": pair("new", 3), "T": transport(selected)})

    assert path_statistics(report("new")) == PathStatistics(0.02, 3, 2, 7, 8)
    assert path_statistics(report(None)) == PathStatistics(None, 0, 0, 7, 8)
    assert path_statistics(webrtc.RTCStatsReport({})) == PathStatistics(None, 0, 0, 0, 0)
