"""The monitor tells its listeners what matters, once, and survives its source, its listeners and sleep."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from netmon.networks import interface, network
from perdure.core.decision import Trigger
from perdure.netmon.monitor import NetworkMonitor, NetworkMoved
from perdure.netmon.state import Address
from perdure.netmon.wakeup import SleepWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.netmon.state import Snapshot

TIMEOUT = 20.0
"""Seconds that anything here may take; a hang is a failure."""

ETH = network(interface("eth0", "10.0.0.2"), eth0="10.0.0.1")
WLAN = network(interface("wlan0", "192.168.1.7"), wlan0="192.168.1.1")
WLAN_WITHOUT_ROUTE = network(interface("wlan0", "192.168.1.7"))
NOTHING = network()


class FakeSource:
    """A network that the test moves."""

    def __init__(self, snapshot: Snapshot = ETH, name: str = "fake") -> None:
        self.name = name
        self.snapshot = snapshot
        self.is_refused = False
        self.error: Exception | None = None
        self.looks = 0
        self.looked = asyncio.Event()
        self.closes = 0
        self.hint: Callable[[], None] = lambda: None
        self.fail: Callable[[OSError], None] = lambda _: None

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        if self.is_refused:
            raise PermissionError("netlink is not permitted")
        self.hint, self.fail = hint, failed

    def look(self) -> Snapshot:
        self.looks += 1
        self.looked.set()
        if self.error is not None:
            raise self.error
        return self.snapshot

    def close(self) -> None:
        self.closes += 1

    def move(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.hint()


@pytest.fixture
def polling(monkeypatch: pytest.MonkeyPatch) -> FakeSource:
    """Takes the place of the system's; it cannot look until its error is taken away."""
    source = FakeSource(name="polling")
    source.error = OSError("too many open files")
    monkeypatch.setattr("perdure.netmon.polling.PollingSource", lambda: source)
    return source


class Clocks:
    def __init__(self) -> None:
        self.awake = 1000.0
        self.always = 5000.0

    def __call__(self) -> tuple[float, float]:
        return self.awake, self.always


class Heard:
    """A listener that can be waited for."""

    def __init__(self, monitor: NetworkMonitor) -> None:
        self.events: asyncio.Queue[NetworkMoved] = asyncio.Queue()
        self.unsubscribe = monitor.subscribe(self.events.put_nowait)

    async def next(self) -> NetworkMoved:
        async with asyncio.timeout(TIMEOUT):
            return await self.events.get()


async def looked_at_after_a_hint(source: FakeSource) -> None:
    source.looked.clear()
    source.hint()
    async with asyncio.timeout(TIMEOUT):
        await source.looked.wait()


async def test_a_change_is_told_at_once_within_the_hint() -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(WLAN)
        moved = heard.events.get_nowait()
        assert monitor.snapshot == WLAN
    assert moved.trigger is Trigger.INTERFACE_CHANGE
    assert moved.change is not None
    assert moved.change.invalidates("10.0.0.2")
    assert moved.has_address
    assert moved.is_new_address
    assert moved.slept_seconds == 0.0
    assert "IPv4 default route moved eth0 -> wlan0" in moved.detail


async def test_a_loss_is_told_and_there_is_no_address() -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(NOTHING)
        moved = heard.events.get_nowait()
    assert not moved.has_address
    assert not moved.is_new_address


async def test_a_hint_at_nothing_is_told_to_nobody() -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.hint()
        source.move(network(interface("eth0", "10.0.0.2"), interface("docker0", "172.17.0.1"), eth0="10.0.0.1"))
        source.move(WLAN)
        assert (await heard.next()).trigger is Trigger.INTERFACE_CHANGE
        assert heard.events.empty()


async def test_an_address_waits_for_its_route_and_both_are_one_event() -> None:
    source = FakeSource(NOTHING)
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(WLAN_WITHOUT_ROUTE)
        assert heard.events.empty()
        source.move(WLAN)
        moved = await heard.next()
        assert moved.change is not None
        assert moved.change.first_address
        assert moved.change.default_interface_changed
        assert heard.events.empty()


async def test_an_address_whose_route_does_not_come_is_told_a_moment_later() -> None:
    source = FakeSource(NOTHING)
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(WLAN_WITHOUT_ROUTE)
        moved = await heard.next()
        assert moved.has_address
        assert moved.change is not None
        assert moved.change.is_half


async def test_each_address_waits_for_its_route_also_after_one_whose_route_did_not_come() -> None:
    both = (interface("wlan0", "192.168.1.7"), interface("eth0", "10.0.0.2"))
    source = FakeSource(NOTHING)
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(WLAN_WITHOUT_ROUTE)
        await heard.next()
        source.looked.clear()
        source.move(network(*both))
        async with asyncio.timeout(TIMEOUT):
            await source.looked.wait()
        assert heard.events.empty()
        source.move(network(*both, eth0="10.0.0.1"))
        moved = await heard.next()
        assert moved.change is not None
        assert moved.change.address_added
        assert moved.change.default_interface_changed
        assert heard.events.empty()


async def test_many_hints_are_few_looks() -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        looks = source.looks
        for number in range(1000):
            source.move(WLAN if number % 2 else ETH)
        assert source.looks - looks == 1
        assert (await heard.next()).trigger is Trigger.INTERFACE_CHANGE
        assert source.looks - looks <= 3


async def test_an_address_that_the_engine_has_had_time_to_see_is_not_new() -> None:
    clocks = Clocks()
    source = FakeSource()
    async with NetworkMonitor(source, clocks=clocks) as monitor:
        heard = Heard(monitor)
        source.move(WLAN)
        assert (await heard.next()).is_new_address
        clocks.awake += 2.5
        clocks.always += 2.5
        source.move(network(interface("wlan0", "192.168.1.7"), wlan0="192.168.1.254"))
        assert not (await heard.next()).is_new_address


async def test_a_machine_that_slept_is_told_though_its_network_is_the_same() -> None:
    clocks = Clocks()
    async with NetworkMonitor(FakeSource(), clocks=clocks, tick_interval=0.01) as monitor:
        heard = Heard(monitor)
        clocks.always += 3600.0
        moved = await heard.next()
    assert moved.trigger is Trigger.WAKE_UP
    assert moved.slept_seconds == 3600.0
    assert moved.change is None
    assert moved.has_address
    assert moved.detail == "this process slept 3600.0 s"


async def test_a_process_that_was_stopped_is_told() -> None:
    clocks = Clocks()
    watch = SleepWatch(0.01, shortest_stop=0.5)
    async with NetworkMonitor(FakeSource(), clocks=clocks, tick_interval=0.01, sleep_watch=watch) as monitor:
        heard = Heard(monitor)
        clocks.awake += 30.01
        clocks.always += 30.01
        assert (await heard.next()).slept_seconds == pytest.approx(30.0)


async def test_the_wake_up_comes_before_what_changed_during_the_sleep() -> None:
    clocks = Clocks()
    source = FakeSource()
    async with NetworkMonitor(source, clocks=clocks) as monitor:
        heard = Heard(monitor)
        clocks.always += 3600.0
        source.move(WLAN)  # the kernel's message is read before the clocks are due
        assert (await heard.next()).trigger is Trigger.WAKE_UP
        assert (await heard.next()).trigger is Trigger.INTERFACE_CHANGE


async def test_a_listener_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: NetworkMoved) -> None:
        raise ValueError("my mistake")

    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        monitor.subscribe(broken)
        heard = Heard(monitor)
        source.move(WLAN)
        assert not heard.events.empty()
    [record] = [it for it in caplog.records if it.levelno == logging.ERROR]
    assert "network-listener-failed error=ValueError" in record.getMessage()
    assert record.exc_info


async def test_who_has_unsubscribed_hears_nothing_also_from_within_an_event() -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        once: list[NetworkMoved] = []

        def listen_once(moved: NetworkMoved) -> None:
            once.append(moved)
            unsubscribe()

        unsubscribe = monitor.subscribe(listen_once)
        source.move(WLAN)
        source.move(ETH)
        await heard.next()
        await heard.next()
        assert len(once) == 1
        heard.unsubscribe()
        heard.unsubscribe()


async def test_a_listener_may_close_the_monitor() -> None:
    clocks = Clocks()
    source = FakeSource()
    monitor = NetworkMonitor(source, clocks=clocks)
    await monitor.start()
    monitor.subscribe(lambda _: monitor.close())
    heard = Heard(monitor)
    clocks.always += 3600.0
    source.move(WLAN)
    assert heard.events.empty()


async def test_each_event_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "perdure.netmon")
    source = FakeSource()
    async with NetworkMonitor(source):
        source.move(NOTHING)
    assert [record.getMessage() for record in caplog.records] == [
        'network-watched source=fake addresses=1 default_routes="IPv4 on eth0"',
        'network-moved trigger="interface change" has_address=False is_new_address=False '
        'detail="IPv4 default route lost from eth0; eth0 went; 10.0.0.2 lost from eth0"',
    ]


async def test_a_line_does_not_grow_with_the_machine(caplog: pytest.LogCaptureFixture) -> None:
    many = network(*(interface(f"eth{number}", f"10.0.{number}.2") for number in range(200)), eth0="10.0.0.1")
    source = FakeSource(many)
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.move(NOTHING)
        assert heard.events.get_nowait().detail.endswith("; eth103 went; 393 more")


async def test_a_source_that_is_not_permitted_is_replaced_by_polling(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource()
    source.is_refused = True
    async with NetworkMonitor(source) as monitor:
        assert any(it.is_loopback for it in monitor.snapshot.interfaces)  # this machine's
    [record] = [it for it in caplog.records if it.levelno == logging.WARNING]
    assert record.getMessage().startswith(
        'network-source-failed source=fake instead=polling error=PermissionError text="netlink is not permitted"'
    )
    assert source.closes


async def test_a_source_that_cannot_read_this_network_is_replaced_too(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource()
    source.error = UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")
    async with NetworkMonitor(source) as monitor:
        assert any(it.is_loopback for it in monitor.snapshot.interfaces)
    assert "network-source-failed source=fake instead=polling error=UnicodeDecodeError" in caplog.text


async def test_a_look_that_fails_is_said_once_and_repeated(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource()
    async with NetworkMonitor(source, tick_interval=0.01) as monitor:
        heard = Heard(monitor)
        source.error = OSError("too many open files")
        source.move(WLAN)
        async with asyncio.timeout(TIMEOUT):
            for _ in range(3):
                source.looked.clear()
                await source.looked.wait()
        assert monitor.snapshot == ETH
        source.error = None
        assert (await heard.next()).trigger is Trigger.INTERFACE_CHANGE
    [record] = [it for it in caplog.records if it.levelno == logging.WARNING]
    assert record.getMessage().startswith('network-look-failed error=OSError text="too many open files"')


async def test_a_source_that_shows_nothing_any_more_is_replaced(
    caplog: pytest.LogCaptureFixture, polling: FakeSource
) -> None:
    source = FakeSource()
    polling.snapshot, polling.error = WLAN, None
    async with NetworkMonitor(source, tick_interval=0.001) as monitor:
        heard = Heard(monitor)
        source.error = PermissionError("not permitted in this sandbox")
        source.hint()
        assert (await heard.next()).invalidates("10.0.0.2")
    words = [it.getMessage().split()[0] for it in caplog.records if it.levelno == logging.WARNING]
    assert words == ["network-look-failed", "network-source-failed"]


async def test_a_source_that_can_no_longer_read_this_network_is_replaced_and_what_changed_is_told(
    caplog: pytest.LogCaptureFixture, polling: FakeSource
) -> None:
    source = FakeSource()
    polling.snapshot, polling.error = WLAN, None
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.error = ValueError("an address of 1 bytes")
        source.hint()
        assert heard.events.get_nowait().invalidates("10.0.0.2")
        polling.move(ETH)
        assert (await heard.next()).invalidates("192.168.1.7")
    [record] = [it for it in caplog.records if it.levelno == logging.WARNING]
    assert record.getMessage().startswith("network-source-failed source=fake instead=polling error=ValueError")
    assert source.closes


async def test_a_watch_that_ends_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    source = FakeSource()
    async with NetworkMonitor(source) as monitor:
        source.fail(OSError("the socket is gone"))
        assert monitor.snapshot != ETH
    assert len([it for it in caplog.records if it.levelno == logging.WARNING]) == 1


async def test_what_changed_when_a_watch_ended_is_told_once() -> None:
    source = FakeSource(network(interface("gone0", "198.51.100.7"), gone0="198.51.100.1"))
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.fail(OSError("the socket is gone"))
        moved = heard.events.get_nowait()
        assert moved.invalidates("198.51.100.7")
        assert "gone0 went" in moved.detail
        assert heard.events.empty()


async def test_a_watch_that_cannot_begin_tells_of_no_change() -> None:
    source = FakeSource()
    source.is_refused = True
    monitor = NetworkMonitor(source)
    heard = Heard(monitor)
    async with monitor:
        assert heard.events.empty()


async def test_what_polling_shows_first_is_no_change_though_it_came_late_and_shows_less(polling: FakeSource) -> None:
    temporary = Address("2001:db8::a1", is_temporary=True)
    bridge = interface("office7", "172.17.0.1", kind="bridge")
    source = FakeSource(network(interface("eth0", "10.0.0.2", temporary), bridge, eth0="10.0.0.1"))
    polling.snapshot = network(
        interface("eth0", "10.0.0.2", temporary.ip), interface("office7", "172.17.0.1"), eth0="10.0.0.1"
    )
    async with NetworkMonitor(source) as monitor:
        heard = Heard(monitor)
        source.fail(OSError("the socket is gone"))
        polling.error = None
        await looked_at_after_a_hint(polling)
        assert monitor.snapshot == polling.snapshot
        assert heard.events.empty()
        polling.move(WLAN)
        assert (await heard.next()).invalidates("10.0.0.2")


async def test_a_network_that_could_not_be_looked_at_at_first_did_not_come_when_it_can_be(polling: FakeSource) -> None:
    clocks = Clocks()
    source = FakeSource()
    source.is_refused = True
    async with NetworkMonitor(source, clocks=clocks) as monitor:
        heard = Heard(monitor)
        clocks.always += 3600.0
        polling.hint()
        assert (await heard.next()).has_address  # for all that is known
        polling.error = None
        await looked_at_after_a_hint(polling)
        assert monitor.snapshot == ETH
        assert heard.events.empty()
        polling.move(network(interface("eth0", "10.0.0.2"), eth0="10.0.0.254"))
        assert not (await heard.next()).is_new_address


async def test_a_closed_monitor_is_silent_and_closes_its_source_once_more_without_harm() -> None:
    source = FakeSource()
    monitor = NetworkMonitor(source)
    await monitor.start()
    heard = Heard(monitor)
    source.hint()
    source.hint()  # a look is due later
    monitor.close()
    monitor.close()
    looks = source.looks
    source.move(WLAN)
    await asyncio.sleep(0.05)
    assert source.closes
    assert source.looks == looks
    assert heard.events.empty()


async def test_a_monitor_is_started_once() -> None:
    async with NetworkMonitor(FakeSource()) as monitor:
        with pytest.raises(RuntimeError, match="started once"):
            await monitor.start()


async def test_a_monitor_that_is_closed_is_not_started() -> None:
    monitor = NetworkMonitor(FakeSource())
    monitor.close()
    with pytest.raises(RuntimeError, match="after it was closed"):
        await monitor.start()


async def test_a_monitor_that_is_closed_while_it_starts_does_not_watch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("perdure.netmon.monitor.sys", SimpleNamespace(platform="darwin"))  # where starting takes time
    monitor = NetworkMonitor()
    starting = asyncio.create_task(monitor.start())
    await asyncio.sleep(0)
    monitor.close()
    await starting
    assert not monitor.snapshot.interfaces
