"""The transport on the real engine: both ends in this process."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY, Mock, call

import pytest

from netmon.networks import interface, network
from perdure.config import TransportConfig
from perdure.errors import CarrierError
from perdure.ice_server import IceServer
from perdure.transport.base import LossReason, OpenChannel
from perdure.transport.data_channel import DataChannel
from perdure.transport.gathering import Gathering
from perdure.transport.mdns import Resolver
from perdure.transport.peer_candidates import PeerCandidates
from perdure.transport.reach import Reach
from perdure.transport.rtc import RtcTransport
from perdure.transport.rtc_carrier import BUFFERED_HIGH_BYTES, RtcCarrier
from perdure.transport.turn_servers import TurnServers
from support.turn_server import Unchecked
from transport.peers import OFFER, TIMEOUT, Peer, Peers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


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


class Unlocated(Peer):
    """A peer whose candidates name no media line."""

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        super().carrier_candidate(generation, candidate, None, None)


class Silent(Peer):
    """A peer that tells no candidate: the path depends on the other's."""

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        pass


async def test_a_candidate_without_a_media_line_is_taken() -> None:
    # Found by the conformance peer: the engine refuses such a candidate, and it was dropped without a word.
    peers = Peers()
    peers.offerer, peers.answerer = Unlocated(peers.transport), Silent(peers.transport, initiator=False)
    peers.offerer.other, peers.answerer.other = peers.answerer, peers.offerer
    try:
        await peers.open()
    finally:
        peers.close()


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
    async with asyncio.timeout(TIMEOUT):
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
    async with asyncio.timeout(TIMEOUT):
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


def fingerprint(of: int) -> str:
    return f"a=fingerprint:sha-256 {':'.join([f'{of:02X}'] * 32)}\r\n"


def of(ufrag: int) -> str:
    return f"candidate:1 1 udp 1 192.0.2.1 9 typ host ufrag {ufrag}"


class HastyEngine:
    """A connection that finds candidates of the description being set and of the one before."""

    def __init__(self) -> None:
        self.handlers: dict[str, Callable[[object], None]] = {}
        self.ufrag = 0
        self.local_description = SimpleNamespace(sdp="")

    def on(self, name: str, handler: Callable[[object], None]) -> None:
        self.handlers[name] = handler

    def off(self) -> None: ...

    def close(self) -> None: ...

    def restart_ice(self) -> None: ...

    sctp = None

    async def get_stats(self) -> dict[str, object]:
        return {}

    async def create_offer(self) -> None:
        self.ufrag += 1
        self.local_description = SimpleNamespace(sdp=f"{OFFER}\r\na=ice-ufrag:{self.ufrag}\r\n{fingerprint(1)}")

    async def set_remote_description(self, answer: object) -> None: ...

    async def set_local_description(self, offer: None) -> None:
        self.find(self.ufrag)
        self.find(self.ufrag - 1)

    def find(self, ufrag: int) -> None:
        where = {"sdp_mid": "0", "sdp_m_line_index": 0, "url": None}
        found = SimpleNamespace(username_fragment=f"{ufrag}", candidate=of(ufrag), **where)
        self.handlers["icecandidate"](SimpleNamespace(candidate=found))


async def told(listener: Mock, count: int) -> None:
    """Wait until the listener has heard `count` things."""
    async with asyncio.timeout(TIMEOUT):
        while len(listener.mock_calls) < count:  # noqa: ASYNC110  a mock has no event
            await asyncio.sleep(0)


async def test_a_candidate_waits_for_its_description_and_is_never_told_under_anothers() -> None:
    engine: Any = HastyEngine()
    listener = Mock()
    candidates = PeerCandidates(3, Reach(loopback=False, tcp=False), Resolver(loopback=False).resolve)
    carrier = RtcCarrier(3, listener, candidates, Gathering(TurnServers([], None, lambda: None)))
    carrier.connect(engine, Mock(DataChannel))
    carrier.start_offer()
    await told(listener, 2)
    carrier.apply_answer(fingerprint(2))
    await asyncio.sleep(0)
    carrier.channel_opened()
    carrier.restart(4)
    await told(listener, 6)
    engine.find(1)
    engine.find(2)
    carrier.close()
    assert listener.mock_calls == [
        call.carrier_description(3, ANY),
        call.carrier_candidate(3, of(1), "0", 0),
        call.carrier_opened(3, OpenChannel(b"\1" * 32, b"\2" * 32, 64 * 1024)),
        call.carrier_candidate(3, of(1), "0", 0),
        call.carrier_description(4, ANY),
        call.carrier_candidate(4, of(2), "0", 0),
        call.carrier_candidate(4, of(2), "0", 0),
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


async def test_of_two_restarts_at_once_the_acceptor_gives_its_own_up(peers: Peers) -> None:
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


class Impostor(Peer):
    """Answers in the place of a peer whose certificate it does not have."""

    def carrier_description(self, generation: int, sdp: str) -> None:
        told = re.sub(r"(a=fingerprint:sha-256) .*", r"\1 " + ":".join(["00"] * 32), sdp)
        assert told != sdp
        super().carrier_description(generation, told)


async def test_who_answers_with_another_certificate_than_the_description_names_gets_no_carrier(peers: Peers) -> None:
    impostor = Impostor(peers.transport, initiator=False)
    impostor.other, peers.offerer.other, peers.answerer = peers.offerer, impostor, impostor
    peers.offerer.offer(3)
    async with asyncio.timeout(TIMEOUT):
        await impostor.binding  # it has done its part of DTLS
    assert impostor.carrier is not None
    impostor.carrier.send(b"hello")
    honest = Peers()
    try:
        await honest.open()  # which takes as long as this one would
    finally:
        honest.close()
    assert not peers.offerer.binding.done()
    assert peers.offerer.messages.empty()


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
    assert mine.checks_sent
    assert mine.checks_answered
    assert 0 < mine.checks_answered <= mine.checks_sent
    assert mine.sent_bytes is not None
    assert mine.sent_bytes > 50_000
    assert yours.received_bytes is not None
    assert yours.received_bytes > 50_000
    assert peers.offerer.measured.empty()
    here.measure()
    async with asyncio.timeout(TIMEOUT):
        later = await peers.offerer.measured.get()
    assert later.sent_bytes is not None
    assert later.sent_bytes >= mine.sent_bytes


async def test_bytes_are_counted_on_across_a_restart(peers: Peers) -> None:
    here, _ = await peers.open()
    here.send(bytes(50_000))
    async with asyncio.timeout(TIMEOUT):
        await peers.answerer.messages.get()
    peers.offerer.restart(4)
    await negotiated(peers)
    here.measure()
    async with asyncio.timeout(TIMEOUT):
        measured = await peers.offerer.measured.get()
    assert measured.sent_bytes is not None
    assert measured.sent_bytes > 50_000


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
        peers.transport.set_ice_servers([Unchecked("turn:[:]:9", "user", "secret")])
    assert "secret" not in str(refused.value)
    peers.offerer.restart(4)
    await negotiated(peers)
    assert not peers.offerer.lost.done()


async def test_ice_servers_of_the_configuration_reach_the_engine() -> None:
    transport = RtcTransport(
        TransportConfig((IceServer("stun:127.0.0.1:9"), IceServer("turn:127.0.0.1:3478", "u", "p")))
    )
    peer = Peer(transport)
    peer.other = Peer(transport)
    peer.offer(3)
    assert peer.carrier is not None
    peer.carrier.close()


@pytest.mark.parametrize(("relay_only", "count"), [(False, 2), (True, 1)])
async def test_nothing_can_choose_its_link_where_only_turn_servers_are_used(
    relay_only: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Found by review: warm spares were begun and withdrawn, each an offer's number, for a path that tells no address.
    monkeypatch.setattr("perdure.transport.rtc.may_choose", lambda: True)
    wired, radio = interface("eth0", "10.1.0.2"), interface("wlan0", "10.2.0.2")
    transport = RtcTransport(TransportConfig(loopback=True, relay_only=relay_only))
    assert transport.count_uplinks(network(wired, radio, eth0="10.1.0.1")) == count
