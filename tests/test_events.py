"""Waiting for a tube to be connected, and its signals as async iterators."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import TYPE_CHECKING

import pytest

from perdure import (
    ChannelClosed,
    ConnectionStateChanged,
    NetworkChangeDetected,
    NetworkChangeType,
    PeerError,
    Reason,
    RestartPolicy,
    SignalsDropped,
    State,
    TransportConfig,
    TubeRegistry,
)
from perdure.delivery import MAX_UNREAD_SIGNALS
from support.application_pair import ApplicationPair
from support.recorder import TIMEOUT
from support.signaling import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure import Signal, TunnelConnectionManager
    from perdure.delivery import SignalIterator


@pytest.fixture
async def registry() -> AsyncIterator[TubeRegistry]:
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        yield registry


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        yield pair


async def rest(events: SignalIterator) -> list[Signal | SignalsDropped]:
    """What is left of it, which has to end."""
    async with asyncio.timeout(TIMEOUT):
        return [event async for event in events]


def say(manager: TunnelConnectionManager, count: int) -> None:
    """Let it tell `count` signals."""
    for _ in range(count):
        manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE)


# wait_connected.


async def test_who_waits_for_a_tube_to_be_connected_is_told_at_once_or_later(pair: ApplicationPair) -> None:
    pair.here.create()
    waiting = [asyncio.ensure_future(pair.here.manager.wait_connected()) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    pair.there.create(await pair.here.manager.signaling.create_offer())
    assert not waiting[0].done()
    answer = await pair.there.manager.signaling.create_answer()
    await pair.here.manager.signaling.set_remote_description(answer, "answer")
    await within(asyncio.gather(waiting[0], waiting[2]), seconds=TIMEOUT)
    assert waiting[1].cancelled()
    assert pair.here.manager.state is State.CONNECTED
    await within(pair.here.manager.wait_connected())


async def test_who_waits_while_the_tube_recovers_waits_until_it_has(pair: ApplicationPair) -> None:
    await pair.connect()
    pair.here.manager.tube.kill_carrier()
    await within(pair.here.reached(State.RECONNECTING), seconds=TIMEOUT)
    waiting = asyncio.ensure_future(pair.here.manager.wait_connected())
    await asyncio.sleep(0)
    assert not waiting.done()
    await within(waiting, seconds=TIMEOUT)
    assert [change.after for change in pair.here.changes[2:]] == [State.RECONNECTING, State.CONNECTED]


async def test_who_waits_for_a_tube_that_ends_is_told_why(registry: TubeRegistry) -> None:
    manager = registry.create_tube("tube")
    waiting = asyncio.ensure_future(manager.wait_connected())
    await asyncio.sleep(0)
    await manager.shutdown(Reason.SHUT_DOWN)
    for wait in (waiting, manager.wait_connected()):
        with pytest.raises(PeerError, match="tube 'tube' ended: the application is ending") as caught:
            await within(wait)
        assert caught.value.reason == "SHUT_DOWN"


async def test_who_waits_for_a_peer_that_never_comes_is_told_why() -> None:
    policy = RestartPolicy(max_restart_attempts=1, restart_backoff_base=0.01, attempt_timeout=2.0)
    async with TubeRegistry(policy, transport=TransportConfig(loopback=True)) as registry:
        manager = registry.create_tube()
        await manager.signaling.create_offer()
        with pytest.raises(PeerError) as caught:
            await within(manager.wait_connected(), seconds=TIMEOUT)
        assert caught.value.reason == Reason.ATTEMPTS_EXHAUSTED.name


async def test_a_timeout_of_the_callers_own_changes_nothing(pair: ApplicationPair) -> None:
    pair.here.create()
    for _ in range(3):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pair.here.manager.wait_connected(), 0.001)
    assert pair.here.manager.state is State.INITIALIZING


# A tube's events.


async def test_a_tubes_events_are_its_signals_in_order_and_end_with_it(pair: ApplicationPair) -> None:
    pair.here.create()
    events = pair.here.manager.events()
    pair.there.create(await pair.here.manager.signaling.create_offer())
    answer = await pair.there.manager.signaling.create_answer()
    await pair.here.manager.signaling.set_remote_description(answer, "answer")
    await pair.here.reached(State.CONNECTED)
    say(pair.here.manager, 1)
    await pair.here.reached(State.CONNECTED, since=3)
    await pair.here.manager.shutdown()
    await pair.here.heard(ChannelClosed)
    told = await rest(events)
    assert told == pair.here.signals
    assert [event.after for event in told if isinstance(event, ConnectionStateChanged)] == [
        "connecting",
        "connected",
        "reconnecting",
        "connected",
        "closed",
    ]
    assert isinstance(told[-1], ChannelClosed)
    assert await rest(events) == []


async def test_events_begin_when_they_are_asked_for(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    early = manager.events()
    say(manager, 3)
    late = manager.events()
    say(manager, 2)
    await manager.shutdown()
    assert len(await rest(early)) == 3 + 2 + 2
    assert len(await rest(late)) == 2 + 2


async def test_the_events_of_a_tube_that_has_ended_end_at_once(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    await manager.shutdown()
    assert await rest(manager.events()) == []


async def test_a_reader_that_falls_behind_is_told_how_many_it_missed_and_has_the_newest(
    registry: TubeRegistry,
) -> None:
    manager = registry.create_tube()
    events, reader = manager.events(), manager.events()
    say(manager, MAX_UNREAD_SIGNALS)
    assert isinstance(await anext(reader), NetworkChangeDetected)
    say(manager, 10)
    await manager.shutdown()
    told = await rest(events)
    assert told[0] == SignalsDropped(10 + 2)
    assert len(told) == 1 + MAX_UNREAD_SIGNALS
    assert isinstance(told[-1], ChannelClosed)
    assert (await rest(reader))[0] == SignalsDropped(9 + 2)


async def test_a_reader_may_fall_behind_more_than_once(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    events = manager.events()
    for missed in (5, 7):
        say(manager, MAX_UNREAD_SIGNALS + missed)
        assert await anext(events) == SignalsDropped(missed)
        for _ in range(MAX_UNREAD_SIGNALS):
            assert isinstance(await anext(events), NetworkChangeDetected)


async def test_cancelling_a_wait_for_the_next_event_loses_none(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    events = manager.events()
    for _ in range(3):
        waiting = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0)
        say(manager, 1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert isinstance(await within(anext(events)), NetworkChangeDetected)


async def test_a_reader_that_waits_is_woken_and_at_the_end_released(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    reading = asyncio.ensure_future(rest(manager.events()))
    await asyncio.sleep(0)
    say(manager, 1)
    await asyncio.sleep(0)
    await manager.shutdown()
    assert [type(event) for event in await within(reading)] == [
        NetworkChangeDetected,
        ConnectionStateChanged,
        ChannelClosed,
    ]


async def test_a_reader_may_end_the_tube(registry: TubeRegistry) -> None:
    manager = registry.create_tube()
    events = manager.events()
    say(manager, 2)
    kinds = []
    async with asyncio.timeout(TIMEOUT):
        async for event in events:
            await manager.shutdown()
            kinds.append(type(event))
    assert kinds[-1] is ChannelClosed


async def test_an_iterator_that_nobody_reads_any_more_is_kept_by_nobody(registry: TubeRegistry) -> None:
    # Found by review: each `events()` that was left early took up to 256 signals until the tube's end.
    manager = registry.create_tube()
    gone = []
    for source in (manager, registry):
        events = source.events()
        gone.append(weakref.ref(events))
        say(manager, 1)
        async for _ in events:
            break
        del events
    say(manager, 1)
    gc.collect()
    assert [each() for each in gone] == [None, None]


# A registry's events.


async def test_a_reader_in_a_task_that_nobody_keeps_hears_too(registry: TubeRegistry) -> None:
    heard = asyncio.Event()
    tube = registry.create_tube()

    async def read() -> None:
        async for _ in tube.events():
            heard.set()

    asyncio.create_task(read())  # noqa: RUF006 (that is the point)
    await asyncio.sleep(0)
    gc.collect()
    await tube.shutdown()
    async with asyncio.timeout(TIMEOUT):
        await heard.wait()


async def test_a_registrys_events_are_those_of_all_its_tubes_also_of_later_ones_and_end_with_it() -> None:
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        first = registry.create_tube("first", "talk")
        events = registry.events()
        second = registry.create_tube("second")
        say(second, 1)
        say(first, 1)
        await first.shutdown()
        say(second, 1)
        registry.create_tube("first")
        say(registry.manager("first"), 1)
    told = await rest(events)
    changes, ended = NetworkChangeDetected, [ConnectionStateChanged, ChannelClosed]
    by_tube = [(event.tube_id, type(event)) for event in told if not isinstance(event, SignalsDropped)]
    assert by_tube[:6] == [
        ("second", changes),
        ("first", changes),
        *(("first", kind) for kind in ended),
        ("second", changes),
        ("first", changes),
    ]
    assert sorted(by_tube[6:], key=str) == sorted(
        ((tube_id, kind) for tube_id in ("first", "second") for kind in ended), key=str
    )
    assert not isinstance(told[1], SignalsDropped)
    assert told[1].conversation_id == "talk"


async def test_a_registrys_reader_waits_on_when_its_last_tube_has_ended(registry: TubeRegistry) -> None:
    events = registry.events()
    for _ in range(2):
        await registry.create_tube().shutdown()
        assert isinstance(await within(anext(events)), ConnectionStateChanged)
        assert isinstance(await within(anext(events)), ChannelClosed)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(events), 0.01)


async def test_a_registrys_reader_that_falls_behind_is_told_so(registry: TubeRegistry) -> None:
    events = registry.events()
    for _ in range(2):
        say(registry.create_tube(), MAX_UNREAD_SIGNALS)
    assert await anext(events) == SignalsDropped(MAX_UNREAD_SIGNALS)
    assert isinstance(await anext(events), NetworkChangeDetected)


async def test_the_events_of_a_registry_that_was_left_end_at_once() -> None:
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        pass
    assert await rest(registry.events()) == []
