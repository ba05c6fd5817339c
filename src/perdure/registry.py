"""The tubes of one application, by id: created, found, limited and closed here.

An application that can pass messages between its ends needs nothing else of perdure: `create_tube()` at one end,
`create_tube(initiator=False)` at the other, and `await manager.run_signaling(send, messages)` at both.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
import weakref
from collections.abc import Callable, Iterator, Sequence
from types import NoneType
from typing import TYPE_CHECKING, Self

from perdure.application_signaling import ApplicationSignaling
from perdure.capacity import Capacity
from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
from perdure.core.state import Reason, State
from perdure.delivery import SignalIterator
from perdure.ice_server import IceServer
from perdure.managed_tube import ManagedTube
from perdure.manager import TunnelConnectionManager
from perdure.netmon.monitor import NetworkMonitor
from perdure.setting_up import SettingUp
from perdure.shared_ice_servers import SharedIceServers
from perdure.streams.handlers import HandlerTasks
from perdure.streams.tcp import TcpConnections
from perdure.tube import Endpoint, environment
from perdure.tube.arguments import check_callable, check_close, check_incoming, check_type

if TYPE_CHECKING:
    from random import Random
    from types import TracebackType

    from perdure.core.actions import StateChanged
    from perdure.delivery import SignalHandler
    from perdure.netmon.monitor import NetworkMoved
    from perdure.streams.handlers import StreamHandler
    from perdure.streams.streams import Incoming
    from perdure.transport.base import Transport

MAX_ID_LENGTH = 256
"""Characters of a tube's id: it is in every log line."""

LAST_WORD_SECONDS = 1.0
"""How long a registry that is left waits for handlers to have had the last signals of its tubes."""

MAX_REMEMBERED = 1024
"""Ids of tubes that have ended, kept to say so."""


class TubeRegistry:
    """Holds tubes by id. Belongs to one event loop; its methods are called on that loop's thread.

    As an async context manager it watches the machine's network, and closes every tube at its end.

    Args:
        policy, session_limits, limits: for all tubes.
        transport: how carriers are built: ICE servers and the like, or a `Transport` of one's own.
        signal_handler: called with each `Signal` of the tubes that are created without one of their own; plain (in a
            worker thread) or async (on the loop).
        handler: an async function that takes each stream which a peer opens, as `handler(reader, writer)`; for the
            tubes that are created without one of their own. `writer.get_extra_info("target")` says what the peer wants.
        incoming: the same for transports instead of readers and writers; see `perdure.streams.streams.Incoming`.
        random: for jitter.
        network: tells of changes of the machine's network, where several registries share one; the application starts
            and closes it. One that is neither given this nor entered is told by its tubes' `report_network_change`.

    Raises:
        TypeError: an argument is of another type; `handler` is not async.
        ValueError: both `handler` and `incoming`.
    """

    def __init__(
        self,
        policy: RestartPolicy | None = None,
        session_limits: SessionLimits | None = None,
        limits: ResourceLimits | None = None,
        *,
        transport: TransportConfig | Transport | None = None,
        signal_handler: SignalHandler | None = None,
        handler: StreamHandler | None = None,
        incoming: Incoming | None = None,
        random: Random | None = None,
        network: NetworkMonitor | None = None,
    ) -> None:
        if signal_handler is not None:
            check_callable("signal_handler", signal_handler)
        self._environment = environment(transport, policy, session_limits, limits, random)
        self.ice_servers = SharedIceServers(self._environment, transport, self)
        self.tcp_connections = TcpConnections()
        """The TCP connections that its tubes' streams are joined to."""
        self._signal_handler = signal_handler
        self._handlers: weakref.WeakSet[HandlerTasks] = weakref.WeakSet()
        self._incoming = self._taken_by(handler, incoming)
        self._tubes: dict[str, TunnelConnectionManager] = {}
        self._on_change = self._changed  # one bound method for all tubes, which is 64 bytes
        self._setting_up = SettingUp(self.limits.stale_tube_timeout)
        self._ended: dict[str, Reason] = {}
        self._iterators: weakref.WeakSet[SignalIterator] = weakref.WeakSet()
        self._tube_callbacks: list[Callable[[TunnelConnectionManager], object]] = []
        self._was_left = False
        self._closing: asyncio.Task[None] | None = None
        self._is_told = network is not None
        """Whether something of the application's tells of the network."""
        self._own_network: NetworkMonitor | None = None
        if network is not None:
            self._listen_to(network)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tubes>"

    async def __aenter__(self) -> Self:
        self._was_left = False
        if not self._is_told and self._own_network is None:
            self._own_network = await NetworkMonitor().__aenter__()
            self._listen_to(self._own_network)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close(Reason.SHUT_DOWN)

    def __len__(self) -> int:
        return len(self._tubes)

    def __iter__(self) -> Iterator[TunnelConnectionManager]:
        return iter(list(self._tubes.values()))

    def __contains__(self, tube_id: object) -> bool:
        return tube_id in self._tubes

    # Creating and finding.

    def create_tube(
        self,
        tube_id: str | None = None,
        conversation_id: str | None = None,
        *,
        initiator: bool = True,
        offer: str | None = None,
        endpoint: Endpoint | None = None,
        signal_handler: SignalHandler | None = None,
        handler: StreamHandler | None = None,
        incoming: Incoming | None = None,
    ) -> TunnelConnectionManager:
        """A new tube; its manager.

        Args:
            tube_id: the tube's name; not in use here. Without one it gets one.
            conversation_id: the caller's own id, handed back in every signal.
            initiator: whether this end begins the session and makes the first offer; one end does, the other does not.
            offer: the peer's first offer, where this end is given it at once; then it is not the initiator.
            endpoint: this end of a session with signaling of perdure's; without one the application carries it.
            signal_handler, handler, incoming: as for the registry, whose own it replaces.

        Raises:
            TypeError: an argument is of another type; `handler` is not async.
            ValueError: the id is taken, empty or too long; both `handler` and `incoming`.
            RuntimeError: the registry carries, or sets up, as many tubes as it may, or was left.
            ProtocolError: the offer is not one of perdure.
        """
        tube_id = uuid.uuid4().hex if tube_id is None else tube_id
        check_type("tube_id", tube_id, str, "a text")
        check_type("conversation_id", conversation_id, (str, NoneType), "a text, or None")
        check_type("endpoint", endpoint, (Endpoint, NoneType), "an Endpoint, or None")
        if signal_handler is not None:
            check_callable("signal_handler", signal_handler)
        self._check_room_for(tube_id)
        signaling: ApplicationSignaling | None = None
        if endpoint is None:
            signaling = ApplicationSignaling()
            endpoint = signaling.begin(is_initiator=initiator, offer=offer)
        tube = ManagedTube(
            tube_id,
            conversation_id,
            endpoint,
            self._environment,
            signaling=signaling,
            signal_handler=signal_handler or self._signal_handler,
            incoming=self._taken_by(handler, incoming) or self._incoming,
            on_change=self._on_change,
        )
        for iterator in self._iterators:
            tube.publisher.add_iterator(iterator)
        manager = TunnelConnectionManager(tube, self.tcp_connections)
        for callback in list(self._tube_callbacks):
            callback(manager)
        self._tubes[tube_id] = manager
        self._setting_up.add(tube)
        return manager

    async def begin_again(self, manager: TunnelConnectionManager) -> TunnelConnectionManager:
        """A new tube in the place of one that has ended, or is closing: the same id, conversation and handlers, another
        session.

        Do so at both ends, and `run_signaling` on what is returned.

        Raises:
            RuntimeError: that one is in use, or has perdure's own signaling; and as `create_tube`.
            ValueError: its id is in use again.
        """
        if manager.is_open:
            raise RuntimeError(f"tube {manager.tube_id!r} has not ended")
        _ = manager.signaling
        await manager.wait_ended()
        return self.create_tube(
            manager.tube_id,
            manager.conversation_id,
            initiator=manager.is_initiator,
            signal_handler=manager.tube.publisher.handler,
            incoming=manager.tube.streams.incoming,
        )

    def manager(self, tube_id: str) -> TunnelConnectionManager:
        """The manager of `tube_id`. Raises `ValueError` where there is no such tube (any more)."""
        manager = self._tubes.get(tube_id)
        if manager is None:
            ended = self._ended.get(tube_id)
            why = "there never was one, or it was forgotten" if ended is None else f"it has ended: {ended.value}"
            raise ValueError(f"no tube {tube_id!r}: {why}")
        return manager

    def events(self) -> SignalIterator:
        """The signals of all tubes from now on, as an async iterator that ends with the registry. A reader that falls
        behind by more than 256 gets a `SignalsDropped` in their place."""
        iterator = SignalIterator(lasts=True)
        if self._was_left:
            iterator.end()
            return iterator
        self._iterators.add(iterator)
        for manager in self:
            manager.tube.publisher.add_iterator(iterator)
        return iterator

    def add_tube_callback(self, callback: Callable[[TunnelConnectionManager], object]) -> Callable[[], None]:
        """Call `callback` with the manager of each tube that is created from now on, before it begins; what is returned
        removes it. Where it raises, the tube is not created. Raises `TypeError` where it cannot be called."""
        check_callable("a callback", callback)
        self._tube_callbacks.append(callback)
        return lambda: self._tube_callbacks.remove(callback)

    def find_tubes(self, part: str) -> list[str]:
        """The ids of the tubes whose own or whose conversation's id contains `part`, in the order of their creation."""
        return [
            tube_id
            for tube_id, manager in self._tubes.items()
            if part in tube_id or part in (manager.conversation_id or "")
        ]

    def _check_room_for(self, tube_id: str) -> None:
        if self._was_left:
            raise RuntimeError("the registry was left (its `async with` has ended): it takes no tube any more")
        if not tube_id or len(tube_id) > MAX_ID_LENGTH:
            raise ValueError(f"a tube's id has 1 to {MAX_ID_LENGTH} characters, not {len(tube_id)}")
        if tube_id in self._tubes:
            raise ValueError(f"there is a tube {tube_id!r} already; registry.manager({tube_id!r}) is its manager")
        limits = self.limits
        if len(self._tubes) >= limits.max_tubes:
            raise RuntimeError(f"the registry carries {len(self._tubes)} tubes; max_tubes is {limits.max_tubes}")
        if len(self._setting_up) >= limits.max_concurrent_creates:
            most = limits.max_concurrent_creates
            raise RuntimeError(f"{len(self._setting_up)} tubes are being set up; max_concurrent_creates is {most}")

    def _taken_by(self, handler: StreamHandler | None, incoming: Incoming | None) -> Incoming | None:
        """What takes the peer's streams."""
        if handler is None:
            if incoming is not None:
                check_incoming(incoming)
            return incoming
        if incoming is not None:
            raise ValueError("handler and incoming both take the peer's streams; give one of them")
        handlers = HandlerTasks(handler)
        self._handlers.add(handlers)
        return handlers

    # For all tubes.

    def set_ice_servers(self, servers: Sequence[IceServer | str], *, expires_in: float | None = None) -> None:
        """Use `servers` from now on, for carriers and for ICE restarts. A path through a TURN server with other
        credentials moves to a spare. Each tube signals `turn_credentials_refreshed`. Raises `TypeError` or
        `ValueError` where one is no ICE server, and `CarrierError` where the engine refuses one."""
        self.ice_servers.set(servers, expires_in)

    def network_moved(self, moved: NetworkMoved) -> None:
        """Tell every tube that the network moved, as a `NetworkMonitor` says; each decides for itself."""
        for manager in self:
            manager.tube.network_moved(moved)

    def _listen_to(self, network: NetworkMonitor) -> None:
        """As long as there is this registry, which the monitor may outlive."""
        me = weakref.ref(self)

        def moved(event: NetworkMoved) -> None:
            if (registry := me()) is not None:
                registry.network_moved(event)

        weakref.finalize(self, network.subscribe(moved)).atexit = False

    # Closing.

    async def close(self, reason: Reason = Reason.SHUT_DOWN, detail: str = "") -> None:
        """Close every tube and take none any more; let TCP connections have what came for them, and signal handlers
        their last signals; cancel stream handlers that still run, also one that calls this. Twice is fine. Cancelling
        this leaves the registry closing by itself. Raises as `close_all`."""
        check_close(reason, detail)
        for manager in self:
            manager.tube.check_loop()
        self._was_left = True
        if self._closing is None or self._closing.done():
            self._closing = asyncio.get_running_loop().create_task(self._close(reason, detail))
        await asyncio.shield(self._closing)

    async def _close(self, reason: Reason, detail: str) -> None:
        managers = list(self)
        try:
            await self.close_all(reason, detail)
            await asyncio.gather(*(manager.tube.publisher.drain(LAST_WORD_SECONDS) for manager in managers))
            await asyncio.gather(*(handlers.close() for handlers in list(self._handlers)))
            await self.tcp_connections.close()
        finally:
            for iterator in self._iterators:
                iterator.end()
            self._setting_up.close()
            network, self._own_network = self._own_network, None
            if network is not None:
                network.close()

    async def close_all(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """Close every tube and wait until they are. Cancelling this leaves them ending by themselves.

        Raises:
            TypeError: `reason` is no `Reason`, or `detail` no text.
            ValueError: `reason` is none of `CLOSE_REASONS`.
        """
        check_close(reason, detail)
        managers = list(self)
        for manager in managers:
            manager.tube.begin_to_end(reason, detail)
        await asyncio.gather(*(manager.wait_ended() for manager in managers))

    def sweep(self) -> list[str]:
        """Close the tubes that were created more than `stale_tube_timeout` ago and never began to connect; their ids.

        Happens by itself while there are tubes that are being set up.
        """
        return self._setting_up.sweep()

    # Limits.

    @property
    def policy(self) -> RestartPolicy:
        return self._environment.policy

    @property
    def limits(self) -> ResourceLimits:
        return self._environment.limits

    def configure_resource_limits(self, **changes: float) -> ResourceLimits:
        """Change limits by their names in `ResourceLimits`, now and for all tubes; the new ones.

        What is in use beyond a lower limit is kept; nothing new is taken until usage is below it.

        Raises:
            ValueError: an unknown name, or a value out of its range; nothing was changed.
        """
        known = {field.name for field in dataclasses.fields(ResourceLimits)}
        for name in changes:
            if name not in known:
                raise ValueError(f"there is no limit {name!r}; there are {', '.join(sorted(known))}")
        limits = self._environment.limits = dataclasses.replace(self.limits, **changes)  # type: ignore[arg-type]
        self._environment.budget.limit_bytes = limits.total_buffer_bytes
        for manager in self:
            manager.tube.set_limits(limits)
        self._setting_up.set_stale_after(limits.stale_tube_timeout)
        return limits

    def check_capacity(self) -> Capacity:
        """How much room there is."""
        limits = self.limits
        return Capacity(
            tubes=len(self._tubes),
            max_tubes=limits.max_tubes,
            setting_up=len(self._setting_up),
            max_concurrent_creates=limits.max_concurrent_creates,
            buffered_bytes=self._environment.budget.held_bytes,
            total_buffer_bytes=limits.total_buffer_bytes,
        )

    def _changed(self, tube: ManagedTube, change: StateChanged) -> None:
        if change.after is State.CONNECTED or change.after.is_final:
            self._setting_up.discard(tube)
        if change.after.is_final:
            self._tubes.pop(tube.tube_id, None)
            self._ended[tube.tube_id] = change.reason
            if len(self._ended) > MAX_REMEMBERED:
                del self._ended[next(iter(self._ended))]
