"""Tubes on the real engine, joined by an application's own signaling, and what happens to the networks under them."""

from __future__ import annotations

import asyncio
import ipaddress
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from perdure import (
    CLOSE_REASONS,
    ChannelClosed,
    DecisionReason,
    NetworkChangeDetected,
    NetworkChangeType,
    Reason,
    RecoveryAction,
    ResourceLimits,
    RestartPolicy,
    State,
)
from perdure.streams.target import Target, parse_target
from perdure.streams.tcp import FindAddresses, dial
from support.application_pair import ApplicationPair
from support.carriers import carrier_of, on_another_carrier
from support.recorder import REFUSED, TIMEOUT, Recorder
from support.targets import connected, echo, positions, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from perdure import TunnelConnectionManager
    from perdure.addresses import Address
    from perdure.streams.transport import StreamTransport

INTERFACE_CHANGE = NetworkChangeType.INTERFACE_CHANGE
ADDRESS_CHANGE = NetworkChangeType.IP_ADDRESS_CHANGE


@pytest.fixture
async def pair() -> AsyncIterator[ApplicationPair]:
    async with ApplicationPair() as pair:
        await pair.connect()
        yield pair


class Transfer:
    """Bytes that go to the other end and come back, from the moment it is made until `finish`."""

    def __init__(self, manager: TunnelConnectionManager, total: int = 4_000_000, seed: int = 1) -> None:
        self.stream = Recorder.open(manager)
        self._data = positions(seed, total)
        self._sending = asyncio.ensure_future(self.stream.send(self._data))

    @property
    def is_under_way(self) -> bool:
        return len(self.stream.data) < len(self._data)

    async def reached(self, count: int) -> None:
        await self.stream.received(count)

    async def finish(self) -> None:
        """All of them have come, once and in order."""
        await self._sending
        assert await self.stream.received(len(self._data)) == self._data
        self.stream.finish()
        async with asyncio.timeout(TIMEOUT):
            await self.stream.finished.wait()
        assert not self.stream.reset.done()


async def settled(pair: ApplicationPair) -> None:
    """Wait until both ends are connected."""
    for end in (pair.here, pair.there):
        while end.manager.state is not State.CONNECTED:
            await end.reached(State.CONNECTED, len(end.changes))


# Basics.


async def test_bytes_go_there_and_back_over_many_streams_at_once(pair: ApplicationPair) -> None:
    transfers = [Transfer(pair.here.manager, 100_000, seed) for seed in range(30)]
    for transfer in transfers:
        await transfer.finish()
    for end in (pair.here, pair.there):
        metrics = end.manager.metrics
        assert (metrics.bytes_sent, metrics.bytes_received) == (3_000_000, 3_000_000)
        assert metrics.bytes_buffered == 0


async def test_either_end_opens_streams(pair: ApplicationPair) -> None:
    transfers = [Transfer(end.manager, 200_000) for end in (pair.here, pair.there)]
    for transfer in transfers:
        await transfer.finish()


async def test_a_refused_stream_says_so_and_harms_no_other(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager, 500_000)
    refused = Recorder.open(pair.here.manager, REFUSED)
    async with asyncio.timeout(TIMEOUT):
        assert (await refused.reset).name == "NOT_ALLOWED"
    await transfer.finish()


async def itself(stream: StreamTransport) -> list[Address]:
    """The target's address."""
    assert isinstance(stream.target, Target)
    return [ipaddress.ip_address(stream.target.host)]


@asynccontextmanager
async def forwarded(target: str, find: FindAddresses = itself) -> AsyncIterator[tuple[ApplicationPair, int]]:
    """A pair of tubes that forwards a local port to `target`; that port."""
    dials: set[asyncio.Task[object]] = set()

    def opened(stream: StreamTransport) -> None:
        task = asyncio.ensure_future(dial(stream, tubes.there.registry.tcp_connections, find))
        dials.add(task)
        task.add_done_callback(dials.discard)

    async with ApplicationPair(incoming=opened) as tubes:
        await tubes.connect()
        server = await tubes.here.manager.listen("127.0.0.1", 0, to=parse_target(target).peername)
        try:
            yield tubes, server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for task in dials:
                task.cancel()


async def test_of_a_name_with_many_addresses_both_families_are_dialled() -> None:
    async def find(stream: StreamTransport) -> list[Address]:
        dead = ipaddress.ip_network("2001:db8::/112")
        return [*(dead[number] for number in range(100)), ipaddress.ip_address("127.0.0.1")]

    async with serving(echo) as target, forwarded(target, find) as (_, port), connected(port) as (reader, writer):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


async def test_a_forwarded_tcp_connection_outlives_every_rung_of_the_ladder() -> None:
    data = positions(7, 2_000_000)
    async with serving(echo) as target, forwarded(target) as (pair, port), connected(port) as (reader, writer):
        received = bytearray()
        writer.write(data)
        steps: list[Callable[[], object]] = [
            lambda: pair.here.manager.report_network_change(INTERFACE_CHANGE),
            lambda: pair.there.manager.report_network_change(ADDRESS_CHANGE, {"is_new_address": True}),
            pair.here.manager.tube.kill_carrier,
            pair.there.manager.rebuild,
        ]
        for step in steps:
            received += await reader.readexactly(300_000)
            step()
            await settled(pair)
        writer.write_eof()
        received += await reader.read(-1)
        assert bytes(received) == data


async def test_a_target_that_refuses_resets_the_connection_and_not_the_tube() -> None:
    async with serving(echo) as target:
        pass
    async with forwarded(target) as (pair, port):
        async with connected(port) as (reader, _):
            with pytest.raises(ConnectionResetError):
                await reader.read()
        assert pair.here.manager.state is State.CONNECTED


# What happens to the network.


async def test_an_interface_change_under_traffic_restarts_ice_and_loses_nothing(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager)
    await transfer.reached(500_000)
    decision = pair.here.manager.report_network_change(INTERFACE_CHANGE)
    assert decision is not None
    assert decision.action is RecoveryAction.ICE_RESTART
    for end in (pair.here, pair.there):
        assert (await end.reached(State.CONNECTED, since=3)).reason is Reason.ICE_RESTARTED
    assert transfer.is_under_way
    await transfer.finish()
    assert pair.here.manager.metrics.ice_restart_attempts == 1
    assert pair.here.manager.metrics.reconnection_attempts == 0


async def test_both_ends_change_networks_at_once(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager)
    for count in (500_000, 1_500_000, 2_500_000):
        await transfer.reached(count)
        for end in (pair.there, pair.here):
            end.manager.report_network_change(INTERFACE_CHANGE)
        await settled(pair)
    await transfer.finish()


@pytest.mark.parametrize("side", ["here", "there"])
async def test_an_address_that_the_engine_does_not_know_yet_gets_a_new_carrier(
    pair: ApplicationPair, side: str
) -> None:
    end = pair.here if side == "here" else pair.there
    transfer = Transfer(pair.here.manager)
    await transfer.reached(500_000)
    end.manager.report_network_change(ADDRESS_CHANGE, {"is_new_address": True, "has_address": True})
    await on_another_carrier(pair.here.manager, pair.there.manager, than=3)
    assert (await end.reached(State.CONNECTED, since=3)).reason is Reason.SESSION_RESUMED
    await transfer.finish()
    assert end.manager.metrics.reconnection_attempts == 1


async def test_a_path_that_still_works_carries_on_without_an_address_and_moves_when_there_is_one(
    pair: ApplicationPair,
) -> None:
    transfer = Transfer(pair.here.manager)
    await transfer.reached(300_000)
    for _ in range(3):
        decision = pair.here.manager.report_network_change(ADDRESS_CHANGE, {"has_address": False})
        assert decision is not None
        assert decision.reason is DecisionReason.NO_ADDRESS
    await transfer.reached(1_000_000)
    assert pair.here.states() == ["connecting", "connected"]
    pair.here.manager.report_network_change(ADDRESS_CHANGE, {"has_address": True})
    await pair.here.reached(State.CONNECTED, since=3)
    await transfer.finish()


async def test_a_carrier_lost_without_an_address_is_replaced_when_there_is_one(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager)
    await transfer.reached(300_000)
    for end in (pair.here, pair.there):
        end.manager.report_network_change(ADDRESS_CHANGE, {"has_address": False})
    pair.here.manager.tube.kill_carrier()
    await pair.there.reached(State.RECONNECTING)
    assert pair.here.manager.metrics.reconnection_attempts == 0
    for end in (pair.here, pair.there):
        end.manager.report_network_change(ADDRESS_CHANGE, {"has_address": True})
    await settled(pair)
    await transfer.finish()


async def test_bytes_flow_while_signaling_is_away_and_a_lost_carrier_waits_for_its_return(
    pair: ApplicationPair,
) -> None:
    ends = (pair.here, pair.there)
    for end in ends:
        end.manager.signaling.set_available(False)
    transfer = Transfer(pair.here.manager)
    await transfer.reached(500_000)
    pair.there.manager.tube.kill_carrier()
    await pair.here.reached(State.RECONNECTING)
    assert {end.manager.metrics.reconnection_attempts for end in ends} == {0}
    for end in ends:
        end.manager.signaling.set_available(True)
    await settled(pair)
    await transfer.finish()


async def test_an_interface_change_while_signaling_is_away_is_answered_when_it_returns(pair: ApplicationPair) -> None:
    manager = pair.here.manager
    manager.signaling.set_available(False)
    decision = manager.report_network_change(INTERFACE_CHANGE)
    assert decision is not None
    assert (decision.action, decision.reason) == (RecoveryAction.WAIT, DecisionReason.NO_SIGNALING)
    transfer = Transfer(manager, 500_000)
    await transfer.finish()
    manager.signaling.set_available(True)
    await settled(pair)
    await Transfer(manager, 500_000).finish()


async def test_killed_carriers_under_traffic_are_replaced_and_lose_nothing(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager)
    for number, end in enumerate((pair.here, pair.there, pair.here)):
        await transfer.reached((number + 1) * 800_000)
        before = carrier_of(end.manager)
        end.manager.tube.kill_carrier()
        await on_another_carrier(pair.here.manager, pair.there.manager, than=before)
    await transfer.finish()


async def test_a_flapping_interface_causes_no_more_restarts_than_the_budget_and_loses_nothing() -> None:
    async with ApplicationPair(RestartPolicy(handover_grace=0, max_restarts_per_minute=6)) as pair:
        await pair.connect()
        transfer = Transfer(pair.here.manager)
        for number in range(20):
            await transfer.reached(100_000 * number)
            pair.here.manager.report_network_change(INTERFACE_CHANGE)
            await settled(pair)
        await transfer.finish()
        manager = pair.here.manager
        assert 4 <= manager.metrics.ice_restart_attempts + manager.metrics.reconnection_attempts <= 6
        assert manager.decisions[-1].reason in (DecisionReason.RESTART_LIMIT, DecisionReason.UNSETTLED)


async def test_events_that_come_in_a_burst_are_one_hand_over(pair: ApplicationPair) -> None:
    transfer = Transfer(pair.here.manager)
    await transfer.reached(300_000)
    for _ in range(50):
        pair.here.manager.report_network_change(INTERFACE_CHANGE)
        pair.there.manager.report_network_change(ADDRESS_CHANGE)
    await settled(pair)
    await transfer.finish()
    metrics = [end.manager.metrics for end in (pair.here, pair.there)]
    assert sum(each.ice_restart_attempts for each in metrics) <= 2
    assert sum(each.reconnection_attempts for each in metrics) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_in_whatever_order_no_byte_is_lost(seed: int) -> None:
    """Each step comes at a random moment of the recovery before it."""
    chance = random.Random(seed)
    policy = RestartPolicy(
        max_restarts_per_minute=1000, handover_grace=0.01, restart_backoff_base=0.01, ice_restart_timeout=0.5
    )
    async with ApplicationPair(policy) as pair:
        await pair.connect()
        transfers = [Transfer(end.manager, 3_000_000, seed + 1) for end in (pair.here, pair.there)]
        for number in range(1, 25):
            await transfers[number % 2].reached(number * 100_000)
            manager = chance.choice((pair.here, pair.there)).manager
            match chance.randrange(6):
                case 0:
                    manager.report_network_change(INTERFACE_CHANGE)
                case 1:
                    manager.report_network_change(ADDRESS_CHANGE, {"is_new_address": True})
                case 2:
                    manager.tube.kill_carrier()
                case 3:
                    manager.rebuild()
                case 4:
                    manager.report_network_change(NetworkChangeType.WAKE_UP, {"slept_seconds": 100})
                case _:
                    manager.signaling.set_available(False)
                    manager.report_network_change(INTERFACE_CHANGE)
                    manager.signaling.set_available(True)
        for transfer in transfers:
            await transfer.finish()
        await settled(pair)


# What the policy enforces.


async def test_a_peer_that_is_gone_fails_the_tube_after_its_attempts_with_the_reason() -> None:
    policy = RestartPolicy(restart_backoff_base=0.02, attempt_timeout=0.5, abandon_after=4)
    async with ApplicationPair(policy) as pair:
        await pair.connect()
        stream = Recorder.open(pair.here.manager)
        pair.here.other = pair.there.other = None
        pair.here.manager.tube.kill_carrier()
        async with asyncio.timeout(TIMEOUT):
            end = await pair.here.manager.wait_ended()
            assert (await stream.reset).name == "SESSION_LOST"
            theirs = await pair.there.manager.wait_ended()
        assert (end.after, end.reason) == (State.FAILED, Reason.ATTEMPTS_EXHAUSTED)
        assert pair.here.manager.metrics.reconnection_attempts == policy.max_restart_attempts
        assert pair.here.manager.decisions[-1].action is RecoveryAction.FAIL
        closed = await pair.here.heard(ChannelClosed)
        assert (closed.state, closed.reason) == ("failed", Reason.ATTEMPTS_EXHAUSTED.value)
        assert (theirs.after, theirs.reason) == (State.FAILED, Reason.ABANDONED)


async def test_a_tube_waits_between_attempts_and_comes_back_when_the_peer_does() -> None:
    policy = RestartPolicy(restart_backoff_base=0.05, attempt_timeout=1.0, max_restart_attempts=10)
    async with ApplicationPair(policy) as pair:
        await pair.connect()
        transfer = Transfer(pair.here.manager, 1_000_000)
        await transfer.reached(100_000)
        others, pair.here.other, pair.there.other = (pair.there, pair.here), None, None
        since = len(pair.here.signals)
        pair.here.manager.tube.kill_carrier()
        while (decision := await pair.here.heard(NetworkChangeDetected, since)).next_attempt_in is None:
            since = pair.here.signals.index(decision) + 1
        assert decision.next_attempt_in == pytest.approx(0.05, rel=0.11)
        pair.here.other, pair.there.other = others
        await settled(pair)
        await transfer.finish()


async def test_one_attempt_is_enough_to_fail_where_the_policy_says_so() -> None:
    policy = RestartPolicy(max_restart_attempts=1, attempt_timeout=1.0)
    async with ApplicationPair(policy) as pair:
        await pair.connect()
        pair.here.other = pair.there.other = None
        pair.here.manager.tube.kill_carrier()
        async with asyncio.timeout(TIMEOUT):
            assert (await pair.here.manager.wait_ended()).reason is Reason.ATTEMPTS_EXHAUSTED
        assert pair.here.manager.metrics.reconnection_attempts == 1


# Many tubes, and their ends.


async def test_twenty_tubes_at_once_recover_at_once_and_fail_alone() -> None:
    async with ApplicationPair(limits=ResourceLimits(max_tubes=20)) as pair:
        tubes = [pair.ends(f"tube-{number}") for number in range(20)]
        await asyncio.gather(*(pair.connect(*ends) for ends in tubes))
        transfers = [Transfer(here.manager, 200_000, seed) for seed, (here, _) in enumerate(tubes)]
        for here, _ in tubes:
            here.manager.report_network_change(INTERFACE_CHANGE)
        await tubes[0][0].manager.shutdown()
        for transfer in transfers[1:]:
            await transfer.finish()
        assert transfers[0].stream.reset.done()
        for here, there in tubes[1:]:
            await here.reached(State.CONNECTED, since=3)  # on a busy machine some by another carrier
            assert here.manager.state is there.manager.state is State.CONNECTED
        assert pair.registries[0].find_tubes("tube-1") == ["tube-1", *(f"tube-{number}" for number in range(10, 20))]
        assert len(pair.registries[0]) == 19


@pytest.mark.parametrize("detail", ["", "enough for today"])
@pytest.mark.parametrize("reason", [reason for reason in Reason if reason in CLOSE_REASONS])
async def test_the_peer_sees_that_the_other_end_closed_and_why(
    pair: ApplicationPair, reason: Reason, detail: str
) -> None:
    stream = Recorder.open(pair.here.manager)
    await pair.here.manager.shutdown(reason, detail)
    async with asyncio.timeout(TIMEOUT):
        theirs = await pair.there.manager.wait_ended()
        assert (await stream.reset).name == "SESSION_LOST"
    assert (theirs.after, theirs.reason) == (State.CLOSED, Reason.CLOSED_BY_PEER)
    assert theirs.detail == (detail or reason.value)
    told = await pair.there.heard(ChannelClosed)
    assert (told.state, told.reason, told.detail) == ("closed", Reason.CLOSED_BY_PEER.value, theirs.detail)


async def test_both_ends_that_close_at_once_end_each_for_its_own_or_the_others_reason(pair: ApplicationPair) -> None:
    await asyncio.gather(pair.here.manager.shutdown(), pair.there.manager.shutdown())
    for end in (pair.here, pair.there):
        assert end.manager.end is not None
        assert end.manager.end.reason in {Reason.CLOSED_LOCALLY, Reason.CLOSED_BY_PEER}


async def test_what_was_written_before_a_close_arrives_before_it(pair: ApplicationPair) -> None:
    stream = Recorder.open(pair.there.manager)
    await stream.send(positions(3, 20_000))
    await stream.received(20_000)
    await pair.there.manager.shutdown()
    assert pair.here.manager.metrics.bytes_received == 20_000
