"""One tube's manager: its life, what it is told of the network, and what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from perdure import (
    ChannelClosed,
    ConnectionStateChanged,
    DecisionReason,
    IceCandidate,
    IceRestartOffer,
    NetworkChangeDetected,
    NetworkChangeType,
    PeerError,
    ProtocolError,
    Reason,
    RecoveryAction,
    RestartPolicy,
    SessionLimits,
    SessionTimeoutWarning,
    State,
    TransportConfig,
    TubeRegistry,
)
from perdure.streams.target import Target
from support.application_pair import ApplicationPair
from support.carriers import carrier_of, on_another_carrier
from support.manager_pair import ManagerPair
from support.recorder import TARGET, TIMEOUT, Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from perdure import Decision, Signal, StateChanged
    from perdure.streams.transport import StreamTransport


@pytest.fixture
async def registry() -> AsyncIterator[TubeRegistry]:
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        yield registry


STARTED_AT = datetime.now(UTC)
"""Before any tube of these tests."""


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        await pair.connect()
        yield pair


async def still_carries(pair: ApplicationPair, data: bytes = b"still here") -> None:
    stream = Recorder.open(pair.here.manager)
    stream.write(data)
    assert await stream.received(len(data)) == data


# Life.


async def test_a_manager_begins_idle_and_monitoring_alone_connects_nothing(registry: TubeRegistry) -> None:
    manager = registry.create_tube("tube", "talk")
    assert (manager.tube_id, manager.conversation_id) == ("tube", "talk")
    assert (manager.state, manager.end, manager.decisions) == (State.INITIALIZING, None, ())
    manager.start()
    manager.start()
    assert manager.state is State.INITIALIZING


async def test_monitoring_twice_begins_once() -> None:
    pair = ManagerPair()
    await pair.connect()
    pair.client.start()
    pair.client.start()
    assert [change.after for change in pair.client_end.changes] == [State.CONNECTING, State.CONNECTED]
    await pair.close()


async def test_two_ends_connect_and_say_so(pair: ApplicationPair) -> None:
    for end in (pair.here, pair.there):
        assert end.manager.state is State.CONNECTED
        assert [(change.after, change.reason) for change in end.changes] == [
            (State.CONNECTING, Reason.STARTED),
            (State.CONNECTED, Reason.SESSION_BEGUN),
        ]
    await still_carries(pair)


async def test_shutting_down_twice_in_a_row_or_at_once_ends_once(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    await asyncio.gather(*(manager.shutdown(Reason.SHUT_DOWN, str(number)) for number in range(3)))
    await manager.shutdown()
    assert manager.end is not None
    assert (manager.end.reason, manager.end.detail) == (Reason.SHUT_DOWN, "0")
    assert [change.after for change in pair.here.changes].count(State.CLOSED) == 1
    assert await manager.wait_ended() is manager.end


async def test_shutting_down_before_anything_began_is_immediate(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    await manager.shutdown()
    assert manager.state is State.CLOSED
    assert len(registry) == 0


async def test_shutting_down_while_an_offer_is_made_ends_the_wait_for_it(registry: TubeRegistry) -> None:
    manager = registry.create_tube("tube")
    offering = asyncio.ensure_future(manager.signaling.create_offer())
    await asyncio.sleep(0)
    await manager.shutdown()
    with pytest.raises(PeerError, match="closed here") as caught:
        await offering
    assert caught.value.reason == "CLOSED_LOCALLY"


async def test_a_cancelled_shutdown_ends_the_tube_all_the_same(pair: ApplicationPair) -> None:
    closing = asyncio.ensure_future(pair.here.manager.shutdown())
    await asyncio.sleep(0)
    closing.cancel()
    async with asyncio.timeout(TIMEOUT):
        assert (await pair.here.manager.wait_ended()).after is State.CLOSED
        assert (await pair.there.manager.wait_ended()).reason is Reason.CLOSED_BY_PEER


async def test_waiting_for_the_end_may_be_cancelled_any_number_of_times(pair: ApplicationPair) -> None:
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.here.manager.wait_ended(), 0)
    waiting = [asyncio.ensure_future(pair.here.manager.wait_ended()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    await pair.here.manager.shutdown()
    assert [(await waiting[number]).after for number in (0, 2)] == [State.CLOSED] * 2


async def test_what_acts_on_an_ended_tube_says_so_and_what_only_tells_it_something_does_nothing(
    pair: ApplicationPair,
) -> None:
    manager = pair.here.manager
    offer = await manager.restart_ice()
    await manager.shutdown()
    for coroutine in (
        manager.restart_ice(),
        manager.signaling.create_offer(),
        manager.signaling.create_answer(),
        manager.signaling.set_remote_description(offer, "offer"),
    ):
        with pytest.raises(RuntimeError, match="has ended: closed here"):
            await coroutine
    with pytest.raises(RuntimeError, match="has ended"):
        manager.start()
    with pytest.raises(RuntimeError, match="has ended"):
        manager.signaling.add_ice_candidate({})
    with pytest.raises(RuntimeError, match="has ended"):
        manager.signaling.set_available(True)
    with pytest.raises(RuntimeError, match="has ended"):
        Recorder.open(manager)
    assert manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE) is None
    manager.update_activity()
    manager.extend(60)
    assert manager.rebuild() is None
    manager.tube.kill_carrier()
    manager.tube.begin_to_end(Reason.STALE)
    changes = len(pair.here.changes)
    assert manager.metrics.streams == 0
    assert manager.state is State.CLOSED
    assert len(pair.here.changes) == changes


async def test_a_tube_that_is_let_go_of_warns_of_nothing() -> None:
    """A program that forgets to close: nothing is raised, and nobody is told of coroutines never awaited."""

    async def forget() -> None:
        pair = ApplicationPair()
        await pair.connect()
        Recorder.open(pair.here.manager).write(b"unread")
        pair.here.manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        thread = threading.Thread(target=lambda: asyncio.run(forget()))
        thread.start()
        await asyncio.to_thread(thread.join)
        gc.collect()


# Network changes.


@pytest.mark.parametrize(
    ("change", "data", "action", "reason"),
    [
        (NetworkChangeType.INTERFACE_CHANGE, None, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
        (NetworkChangeType.IP_ADDRESS_CHANGE, {}, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
        (
            NetworkChangeType.IP_ADDRESS_CHANGE,
            {"is_new_address": True},
            RecoveryAction.REBUILD,
            DecisionReason.NEW_ADDRESS,
        ),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": 30}, RecoveryAction.HOLD, DecisionReason.SHORT_SLEEP),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": 3600.0}, RecoveryAction.REBUILD, DecisionReason.LONG_SLEEP),
        (NetworkChangeType.CONNECTION_TIMEOUT, None, RecoveryAction.HOLD, DecisionReason.DOUBTED),
        (NetworkChangeType.ICE_FAILURE, None, RecoveryAction.HOLD, DecisionReason.DOUBTED),
        (NetworkChangeType.QUALITY_DEGRADATION, None, RecoveryAction.HOLD, DecisionReason.DOUBTED),
    ],
)
async def test_each_kind_of_change_has_its_rung_and_loses_nothing(
    pair: ApplicationPair, change: NetworkChangeType, data: Any, action: RecoveryAction, reason: DecisionReason
) -> None:
    decision = pair.here.manager.report_network_change(change, data)
    assert decision is not None
    assert (decision.trigger, decision.action, decision.reason) == (change, action, reason)
    assert decision is pair.here.manager.decisions[-1]
    if action is not RecoveryAction.HOLD:
        await pair.here.reached(State.CONNECTED, since=3)
    await still_carries(pair)


async def test_without_an_address_nothing_is_attempted_until_there_is_one(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    changed = NetworkChangeType.IP_ADDRESS_CHANGE
    decision = manager.report_network_change(changed, {"has_address": False})
    assert decision is not None
    assert (decision.action, decision.reason) == (RecoveryAction.WAIT, DecisionReason.NO_ADDRESS)
    with pytest.raises(PeerError, match="no usable address"):
        await manager.restart_ice()
    manager.report_network_change(changed, {"has_address": True})
    await pair.here.reached(State.CONNECTED, since=3)
    assert manager.metrics.ice_restart_attempts == 1


@pytest.mark.parametrize(
    ("change", "data", "why"),
    [
        ("interface change", {}, "NetworkChangeType, not 'interface change'"),
        (None, {}, "NetworkChangeType, not None"),
        (NetworkChangeType.WAKE_UP, {"slept": 5}, "'slept' says nothing"),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": "5"}, "of another type"),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": True}, "of another type"),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": -1}, "slept_seconds is -1, outside"),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": float("nan")}, "slept_seconds is nan, outside"),
        (NetworkChangeType.WAKE_UP, {"slept_seconds": float("inf")}, "slept_seconds is inf, outside"),
        (NetworkChangeType.IP_ADDRESS_CHANGE, {"has_address": "yes"}, "of another type"),
        (NetworkChangeType.IP_ADDRESS_CHANGE, {"has_address": None}, "of another type"),
        (NetworkChangeType.IP_ADDRESS_CHANGE, {"has_address": 1}, "of another type"),
        (NetworkChangeType.IP_ADDRESS_CHANGE, {3: True}, "3 says nothing"),
        (NetworkChangeType.IP_ADDRESS_CHANGE, ["has_address"], "as a dict, not as list"),
    ],
)
async def test_a_change_that_cannot_be_understood_is_refused_and_nothing_happens(
    pair: ApplicationPair, change: Any, data: Any, why: str
) -> None:
    with pytest.raises(ValueError, match=why):
        pair.here.manager.report_network_change(change, data)
    assert [decision.trigger for decision in pair.here.manager.decisions] in ([], [None])
    assert pair.here.manager.state is State.CONNECTED


async def test_a_change_before_the_tube_began_has_nothing_to_recover(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    decision = manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    assert decision is not None
    assert (decision.action, decision.reason) == (RecoveryAction.HOLD, DecisionReason.NOT_BEGUN)
    assert manager.state is State.INITIALIZING


async def test_a_recovery_that_is_asked_for_twice_is_one(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    first, second = await asyncio.gather(manager.restart_ice(), manager.restart_ice())
    assert first == second
    assert manager.decisions[-1].reason is DecisionReason.UNDER_WAY
    await pair.here.reached(State.CONNECTED, since=3)
    assert manager.metrics.ice_restart_attempts == 1


async def test_a_cancelled_request_leaves_the_recovery_running(pair: ApplicationPair) -> None:
    restarting = asyncio.ensure_future(pair.here.manager.restart_ice())
    await asyncio.sleep(0)
    restarting.cancel()
    assert (await pair.here.reached(State.CONNECTED, since=3)).reason is Reason.ICE_RESTARTED
    await still_carries(pair)


async def test_no_offer_is_promised_while_neither_signaling_nor_a_carrier_takes_it_to_the_peer(
    pair: ApplicationPair,
) -> None:
    manager = pair.here.manager
    manager.signaling.set_available(False)
    pair.there.other = None
    manager.tube.kill_carrier()
    for _ in range(2):
        with pytest.raises(PeerError, match="cannot be reached through signaling now"):
            await manager.restart_ice()
    assert manager.state is State.RECONNECTING
    manager.signaling.set_available(True)
    await pair.here.reached(State.CONNECTED, since=3)


async def test_while_signaling_is_away_an_offer_goes_through_the_carrier(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    manager.signaling.set_available(False)
    assert await manager.restart_ice()
    assert (await pair.here.reached(State.CONNECTED, since=3)).reason is Reason.ICE_RESTARTED


async def test_the_end_whose_offer_gives_way_is_told_so_and_not_given_the_answer_as_its_offer(
    pair: ApplicationPair,
) -> None:
    # Found by review: whoever awaited a description was given the next one, whatever it was.
    here, there = pair.here.manager, pair.there.manager
    pair.here.other = pair.there.other = None
    there_restarting = asyncio.ensure_future(there.restart_ice())
    offer = await here.restart_ice()
    there_answering = asyncio.ensure_future(there.signaling.set_remote_description(offer, "offer"))
    outcomes = await asyncio.gather(there_restarting, there_answering, return_exceptions=True)
    answer = outcomes[1]
    assert isinstance(answer, str)
    assert answer != outcomes[0]
    await here.signaling.set_remote_description(answer, "answer")
    await asyncio.gather(*(end.reached(State.CONNECTED, since=3) for end in (pair.here, pair.there)))


async def test_a_tube_with_perdures_own_signaling_refuses_the_applications() -> None:
    pair = ManagerPair()
    await pair.connect()
    with pytest.raises(RuntimeError, match="perdure's own signaling"):
        await pair.client.signaling.create_offer()
    with pytest.raises(RuntimeError, match="perdure's own signaling"):
        pair.client.signaling.add_ice_candidate({})
    sdp = await pair.client.restart_ice()
    assert "a=ice-ufrag" in sdp
    await pair.close()


# Callbacks.


async def test_callbacks_hear_each_change_and_decision_until_they_are_removed(pair: ApplicationPair) -> None:
    states: list[StateChanged] = []
    decisions: list[Decision] = []
    later: list[State] = []
    heard = asyncio.Event()

    async def hear_later(change: StateChanged) -> None:
        await asyncio.sleep(0)
        later.append(change.after)
        if change.after is State.CONNECTED:
            heard.set()

    manager = pair.here.manager
    remove = manager.add_state_change_callback(states.append)
    manager.add_state_change_callback(hear_later)
    manager.add_network_change_callback(decisions.append)
    manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    async with asyncio.timeout(TIMEOUT):
        await heard.wait()
    assert [change.after for change in states] == [State.RECONNECTING, State.CONNECTED]
    assert later == [State.RECONNECTING, State.CONNECTED]
    assert [(decision.trigger, decision.action) for decision in decisions] == [
        (NetworkChangeType.INTERFACE_CHANGE, RecoveryAction.ICE_RESTART)
    ]
    remove()
    remove()
    await manager.shutdown()
    assert len(states) == 2


async def test_a_callback_that_raises_harms_nobody(pair: ApplicationPair) -> None:
    async def fail_later(_: object) -> None:
        raise OSError("later")

    def fail(_: object) -> None:
        raise LookupError("at once")

    async def cancelled(_: object) -> None:
        raise asyncio.CancelledError

    heard: list[object] = []
    manager = pair.here.manager
    for callback in (fail, fail_later, cancelled, heard.append):
        manager.add_state_change_callback(callback)
        manager.add_network_change_callback(callback)
    await manager.restart_ice()
    await pair.here.reached(State.CONNECTED, since=3)
    await still_carries(pair)
    assert len(heard) == 3


async def test_a_state_callback_may_end_the_tube_at_once(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    manager.add_state_change_callback(lambda change: manager.tube.begin_to_end(Reason.SHUT_DOWN))
    with contextlib.suppress(PeerError):  # the offer may be there before the peer has answered the goodbye
        await manager.restart_ice()
    async with asyncio.timeout(TIMEOUT):
        assert (await manager.wait_ended()).reason is Reason.SHUT_DOWN
        assert (await pair.there.manager.wait_ended()).reason is Reason.CLOSED_BY_PEER


async def test_an_async_state_callback_may_shut_the_tube_down_and_wait_for_it(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    done = asyncio.Event()

    async def shut_down(_: StateChanged) -> None:
        await manager.shutdown()
        done.set()

    manager.add_state_change_callback(shut_down)
    manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    async with asyncio.timeout(TIMEOUT):
        await done.wait()
    assert manager.state is State.CLOSED


async def test_a_callback_may_report_another_change_and_rebuild(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    remaining = [1, 2, 3]

    def again(decision: Decision) -> None:
        if remaining:
            remaining.pop()
            manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
            manager.rebuild()

    manager.add_network_change_callback(again)
    manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    await pair.here.reached(State.CONNECTED, since=3)
    await still_carries(pair)
    assert manager.metrics.ice_restart_attempts + manager.metrics.reconnection_attempts <= 2


async def test_a_streams_user_that_raises_loses_its_own_stream_and_no_byte_of_another() -> None:
    # Found by review: what else came with that message was lost, and streams were short of it without a word.
    class Failing(Recorder):
        def data_received(self, data: bytes) -> None:
            raise OSError("the disk is full")

    accepted: list[Recorder] = []

    def accept(stream: StreamTransport) -> None:
        if stream.target == Target("raise", 1):
            raise LookupError("no such target")
        accepted.append((Failing if stream.target == Target("failing", 1) else Recorder)())
        stream.start(accepted[-1])
        stream.accept()

    async with ApplicationPair(incoming=accept) as pair:
        await pair.connect()
        targets = ("good", "failing", "raise", "good")
        streams = [Recorder.open(pair.here.manager, Target(target, 1)) for target in targets]
        for stream in streams:
            stream.write(b"in one message")
        async with asyncio.timeout(TIMEOUT):
            assert (await streams[1].reset).name == "ABORTED"
            assert (await streams[2].reset).name == "NOT_ALLOWED"
        for there in (accepted[0], accepted[-1]):
            assert await there.received(14) == b"in one message"
        assert pair.there.manager.state is State.CONNECTED


async def test_a_streams_user_that_raises_at_the_end_holds_up_no_shutdown() -> None:
    # Found by review: nobody was told of the end any more, and `shutdown` waited for ever.
    class Failing(Recorder):
        def connection_lost(self, error: Exception | None) -> None:
            raise OSError("cannot tell anybody")

    async with ApplicationPair() as pair:
        await pair.connect()
        manager = pair.here.manager
        manager.tube.open_stream(TARGET).start(Failing())
        other = Recorder.open(manager)
        async with asyncio.timeout(TIMEOUT):
            await manager.shutdown()
            await pair.here.heard(ChannelClosed)
            await other.reset


async def test_a_streams_user_may_end_the_tube_from_wherever_it_is_called() -> None:
    class Ending(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            manager.tube.begin_to_end(Reason.SHUT_DOWN, "from data_received")

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            manager.tube.begin_to_end(Reason.STALE, "from connection_lost")
            self.write(b"late")
            self.transport.reset()

    async with ApplicationPair() as pair:
        await pair.connect()
        manager = pair.here.manager
        stream = Ending()
        manager.tube.open_stream(TARGET).start(stream)
        stream.write(b"echo this")
        async with asyncio.timeout(TIMEOUT):
            end = await manager.wait_ended()
            assert (await pair.there.manager.wait_ended()).detail == "from data_received"
            await stream.reset
        assert (end.reason, end.detail) == (Reason.SHUT_DOWN, "from data_received")


@pytest.mark.parametrize("how", ["graceful", "at once"])
async def test_a_stream_that_is_accepted_by_ending_the_tube_is_reset(how: str) -> None:
    accepted: list[Recorder] = []

    def accept(stream: StreamTransport) -> None:
        manager = both.there.manager
        accepted.append(Recorder())
        stream.start(accepted[-1])
        if how == "at once":
            manager.tube.kill_carrier()
        manager.tube.begin_to_end(Reason.SHUT_DOWN)

    async with ApplicationPair(incoming=accept) as both:
        await both.connect()
        Recorder.open(both.here.manager).write(b"hello")
        async with asyncio.timeout(TIMEOUT):
            assert (await both.there.manager.wait_ended()).reason is Reason.SHUT_DOWN
            assert (await accepted[0].reset).name == "SESSION_LOST"


async def test_a_state_callback_may_open_streams_and_change_limits_the_moment_a_tube_connects() -> None:
    async with ApplicationPair() as pair:
        streams: list[Recorder] = []

        def on_change(change: StateChanged) -> None:
            if change.after is State.CONNECTED:
                pair.here.registry.configure_resource_limits(max_streams=1)
                streams.append(Recorder.open(pair.here.manager))
                streams[0].write(b"at once")

        pair.here.create()
        pair.here.manager.add_state_change_callback(on_change)
        pair.there.create(await pair.here.manager.signaling.create_offer())
        answer = await pair.there.manager.signaling.create_answer()
        await pair.here.manager.signaling.set_remote_description(answer, "answer")
        await pair.here.reached(State.CONNECTED)
        assert await streams[0].received(7) == b"at once"


# Signals.


async def test_signals_come_in_order_typed_and_as_dicts(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    before = len(pair.here.signals)
    manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    await pair.here.reached(State.CONNECTED, since=3)
    await manager.shutdown(detail="enough")
    await pair.here.heard(ChannelClosed)
    told = [signal for signal in pair.here.signals[before:] if not isinstance(signal, IceCandidate)]
    assert [type(signal) for signal in told] == [
        NetworkChangeDetected,
        ConnectionStateChanged,
        IceRestartOffer,
        ConnectionStateChanged,
        ConnectionStateChanged,
        ChannelClosed,
    ]
    assert told[0].as_dict() == {
        "tube_id": "tube",
        "kind": "network_change_detected",
        "data": {
            "change": "interface change",
            "action": "ICE restart",
            "reason": "the network moved, and the engine knows where to",
            "attempt": 1,
            "next_attempt_in": None,
            "detail": "",
        },
        "conversation_id": "conversation of tube",
    }
    assert told[-1].as_dict()["data"] == {"reason": "closed here", "detail": "enough", "state": "closed"}
    assert all(signal.as_dict()["tube_id"] == "tube" for signal in told)


async def test_candidates_are_signalled_with_their_negotiation(pair: ApplicationPair) -> None:
    first = await pair.here.heard(IceCandidate)
    since = len(pair.here.signals)
    sdp = await pair.here.manager.restart_ice()
    again = await pair.here.heard(IceCandidate, since)
    offer = await pair.here.heard(IceRestartOffer, since)
    assert first.generation < again.generation == offer.generation
    assert offer.sdp == sdp
    assert offer.action == "ICE restart"


async def test_a_handler_that_raises_is_counted_and_the_tube_goes_on() -> None:
    def fail(signal: Signal) -> None:
        raise LookupError(signal.kind)

    async def fail_later(signal: Signal) -> None:
        raise LookupError(signal.kind)

    async with ApplicationPair() as pair:
        for handler in (fail, fail_later):
            here, there = pair.ends(handler.__name__)
            await pair.connect(here, there, handler=handler)
            await here.manager.shutdown()
            async with asyncio.timeout(TIMEOUT):
                await there.manager.wait_ended()
            metrics = here.manager.metrics
            assert metrics.signals_failed > 0
            assert metrics.signals_dropped == there.manager.metrics.signals_failed == 0


async def test_a_handler_that_blocks_holds_up_neither_its_tube_nor_another() -> None:
    loop = asyncio.get_running_loop()
    release = threading.Event()
    last = asyncio.Event()
    heard: list[str] = []

    def block(signal: Signal) -> None:
        heard.append(signal.kind)
        release.wait(TIMEOUT)
        if isinstance(signal, ChannelClosed):
            loop.call_soon_threadsafe(last.set)

    async with ApplicationPair() as pair:
        blocked = pair.ends("blocked")
        await pair.connect(*blocked, handler=block)
        await pair.connect()
        await still_carries(pair)
        assert heard == ["connection_state_changed"]
        await blocked[0].manager.shutdown()
        release.set()
        async with asyncio.timeout(TIMEOUT):
            await last.wait()
        assert heard[-2:] == ["connection_state_changed", "channel_closed"]
        assert blocked[0].manager.metrics.signals_dropped == 0


async def test_a_handler_that_never_returns_loses_the_oldest_signals_and_they_are_counted() -> None:
    release = asyncio.Event()

    async def block(_: Signal) -> None:
        await release.wait()

    registry = TubeRegistry(transport=TransportConfig(loopback=True), signal_handler=block)
    async with registry:
        manager = registry.create_tube()
        manager.start()
        for _ in range(300):
            manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
        await asyncio.sleep(0)
        for _ in range(10):
            manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
        assert 40 <= manager.metrics.signals_dropped <= 60
        release.set()


async def test_a_signal_handler_may_restart_ice(pair: ApplicationPair) -> None:
    restarted = asyncio.Event()

    def on_signal(signal: Signal) -> None:
        if isinstance(signal, NetworkChangeDetected) and not restarted.is_set():
            restarted.set()
            tasks.append(asyncio.ensure_future(pair.here.manager.restart_ice()))

    tasks: list[asyncio.Future[str]] = []
    pair.here.on_signal = on_signal
    pair.here.manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    await pair.here.reached(State.CONNECTED, since=3)
    await asyncio.gather(*tasks, return_exceptions=True)
    await still_carries(pair)


async def test_a_signal_handler_may_await_a_restart_and_a_shutdown(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    done = asyncio.Event()

    async def on_signal(signal: Signal) -> None:
        if isinstance(signal, ConnectionStateChanged) and signal.after == "connected":
            assert await manager.restart_ice()
            await manager.shutdown()
            done.set()

    pair.here.on_signal = on_signal
    manager.tube.kill_carrier()
    async with asyncio.timeout(TIMEOUT):
        await done.wait()
    assert manager.end is not None
    assert manager.end.reason is Reason.CLOSED_LOCALLY


# Figures.


async def test_metrics_begin_empty_and_count_what_happens(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    metrics = manager.metrics
    assert (metrics.bytes_sent, metrics.bytes_received, metrics.streams, metrics.bytes_buffered) == (0, 0, 0, 0)
    assert (metrics.ice_restart_attempts, metrics.reconnection_attempts) == (0, 0)
    assert metrics.last_restart_time is None
    assert metrics.packet_loss_rate == 0
    assert metrics.quality == 1
    await still_carries(pair, bytes(1000))
    await manager.restart_ice()
    await pair.here.reached(State.CONNECTED, since=3)
    before = carrier_of(manager)
    decision = manager.rebuild()
    assert decision is not None
    assert decision.action is RecoveryAction.SPARE
    await on_another_carrier(manager, pair.there.manager, than=before)
    await still_carries(pair, bytes(1000))
    metrics = manager.metrics
    assert (metrics.bytes_sent, metrics.bytes_received, metrics.streams) == (2000, 2000, 2)
    assert (metrics.ice_restart_attempts, metrics.reconnection_attempts) == (1, 1)
    assert metrics.rtt is not None
    assert 0 < metrics.rtt < 5
    theirs = pair.there.manager.metrics
    assert (theirs.ice_restart_attempts, theirs.reconnection_attempts) == (0, 0)


async def test_the_instants_of_metrics_are_aware_and_in_order(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    await still_carries(pair)
    await manager.restart_ice()
    metrics = manager.metrics
    assert metrics.connection_established_time is not None
    assert metrics.last_restart_time is not None
    instants = (metrics.connection_established_time, metrics.last_activity, metrics.last_restart_time)
    assert all(instant.utcoffset() == timedelta(0) for instant in instants)
    assert STARTED_AT < instants[0] < instants[1] < instants[2] < datetime.now(UTC) + timedelta(seconds=1)


async def test_activity_is_the_users_and_not_that_of_a_recovery(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    tolerance = timedelta(milliseconds=1)
    before = manager.metrics.last_activity
    await manager.restart_ice()
    await pair.here.reached(State.CONNECTED, since=3)
    assert abs(manager.metrics.last_activity - before) < tolerance
    manager.update_activity()
    after = manager.metrics.last_activity
    assert after - before > tolerance
    await still_carries(pair)
    assert manager.metrics.last_activity > after


async def test_decisions_are_kept_in_order_and_bounded(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    for _ in range(100):
        manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)
    assert len(manager.decisions) == 64
    assert [decision.at for decision in manager.decisions] == sorted(decision.at for decision in manager.decisions)


# How long it lives.


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf"), 31 * 86400])
async def test_an_extension_beyond_bounds_is_refused(registry: TubeRegistry, seconds: float) -> None:
    with pytest.raises(ValueError, match="0 to 2592000 s"):
        registry.create_tube().extend(seconds)


async def test_an_idle_tube_is_warned_of_and_closed_and_its_peer_is_told_why() -> None:
    """On the real clock, with the shortest timeout there is: a second before the warning, and one after it."""
    limits = SessionLimits(session_timeout=2, session_timeout_warning=1, session_timeout_warning_stages=())
    async with ApplicationPair(session_limits=limits) as pair:
        await pair.connect()
        warning = await pair.here.heard(SessionTimeoutWarning)
        assert warning.remaining_seconds == pytest.approx(1, abs=0.2)
        async with asyncio.timeout(TIMEOUT):
            ends = [await end.manager.wait_ended() for end in (pair.here, pair.there)]
        assert Reason.SESSION_TIMEOUT in {end.reason for end in ends}
        assert {end.reason for end in ends} <= {Reason.SESSION_TIMEOUT, Reason.CLOSED_BY_PEER}
        assert {end.after for end in ends} == {State.CLOSED}


async def test_an_absent_peer_fails_the_tube_with_a_reason_and_only_that_one() -> None:
    policy = RestartPolicy(max_restart_attempts=2, restart_backoff_base=0.01, attempt_timeout=0.1)
    async with ApplicationPair(policy) as pair:
        registry = pair.here.registry
        alone, other = registry.create_tube("alone"), registry.create_tube("other")
        await alone.signaling.create_offer()
        async with asyncio.timeout(TIMEOUT):
            end = await alone.wait_ended()
        assert (end.after, end.reason) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
        assert "no path to the other end" in end.detail
        assert other.state is State.INITIALIZING


async def test_a_refused_description_leaves_no_trace(pair: ApplicationPair) -> None:
    with pytest.raises(ProtocolError):
        await pair.here.manager.signaling.set_remote_description("nonsense", "offer")
    await pair.here.manager.restart_ice()
    await pair.here.reached(State.CONNECTED, since=3)
