"""The manager of one tube: what an application does with it, asks it, and is told by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Mapping
from types import NoneType
from typing import TYPE_CHECKING

from perdure.core.actions import StateChanged
from perdure.core.decision import Decision, Trigger
from perdure.core.events import CloseRequested, Extended, NetworkChanged, RecoveryRequested, Used
from perdure.core.state import Reason, State
from perdure.delivery import SignalIterator
from perdure.errors import PeerError
from perdure.streams import connections
from perdure.streams.streams import Streams
from perdure.tube import ConnectionMetrics, Driver, EventPublisher, clock
from perdure.tube.arguments import check_callable, check_close, check_type
from perdure.tube.changes import ChangeWaiters
from perdure.tube.metrics import metrics
from perdure.tube.reports import network_changed

if TYPE_CHECKING:
    import ssl as ssl_module
    from collections.abc import Sequence

    from perdure.application_signaling import ApplicationSignaling, SendText
    from perdure.config import IceServer
    from perdure.delivery import SignalHandler
    from perdure.netmon.monitor import NetworkMoved
    from perdure.streams.connections import ProtocolT
    from perdure.streams.streams import Incoming
    from perdure.streams.target import Target
    from perdure.streams.tcp import TcpConnections
    from perdure.streams.transport import StreamTransport
    from perdure.transport.base import Path
    from perdure.tube import Endpoint, Environment
    from perdure.tube.driver import Told


class TunnelConnectionManager:
    """Keeps one tube connected. `TubeRegistry.create_tube` makes it; its methods belong on the event loop's thread.

    Args:
        environment: what the registry's tubes share.
        signaling: where the application carries the signaling itself.
        tcp_connections: where those of `listen` are kept.
        on_change: told of each change of state, first.
    """

    __slots__ = (
        "__weakref__",
        "_changes",
        "_driver",
        "_environment",
        "_established_at",
        "_on_change",
        "_publisher",
        "_signaling",
        "_streams",
        "_tcp_connections",
        "incoming",
        "signal_handler",
    )

    def __init__(
        self,
        tube_id: str,
        conversation_id: str | None,
        endpoint: Endpoint,
        environment: Environment,
        *,
        signaling: ApplicationSignaling | None = None,
        signal_handler: SignalHandler | None = None,
        incoming: Incoming | None = None,
        tcp_connections: TcpConnections,
        on_change: Callable[[TunnelConnectionManager, StateChanged], None],
    ) -> None:
        self.signal_handler = signal_handler
        self.incoming = incoming
        self._environment = environment
        self._tcp_connections = tcp_connections
        self._on_change = on_change
        self._publisher = EventPublisher(tube_id, conversation_id, signal_handler)
        self._changes = ChangeWaiters()
        self._established_at: float | None = None
        self._driver = Driver(tube_id, endpoint, environment, on_told=self._told)
        self._streams = Streams(tube_id, self._driver.carriers, incoming=incoming)
        self._signaling = signaling
        if signaling is not None:
            signaling.bind(self._driver, self._publisher)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.tube_id!r} {self.state.value}>"

    @property
    def tube_id(self) -> str:
        return self._publisher.tube_id

    @property
    def conversation_id(self) -> str | None:
        return self._publisher.conversation_id

    @property
    def state(self) -> State:
        return self._driver.core.state

    @property
    def is_initiator(self) -> bool:
        """Whether this end began the session."""
        return self._driver.carriers.session.is_initiator

    @property
    def is_open(self) -> bool:
        """Whether it has neither ended, nor begun to."""
        return self.end is None and not self._driver.is_closing

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last, the oldest first, at most 64; "nothing" included."""
        return self._driver.core.decisions

    @property
    def end(self) -> StateChanged | None:
        """The last change, where the tube has FAILED or is CLOSED."""
        return self._driver.end

    @property
    def metrics(self) -> ConnectionMetrics:
        """The tube's figures now."""
        return metrics(self._driver, self._publisher, self._established_at)

    @property
    def path(self) -> Path | None:
        """The path in use: direct or relayed, its protocol, both addresses, and the round trip; `None` without one."""
        return self._driver.carriers.path if self.state.is_up else None

    # Streams.

    async def open_connection(
        self,
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
        limit: int = 2**16,
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A stream to `host:port` at the other end, as `asyncio.open_connection` gives it.

        Waits while the tube connects or recovers, as long as the caller does. Cancelling this gives the stream up.
        Raises as `Tunnel.open_connection`.
        """
        return await connections.open_connection(
            self._open_stream, host, port, ssl=ssl, server_hostname=server_hostname, limit=limit
        )

    async def create_connection(
        self,
        protocol_factory: Callable[[], ProtocolT],
        host: str,
        port: int,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> tuple[asyncio.Transport, ProtocolT]:
        """A stream as transport and protocol, with the signature of `loop.create_connection`; see
        `Tunnel.create_connection`."""
        return await connections.create_connection(
            self._open_stream, protocol_factory, host, port, ssl=ssl, server_hostname=server_hostname
        )

    async def listen(self, host: str, port: int, *, to: tuple[str, int]) -> asyncio.Server:
        """Listen on a local port; each connection comes out at `to` beside the other end. See `Tunnel.listen`; closing
        the server is the caller's."""
        self.check_loop()
        return await connections.listen(self.open_stream, host, port, to=to, tcp_connections=self._tcp_connections)

    def open_stream(self, target: Target) -> StreamTransport:
        """A new stream, at once: what is written waits until the other end takes it. For transports of one's own.

        Raises:
            RuntimeError: the tube is closing or has ended.
            ConnectionRefusedError: it carries as many streams as it may.
        """
        self._driver.check_open()
        return self._streams.open(target)

    async def _open_stream(self, target: Target) -> StreamTransport:
        self.check_loop()
        return self.open_stream(target)

    def check_loop(self) -> None:
        """Raises `RuntimeError` where another event loop runs than the tube's."""
        if asyncio.get_running_loop() is not self._driver.carriers.loop:
            raise RuntimeError(f"tube {self.tube_id!r} belongs to another event loop than the one that runs here")

    # Connecting.

    async def run_signaling(self, send: SendText, messages: AsyncIterable[str | bytes]) -> None:
        """Connect, and carry the tube's signaling over a link of the application, until that or the tube ends. The same
        call at both ends, and once more for each renewed link: see `ApplicationSignaling.run`."""
        self.check_loop()
        await self.signaling.run(send, messages)

    @property
    def signaling(self) -> ApplicationSignaling:
        """The application's signaling, step by step.

        Raises:
            RuntimeError: the tube has perdure's own.
        """
        if self._signaling is None:
            raise RuntimeError(f"tube {self.tube_id!r} has perdure's own signaling")
        return self._signaling

    def start(self) -> None:
        """Let the policy's timers run; with perdure's own signaling, also connect. Twice is fine. Raises `RuntimeError`
        where the tube has ended."""
        self._driver.check_open()
        self._driver.run(connect=self._signaling is None)

    async def wait_connected(self) -> None:
        """Wait until streams flow. Cancelling this changes nothing.

        Raises:
            PeerError: the tube ended instead; `reason` is the name of its `Reason`.
        """
        self.check_loop()
        while not self.state.is_up:
            if (end := self.end) is not None:
                raise PeerError(f"tube {self.tube_id!r} ended: {end.reason.value}", reason=end.reason.name)
            await self._changes.next()

    async def wait_ended(self) -> StateChanged:
        """Wait until the tube has FAILED or is CLOSED; the last change, with its reason."""
        self.check_loop()
        while (end := self.end) is None:
            await self._changes.next()
        return end

    # Recovering.

    def report_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """Say that the network changed, or that somebody thinks so; what was decided, `None` where the tube has ended.

        Args:
            data: what is known: `has_address` (bool: whether there is a usable local address now; without it there
                is one), `is_new_address` (bool: it appeared within the last 2 s, so the engine cannot know it yet),
                `local_address_lost` (bool: the path's own address is gone, or leads elsewhere now; without it, it
                may), `slept_seconds` (for WAKE_UP), `detail` (a word for the log).

        Raises:
            ValueError: no change of a network, an unknown key, or a value of another type or out of its range.
        """
        return self._driver.network_changed(network_changed(change, data or {}))

    def network_moved(self, moved: NetworkMoved) -> None:
        """What a `NetworkMonitor` told; called by the registry."""
        local_address_lost = None if moved.change is None else moved.invalidates(self._driver.carriers.local_address)
        self._driver.network_changed(
            NetworkChanged(
                moved.trigger,
                moved.has_address,
                moved.is_new_address,
                local_address_lost,
                moved.slept_seconds,
                moved.detail,
            )
        )

    async def restart_ice(self) -> str:
        """Recover the path now, or join the recovery that is under way; the offer's SDP.

        An ICE restart where there is a carrier, otherwise a new carrier. With the application's own signaling, step by
        step, the same offer comes as the signal `ice_restart_offer`: send it once. Cancelling this leaves the recovery
        running.

        Raises:
            RuntimeError: the tube has ended.
            PeerError: nothing can be offered now (no signaling, no address, or the other end makes the offer).
            CarrierError: the engine made no offer.
        """
        self.start()
        decided = self._driver.feed(RecoveryRequested())
        if self._signaling is not None:
            return await self._signaling.offer(decided)
        return (await self._driver.offer(decided)).sdp

    def rebuild(self) -> None:
        """Build a new carrier now, where one works. Streams go on. Where that cannot be (no signaling, no address, an
        attempt is under way) nothing is done, and `decisions[-1]` says why."""
        self._driver.feed(RecoveryRequested(rebuild=True))

    def kill_carrier(self) -> None:
        """Tear the current carrier down as a crash would. For tests and the demo."""
        self._driver.carriers.kill_carrier()

    # Its life.

    def update_activity(self) -> None:
        """Say that the tube is in use: the session timeout counts from now."""
        self._driver.feed(Used())

    def extend(self, seconds: float | None = None) -> None:
        """Let the tube live at least `seconds` from now, used or not; by default another `session_timeout`.

        Raises:
            TypeError, ValueError: `seconds` is no number, or not between 0 and 30 days.
        """
        check_type("seconds", seconds, (int, float, NoneType), "a number, or None")
        timeout = self._environment.session_limits.session_timeout
        self._driver.feed(Extended(timeout if seconds is None else seconds))

    async def shutdown(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """End the tube behind what was written: the peer is told, streams are reset, the carrier is closed. Twice is
        fine. Cancelling this leaves the tube ending by itself.

        Args:
            detail: a text for the peer and the log.

        Raises:
            TypeError, ValueError: `reason` is none of `CLOSE_REASONS`, or `detail` no text.
        """
        self.end_now(reason, detail)
        await self.wait_ended()

    def end_now(self, reason: Reason, detail: str = "") -> None:
        """`shutdown`, without waiting for it."""
        check_close(reason, detail)
        self.check_loop()
        if not self.state.is_final:
            self._driver.run(connect=False)  # the farewell has a timer, also where nothing else was to be watched
            self._driver.feed(CloseRequested(reason, detail))

    # What is told.

    def events(self) -> SignalIterator:
        """The tube's signals from now on, as an async iterator that ends with the tube. A reader that falls behind by
        more than 256 gets a `SignalsDropped` in their place."""
        iterator = SignalIterator()
        if self.end is not None:
            iterator.end()
        else:
            self.publish_to(iterator)
        return iterator

    def publish_to(self, iterator: SignalIterator) -> None:
        """Give each signal to `iterator` too."""
        self._publisher.add_iterator(iterator)

    def add_state_change_callback(self, callback: Callable[[StateChanged], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each change of state; what is returned removes it."""
        check_callable("a callback", callback)
        return self._publisher.add_state_callback(callback)

    def add_network_change_callback(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each decision of the policy; what is returned removes it."""
        check_callable("a callback", callback)
        return self._publisher.add_decision_callback(callback)

    async def wait_told(self, timeout: float) -> None:
        """Wait until the signal handler has had what waits for it, at most `timeout` seconds."""
        await self._publisher.drain(timeout)

    def ice_servers_changed(self, servers: Sequence[IceServer]) -> None:
        """Other ICE servers, or other credentials, are in use from now on; called by the registry."""
        self._publisher.ice_servers_changed(servers)

    def limits_changed(self) -> None:
        """The environment has other limits; called by the registry."""
        self._driver.carriers.session.set_limits(self._environment.limits)

    def _told(self, action: Told) -> None:
        if isinstance(action, StateChanged):
            self._changed(action)
        else:
            self._publisher.told(action, self._driver.core.rtt)

    def _changed(self, change: StateChanged) -> None:
        driver, is_end = self._driver, change.after.is_final
        if change.after is State.CONNECTED:
            driver.descriptions.forget()
            if self._signaling is not None:
                self._signaling.connected()
            if self._established_at is None:
                self._established_at = clock()
        try:
            self._on_change(self, change)
            if is_end:
                driver.descriptions.end(PeerError(f"the tube ended: {change.reason.value}", reason=change.reason.name))
                if self._signaling is not None:
                    self._signaling.ended()
            self._publisher.state_changed(change, driver.core.generation)
        finally:  # whatever an application's code did: those who wait are told
            if is_end:
                self._publisher.close()
            self._changes.happened()
