"""What an application can do with its tubes, and what it cannot."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import time
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from perdure import (
    CLOSE_REASONS,
    CarrierError,
    ChannelClosed,
    Endpoint,
    IceCandidate,
    IceRestartOffer,
    IceServer,
    PeerError,
    ProtocolError,
    Reason,
    ResourceLimits,
    RestartPolicy,
    SessionLimits,
    State,
    TransportConfig,
    TubeRegistry,
    TunnelConnectionManager,
    TurnCredentialsRefreshed,
)
from perdure.core.breaker import FAILURES
from perdure.core.events import RelaysRenewed
from perdure.netmon.monitor import NetworkMonitor
from perdure.registry import MAX_ID_LENGTH
from perdure.transport.base import Path
from perdure.transport.rtc import RtcTransport
from perdure.transport.rtc_carrier import RtcCarrier
from support.application_pair import ApplicationPair
from support.carriers import carrier_of, on_another_carrier
from support.own_signaling import ApplicationLink
from support.recorder import TIMEOUT, Recorder
from support.turn_server import Unchecked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from perdure import Signal
    from perdure.transport.base import CarrierListener

SDP = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"


def make_registry(limits: ResourceLimits | None = None) -> TubeRegistry:
    return TubeRegistry(limits=limits, transport=TransportConfig(loopback=True))


@pytest.fixture
async def registry() -> AsyncIterator[TubeRegistry]:
    async with make_registry() as registry:
        yield registry


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        await pair.connect()
        yield pair


# Creating.


async def test_a_tube_has_the_id_that_it_was_given_or_one_of_its_own(registry: TubeRegistry) -> None:
    named, unnamed = registry.create_tube("named"), registry.create_tube()
    assert named.tube_id == "named"
    assert unnamed.tube_id
    assert [manager.tube_id for manager in registry] == ["named", unnamed.tube_id]
    assert len(registry) == 2
    assert "named" in registry
    assert registry.manager("named") is named
    assert named.state is registry.manager("named").state is State.INITIALIZING


async def test_a_taken_id_is_refused_and_the_tube_that_has_it_lives_on(registry: TubeRegistry) -> None:
    first = registry.create_tube("tube", "first")
    with pytest.raises(ValueError, match="there is a tube 'tube' already"):
        registry.create_tube("tube", "second")
    assert registry.manager("tube") is first
    assert first.state is State.INITIALIZING
    assert registry.find_tubes("second") == []


async def test_an_id_is_free_again_once_its_tube_has_ended(registry: TubeRegistry) -> None:
    first = registry.create_tube("tube")
    await first.shutdown()
    assert registry.create_tube("tube") is not first


@pytest.mark.parametrize("tube_id", ["", "x" * (MAX_ID_LENGTH + 1)])
async def test_an_id_that_is_empty_or_too_long_is_refused(registry: TubeRegistry, tube_id: str) -> None:
    with pytest.raises(ValueError, match="1 to 256 characters"):
        registry.create_tube(tube_id)
    assert len(registry) == 0


async def test_the_longest_id_and_any_language_will_do(registry: TubeRegistry) -> None:
    for tube_id in ("ä" * MAX_ID_LENGTH, "😀", "\n"):
        assert registry.create_tube(tube_id).tube_id == tube_id


async def test_a_callback_gets_each_new_tube_before_it_begins_until_it_is_removed(registry: TubeRegistry) -> None:
    created: list[tuple[str, State]] = []
    remove = registry.add_tube_callback(lambda manager: created.append((manager.tube_id, manager.state)))
    registry.create_tube("one")
    remove()
    registry.create_tube("other")
    assert created == [("one", State.INITIALIZING)]


async def test_a_tube_at_whose_callback_something_is_raised_is_not_created(registry: TubeRegistry) -> None:
    def fail(manager: TunnelConnectionManager) -> None:
        raise LookupError("planted")

    registry.add_tube_callback(fail)
    with pytest.raises(LookupError, match="planted"):
        registry.create_tube("one")
    assert "one" not in registry


async def test_a_tube_beyond_max_tubes_is_refused_until_another_ends() -> None:
    async with make_registry(ResourceLimits(max_tubes=2)) as registry:
        first = registry.create_tube()
        registry.create_tube()
        assert not registry.check_capacity().has_room
        with pytest.raises(RuntimeError, match="max_tubes is 2"):
            registry.create_tube("third")
        assert "third" not in registry
        await first.shutdown()
        registry.create_tube("third")


async def test_tubes_that_are_being_set_up_are_limited_apart_from_those_that_work() -> None:
    async with ApplicationPair(limits=ResourceLimits(max_concurrent_creates=1)) as pair:
        await pair.connect()
        registry = pair.here.registry
        assert registry.check_capacity().setting_up == 0
        registry.create_tube("another")
        assert registry.check_capacity().setting_up == 1
        with pytest.raises(RuntimeError, match="max_concurrent_creates is 1"):
            registry.create_tube("one too many")
        assert len(registry) == 2


def test_a_manager_made_outside_an_event_loop_is_not_in_the_registry() -> None:
    # Found by test: it stayed there, half made.
    registry = make_registry()
    with pytest.raises(RuntimeError, match="no running event loop"):
        registry.create_tube("tube")
    assert len(registry) == 0


async def test_a_tube_whose_offer_cannot_be_read_is_not_made(registry: TubeRegistry) -> None:
    with pytest.raises(ProtocolError, match="cannot be read"):
        registry.create_tube("tube", offer="no JSON")
    assert "tube" not in registry


# Finding.


async def test_tubes_are_found_by_a_part_of_their_id_or_of_their_conversations(registry: TubeRegistry) -> None:
    for tube_id, conversation_id in [("alpha-1", None), ("beta-1", "talk of alpha"), ("gamma", "talk")]:
        registry.create_tube(tube_id, conversation_id)
    assert registry.find_tubes("alpha") == ["alpha-1", "beta-1"]
    assert registry.find_tubes("talk") == ["beta-1", "gamma"]
    assert registry.find_tubes("nowhere") == []
    assert registry.find_tubes("") == ["alpha-1", "beta-1", "gamma"]


async def test_a_conversation_leads_to_those_of_its_tubes_that_are_left(registry: TubeRegistry) -> None:
    # Found by test: the end of the second made the conversation unknown, although the first was still there.
    registry.create_tube("first", "talk")
    registry.create_tube("second", "talk")
    assert registry.find_tubes("talk") == ["first", "second"]
    await registry.manager("second").shutdown()
    assert registry.find_tubes("talk") == ["first"]
    await registry.manager("first").shutdown()
    assert registry.find_tubes("talk") == []


async def test_of_an_unknown_tube_it_is_said_that_there_is_none(registry: TubeRegistry) -> None:
    with pytest.raises(ValueError, match="no tube 'x': there never was one"):
        registry.manager("x")
    assert "x" not in registry


async def test_of_a_tube_that_has_ended_it_is_said_why(registry: TubeRegistry) -> None:
    registry.create_tube("tube")
    await registry.manager("tube").shutdown(Reason.SHUT_DOWN)
    with pytest.raises(ValueError, match="it has ended: the application is ending"):
        registry.manager("tube")


async def test_two_registries_of_a_process_share_nothing(pair: ApplicationPair) -> None:
    here, there = pair.registries
    here.create_tube("only here")
    assert "only here" not in there
    assert here.manager("tube") is not there.manager("tube")
    await here.close_all()
    assert here.check_capacity().tubes == 0
    async with asyncio.timeout(TIMEOUT):
        assert (await pair.there.manager.wait_ended()).reason is Reason.CLOSED_BY_PEER


async def test_a_registry_that_nobody_holds_goes_with_its_tubes() -> None:
    registry = make_registry()
    tube = weakref.ref(registry.create_tube("forgotten"))  # never started: no timer holds it
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert (gone(), tube()) == (None, None)


# What the peer's end sends.


async def test_metrics_count_what_flowed(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(b"twelve bytes")
    await stream.received(12)
    metrics = pair.here.manager.metrics
    assert (metrics.bytes_sent, metrics.bytes_received, metrics.streams) == (12, 12, 1)
    assert metrics.connection_established_time is not None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        ("nonsense", "cannot be read"),
        (SDP, "cannot be read"),
        ('{"session": "00"}', "session"),
        (json.dumps({"session": "0" * 32}), "not the description of an"),
        (json.dumps({"session": "0" * 32, "message": {"type": "pranswer", "sdp": SDP, "generation": 3}}), "pranswer"),
        ("x" * 100_000, "over"),
        (None, "text, not NoneType"),
    ],
)
@pytest.mark.parametrize("kind", ["offer", "answer"])
async def test_what_is_no_description_of_this_tube_is_refused_and_changes_nothing(
    pair: ApplicationPair, text: Any, why: str, kind: Any
) -> None:
    with pytest.raises(ProtocolError, match=why):
        await pair.here.manager.signaling.set_remote_description(text, kind)
    stream = Recorder.open(pair.here.manager)
    stream.write(b"still here")
    assert await stream.received(10) == b"still here"
    assert pair.here.states() == ["connecting", "connected"]


@pytest.mark.parametrize("kind", ["offer", "answer"])
async def test_a_description_of_another_tube_is_refused(pair: ApplicationPair, kind: Any) -> None:
    text = json.dumps({"session": "0" * 32, "message": {"type": kind, "sdp": SDP, "generation": 3}})
    with pytest.raises(ProtocolError, match="another tube"):
        await pair.here.manager.signaling.set_remote_description(text, kind)


async def test_a_description_is_an_offer_or_an_answer(pair: ApplicationPair) -> None:
    wrong: Any = "pranswer"
    with pytest.raises(ValueError, match="an offer or an answer, not 'pranswer'"):
        await pair.here.manager.signaling.set_remote_description(SDP, wrong)


async def test_an_answer_given_as_an_offer_and_the_other_way_round_are_refused() -> None:
    async with ApplicationPair() as pair:
        pair.here.create()
        offer = await pair.here.manager.signaling.create_offer()
        pair.there.create(offer)
        answer = await pair.there.manager.signaling.create_answer()
        with pytest.raises(ProtocolError, match="not the description of an offer"):
            await pair.here.manager.signaling.set_remote_description(answer, "offer")
        with pytest.raises(ProtocolError, match="not the description of an answer"):
            await pair.there.manager.signaling.set_remote_description(offer, "answer")
        await pair.here.manager.signaling.set_remote_description(answer, "answer")
        await pair.here.reached(State.CONNECTED)


async def test_descriptions_of_a_gone_negotiation_are_refused(pair: ApplicationPair) -> None:
    here, there = pair.registries
    stale_offer = await here.manager("tube").restart_ice()
    await pair.here.reached(State.CONNECTED, since=3)
    before = carrier_of(pair.here.manager)
    pair.here.manager.rebuild()
    await on_another_carrier(pair.here.manager, pair.there.manager, than=before)
    with pytest.raises(ProtocolError, match="gives way"):
        await there.manager("tube").signaling.set_remote_description(stale_offer, "offer")
    for stale_answer in pair.there.answers[:2]:
        with pytest.raises(ProtocolError, match="the one that counts"):
            await here.manager("tube").signaling.set_remote_description(stale_answer, "answer")
    assert pair.here.manager.state is pair.there.manager.state is State.CONNECTED


async def test_descriptions_that_come_twice_are_taken_once() -> None:
    # Found by test: the second answer was more than the engine takes, and killed the carrier.
    async with ApplicationPair() as pair:
        here, there = pair.registries
        pair.here.create()
        offer = await here.manager("tube").signaling.create_offer()
        assert await here.manager("tube").signaling.create_offer() == offer
        pair.there.create(offer)
        answer = await there.manager("tube").signaling.create_answer()
        assert await there.manager("tube").signaling.create_answer() == answer
        assert await there.manager("tube").signaling.set_remote_description(offer, "offer") == answer
        for _ in range(3):
            await here.manager("tube").signaling.set_remote_description(answer, "answer")
        await asyncio.gather(pair.here.reached(State.CONNECTED), pair.there.reached(State.CONNECTED))
        await here.manager("tube").signaling.set_remote_description(answer, "answer")
        with pytest.raises(ProtocolError, match="was answered, and the path works"):
            await there.manager("tube").signaling.set_remote_description(offer, "offer")
        with pytest.raises(RuntimeError, match="is connected"):
            await there.manager("tube").signaling.create_answer()
        stream = Recorder.open(pair.here.manager)
        stream.write(b"still here")
        assert await stream.received(10) == b"still here"
        assert pair.here.states() == pair.there.states() == ["connecting", "connected"]


async def test_a_cancelled_call_loses_no_description() -> None:
    async with ApplicationPair() as pair:
        here, there = pair.registries
        pair.here.create()
        cancelled = asyncio.ensure_future(here.manager("tube").signaling.create_offer())
        await asyncio.sleep(0)
        cancelled.cancel()
        offer = await here.manager("tube").signaling.create_offer()
        pair.there.create(offer)
        cancelled = asyncio.ensure_future(there.manager("tube").signaling.create_answer())
        await asyncio.sleep(0)
        cancelled.cancel()
        await here.manager("tube").signaling.set_remote_description(
            await there.manager("tube").signaling.create_answer(), "answer"
        )
        await pair.here.reached(State.CONNECTED)


async def test_only_the_end_that_has_an_offer_answers_and_only_the_other_offers(registry: TubeRegistry) -> None:
    registry.create_tube("offers")
    with pytest.raises(RuntimeError, match="created without an offer"):
        await registry.manager("offers").signaling.create_answer()
    registry.create_tube("answers", offer=await registry.manager("offers").signaling.create_offer())
    with pytest.raises(PeerError, match="cannot make an offer now"):
        await registry.manager("answers").signaling.create_offer()
    assert await registry.manager("answers").signaling.create_answer()


async def test_an_offer_that_replaces_the_one_a_tube_was_created_with_is_answered_in_its_place() -> None:
    # Found by review: it was refused, and the earlier one, which nobody waited for any more, was answered.
    async with ApplicationPair(RestartPolicy(attempt_timeout=1.0, restart_backoff_base=0.01)) as pair:
        pair.here.create()
        pair.there.create(await pair.here.manager.signaling.create_offer())
        pair.here.other = None
        later = await pair.here.heard(IceRestartOffer)
        pair.here.other = pair.there
        answer = await pair.there.manager.signaling.set_remote_description(later.sdp, "offer")
        assert answer is not None
        await pair.here.manager.signaling.set_remote_description(answer, "answer")
        await pair.here.reached(State.CONNECTED)
        await pair.there.reached(State.CONNECTED)


@pytest.mark.parametrize(
    "candidate",
    [
        {},
        {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host"},
        {"candidate": 7, "sdp_mid": "0", "sdp_mline_index": 0, "generation": 3},
        {"candidate": "c", "sdp_mid": "0", "sdp_mline_index": 0, "generation": -1},
        {"candidate": "c", "sdp_mid": "0", "sdp_mline_index": 0, "generation": "three"},
        {"candidate": "c" * 100_000, "sdp_mid": "0", "sdp_mline_index": 0, "generation": 3},
        {"candidate": "\ud800", "sdp_mid": "0", "sdp_mline_index": 0, "generation": 3},
        [],
        None,
    ],
)
async def test_what_is_no_candidate_is_refused(pair: ApplicationPair, candidate: Any) -> None:
    with pytest.raises(ProtocolError):
        pair.here.manager.signaling.add_ice_candidate(candidate)
    assert pair.here.manager.state is State.CONNECTED


async def test_candidates_of_a_gone_negotiation_are_of_no_use_and_no_error(pair: ApplicationPair) -> None:
    data = {"candidate": "candidate:1 1 udp 1 127.0.0.1 9 typ host", "sdp_mid": "0", "sdp_mline_index": 0}
    assert pair.here.manager.signaling.add_ice_candidate({**data, "generation": 2}) is False
    assert pair.here.manager.signaling.add_ice_candidate({**data, "generation": 3}) is True
    assert pair.here.manager.signaling.add_ice_candidate({**data, "candidate": "nonsense", "generation": 3}) is True
    assert pair.here.manager.state is State.CONNECTED


async def test_candidates_may_overtake_the_description_that_they_belong_to() -> None:
    # Found by test: they were dropped, and without another way to learn them no path was found.
    async with ApplicationPair() as pair:
        here, there = pair.registries
        pair.here.create()
        offer = await here.manager("tube").signaling.create_offer()
        pair.there.create(offer)
        first = await pair.here.heard(IceCandidate)
        assert there.manager("tube").signaling.add_ice_candidate(first.data) is True
        answer = await there.manager("tube").signaling.create_answer()
        assert here.manager("tube").signaling.add_ice_candidate((await pair.there.heard(IceCandidate)).data) is True
        await here.manager("tube").signaling.set_remote_description(answer, "answer")
        await pair.here.reached(State.CONNECTED)


async def test_early_candidates_without_end_do_no_harm(pair: ApplicationPair) -> None:
    for generation in range(5, 2000):
        pair.there.manager.signaling.add_ice_candidate(
            {"candidate": "x" * 1000, "sdp_mid": None, "sdp_mline_index": None, "generation": generation}
        )
    await pair.here.manager.restart_ice()
    await pair.there.reached(State.CONNECTED, since=3)


# Failures are a tube's own.


class FailingTransport(RtcTransport):
    """The engine, which refuses while it `is_broken`."""

    is_broken = True

    def offer(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        if self.is_broken:
            raise CarrierError("no memory", generation=generation)
        return super().offer(generation, listener)


async def test_a_tube_whose_engine_fails_again_and_again_is_left_alone_for_a_while_and_the_others_are_not() -> None:
    transport = FailingTransport(TransportConfig(loopback=True))
    async with TubeRegistry(transport=transport, policy=RestartPolicy(max_restart_attempts=100)) as registry:
        for tube_id in ("tube", "other"):
            registry.create_tube(tube_id)
        for _ in range(FAILURES):
            with pytest.raises(CarrierError, match="no memory"):
                await registry.manager("tube").restart_ice()
        transport.is_broken = False
        with pytest.raises(PeerError, match="left alone for another 30 s") as caught:
            await registry.manager("tube").restart_ice()
        assert caught.value.reason == "circuit open"
        assert await registry.manager("other").signaling.create_offer()
        await registry.manager("tube").shutdown()
        registry.create_tube("tube")
        assert await registry.manager("tube").signaling.create_offer()


async def test_a_success_starts_the_count_of_failures_over() -> None:
    transport = FailingTransport(TransportConfig(loopback=True))
    async with TubeRegistry(transport=transport, policy=RestartPolicy(max_restart_attempts=100)) as registry:
        registry.create_tube("tube")
        for _ in range(2):
            transport.is_broken = True
            for _ in range(FAILURES - 1):
                with pytest.raises(CarrierError):
                    await registry.manager("tube").restart_ice()
            transport.is_broken = False
            assert await registry.manager("tube").restart_ice()
            registry.manager("tube").tube.kill_carrier()


async def test_an_outage_is_no_failure_of_the_tube(pair: ApplicationPair) -> None:
    # Found by review: five requests while the network was away shut out the recovery when it was back.
    pair.here.manager.signaling.set_available(False)
    pair.there.other = None
    pair.here.manager.tube.kill_carrier()
    for _ in range(2 * FAILURES):
        with pytest.raises(PeerError, match="cannot make an offer"):
            await pair.here.manager.restart_ice()
    pair.here.manager.signaling.set_available(True)
    await pair.here.reached(State.CONNECTED, since=3)
    assert await pair.here.manager.restart_ice()


async def test_an_ice_server_that_the_engine_refuses_is_named_at_once() -> None:
    transport = TransportConfig(ice_servers=(Unchecked("stun:[:]:99"),), loopback=True)
    async with asyncio.timeout(TIMEOUT), TubeRegistry(transport=transport) as registry:
        registry.create_tube("tube")
        with pytest.raises(CarrierError, match=r"\[:\]"):
            await registry.manager("tube").signaling.create_offer()


async def test_an_offer_that_the_engine_cannot_read_is_refused_at_once_with_its_reason() -> None:
    async with asyncio.timeout(TIMEOUT), make_registry() as here, make_registry() as there:
        here.create_tube("tube")
        offer = (await here.manager("tube").signaling.create_offer()).replace(
            "m=application", "m=nonsense\\r\\nm=application"
        )
        there.create_tube("tube", offer=offer)
        with pytest.raises(CarrierError, match="m=nonsense"):
            await there.manager("tube").signaling.create_answer()


async def test_what_a_peer_says_wrong_is_no_failure_of_the_tube(pair: ApplicationPair) -> None:
    for _ in range(2 * FAILURES):
        with pytest.raises(ProtocolError):
            await pair.here.manager.signaling.set_remote_description("nonsense", "answer")
    assert await pair.here.manager.restart_ice()


async def test_a_mistake_of_the_caller_is_no_failure_of_the_tube(registry: TubeRegistry) -> None:
    registry.create_tube("tube")
    for _ in range(2 * FAILURES):
        with pytest.raises(RuntimeError, match="without an offer"):
            await registry.manager("tube").signaling.create_answer()
    assert await registry.manager("tube").signaling.create_offer()


# Limits.


async def test_capacity_counts_tubes_and_bytes(pair: ApplicationPair) -> None:
    registry = pair.here.registry
    stream = Recorder.open(pair.here.manager)
    stream.write(bytes(1000))
    capacity = registry.check_capacity()
    assert (capacity.tubes, capacity.max_tubes, capacity.setting_up) == (1, 1000, 0)
    assert capacity.buffered_bytes == 1000
    assert capacity.has_room
    await registry.close_all()
    assert registry.check_capacity().buffered_bytes == 0


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"max_tube": 5}, "no limit 'max_tube'"),
        ({"max_tubes": 0}, "max_tubes is 0"),
        ({"max_tubes": -1}, "max_tubes is -1"),
        ({"max_tubes": 1.5}, "max_tubes is 1.5"),
        ({"max_tubes": "5"}, "max_tubes is '5'"),
        ({"max_tubes": float("nan")}, "max_tubes is nan"),
        ({"stale_tube_timeout": float("inf")}, "stale_tube_timeout is inf"),
        ({"stale_tube_timeout": -5}, "stale_tube_timeout is -5"),
        ({"session_buffer_bytes": 64 * 1024}, "below stream_buffer_bytes"),
        ({"max_tubes": 5, "max_streams": 10**9}, "max_streams is 1000000000"),
    ],
)
async def test_a_limit_that_is_none_changes_nothing(registry: TubeRegistry, changes: Any, why: str) -> None:
    before = registry.limits
    with pytest.raises(ValueError, match=why):
        registry.configure_resource_limits(**changes)
    assert registry.limits is before


async def test_limits_below_what_is_in_use_drop_nothing_and_let_nothing_new_in(pair: ApplicationPair) -> None:
    registry = pair.here.registry
    first, second = Recorder.open(pair.here.manager), Recorder.open(pair.here.manager)
    limits = registry.configure_resource_limits(max_tubes=1, max_streams=1, total_buffer_bytes=64 * 1024)
    assert (limits.max_tubes, registry.limits.max_streams) == (1, 1)
    with pytest.raises(RuntimeError, match="max_tubes is 1"):
        registry.create_tube()
    with pytest.raises(ConnectionRefusedError, match="as many as it may"):
        Recorder.open(pair.here.manager)
    for stream in (first, second):
        await stream.send(bytes(200_000))
        await stream.received(200_000)
    registry.configure_resource_limits(max_streams=3)
    Recorder.open(pair.here.manager)


async def test_a_peer_that_opens_more_streams_than_may_be_is_refused_and_the_others_flow() -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        pair.there.registry.configure_resource_limits(max_streams=2)
        streams = [Recorder.open(pair.here.manager) for _ in range(3)]
        async with asyncio.timeout(TIMEOUT):
            code = await streams[2].reset
        assert code.name == "LIMIT"
        for stream in streams[:2]:
            stream.write(b"x")
            await stream.received(1)


async def test_a_full_registry_slows_a_tube_down_and_drops_nothing() -> None:
    limits = ResourceLimits(total_buffer_bytes=64 * 1024, session_buffer_bytes=64 * 1024, stream_buffer_bytes=64 * 1024)
    async with ApplicationPair(limits=limits) as pair:
        await pair.connect()
        streams = [Recorder.open(pair.here.manager) for _ in range(4)]
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(stream.send(bytes(300_000)) for stream in streams))
            for stream in streams:
                await stream.received(300_000)


# Stale tubes.


async def test_tubes_that_never_begin_are_swept_and_those_that_do_are_not() -> None:
    """Waits a second, which is the shortest `stale_tube_timeout` there is."""
    async with make_registry() as registry:
        stale, begun = registry.create_tube("stale"), registry.create_tube("begun")
        await registry.manager("begun").signaling.create_offer()
        assert registry.sweep() == []
        registry.configure_resource_limits(stale_tube_timeout=1)
        async with asyncio.timeout(TIMEOUT):
            assert (await stale.wait_ended()).reason is Reason.STALE
        assert begun.state is State.CONNECTING
        assert registry.sweep() == []


async def test_the_end_of_a_stale_tube_may_end_another_stale_one() -> None:
    # Found by review: the sweep stumbled over the other one, and swept no more.
    async with make_registry(ResourceLimits(stale_tube_timeout=1)) as registry:
        first, second = registry.create_tube("first"), registry.create_tube("second")
        first.add_state_change_callback(lambda change: second.tube.begin_to_end(Reason.CLOSED_LOCALLY))
        async with asyncio.timeout(TIMEOUT):
            assert (await first.wait_ended()).reason is Reason.STALE
        assert second.state is State.CLOSED
        assert len(registry) == 0


# Closing.


async def test_a_registry_closes_its_tubes_when_its_context_ends() -> None:
    async with ApplicationPair() as pair:
        async with pair.here.registry as registry:
            await pair.connect()
            idle = registry.create_tube("idle")
        assert len(registry) == 0
        assert idle.end is not None
        assert idle.end.reason is Reason.SHUT_DOWN
        async with asyncio.timeout(TIMEOUT):
            end = await pair.there.manager.wait_ended()
        assert end.reason is Reason.CLOSED_BY_PEER


async def test_an_error_within_the_context_still_closes_its_tubes() -> None:
    registry = make_registry()

    async def fail() -> None:
        async with registry:
            registry.create_tube("tube")
            raise KeyError

    with pytest.raises(KeyError):
        await fail()
    assert len(registry) == 0


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason in CLOSE_REASONS])
async def test_a_tube_is_closed_for_the_reason_that_was_given(registry: TubeRegistry, reason: Reason) -> None:
    manager = registry.create_tube("tube")
    await manager.shutdown(reason, "as asked")
    assert manager.end is not None
    assert (manager.end.after, manager.end.reason, manager.end.detail) == (State.CLOSED, reason, "as asked")


@pytest.mark.parametrize("reason", [Reason.PEER_STALLED, Reason.ATTEMPTS_EXHAUSTED, Reason.STARTED])
async def test_a_reason_that_is_none_for_closing_is_refused_and_closes_nothing(
    registry: TubeRegistry, reason: Reason
) -> None:
    manager = registry.create_tube("tube")
    with pytest.raises(ValueError, match=reason.name):
        await manager.shutdown(reason)
    with pytest.raises(ValueError, match=reason.name):
        await registry.close_all(reason)
    assert manager.state is State.INITIALIZING


async def test_closing_all_twice_at_once_or_with_nothing_there_is_fine(registry: TubeRegistry) -> None:
    await registry.close_all()
    managers = [registry.create_tube() for _ in range(3)]
    await asyncio.gather(registry.close_all(), registry.close_all())
    assert {manager.state for manager in managers} == {State.CLOSED}


async def test_a_cancelled_close_all_leaves_the_tubes_ending(pair: ApplicationPair) -> None:
    closing = asyncio.ensure_future(pair.here.registry.close_all())
    await asyncio.sleep(0)
    closing.cancel()
    async with asyncio.timeout(TIMEOUT):
        assert (await pair.here.manager.wait_ended()).reason is Reason.CLOSED_LOCALLY


# Credentials.


async def test_new_ice_servers_are_told_to_every_tube_without_the_password(pair: ApplicationPair) -> None:
    servers = [IceServer("stun:127.0.0.1:3478"), IceServer("turn:127.0.0.1:3478", "somebody", "the password")]
    pair.here.registry.set_ice_servers(servers)
    signal = await pair.here.heard(TurnCredentialsRefreshed)
    assert signal.as_dict() == {
        "tube_id": "tube",
        "kind": "turn_credentials_refreshed",
        "data": {"urls": ["stun:127.0.0.1:3478", "turn:127.0.0.1:3478"], "username": "somebody", "expires_in": None},
        "conversation_id": "conversation of tube",
    }
    assert "the password" not in repr(signal)
    pair.here.registry.set_ice_servers([])
    assert pair.here.manager.state is State.CONNECTED


@pytest.mark.parametrize(
    ("path_by", "standby_by", "told"),
    [
        ("turn:one", "turn:one", [RelaysRenewed()]),
        (None, "turn:one", [RelaysRenewed(of_standby=True)]),
        ("turn:other", "turn:one", [RelaysRenewed(of_standby=True)]),
        (None, "turn:other", []),
        (None, None, []),
    ],
)
async def test_new_credentials_are_for_the_path_or_the_warm_spare_through_that_server(
    pair: ApplicationPair,
    monkeypatch: pytest.MonkeyPatch,
    path_by: str | None,
    standby_by: str | None,
    told: list[object],
) -> None:
    def through(url: str | None) -> Path:
        return Path(url is not None, "udp", "192.0.2.1:1", "192.0.2.2:1", None, url)

    registry, tube = pair.here.registry, pair.here.manager.tube
    registry.set_ice_servers([IceServer("turn:one", "ada", "old"), IceServer("turn:other", "ada", "old")])
    fed: list[object] = []
    monkeypatch.setattr(type(tube.driver.carriers), "path", through(path_by))
    monkeypatch.setattr(type(tube.driver.carriers.held), "standby_path", through(standby_by))
    monkeypatch.setattr(type(tube.driver), "feed", lambda driver, event: fed.append(event))
    registry.set_ice_servers([IceServer("turn:one", "ada", "new"), IceServer("turn:other", "ada", "old")])
    monkeypatch.undo()
    assert [event for event in fed if isinstance(event, RelaysRenewed)] == told


async def test_a_registrys_handler_serves_the_tubes_that_have_none_of_their_own() -> None:
    heard: list[str] = []
    own: list[str] = []
    done = asyncio.Event()

    async def handler(signal: Signal) -> None:
        heard.append(signal.tube_id)
        done.set()

    async def own_handler(signal: Signal) -> None:
        own.append(signal.tube_id)

    registry = TubeRegistry(transport=TransportConfig(loopback=True), signal_handler=handler)
    async with registry, asyncio.timeout(TIMEOUT):
        registry.create_tube("with its own", signal_handler=own_handler)
        registry.create_tube("without")
        await registry.close_all()
        await done.wait()
    assert set(heard) == {"without"}
    assert set(own) <= {"with its own"}


# Mistakes, told at the call.


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({"policy": SessionLimits()}, "policy is of RestartPolicy, not SessionLimits"),
        ({"limits": {}}, "limits is of ResourceLimits, not dict"),
        ({"transport": {"loopback": True}}, "transport is a TransportConfig, or has the methods offer"),
        ({"transport": SimpleNamespace(offer=len, answer=len, set_ice_servers=len)}, "has the methods .*renew"),
        ({"signal_handler": "x"}, "signal_handler is a function"),
        ({"incoming": "x"}, "incoming is a plain function"),
        ({"handler": "x"}, "handler is an async function"),
        ({"handler": len}, "handler is an async function"),
    ],
)
def test_a_registry_is_not_made_of_wrong_things(arguments: Any, wanted: str) -> None:
    with pytest.raises(TypeError, match=wanted):
        TubeRegistry(**arguments)


@pytest.mark.parametrize("servers", ["stun:host:3478", ({"urls": "stun:host"},), 5])
async def test_ice_servers_are_ice_servers(registry: TubeRegistry, servers: Any) -> None:
    with pytest.raises(TypeError, match="stun:HOST:PORT"):
        TransportConfig(ice_servers=servers)
    with pytest.raises(TypeError):
        registry.set_ice_servers(servers)


async def test_an_ice_server_may_be_a_text(registry: TubeRegistry) -> None:
    servers: Any = ["stun:host:3478", "turn:ada:hunter2@turn.example"]
    expected = (IceServer("stun:host:3478"), IceServer("turn:turn.example", "ada", "hunter2"))
    assert TransportConfig(ice_servers=servers).ice_servers == expected
    registry.set_ice_servers(servers)
    wrong: Any = ["turn:ada:hunter2@"]
    for take in (registry.set_ice_servers, TransportConfig):
        with pytest.raises(ValueError, match="an ICE server looks like") as refused:
            take(wrong)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    "arguments",
    [
        {"tube_id": 5},
        {"conversation_id": 5},
        {"initiator": "no"},
        {"offer": 5},
        {"endpoint": "x"},
        {"signal_handler": "x"},
        {"incoming": 7},
        {"handler": 7},
    ],
)
async def test_a_tube_is_not_made_of_wrong_things(registry: TubeRegistry, arguments: Any) -> None:
    with pytest.raises(TypeError, match=f"{next(iter(arguments))} is "):
        registry.create_tube(**arguments)
    assert len(registry) == 0


@pytest.mark.parametrize("reason", ["bye", None, 3])
async def test_a_tube_is_closed_for_a_reason_and_a_text_is_its_detail(registry: TubeRegistry, reason: Any) -> None:
    manager = registry.create_tube("tube")
    for closing in (registry.close_all(reason), manager.shutdown(reason)):
        with pytest.raises(TypeError, match=r"one of CLOSE_REASONS \(CLOSED_LOCALLY, .*; a text goes into detail="):
            await closing
    assert manager.state is State.INITIALIZING


@pytest.mark.parametrize("detail", [Exception("x"), 5, b"x", None])
async def test_a_detail_that_is_no_text_is_refused_and_the_tube_can_still_be_closed(
    pair: ApplicationPair, detail: Any
) -> None:
    # Found by a newcomer: the tube never ended, and who closed it waited for ever.
    manager, registry = pair.here.manager, pair.here.registry
    for closing in (manager.shutdown(detail=detail), registry.close_all(detail=detail)):
        with pytest.raises(TypeError, match="detail is a text, not"):
            await closing
    assert manager.state is State.CONNECTED
    async with asyncio.timeout(TIMEOUT):
        await manager.shutdown(detail="a text")


async def test_callbacks_and_extensions_of_a_wrong_type_are_refused(registry: TubeRegistry) -> None:
    manager: Any = registry.create_tube("tube")
    for add in (manager.add_state_change_callback, manager.add_network_change_callback):
        with pytest.raises(TypeError, match="a callback is a function"):
            add(None)
    with pytest.raises(TypeError, match="seconds is a number, or None, not str"):
        manager.extend("x")


async def test_this_ends_own_offer_is_not_taken_for_the_answer_to_it() -> None:
    # Found by a newcomer: it was taken, and the tube could not be set up any more.
    async with ApplicationPair() as pair:
        here, there = pair.registries
        pair.here.create()
        offer = await here.manager("tube").signaling.create_offer()
        for same in (offer, offer.replace('"offer"', '"answer"')):
            with pytest.raises(ProtocolError, match=r"not the description of an answer|this is the offer of this end"):
                await here.manager("tube").signaling.set_remote_description(same, "answer")
        pair.there.create(offer)
        await here.manager("tube").signaling.set_remote_description(
            await there.manager("tube").signaling.create_answer(), "answer"
        )
        await pair.here.reached(State.CONNECTED)


async def test_an_own_restart_offer_is_not_taken_for_its_answer_either(pair: ApplicationPair) -> None:
    pair.here.other = None
    offer = await pair.here.manager.restart_ice()
    with pytest.raises(ProtocolError, match="not the description of an answer"):
        await pair.here.manager.signaling.set_remote_description(offer, "answer")


async def test_an_sdp_given_as_the_kind_is_not_shown(registry: TubeRegistry) -> None:
    registry.create_tube("tube")
    offer: Any = await registry.manager("tube").signaling.create_offer()
    with pytest.raises(ValueError, match="kind comes behind it") as caught:
        await registry.manager("tube").signaling.set_remote_description("answer", offer)
    assert "ice-pwd" not in str(caught.value)


async def test_a_connected_tube_says_how_its_path_is_recovered(pair: ApplicationPair) -> None:
    with pytest.raises(RuntimeError, match=r"it is connected; restart_ice\(\) recovers its path"):
        await pair.here.manager.signaling.create_offer()
    with pytest.raises(RuntimeError, match="is connected, or was"):
        await pair.there.manager.signaling.create_answer()
    assert pair.here.states() == ["connecting", "connected"]


async def test_a_tube_that_is_closing_begins_nothing(pair: ApplicationPair) -> None:
    closing = asyncio.ensure_future(pair.here.manager.shutdown())
    await asyncio.sleep(0)
    for operation in (pair.here.manager.signaling.create_offer, pair.here.manager.restart_ice):
        with pytest.raises(RuntimeError, match="is closing"):
            await operation()
    await closing


@pytest.mark.parametrize("shape", ["as_dict", "browser"])
async def test_a_candidate_in_another_shape_is_refused_with_what_is_wanted(pair: ApplicationPair, shape: str) -> None:
    signal = await pair.here.heard(IceCandidate)
    browser = {"candidate": signal.candidate, "sdpMid": "0", "sdpMLineIndex": 0}
    with pytest.raises(ProtocolError, match="pass the icecandidate signal's data"):
        pair.there.manager.signaling.add_ice_candidate(signal.as_dict() if shape == "as_dict" else browser)


async def test_a_registry_that_was_left_takes_no_tube() -> None:
    async with make_registry() as registry:
        pass
    with pytest.raises(RuntimeError, match="was left"):
        registry.create_tube()
    async with registry:
        assert registry.create_tube()


async def test_a_registry_that_is_entered_again_watches_the_network_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monitors: list[NetworkMonitor] = []
    start = NetworkMonitor.start

    async def started(monitor: NetworkMonitor) -> None:
        monitors.append(monitor)
        await start(monitor)

    monkeypatch.setattr(NetworkMonitor, "start", started)
    registry = make_registry()
    for _ in range(2):
        async with registry:
            pass
    assert len(monitors) == 2


async def test_what_a_tubes_own_handler_holds_goes_with_the_tube(registry: TubeRegistry) -> None:
    class Handler:
        async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...

    handler = Handler()
    held = weakref.ref(handler)
    manager = registry.create_tube("tube", handler=handler)
    await manager.shutdown()
    del handler, manager
    await asyncio.sleep(0)
    gc.collect()
    assert held() is None


@pytest.mark.parametrize("turns", range(4))
async def test_a_close_that_is_cancelled_leaves_the_registry_closing(turns: int) -> None:
    async def waits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with make_registry() as here, make_registry() as there, asyncio.timeout(TIMEOUT):
        signals = there.events()
        caller, taker = here.create_tube("tube"), there.create_tube("tube", initiator=False, handler=waits)
        calls = ApplicationLink().run(caller, taker)
        _, writer = await caller.open_connection("waits", 1)
        closing = asyncio.ensure_future(there.close())
        await asyncio.sleep(0)  # it has begun
        for _ in range(turns):
            await asyncio.sleep(0)
        closing.cancel()
        await asyncio.gather(closing, return_exceptions=True)
        writer.close()
        assert isinstance([signal async for signal in signals][-1], ChannelClosed)
        await asyncio.gather(*calls)


async def test_a_handler_may_close_its_own_registry() -> None:
    there = make_registry()
    signals = there.events()

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await there.close()

    async with make_registry() as here, asyncio.timeout(TIMEOUT):
        caller, taker = here.create_tube("tube"), there.create_tube("tube", initiator=False, handler=closes)
        calls = ApplicationLink().run(caller, taker)
        with contextlib.suppress(OSError):
            _, writer = await caller.open_connection("closes", 1)
            writer.close()
        assert isinstance([signal async for signal in signals][-1], ChannelClosed)
        await asyncio.gather(*calls)


async def test_a_manager_and_a_registry_say_what_they_are(registry: TubeRegistry) -> None:
    assert repr(registry.create_tube("tube")) == "<TunnelConnectionManager 'tube' initializing>"
    assert repr(registry) == "<TubeRegistry of 1 tubes>"


# What an application brings along may be broken; the tube ends all the same.


async def test_a_transport_that_raises_anything_fails_the_tube_and_not_silently(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def offer(self, *_: object) -> Any:
            raise ZeroDivisionError

        def answer(self, *_: object) -> Any:
            raise ZeroDivisionError

        def set_ice_servers(self, servers: object) -> None: ...

        def renew(self) -> None: ...

    policy = RestartPolicy(max_restart_attempts=1, restart_backoff_base=0.01, attempt_timeout=0.1)
    async with TubeRegistry(policy, transport=Broken()) as registry:
        manager = registry.create_tube("tube")
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(PeerError):
                await registry.manager("tube").signaling.create_offer()
            assert (await manager.wait_ended()).after is State.FAILED
    assert "carrier-failed" in caplog.text
    assert "ZeroDivisionError" in caplog.text


async def test_signaling_that_raises_anything_does_not_hold_the_end_up(registry: TubeRegistry) -> None:
    class Broken:
        available = True

        def attach(self, listener: object) -> None: ...

        def send(self, message: object) -> None:
            raise ZeroDivisionError

        def doubt(self) -> None:
            raise ZeroDivisionError

        def close(self) -> None:
            raise ZeroDivisionError

    manager = registry.create_tube("tube", endpoint=Endpoint(bytes(16), bytes(32), Broken()))
    async with asyncio.timeout(TIMEOUT):
        await manager.shutdown()
    assert manager.state is State.CLOSED


async def test_who_leaves_a_registry_has_had_the_last_signals() -> None:
    # Found by review: a plain handler, which is called in a thread, lost `channel_closed` at a program's end.
    told: list[str] = []

    def handler(signal: Signal) -> None:
        time.sleep(0.05)
        told.append(signal.kind)

    async with make_registry() as registry:
        registry.create_tube("tube", signal_handler=handler)
    assert told == ["connection_state_changed", "channel_closed"]


async def test_a_handler_that_hangs_holds_nobody_for_long_who_leaves_a_registry() -> None:
    async def handler(_: Signal) -> None:
        await asyncio.Event().wait()

    async with asyncio.timeout(TIMEOUT), make_registry() as registry:
        registry.create_tube("tube", signal_handler=handler)
