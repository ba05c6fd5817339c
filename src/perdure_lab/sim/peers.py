"""The two peers of a simulation: perdure's registry, managers, signaling and network monitor on simulated machines.

They put the parts together as `perdure.client` and `perdure.gateway` do, whose own lines and sockets are not played.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeAlias

from perdure.forward.target import parse_allow, parse_target

from perdure.core.restart import renewal_delay
from perdure.core.state import Reason, State
from perdure.manager import Endpoint, TunnelConnectionManager
from perdure.netmon.monitor import TICK_INTERVAL, NetworkMonitor, NetworkMoved
from perdure.netmon.wakeup import Sleep, SleepWatch
from perdure.registry import TubeRegistry
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES
from perdure_lab.sim.application import NOT_BEGUN, Workload
from perdure_lab.sim.engine import Engine
from perdure_lab.sim.signal_check import SignalCheck

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from perdure.core.actions import StateChanged
    from perdure.netmon.state import Snapshot
    from perdure.signaling.base import SignalingChannel
    from perdure.tube import StreamSink
    from perdure_lab.sim.application import Ledger
    from perdure_lab.sim.internet import Internet
    from perdure_lab.sim.machine import Machine
    from perdure_lab.sim.surroundings import Surroundings

OnTube: TypeAlias = "Callable[[Process, TunnelConnectionManager], None]"

ALLOWED_TARGET = b"127.0.0.1:22"
"""What the gateway lets a client have."""

_ALLOWED = parse_allow([ALLOWED_TARGET.decode()])

RARE_TICK_INTERVAL = 600.0
"""Seconds between the monitor's looks at the clocks, which are a second apart in earnest: see `RareTicks`. As they find
nothing where no sleep is near, they are only as many as show that it still ticks."""

HINT_DELAY = 0.002
"""Seconds until the kernel has told of a change: rtnetlink's 3 ms at most (FACTS.md)."""


class RareTicks(SleepWatch):
    """Of a monitor whose ticks are left out, but for the one before its process stops and the one after it goes on."""

    def __init__(self) -> None:
        super().__init__(TICK_INTERVAL)
        self._last_tick: float | None = None

    def stops(self, awake_clock: float) -> None:
        """The process stops now: its last tick was at most a tick's interval ago."""
        self._last_tick = awake_clock

    def read(self, awake_clock: float, always_clock: float) -> Sleep:
        if self._awake_at is not None:
            self._awake_at = awake_clock if self._last_tick is None else self._last_tick
        self._last_tick = None
        return super().read(awake_clock, always_clock)


class SimulatedSource:
    """What the network monitor asks: the machine's part of the internet."""

    name = "simulated"

    def __init__(self, internet: Internet, machine: Machine) -> None:
        self._internet = internet
        self._machine = machine
        self._loop = machine.loop
        self._shown = internet.snapshot(machine.name)
        self._hint: Callable[[], None] | None = None
        self._unlisten: Callable[[], None] | None = None

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        self._hint = hint
        self._unlisten = self._internet.listen(self._changed)

    def look(self) -> Snapshot:
        self._shown = self._internet.snapshot(self._machine.name)
        return self._shown

    def close(self) -> None:
        if self._unlisten is not None:
            self._unlisten()
            self._unlisten = None

    def ticks_within(self, seconds: float) -> None:
        """The monitor looks at the clocks."""
        self._loop.deliver(seconds, self._tell)

    def _changed(self) -> None:
        if self._internet.snapshot(self._machine.name) != self._shown:
            self._loop.deliver(HINT_DELAY, self._tell)

    def _tell(self) -> None:
        if self._hint is not None and self._unlisten is not None:
            self._hint()


class Process:
    """What both peers have. Made, and used, within the machine's loop.

    Args:
        on_tube: called with each tube's manager before that is started.
    """

    def __init__(self, surroundings: Surroundings, machine: Machine, on_tube: OnTube) -> None:
        world = surroundings.world
        self.surroundings = surroundings
        self._on_tube = on_tube
        self.machine = machine
        self.loop = machine.loop
        self.ledger: Ledger = surroundings.ledger
        self.random = world.dice(f"{machine.name} {world.serial()}")
        self.engine = Engine(
            world,
            surroundings.internet,
            machine,
            surroundings.carriers,
            misused=surroundings.violated,
            has_relay=surroundings.has_relay,
        )
        self.registry = TubeRegistry(
            surroundings.settings.restart,
            surroundings.settings.session,
            surroundings.settings.resources,
            transport=self.engine,
            signal_handler=SignalCheck(machine.name, surroundings.violated).handle,
            on_stream=self.stream_opened,
            random=self.random,
        )
        self.source = SimulatedSource(surroundings.internet, machine)
        self.ticks = RareTicks()
        self.network = NetworkMonitor(
            self.source,
            clocks=lambda: (machine.awake_clock, machine.always_clock),
            tick_interval=RARE_TICK_INTERVAL,
            sleep_watch=self.ticks,
        )
        self.network.subscribe(self.network_moved)
        self.workloads: list[Workload] = []
        self.is_ending = False
        """Whether its tubes end because it does."""
        self.begin(self.network.start())

    def stream_opened(self, manager: TunnelConnectionManager, stream_id: int, target: bytes) -> StreamSink | None:
        """Nothing is carried to a client."""
        return None

    def network_moved(self, moved: NetworkMoved) -> None:
        """As `perdure.client` and `perdure.gateway` pass it on."""
        raise NotImplementedError

    def token(self, count: int) -> bytes:
        return self.random.randbytes(count)

    def stops(self) -> None:
        """Its machine sleeps from now on, or it is stalled."""
        self.ticks.stops(self.machine.awake_clock)

    def goes_on(self, *, has_slept: bool) -> None:
        """After a sleep the tick's timer has left what it had; after a stall it is overdue."""
        self.source.ticks_within(self.random.uniform(0.0, TICK_INTERVAL) if has_slept else 0.0)

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that nobody waits for: what it raises is the process' failure."""
        task = self.loop.create_task(work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None and not self.is_ending:
            self.machine.failed(error)

    def crash(self) -> None:
        """The process is gone, without a word."""
        self.is_ending = True
        self.engine.crash()
        self.source.close()


class GatewayProcess(Process):
    """Serves whoever has the ticket."""

    def __init__(self, surroundings: Surroundings, machine: Machine, on_tube: OnTube) -> None:
        super().__init__(surroundings, machine, on_tube)
        self.signaling = GatewaySignaling(
            surroundings.ticket,
            on_session=self._begin_tube,
            has_room=lambda: self.registry.check_capacity().has_room,
            random=self.random,
            now=lambda: machine.always_clock,
            token_bytes=self.token,
            open_socket=lambda: surroundings.rendezvous.open(machine),
        )
        self.signaling.start()

    def network_moved(self, moved: NetworkMoved) -> None:
        self.registry.network_moved(moved)
        local_address_lost = moved.invalidates(self.signaling.local_address)
        self.signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def stream_opened(self, manager: TunnelConnectionManager, stream_id: int, target: bytes) -> StreamSink | None:
        if not _ALLOWED.permits(parse_target(target.decode())):
            return None
        conversation = self.ledger.conversation(manager.tube_id, stream_id)
        workload = Workload(self.ledger, manager, conversation, is_client=False, stream_id=stream_id)
        self.workloads.append(workload)
        self.loop.call_later(0.001, manager.streams.accept, stream_id)
        return workload

    def _begin_tube(self, session_id: bytes, channel: SignalingChannel) -> None:
        endpoint = Endpoint(session_id, None, channel)
        try:
            manager = self.registry.create_tube(endpoint.tube_id, endpoint=endpoint)
        except (RuntimeError, ValueError):
            channel.close()
            return
        self._on_tube(self, manager)
        manager.start()


class ClientProcess(Process):
    """Wants one tube, always."""

    def __init__(self, surroundings: Surroundings, machine: Machine, on_tube: OnTube) -> None:
        super().__init__(surroundings, machine, on_tube)
        self.manager: TunnelConnectionManager | None = None
        self._signaling: ClientSignaling | None = None
        self._session_worked = False
        self._sessions = self.begin(self._run_sessions())

    def stop(self) -> None:
        """It wants no tube any more, and says so."""
        self.is_ending = True
        self._sessions.cancel()

    def network_moved(self, moved: NetworkMoved) -> None:
        self.registry.network_moved(moved)
        if (signaling := self._signaling) is not None:
            local_address_lost = moved.invalidates(signaling.local_address)
            signaling.network_moved(local_address_lost=local_address_lost, slept_seconds=moved.slept_seconds)

    def open_stream(self, target: bytes = ALLOWED_TARGET) -> Workload | None:
        """A new stream through the tube; `None` where there is none now, or it takes no more."""
        manager = self.manager
        if manager is None or manager.state.is_final:
            return None
        workload = Workload(self.ledger, manager, NOT_BEGUN, is_client=True)
        try:
            workload.stream_id = manager.streams.open_stream(target, workload)
        except RuntimeError:
            return None
        workload.conversation = self.ledger.conversation(manager.tube_id, workload.stream_id)
        self.workloads.append(workload)
        return workload

    async def _run_sessions(self) -> None:
        failures = 0
        while True:
            end = await self._run_session()
            failures = 0 if self._session_worked else failures + 1
            await asyncio.sleep(renewal_delay(self.registry.policy, end.reason, failures, self.random))

    async def _run_session(self) -> StateChanged:
        surroundings, session_id = self.surroundings, self.token(SESSION_ID_BYTES)
        self._session_worked = False
        self._signaling = ClientSignaling(
            surroundings.ticket,
            session_id,
            random=self.random,
            token_bytes=self.token,
            open_socket=lambda: surroundings.rendezvous.open(self.machine),
        )
        async with self._signaling as signaling:
            endpoint = Endpoint(session_id, self.token(SESSION_KEY_BYTES), signaling)
            manager = self.registry.create_tube(endpoint.tube_id, endpoint=endpoint)
            manager.add_state_change_callback(self._state_changed)
            self._on_tube(self, manager)
            self.manager = manager
            manager.start()
            try:
                return await manager.wait_ended()
            finally:
                await manager.shutdown(Reason.SHUT_DOWN, "the client was stopped")

    def _state_changed(self, change: StateChanged) -> None:
        self._session_worked = self._session_worked or change.after is State.CONNECTED
