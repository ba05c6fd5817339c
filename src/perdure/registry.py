"""The tubes of one application: created, found, limited and closed here.

An application that has its own way to tell its peers something needs nothing else of perdure:

1. One end: `create_tube()`, `await create_offer(id)`; send the SDP to the peer.
2. The other: `create_tube(offer=sdp)`, `await create_answer(id)`; send that back.
3. The first: `await set_remote_description(id, sdp, "answer")`.
4. Both: send each `icecandidate` signal's data over, and give what comes to `add_ice_candidate`.
5. Later: an `ice_restart_offer` signal's SDP goes over too; what `set_remote_description(id, sdp, "offer")` returns
   goes back as the answer.
"""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
import weakref
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Literal, Self, TypeVar

from perdure.config import IceServer, ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
from perdure.core.breaker import CircuitBreaker
from perdure.core.state import Reason, State
from perdure.errors import CarrierError, PeerError
from perdure.manager import Endpoint, OnStream, TunnelConnectionManager
from perdure.session import ByteBudget
from perdure.tube import ConnectionMetrics, clock
from perdure.tube.arguments import check_callable, check_close, check_methods, check_on_stream, check_type
from perdure.tube.wheel import Wheel

if TYPE_CHECKING:
    from random import Random
    from types import TracebackType

    from perdure.core.actions import StateChanged
    from perdure.delivery import SignalHandler
    from perdure.netmon.monitor import NetworkMonitor, NetworkMoved
    from perdure.transport.base import Transport

MAX_ID_LENGTH = 256
"""Characters of a tube's id: it is in every log line."""

LAST_WORD_SECONDS = 1.0
"""How long a registry that is left waits for handlers to have had the last signals of its tubes."""

MAX_REMEMBERED = 1024
"""Ids of tubes that have ended, kept to say so."""

T = TypeVar("T")

_registries: weakref.WeakSet[TubeRegistry] = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class Capacity:
    """How much room a registry has."""

    tubes: int
    max_tubes: int
    setting_up: int
    """Tubes that were never connected yet."""
    max_concurrent_creates: int
    buffered_bytes: int
    total_buffer_bytes: int

    @property
    def has_room(self) -> bool:
        """Whether a tube may be created now."""
        return self.tubes < self.max_tubes and self.setting_up < self.max_concurrent_creates


class TubeRegistry:
    """Holds tubes by id. Belongs to one event loop; its methods are called on that loop's thread.

    As an async context manager it closes every tube at its end.

    Args:
        policy, session_limits, limits: for all tubes.
        transport: how carriers are built: ICE servers and the like, or a `Transport` of one's own.
        signal_handler, on_stream: for the tubes that are created without one of their own.
        random: for jitter.
        network: tells of changes of the machine's network; the application starts and closes it. Without one the
            application reports them itself (`TunnelConnectionManager.handle_network_change`).

    Raises:
        TypeError: an argument is of another type; `on_stream` is async.
    """

    def __init__(
        self,
        policy: RestartPolicy | None = None,
        session_limits: SessionLimits | None = None,
        limits: ResourceLimits | None = None,
        *,
        transport: TransportConfig | Transport | None = None,
        signal_handler: SignalHandler | None = None,
        on_stream: OnStream | None = None,
        random: Random | None = None,
        network: NetworkMonitor | None = None,
    ) -> None:
        _check_config("policy", policy, RestartPolicy)
        _check_config("session_limits", session_limits, SessionLimits)
        _check_config("limits", limits, ResourceLimits)
        if signal_handler is not None:
            check_callable("signal_handler", signal_handler)
        if on_stream is not None:
            check_on_stream(on_stream)
        self.policy = policy or RestartPolicy()
        self.session_limits = session_limits or SessionLimits()
        self.random: Random = random or SystemRandom()
        self.transport = _transport(transport)
        self._limits = limits or ResourceLimits()
        self.budget = ByteBudget(self._limits.total_buffer_bytes)
        self.wheel = Wheel()
        self._signal_handler = signal_handler
        self._on_stream = on_stream
        self._tubes: dict[str, TunnelConnectionManager] = {}
        self._ids_by_conversation: dict[str, list[str]] = {}
        """The tubes of each conversation, the latest last."""
        self._setting_up: dict[str, float] = {}
        """The tubes that were never connected yet, and when each was created."""
        self._breakers: dict[str, CircuitBreaker] = {}
        self._ended: dict[str, Reason] = {}
        self._sweeper: asyncio.TimerHandle | None = None
        self._was_left = False
        if network is not None:
            self._listen_to(network)
        _registries.add(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} tubes>"

    async def __aenter__(self) -> Self:
        self._was_left = False
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._was_left = True
        managers = list(self)
        await self.close_all(Reason.SHUT_DOWN)
        await asyncio.gather(*(manager.wait_told(LAST_WORD_SECONDS) for manager in managers))

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
        offer: str | None = None,
        endpoint: Endpoint | None = None,
        signal_handler: SignalHandler | None = None,
        on_stream: OnStream | None = None,
    ) -> TunnelConnectionManager:
        """A new tube's manager; see `TunnelConnectionManager` for arguments and errors. Without an id it gets one."""
        return TunnelConnectionManager(
            tube_id if tube_id is not None else uuid.uuid4().hex,
            conversation_id,
            self,
            signal_handler or self._signal_handler,
            offer=offer,
            endpoint=endpoint,
            on_stream=on_stream or self._on_stream,
        )

    def manager(self, tube_id: str) -> TunnelConnectionManager:
        """The manager of `tube_id`. Raises `ValueError` where there is no such tube (any more)."""
        manager = self._tubes.get(tube_id)
        if manager is None:
            raise ValueError(f"no tube {tube_id!r}: {self._why_unknown(tube_id)}")
        return manager

    def find_tubes(self, part: str) -> list[str]:
        """The ids of the tubes whose own or whose conversation's id contains `part`, in the order of their creation."""
        return [
            tube_id
            for tube_id, manager in self._tubes.items()
            if part in tube_id or (manager.conversation_id is not None and part in manager.conversation_id)
        ]

    def tube_id_by_conversation_id(self, conversation_id: str) -> str | None:
        """The tube of `conversation_id`, the latest where several have it; `None` where none has."""
        ids = self._ids_by_conversation.get(conversation_id)
        return ids[-1] if ids else None

    def connection_state(self, tube_id: str) -> State:
        """The state of `tube_id`. Raises `ValueError` where there is no such tube."""
        return self.manager(tube_id).state

    def statistics(self, tube_id: str) -> ConnectionMetrics:
        """The figures of `tube_id`. Raises `ValueError` where there is no such tube."""
        return self.manager(tube_id).metrics

    # Connecting, with the application's own signaling.

    async def create_offer(self, tube_id: str) -> str:
        """Begin to connect; the first offer's SDP, for the peer.

        Raises:
            ValueError: there is no such tube.
            RuntimeError: it is connected, is closing, or does not use the application's signaling.
            PeerError: the other end makes the offer, or the tube failed again and again and is left alone for a while.
            CarrierError: the engine made none.
        """
        return await self._guarded(tube_id, lambda manager: manager.create_offer())

    async def create_answer(self, tube_id: str) -> str:
        """Take the offer that the tube was created with; the answer's SDP, for the peer.

        Raises:
            ValueError: there is no such tube.
            RuntimeError: it was created without an offer, is connected, or is closing.
            ProtocolError: the offer gave way to a later one.
            PeerError: the tube is left alone for a while.
            CarrierError: the engine made no answer.
        """
        return await self._guarded(tube_id, lambda manager: manager.create_answer())

    async def set_remote_description(self, tube_id: str, sdp: str, kind: Literal["offer", "answer"]) -> str | None:
        """Take the peer's "offer" (returns the answer's SDP) or "answer" (returns `None`).

        Raises:
            ValueError: there is no such tube, or `kind` is neither.
            ProtocolError: not SDP, not of this tube, of a negotiation that does not count any more, or an offer of this
                end where the answer to it is wanted.
            PeerError: the answer gave way to a newer negotiation.
            CarrierError: the engine made no answer.
            RuntimeError: the tube is closing.
        """
        return await self.manager(tube_id).set_remote_description(sdp, kind)

    async def restart_ice(self, tube_id: str) -> str:
        """Recover the path now; the offer's SDP.

        Raises:
            ValueError: there is no such tube.
            RuntimeError: it is closing.
            PeerError: nothing can be offered now (no signaling, no address, or the other end makes the offer), or the
                tube is left alone for a while.
            CarrierError: the engine made no offer.
        """
        return await self._guarded(tube_id, lambda manager: manager.restart_ice())

    def add_ice_candidate(self, tube_id: str, candidate: Mapping[str, object]) -> bool:
        """Take a candidate of the peer, its `icecandidate` signal's data; whether it is of use still.

        Raises:
            ValueError: there is no such tube.
            ProtocolError: it is not a candidate.
            RuntimeError: the tube is closing.
        """
        return self.manager(tube_id).add_ice_candidate(candidate)

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        """Use `servers`, with their new credentials, from now on: for carriers and for ICE restarts.

        Each tube signals `turn_credentials_refreshed`.

        Raises:
            TypeError: `servers` are not `IceServer`s.
        """
        servers = TransportConfig(ice_servers=tuple(servers)).ice_servers
        self.transport.set_ice_servers(servers)
        for manager in self:
            manager.ice_servers_changed(servers)

    def network_moved(self, moved: NetworkMoved) -> None:
        """Tell every tube that the network moved, as a `NetworkMonitor` says; each decides for itself."""
        for manager in self:
            manager.network_moved(moved)

    def _listen_to(self, network: NetworkMonitor) -> None:
        """As long as there is this registry, which the monitor may outlive."""
        me = weakref.ref(self)

        def moved(event: NetworkMoved) -> None:
            if (registry := me()) is not None:
                registry.network_moved(event)

        weakref.finalize(self, network.subscribe(moved)).atexit = False

    # Closing.

    async def close_tube(self, tube_id: str, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """Close one tube and wait until it is; `reason` is one of `CLOSE_REASONS`. One that has ended: nothing.

        Raises:
            TypeError: `reason` is no `Reason`, or `detail` no text.
            ValueError: there never was such a tube, or `reason` is none of `CLOSE_REASONS`.
        """
        check_close(reason, detail)
        if tube_id not in self._tubes and tube_id in self._ended:
            return
        await self.manager(tube_id).shutdown(reason, detail)

    async def close_all(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """Close every tube and wait until they are. Cancelling this leaves them ending by themselves.

        Raises:
            TypeError: `reason` is no `Reason`, or `detail` no text.
            ValueError: `reason` is none of `CLOSE_REASONS`.
        """
        check_close(reason, detail)
        managers = list(self)
        for manager in managers:
            manager.end_now(reason, detail)
        await asyncio.gather(*(manager.wait_ended() for manager in managers))

    def sweep(self) -> list[str]:
        """Close the tubes that were created more than `stale_tube_timeout` ago and never began to connect; their ids.

        Happens by itself while there are tubes that are being set up.
        """
        stale_before = clock() - self._limits.stale_tube_timeout
        stale = [
            tube_id
            for tube_id, created_at in self._setting_up.items()
            if created_at <= stale_before and self._tubes[tube_id].state is State.INITIALIZING
        ]
        for tube_id in stale:
            if tube_id in self._tubes:  # one's end may have led the application to end another
                self._tubes[tube_id].end_now(Reason.STALE)
        return stale

    # Limits.

    @property
    def limits(self) -> ResourceLimits:
        return self._limits

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
        self._limits = dataclasses.replace(self._limits, **changes)  # type: ignore[arg-type]
        self.budget.limit_bytes = self._limits.total_buffer_bytes
        for manager in self:
            manager.streams.session.set_limits(self._limits)
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweep_later()
        return self._limits

    def check_capacity(self) -> Capacity:
        """How much room there is."""
        return Capacity(
            tubes=len(self._tubes),
            max_tubes=self._limits.max_tubes,
            setting_up=len(self._setting_up),
            max_concurrent_creates=self._limits.max_concurrent_creates,
            buffered_bytes=self.budget.held_bytes,
            total_buffer_bytes=self._limits.total_buffer_bytes,
        )

    # What managers call.

    def adopt(self, manager: TunnelConnectionManager) -> None:
        """Take a new tube in. Raises as `TunnelConnectionManager`."""
        tube_id = manager.tube_id
        if self._was_left:
            raise RuntimeError("the registry was left (its `async with` has ended): it takes no tube any more")
        if not tube_id or len(tube_id) > MAX_ID_LENGTH:
            raise ValueError(f"a tube's id has 1 to {MAX_ID_LENGTH} characters, not {len(tube_id)}")
        if tube_id in self._tubes:
            raise ValueError(f"there is a tube {tube_id!r} already; registry.manager({tube_id!r}) is its manager")
        limits = self._limits
        if len(self._tubes) >= limits.max_tubes:
            raise RuntimeError(f"the registry carries {len(self._tubes)} tubes; max_tubes is {limits.max_tubes}")
        if len(self._setting_up) >= limits.max_concurrent_creates:
            most = limits.max_concurrent_creates
            raise RuntimeError(f"{len(self._setting_up)} tubes are being set up; max_concurrent_creates is {most}")
        self._tubes[tube_id] = manager
        if manager.conversation_id is not None:
            self._ids_by_conversation.setdefault(manager.conversation_id, []).append(tube_id)
        self._setting_up[tube_id] = clock()
        if self._sweeper is None:
            self._sweep_later()

    def changed(self, manager: TunnelConnectionManager, change: StateChanged) -> None:
        """A tube's state changed."""
        if change.after is State.CONNECTED:
            self._setting_up.pop(manager.tube_id, None)
        if not change.after.is_final:
            return
        tube_id = manager.tube_id
        self._tubes.pop(tube_id, None)
        self._setting_up.pop(tube_id, None)
        self._breakers.pop(tube_id, None)
        if manager.conversation_id is not None:
            ids = self._ids_by_conversation[manager.conversation_id]
            ids.remove(tube_id)
            if not ids:
                del self._ids_by_conversation[manager.conversation_id]
        self._ended[tube_id] = change.reason
        if len(self._ended) > MAX_REMEMBERED:
            del self._ended[next(iter(self._ended))]

    async def _guarded(
        self, tube_id: str, operation: Callable[[TunnelConnectionManager], Coroutine[None, None, T]]
    ) -> T:
        """Run an operation of one tube, unless its engine has failed again and again: its failures are its own.

        Nothing else counts: not what a peer or the application said wrong, nor a network that is away.
        """
        manager = self.manager(tube_id)
        breaker = self._breakers.get(tube_id)
        if breaker is not None and not breaker.allows(clock()):
            left = (breaker.open_until or clock()) - clock()
            text = f"tube {tube_id!r} failed again and again; it is left alone for another {left:.0f} s"
            raise PeerError(text, reason="circuit open")
        has_failed = False
        try:
            return await operation(manager)
        except CarrierError:
            has_failed = True
            raise
        finally:
            if not has_failed:
                self._breakers.pop(tube_id, None)
            elif tube_id in self._tubes:
                self._breakers.setdefault(tube_id, CircuitBreaker()).failed(clock())

    def _why_unknown(self, tube_id: str) -> str:
        ended = self._ended.get(tube_id)
        return f"it has ended: {ended.value}" if ended is not None else "there never was one, or it was forgotten"

    def _sweep_later(self) -> None:
        loop = asyncio.get_running_loop()
        self._sweeper = loop.call_later(self._limits.stale_tube_timeout / 2, self._sweep_by_timer, weakref.ref(self))

    @staticmethod
    def _sweep_by_timer(me: weakref.ref[TubeRegistry]) -> None:
        registry = me()
        if registry is None:
            return
        registry._sweeper = None
        registry.sweep()
        if registry._setting_up:
            registry._sweep_later()


def get_connection_manager(tube_id: str) -> TunnelConnectionManager:
    """The manager of `tube_id` in whichever registry of this process holds it.

    Raises:
        ValueError: no registry has such a tube, or several have.
    """
    found = [registry for registry in list(_registries) if tube_id in registry]
    if len(found) > 1:
        raise ValueError(f"{len(found)} registries of this process have a tube {tube_id!r}; ask the one that is meant")
    if not found:
        raise ValueError(f"no registry of this process has a tube {tube_id!r}")
    return found[0].manager(tube_id)


def _check_config(name: str, value: object, kind: type) -> None:
    if value is not None:
        check_type(name, value, kind, f"of {kind.__name__}")


_TRANSPORT_METHODS = ("offer", "answer", "set_ice_servers", "renew")


def _transport(wanted: TransportConfig | Transport | None) -> Transport:
    if wanted is not None and not isinstance(wanted, TransportConfig):
        check_methods("transport is a TransportConfig, or", wanted, _TRANSPORT_METHODS)
        return wanted
    from perdure.transport.rtc import RtcTransport  # the engine is loaded where it is needed

    return RtcTransport(wanted or TransportConfig())
