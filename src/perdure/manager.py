"""The manager of one tube: what an application does with it, asks it, and is told by it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import TYPE_CHECKING, Literal, assert_never

from perdure.core.actions import KeepAlive, StateChanged, WarnOfTimeout
from perdure.core.decision import Decision, Rung, Trigger
from perdure.core.events import CloseRequested, Extended, NetworkChanged, RecoveryRequested, Started, Used
from perdure.core.state import Reason, State
from perdure.errors import CarrierError, PeerError, ProtocolError
from perdure.signaling.application import ApplicationSignaling, describe, is_offer, read_candidate, read_description
from perdure.signaling.descriptions import Descriptions
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer
from perdure.tube import Announcer, ConnectionMetrics, Driver, Link, StreamSink, clock
from perdure.tube.arguments import check_callable, check_close, check_on_stream, check_type
from perdure.tube.metrics import metrics
from perdure.tube.reports import network_changed
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES

if TYPE_CHECKING:
    from perdure.config import IceServer
    from perdure.delivery import SignalHandler
    from perdure.netmon.monitor import NetworkMoved
    from perdure.registry import TubeRegistry
    from perdure.signaling.base import SignalingChannel
    from perdure.tube.driver import Told

OnStream = Callable[["TunnelConnectionManager", int, bytes], StreamSink | None]
"""The peer opened a stream (manager, stream id, target): its sink, which may hear bytes at once, or `None` to refuse
it. `manager.streams.accept` or `reset` follow when it is known whether the target can be reached."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a tube reaches its peer through perdure's own signaling.

    Args:
        key: the session's key where this end begins the session; `None` at the end that accepts it.
    """

    session_id: bytes
    key: bytes | None
    channel: SignalingChannel

    @property
    def tube_id(self) -> str:
        """The name that the tube has in both ends' logs: 48 bits tell a gateway's few hundred clients apart."""
        return self.session_id.hex()[:12]


class TunnelConnectionManager:
    """Keeps one tube connected.

    Constructing it adds the tube to `tube_registry`. It needs a running event loop, and all its methods belong on that
    loop's thread. Without an `endpoint` the application carries descriptions and candidates to the peer itself: see
    `TubeRegistry`.

    Args:
        tube_id: the tube's name; not in use in the registry.
        conversation_id: the caller's own id, handed back in every signal.
        signal_handler: called with each `Signal`; plain (in a worker thread) or async (on the loop).
        offer: the peer's offer, where this end accepts the tube.
        on_stream: called for each stream that the peer opens; without it they are refused.

    Raises:
        TypeError: an argument is of another type; `on_stream` is async.
        ValueError: the id is taken, empty or too long.
        RuntimeError: the registry carries, or sets up, as many tubes as it may, or was left.
        ProtocolError: the offer is not one of perdure.
    """

    __slots__ = (
        "__weakref__",
        "_announcer",
        "_descriptions",
        "_driver",
        "_end",
        "_end_waiters",
        "_established_at",
        "_first_offer",
        "_on_stream",
        "_registry",
    )

    def __init__(
        self,
        tube_id: str,
        conversation_id: str | None = None,
        tube_registry: TubeRegistry | None = None,
        signal_handler: SignalHandler | None = None,
        *,
        offer: str | None = None,
        endpoint: Endpoint | None = None,
        on_stream: OnStream | None = None,
    ) -> None:
        if tube_registry is None:
            raise ValueError("a manager needs the registry that its tube belongs to")
        check_type("tube_id", tube_id, str, "a text")
        check_type("conversation_id", conversation_id, (str, NoneType), "a text, or None")
        check_type("endpoint", endpoint, (Endpoint, NoneType), "an Endpoint, or None")
        if signal_handler is not None:
            check_callable("signal_handler", signal_handler)
        if on_stream is not None:
            check_on_stream(on_stream)
        self._registry = tube_registry
        self._on_stream = on_stream
        self._announcer = Announcer(tube_id, conversation_id, signal_handler)
        self._first_offer: Offer | None = None
        self._descriptions = Descriptions()
        self._end: StateChanged | None = None
        self._end_waiters: list[asyncio.Future[StateChanged]] | None = None
        self._established_at: float | None = None
        if endpoint is None:
            endpoint = self._application_endpoint(offer)
        self._driver = Driver(
            tube_id,
            tube_registry.transport,
            endpoint.channel,
            session_id=endpoint.session_id,
            key=endpoint.key,
            policy=tube_registry.policy,
            session_limits=tube_registry.session_limits,
            limits=tube_registry.limits,
            budget=tube_registry.budget,
            random=tube_registry.random,
            wheel=tube_registry.wheel,
            on_told=self._told,
            on_described=self._described,
            on_carrier_gone=self._carrier_gone,
            on_stream=self._stream_opened,
        )
        tube_registry.adopt(self)

    def _application_endpoint(self, offer: str | None) -> Endpoint:
        channel = ApplicationSignaling(self._said_to_application)
        if offer is None:
            return Endpoint(os.urandom(SESSION_ID_BYTES), os.urandom(SESSION_KEY_BYTES), channel)
        session_id, message = read_description(offer, "offer")
        if isinstance(message, Offer):
            self._first_offer = message
        return Endpoint(session_id, None, channel)

    # What it is.

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.tube_id!r} {self.state.value}>"

    @property
    def tube_id(self) -> str:
        return self._announcer.tube_id

    @property
    def conversation_id(self) -> str | None:
        return self._announcer.conversation_id

    @property
    def state(self) -> State:
        return self._driver.core.state

    @property
    def streams(self) -> Link:
        """The tube's streams."""
        return self._driver.link

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last, the oldest first, at most 64; "nothing" included."""
        return self._driver.core.decisions

    @property
    def end(self) -> StateChanged | None:
        """The last change, where the tube has FAILED or is CLOSED."""
        return self._end

    @property
    def metrics(self) -> ConnectionMetrics:
        """The tube's figures now."""
        return metrics(self._driver, self._announcer, self._established_at)

    # What the application does.

    async def start_monitoring(self) -> None:
        """Let the policy's timers run; with perdure's own signaling, also connect. Twice is fine.

        Raises:
            RuntimeError: the tube has ended.
        """
        self.start()

    def start(self) -> None:
        """`start_monitoring`, for those who do not await."""
        self._check_open()
        self._driver.run(connect=not isinstance(self._driver.channel, ApplicationSignaling))

    async def handle_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """`report_network_change`, for those who await it."""
        return self.report_network_change(change, data)

    def report_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """Say that the network changed, or that somebody thinks so; what was decided, `None` where the tube has ended.

        Args:
            data: what is known: `has_address` (bool: whether there is a usable local address now; without it there
                is one), `is_new_address` (bool: it appeared within the last 2 s, so the engine cannot know it yet),
                `local_address_lost` (bool: the path's own address is gone, or leads elsewhere now; without it, it may),
                `slept_seconds` (for WAKE_UP), `detail` (a word for the log).

        Raises:
            ValueError: no change of a network, an unknown key, or a value of another type or out of its range.
        """
        before = self.decisions
        self._driver.network_changed(network_changed(change, data or {}))
        after = self.decisions
        return after[-1] if after and after is not before else None

    def network_moved(self, moved: NetworkMoved) -> None:
        """What a `NetworkMonitor` told; called by the registry."""
        local_address_lost = None if moved.change is None else moved.invalidates(self.streams.local_address)
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

        An ICE restart where there is a carrier, otherwise a new carrier. With the application's own signaling the same
        offer comes as the signal `ice_restart_offer`: send it once. Cancelling this leaves the recovery running.

        Raises:
            RuntimeError: the tube has ended.
            PeerError: nothing can be offered now (no signaling, no address, or the other end makes the offer).
            CarrierError: the engine made no offer.
        """
        await self.start_monitoring()
        self._driver.feed(RecoveryRequested())
        return await self._offer()

    async def _execute_ice_restart(self) -> str:
        return await self.restart_ice()

    def rebuild(self) -> None:
        """Build a new carrier now, where one works. Streams go on."""
        self._driver.feed(RecoveryRequested(rebuild=True))

    async def shutdown(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """End the tube: the peer is told, streams are reset, the carrier is closed. Twice is fine.

        Cancelling this leaves the tube ending by itself.

        Args:
            detail: a text for the peer and the log.

        Raises:
            TypeError: `reason` is no `Reason`, or `detail` no text.
            ValueError: `reason` is none of `CLOSE_REASONS`.
        """
        self.end_now(reason, detail)
        await self.wait_ended()

    def end_now(self, reason: Reason, detail: str = "") -> None:
        """`shutdown`, without waiting for it."""
        check_close(reason, detail)
        if not self.state.is_final:
            self._driver.run(connect=False)  # the farewell has a timer, also where nothing else was to be watched
            self._driver.feed(CloseRequested(reason, detail))

    def ice_servers_changed(self, servers: Sequence[IceServer]) -> None:
        """Other ICE servers, or other credentials, are in use from now on; called by the registry."""
        self._announcer.ice_servers_changed(servers)

    async def wait_ended(self) -> StateChanged:
        """Wait until the tube has FAILED or is CLOSED; the last change, with its reason."""
        if self._end is not None:
            return self._end
        waiter: asyncio.Future[StateChanged] = asyncio.get_running_loop().create_future()
        self._end_waiters = [*(self._end_waiters or ()), waiter]
        try:
            return await waiter
        finally:
            self._end_waiters = [other for other in self._end_waiters or () if other is not waiter] or None

    async def wait_told(self, timeout: float) -> None:
        """Wait until the signal handler has had what waits for it, at most `timeout` seconds."""
        await self._announcer.drain(timeout)

    def update_activity(self) -> None:
        """Say that the tube is in use: the session timeout counts from now."""
        self._driver.feed(Used())

    def extend(self, seconds: float | None = None) -> None:
        """Let the tube live at least `seconds` from now, used or not; by default another `session_timeout`.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is not between 0 and 30 days.
        """
        check_type("seconds", seconds, (int, float, NoneType), "a number, or None")
        self._driver.feed(Extended(self._registry.session_limits.session_timeout if seconds is None else seconds))

    def add_state_change_callback(self, callback: Callable[[StateChanged], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each change of state; what is returned removes it."""
        check_callable("a callback", callback)
        return self._announcer.add_state_callback(callback)

    def add_network_change_callback(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each decision of the policy; what is returned removes it."""
        check_callable("a callback", callback)
        return self._announcer.add_decision_callback(callback)

    def kill_carrier(self) -> None:
        """Tear the current carrier down as a crash would. For tests and the demo."""
        self.streams.kill_carrier()

    # The application's own signaling.

    async def create_offer(self) -> str:
        """Begin to connect; the first offer's SDP, for the peer.

        Raises:
            RuntimeError: the tube is connected, is closing or has ended, or does not use the application's signaling.
            PeerError: the other end makes the offer.
            CarrierError: the engine made none: an ICE server's URL is bad, …
        """
        self._application_signaling()
        if self.state.is_up:
            raise RuntimeError(
                f"tube {self.tube_id!r} needs no first offer: it is connected; restart_ice() recovers its path"
            )
        await self.start_monitoring()
        self._driver.feed(Started())
        return await self._offer()

    async def create_answer(self) -> str:
        """Take the offer that this tube was created with; the answer's SDP, for the peer. Cancelling loses nothing.

        Raises:
            RuntimeError: the tube is closing or has ended, was created without an offer, or is connected.
            ProtocolError: the offer gave way to a later one.
            CarrierError: the engine made no answer: it cannot read the offer, …
        """
        self._application_signaling()
        if self._first_offer is None:
            if self._established_at is not None:
                raise RuntimeError(f"tube {self.tube_id!r} is connected, or was: its first offer is answered")
            raise RuntimeError(f"tube {self.tube_id!r} was created without an offer: there is nothing to answer")
        return await self._answer(self._first_offer)

    async def set_remote_description(self, sdp: str, kind: Literal["offer", "answer"]) -> str | None:
        """Take what the peer described: `kind` "answer" returns nothing, "offer" the answer's SDP.

        The same description twice is fine. Cancelling this loses nothing: the same offer gets the same answer.

        Raises:
            ValueError: `kind` is neither "offer" nor "answer".
            ProtocolError: not SDP, not of this tube, of a negotiation that does not count any more, or an offer of this
                end where the answer to it is wanted.
            PeerError: the answer gave way to a newer negotiation.
            CarrierError: the engine made no answer: it cannot read the offer, …
            RuntimeError: the tube has ended.
        """
        self._application_signaling()
        session_id, message = read_description(sdp, kind)
        if session_id != self.streams.session.session_id:
            raise ProtocolError(f"the {kind} belongs to another tube")
        if isinstance(message, Offer):
            return await self._answer(message)
        core = self._driver.core
        if message.generation != core.generation or not core.offered_here:
            raise ProtocolError(f"an answer to offer {message.generation}; the one that counts is {core.generation}")
        if is_offer(message.sdp) or self._descriptions.is_own(sdp):
            raise ProtocolError("this is the offer of this end; the answer is what the other end makes of it")
        if self._descriptions.taken != message.generation:
            self._take_description(message)
        return None

    async def _answer(self, offer: Offer) -> str:
        core, generation = self._driver.core, offer.generation
        self.start()
        self._driver.feed(Started())
        if generation > core.generation:
            self._take_description(offer)
        if generation != core.generation or core.offered_here:
            raise ProtocolError(f"offer {generation} gives way to {core.generation}")
        if core.state.is_up and not self._descriptions.has(generation):
            raise ProtocolError(f"offer {generation} was answered, and the path works")
        return await self._descriptions.wait(generation, for_offer=False)

    def _take_description(self, message: Offer | Answer) -> None:
        self._driver.signaling_message(message)
        if message.generation == self._driver.core.generation:
            for candidate in self._descriptions.take(message.generation):
                self._driver.signaling_message(candidate)

    def add_ice_candidate(self, candidate: Mapping[str, object]) -> bool:
        """Take a candidate of the peer, as its `icecandidate` signal's `data`; whether it may be of use still. One of
        a gone generation is no error: candidates come late. One that comes before its description waits for it.

        Raises:
            ProtocolError: it is not a candidate.
            RuntimeError: the tube has ended.
        """
        self._application_signaling()
        message = read_candidate(candidate)
        if message.generation < self._driver.core.generation:
            return False
        if message.generation == self._descriptions.taken == self._driver.core.generation:
            self._driver.signaling_message(message)
        else:
            self._descriptions.keep(message)
        return True

    def set_signaling_available(self, available: bool) -> None:
        """Say whether the peer can be told something now. While it cannot, no attempt is made, nor spent."""
        self._application_signaling().set_available(available)

    def _application_signaling(self) -> ApplicationSignaling:
        self._check_open()
        channel = self._driver.channel
        if not isinstance(channel, ApplicationSignaling):
            raise RuntimeError(f"tube {self.tube_id!r} has perdure's own signaling")
        return channel

    def _said_to_application(self, message: Message) -> None:
        match message:
            case Offer(generation, _, restarts):
                if self._established_at is not None or not self._descriptions.offer_is_awaited:
                    sdp = describe(self.streams.session.session_id, message)
                    self._announcer.offered(sdp, generation, Rung.ICE_RESTART if restarts else Rung.REBUILD)
            case Candidate():
                self._announcer.candidate_found(message)
            case Answer() | Bye():
                pass  # who set the offer awaits the answer; the signal `channel_closed` says good-bye
            case _:
                assert_never(message)

    # What is told.

    def _told(self, action: Told) -> None:
        announcer = self._announcer
        match action:
            case StateChanged():
                self._changed(action)
            case Decision():
                announcer.decided(action)
            case KeepAlive(idle_seconds):
                announcer.kept_alive(idle_seconds, self._driver.core.rtt)
            case WarnOfTimeout():
                announcer.warned(action)
            case _:
                assert_never(action)

    def _changed(self, change: StateChanged) -> None:
        if change.after is State.CONNECTED:
            self._descriptions.forget()
            self._first_offer = None
            if self._established_at is None:
                self._established_at = clock()
        if change.after.is_final:
            self._end = change
            self._first_offer = None
        try:
            self._registry.changed(self, change)
            if change.after.is_final:
                self._descriptions.end(PeerError(f"the tube ended: {change.reason.value}", reason=change.reason.name))
            self._announcer.state_changed(change, self._driver.core.generation)
        finally:  # whatever an application's code did: who waits for the end is told
            if change.after.is_final:
                self._announcer.close()
                waiters, self._end_waiters = self._end_waiters, None
                for waiter in waiters or ():
                    if not waiter.done():
                        waiter.set_result(change)

    def _stream_opened(self, stream_id: int, target: bytes) -> StreamSink | None:
        return None if self._on_stream is None else self._on_stream(self, stream_id, target)

    def _check_open(self) -> None:
        if self._end is not None:
            raise RuntimeError(f"tube {self.tube_id!r} has ended: {self._end.reason.value}")
        if self._driver.is_closing:
            raise RuntimeError(f"tube {self.tube_id!r} is closing")

    def _described(self, message: Offer | Answer) -> None:
        sdp = message.sdp
        if isinstance(self._driver.channel, ApplicationSignaling):
            sdp = describe(self.streams.session.session_id, message)
        self._descriptions.made(message.generation, sdp, is_offer=isinstance(message, Offer))

    def _carrier_gone(self, generation: int, why: str) -> None:
        error = CarrierError(f"the engine gave the connection up: {why}", generation=generation)
        self._descriptions.carrier_gone(error, is_replaced=self._driver.core.carrier != 0)

    async def _offer(self) -> str:
        """The SDP of the offer that this end has just begun, or had begun before."""
        core = self._driver.core
        decided = core.decisions[-1] if core.decisions else None
        waits = decided is not None and decided.rung in (Rung.WAIT, Rung.FAIL)
        if core.offered_here and core.carrier and not core.state.is_up and not waits:
            return await self._descriptions.wait(core.generation, for_offer=True)
        why = decided.reason.value if decided is not None else "the other end makes the first offer"
        raise PeerError(f"tube {self.tube_id!r} cannot make an offer now: {why}", reason=core.state.name)
