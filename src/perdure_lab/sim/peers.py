"""The two peers of a simulation: perdure's client and gateway on simulated machines.

They are given what a machine would give them: an engine, a network monitor, and a way to the rendezvous.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from perdure.client import Tunnel
from perdure.errors import PeerError
from perdure.gateway import Gateway
from perdure.netmon.monitor import TICK_INTERVAL, NetworkMonitor
from perdure.netmon.wakeup import Sleep, SleepWatch
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.streams.allow import parse_allow
from perdure.streams.target import Target
from perdure_lab.sim.application import Workload
from perdure_lab.sim.engine import Engine
from perdure_lab.sim.signal_check import SignalCheck

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine, Sequence

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from perdure.admission import Holder
    from perdure.manager import TunnelConnectionManager
    from perdure.netmon.state import Snapshot
    from perdure.registry import TubeRegistry
    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.messages import RTCIceServer
    from perdure.signaling.status import SignalingStatus
    from perdure.streams.transport import StreamTransport
    from perdure.ticket import Ticket
    from perdure.ticket_store import TicketStore
    from perdure_lab.sim.application import Ledger
    from perdure_lab.sim.internet import Internet
    from perdure_lab.sim.machine import Machine
    from perdure_lab.sim.rendezvous import Socket
    from perdure_lab.sim.surroundings import Surroundings

OnTube: TypeAlias = "Callable[[Process, TunnelConnectionManager], None]"

ALLOWED_TARGET = Target("127.0.0.1", 22)
"""What the gateway lets a client have."""

ACCEPTS_AFTER = 0.001
"""Seconds that the gateway's target takes to take a connection."""

RARE_TICK_INTERVAL = 600.0
"""Seconds between the monitor's looks at the clocks, which are a second apart in earnest: see `RareTicks`. As they find
nothing where no sleep is near, they are only as many as show that it still ticks."""

HINT_DELAY = 0.002
"""Seconds until the kernel has told of a change: rtnetlink's 3 ms at most, measured."""


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

    registry: TubeRegistry
    """The role's tubes."""

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
            peers=surroundings.unruly_peers,
            misused=surroundings.violated,
            closes=surroundings.carrier_watch.closes,
            relay=surroundings.relay,
        )
        self.signal_check = SignalCheck(machine.name, surroundings.violated)
        self.source = SimulatedSource(surroundings.internet, machine)
        self.ticks = RareTicks()
        self.network = NetworkMonitor(
            self.source,
            clocks=lambda: (machine.awake_clock, machine.always_clock),
            tick_interval=RARE_TICK_INTERVAL,
            sleep_watch=self.ticks,
        )
        self._tasks: set[asyncio.Task[Any]] = set()
        self.workloads: list[Workload] = []
        self.is_ending = False
        """Whether its tubes end because it does."""

    def stops(self) -> None:
        """Its machine sleeps from now on, or it is stalled."""
        self.ticks.stops(self.machine.awake_clock)

    def goes_on(self, *, has_slept: bool) -> None:
        """After a sleep the tick's timer has left what it had; after a stall it is overdue."""
        self.source.ticks_within(self.random.uniform(0.0, TICK_INTERVAL) if has_slept else 0.0)

    def crash(self) -> None:
        """The process is gone, without a word."""
        self.is_ending = True
        self.engine.crash()
        self.source.close()

    def begin(self, work: Coroutine[Any, Any, object]) -> None:
        """Work that nobody waits for: what it raises is the process' failure."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    @property
    def is_at_work(self) -> bool:
        """Whether something that was begun has not ended."""
        return bool(self._tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.is_ending:
            self.machine.failed(error)

    async def _run(self, role: Tunnel | Gateway) -> None:
        """Until it is closed."""
        await self.network.start()
        await role.__aenter__()
        await role.wait_closed()

    def _tube_created(self, manager: TunnelConnectionManager) -> None:
        self.ledger.tube_created(manager)
        self._on_tube(self, manager)

    async def _open_socket(self, interface: str | None) -> Socket:
        return await self.surroundings.rendezvous.open(self.machine, interface)

    def _token(self, count: int) -> bytes:
        return self.random.randbytes(count)


class GatewayProcess(Process):
    """Serves whoever has the ticket."""

    def __init__(self, surroundings: Surroundings, machine: Machine, on_tube: OnTube) -> None:
        super().__init__(surroundings, machine, on_tube)
        settings, relay = surroundings.settings, surroundings.relay
        gateway = Gateway(
            surroundings.ticket.rendezvous_url,
            parse_allow([str(ALLOWED_TARGET)]),
            tickets=surroundings.tickets,
            incoming=self._stream_opened,
            wait=False,
            transport=self.engine,
            ice_server_provider=None if relay is None or relay.terms.lifetime is None else relay,
            signal_handler=self.signal_check.handle,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            network=self.network,
            make_signaling=self._make_signaling,
            random=self.random,
        )
        self.registry = gateway.tubes
        self.registry.add_tube_callback(self._tube_created)
        self.begin(self._run(gateway))

    def _make_signaling(
        self,
        rendezvous_url: str,
        tickets: TicketStore,
        *,
        on_session: Callable[[bytes, SignalingChannel, Holder], None],
        on_status: Callable[[SignalingStatus], None],
        has_room: Callable[[], bool],
        ice_servers: Sequence[RTCIceServer],
        interfaces: Callable[[], Sequence[str]],
    ) -> GatewaySignaling:
        return GatewaySignaling(
            rendezvous_url,
            tickets,
            on_session=on_session,
            on_status=on_status,
            has_room=has_room,
            ice_servers=ice_servers,
            name=self.machine.name,
            random=self.random,
            now=lambda: self.machine.always_clock,
            token_bytes=self._token,
            interfaces=interfaces,
            open_socket=self._open_socket,
        )

    def _stream_opened(self, stream: StreamTransport) -> None:
        manager = self.registry.manager(stream.get_extra_info("tube_id"))
        record = self.ledger.record(manager.tube_id, stream.stream_id)
        workload = Workload(self.ledger, manager, record, is_client=False)
        self.workloads.append(workload)
        stream.start(workload)
        self.loop.call_later(ACCEPTS_AFTER, stream.accept)


class ClientProcess(Process):
    """Wants one tube, always."""

    def __init__(self, surroundings: Surroundings, machine: Machine, on_tube: OnTube) -> None:
        super().__init__(surroundings, machine, on_tube)
        settings = surroundings.settings
        self.manager: TunnelConnectionManager | None = None
        """That of the current session's tube."""
        self._tunnel = Tunnel(
            surroundings.ticket,
            wait=False,
            transport=self.engine,
            signal_handler=self.signal_check.handle,
            policy=settings.restart,
            session_limits=settings.session,
            limits=settings.resources,
            network=self.network,
            make_signaling=self._make_signaling,
            random=self.random,
            token_bytes=self._token,
        )
        self.registry = self._tunnel.tubes
        self.registry.add_tube_callback(self._tube_created)
        self.begin(self._run(self._tunnel))

    def stop(self) -> None:
        """It wants no tube any more, and says so."""
        self.is_ending = True
        self.begin(self._tunnel.close())

    def open_stream(self, target: Target = ALLOWED_TARGET) -> Workload | None:
        """A new stream through the tube; `None` where there is none now, or it takes no more."""
        try:
            stream = self._tunnel.manager.tube.open_stream(target)
        except (RuntimeError, PeerError):
            return None
        manager = self._tunnel.manager
        workload = Workload(self.ledger, manager, self.ledger.record(manager.tube_id, stream.stream_id), is_client=True)
        self.workloads.append(workload)
        stream.start(workload)
        self.begin(workload.check_acceptance())
        return workload

    def _make_signaling(
        self,
        ticket: Ticket,
        session_id: bytes,
        *,
        key: X25519PrivateKey,
        on_status: Callable[[SignalingStatus], None],
        on_ice_servers: Callable[[Sequence[RTCIceServer]], None],
        interfaces: Callable[[], Sequence[str]],
    ) -> ClientSignaling:
        return ClientSignaling(
            ticket,
            session_id,
            key=key,
            on_status=on_status,
            on_ice_servers=on_ice_servers,
            random=self.random,
            now=lambda: self.machine.always_clock,
            token_bytes=self._token,
            interfaces=interfaces,
            open_socket=self._open_socket,
        )

    def _tube_created(self, manager: TunnelConnectionManager) -> None:
        self.manager = manager
        super()._tube_created(manager)
