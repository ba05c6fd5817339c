"""What a change of the machine's network does to an application's tubes, whatever state they are in."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

from netmon.networks import interface, network
from perdure import Reason, RestartPolicy, State, TubeRegistry
from perdure.core.decision import DecisionReason, RecoveryAction, Trigger
from perdure.netmon.monitor import NetworkMonitor, NetworkMoved
from perdure.netmon.state import diff
from support.application_pair import ApplicationPair
from support.recorder import TIMEOUT
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure import TunnelConnectionManager
    from perdure.netmon.state import Snapshot

ETH = network(interface("eth0", "10.0.0.2"), eth0="10.0.0.1")
WLAN = network(interface("wlan0", "192.168.1.7"), wlan0="192.168.1.1")
BOTH = network(interface("eth0", "10.0.0.2"), interface("wlan0", "192.168.1.7"), eth0="10.0.0.1")
NOTHING = network()


def moved(before: Snapshot, after: Snapshot, *, is_new_address: bool = False) -> NetworkMoved:
    change = diff(before, after)
    assert change.trigger is not None
    return NetworkMoved(change, change.trigger, after.has_address, is_new_address)


AWAKE = NetworkMoved(None, Trigger.WAKE_UP, has_address=True, is_new_address=False, slept_seconds=3.0)
MOVES = [moved(ETH, WLAN, is_new_address=True), moved(ETH, NOTHING), moved(NOTHING, ETH), moved(ETH, BOTH), AWAKE]


class OwnTransport:
    """An application's own; its carriers do nothing."""

    def __init__(self, carrier: type[OwnCarrier] | None = None) -> None:
        self._carrier = carrier or OwnCarrier
        self.renewals = 0

    def offer(self, generation: int, listener: object) -> Any:
        return self._carrier()

    def answer(self, generation: int, sdp: str, listener: object) -> Any:
        return self._carrier()

    def set_ice_servers(self, servers: object) -> None: ...

    def renew(self) -> None:
        self.renewals += 1


class OwnCarrier:
    generation = 3
    has_room = False
    local_address: str | None = "10.0.0.2"

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


def begun(registry: TubeRegistry, count: int) -> None:
    """Tubes that have a carrier."""
    for number in range(count):
        registry.create_tube(f"tube{number}")
    for manager in registry:
        task = asyncio.ensure_future(manager.signaling.create_offer())
        task.add_done_callback(lambda done: done.cancelled() or done.exception())


def decided(registry: TubeRegistry) -> dict[str, int]:
    return {manager.tube_id: len(manager.decisions) for manager in registry}


async def test_a_carrier_that_cannot_say_its_address_keeps_no_news_from_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Silent(OwnCarrier):
        @property
        def local_address(self) -> str | None:  # type: ignore[override]
            raise ZeroDivisionError

    transport = OwnTransport(Silent)
    async with TubeRegistry(transport=transport) as registry:
        begun(registry, 3)
        await eventually(lambda: all(manager.state is State.CONNECTING for manager in registry))
        before = decided(registry)
        registry.network_moved(MOVES[0])
        assert all(count > before[tube_id] for tube_id, count in decided(registry).items())
        assert transport.renewals == 3  # each tube that builds asks for it
    assert "no-local-address" in caplog.text


async def test_a_registry_that_nobody_holds_any_more_goes_though_its_monitor_lives() -> None:
    monitor = NetworkMonitor()
    registry = TubeRegistry(transport=OwnTransport(), network=monitor)
    gone = weakref.ref(registry)
    del registry
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.trigger.name)
async def test_tubes_that_end_and_begin_while_they_are_told_harm_nobody(move: NetworkMoved) -> None:
    async with TubeRegistry(transport=OwnTransport()) as registry:
        begun(registry, 6)
        await eventually(lambda: all(manager.state is State.CONNECTING for manager in registry))
        managers = list(registry)

        def end_others(_: object) -> None:
            for manager in managers:
                manager.tube.begin_to_end(Reason.CLOSED_LOCALLY)
            with contextlib.suppress(ValueError):
                registry.create_tube("newcomer")

        managers[0].add_network_change_callback(end_others)
        managers[3].add_network_change_callback(end_others)
        registry.network_moved(move)
        registry.network_moved(move)
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*(manager.wait_ended() for manager in managers))
        assert [manager.tube_id for manager in registry] == ["newcomer"]


@pytest.mark.parametrize("move", MOVES, ids=lambda move: move.trigger.name)
async def test_a_tube_that_has_not_begun_or_is_closing_takes_a_change_calmly(move: NetworkMoved) -> None:
    async with ApplicationPair() as pair:
        await pair.connect()
        fresh = pair.here.registry.create_tube("fresh")
        pair.here.manager.tube.begin_to_end(Reason.CLOSED_LOCALLY)
        for _ in range(3):
            pair.here.registry.network_moved(move)
        assert fresh.state is State.INITIALIZING
        assert all(decision.action is RecoveryAction.HOLD for decision in fresh.decisions)
        async with asyncio.timeout(TIMEOUT):
            assert (await pair.here.manager.wait_ended()).reason is Reason.CLOSED_LOCALLY
            assert (await pair.there.manager.wait_ended()).after is State.CLOSED


async def under(*managers: TunnelConnectionManager) -> Snapshot:
    """A network that has the addresses which the tubes' paths use."""
    await eventually(lambda: all(manager.path is not None for manager in managers))
    addresses = {
        manager.path.local_address.rpartition(":")[0].strip("[]")
        for manager in managers
        if manager.path is not None and manager.path.local_address is not None
    }
    return network(interface("eth0", *addresses), eth0="10.0.0.1")


async def test_an_address_that_goes_and_comes_back_during_a_rebuild_leaves_the_tube_connected() -> None:
    async with ApplicationPair(RestartPolicy(max_restarts_per_minute=100)) as pair:
        await pair.connect()
        registry, manager = pair.here.registry, pair.here.manager
        for _ in range(3):
            before = await under(manager)
            registry.network_moved(moved(before, WLAN, is_new_address=True))
            assert manager.state is State.RECONNECTING
            registry.network_moved(moved(WLAN, NOTHING))
            await asyncio.sleep(0)
            registry.network_moved(moved(NOTHING, before, is_new_address=True))
            registry.network_moved(AWAKE)
            await eventually(lambda: manager.state is State.CONNECTED, seconds=TIMEOUT)
        assert State.FAILED not in {change.after for change in pair.here.changes}


async def test_an_address_that_comes_back_again_and_again_is_used_at_once_each_time() -> None:
    async with ApplicationPair(RestartPolicy(handover_grace=0.0)) as pair:
        await pair.connect()
        registry, manager = pair.here.registry, pair.here.manager
        for _ in range(registry.policy.max_restarts_per_minute - 1):
            before = await under(manager)
            registry.network_moved(moved(before, NOTHING))
            assert manager.state is State.CONNECTED, "nothing can be done about it"
            registry.network_moved(moved(NOTHING, before, is_new_address=True))
            assert manager.decisions[-1].reason is DecisionReason.NEW_ADDRESS
            await eventually(lambda: manager.state is State.CONNECTED, seconds=TIMEOUT)


async def test_ten_tubes_move_together_and_one_that_is_closing_does_not_hold_them_up() -> None:
    async with ApplicationPair() as pair:
        ends = [pair.ends(f"tube{number}") for number in range(10)]
        for here, there in ends:
            await pair.connect(here, there)
        before = await under(*(here.manager for here, _ in ends))
        closing, *moving = [here.manager for here, _ in ends]
        closing.tube.begin_to_end(Reason.CLOSED_LOCALLY)
        for _ in range(2):
            pair.here.registry.network_moved(moved(before, WLAN, is_new_address=True))
        assert closing.state is State.CLOSED
        assert {manager.state for manager in moving} == {State.RECONNECTING}
        await eventually(lambda: {manager.state for manager in moving} == {State.CONNECTED}, seconds=TIMEOUT)
        assert all(manager.metrics.reconnection_attempts <= 2 for manager in moving)
