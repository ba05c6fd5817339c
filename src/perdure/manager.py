"""The driver of one tube: feeds its core, carries out what it decides, and tells who listens.

1. One timer handle for the core and the session together.
2. Nothing is decided here.
3. Who listens can harm nobody: signals are queued and bounded, callbacks that raise are logged.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal, assert_never

from perdure.core.actions import (
    Action,
    AnswerRestart,
    ApplyAnswer,
    ApplyCandidate,
    ChangeState,
    CloseCarrier,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    MeasureHealth,
    Probe,
    RestartIce,
    SayGoodbye,
    WarnOfTimeout,
)
from perdure.core.connection import Connection
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CloseRequested,
    Event,
    Extended,
    NetworkChanged,
    OfferReceived,
    PeerLeft,
    PeerRestarted,
    RecoveryRequested,
    SignalingChanged,
    Started,
    Used,
)
from perdure.core.restart import Decision, Rung, Trigger
from perdure.core.state import CLOSE_REASONS, Reason, State
from perdure.delivery import Callbacks, SignalHandler, SignalQueue
from perdure.errors import PeerError, ProtocolError
from perdure.signaling.application import ApplicationSignaling, describe, read_candidate, read_description
from perdure.signaling.descriptions import Descriptions
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, short_reason
from perdure.signals import (
    ChannelClosed,
    ConnectionStateChanged,
    IceCandidate,
    IceRestartOffer,
    Keepalive,
    NetworkChangeDetected,
    SessionTimeoutWarning,
    Signal,
    TurnCredentialsRefreshed,
)
from perdure.tube import Link, StreamSink, clock
from perdure.tube.log import (
    log_decision,
    log_negotiation_begun,
    log_state_change,
    log_timeout_warning,
)
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES, CloseCode, printable

if TYPE_CHECKING:
    from perdure.config import IceServer
    from perdure.registry import TubeRegistry
    from perdure.signaling.base import SignalingChannel

MAX_SLEPT_SECONDS = 10 * 365 * 86400.0
"""No machine sleeps longer and is asked about its tunnels."""

_CLOSE_CODES = {
    Reason.SESSION_TIMEOUT: CloseCode.TIMED_OUT,
    Reason.SESSION_LIMIT: CloseCode.TIMED_OUT,
    Reason.SHUT_DOWN: CloseCode.SHUT_DOWN,
}

OnStream = Callable[["TunnelConnectionManager", int, bytes], StreamSink | None]
"""The peer opened a stream (manager, stream id, target): its sink, which may hear bytes at once, or `None` to refuse
it. `manager.streams.accept` or `reset` follow when it is known whether the target can be reached."""


@dataclass(frozen=True, slots=True)
class ConnectionMetrics:
    """One tube's figures at one moment. Instants are aware datetimes (UTC), durations seconds."""

    last_activity: datetime
    """When the user was last active; recovery's own traffic does not count."""
    ice_restart_attempts: int
    """ICE restarts that this end began."""
    reconnection_attempts: int
    """Carriers that this end began to build after a loss."""
    last_restart_time: datetime | None
    """When the last of either began."""
    packet_loss_rate: float
    """The share of ICE's checks that had no answer lately, 0 … 1."""
    rtt: float | None
    """Smoothed round trip, the peer's delay of acknowledgements included; `None` before the first."""
    quality: float
    """The path's score, 0 … 1."""
    bytes_sent: int
    """Streams' bytes, each once."""
    bytes_received: int
    bytes_buffered: int
    """Unacknowledged and unsent bytes held now."""
    streams: int
    connection_established_time: datetime | None
    """When the tube was first connected."""
    signals_dropped: int
    signals_failed: int
    """Signals that the handler never got, and those it raised at."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a tube reaches its peer through perdure's own signaling.

    Args:
        key: the session's key where this end begins the session; `None` at the end that accepts it.
    """

    session_id: bytes
    key: bytes | None
    channel: SignalingChannel


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
        ValueError: the id is taken, empty or too long.
        RuntimeError: the registry carries, or sets up, as many tubes as it may.
        ProtocolError: the offer is not one of perdure.
    """

    __slots__ = (
        "__weakref__",
        "_cause",
        "_core",
        "_descriptions",
        "_due_actions",
        "_end",
        "_end_waiters",
        "_established_at",
        "_first_offer",
        "_ice_restarts",
        "_is_monitoring",
        "_lost_at",
        "_network_callbacks",
        "_on_stream",
        "_reconnections",
        "_registry",
        "_restarted_at",
        "_signaling",
        "_signals",
        "_state_callbacks",
        "_timer",
        "_timer_at",
        "conversation_id",
        "streams",
        "tube_id",
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
        self.tube_id = tube_id
        self.conversation_id = conversation_id
        self._registry = tube_registry
        self._on_stream = on_stream
        self._first_offer: Offer | None = None
        if endpoint is not None:
            session_id, key = endpoint.session_id, endpoint.key
            self._signaling: SignalingChannel = endpoint.channel
        else:
            session_id, key = self._application_session(offer)
            self._signaling = ApplicationSignaling(self._said_to_application)
        now = clock()
        self._core = Connection(
            tube_registry.policy, tube_registry.session_limits, polite=key is None, random=tube_registry.random, now=now
        )
        self.streams = Link(
            self,
            tube_registry.transport,
            session_id=session_id,
            key=key,
            limits=tube_registry.limits,
            budget=tube_registry.budget,
        )
        self._signals = SignalQueue(signal_handler) if signal_handler is not None else None
        self._state_callbacks: Callbacks[ChangeState] | None = None
        self._network_callbacks: Callbacks[Decision] | None = None
        self._due_actions: list[Action] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._is_monitoring = False
        self._descriptions = Descriptions()
        self._end: ChangeState | None = None
        self._end_waiters: list[asyncio.Future[ChangeState]] | None = None
        self._lost_at = now
        self._established_at: float | None = None
        self._restarted_at: float | None = None
        self._ice_restarts = 0
        self._reconnections = 0
        self._cause: Trigger | None = None
        """What the last offer of this end answers."""
        tube_registry.adopt(self)

    def _application_session(self, offer: str | None) -> tuple[bytes, bytes | None]:
        if offer is None:
            return os.urandom(SESSION_ID_BYTES), os.urandom(SESSION_KEY_BYTES)
        session_id, message = read_description(offer, "offer")
        if not isinstance(message, Offer):
            raise ProtocolError("a tube is accepted with an offer")
        self._first_offer = message
        return session_id, None

    # What it is.

    @property
    def state(self) -> State:
        return self._core.state

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """What the policy decided last, the oldest first, at most 64; "nothing" included."""
        return self._core.decisions

    @property
    def end(self) -> ChangeState | None:
        """The last change, where the tube has FAILED or is CLOSED."""
        return self._end

    @property
    def metrics(self) -> ConnectionMetrics:
        core, session = self._core, self.streams.session
        last_active_at = max(core.activity.last_at, session.last_data_at or 0.0)
        return ConnectionMetrics(
            last_activity=_datetime(last_active_at),
            ice_restart_attempts=self._ice_restarts,
            reconnection_attempts=self._reconnections,
            last_restart_time=None if self._restarted_at is None else _datetime(self._restarted_at),
            packet_loss_rate=core.loss_rate,
            rtt=core.rtt,
            quality=core.quality,
            bytes_sent=session.sent_bytes,
            bytes_received=session.received_bytes,
            bytes_buffered=session.buffered_bytes,
            streams=session.stream_count,
            connection_established_time=None if self._established_at is None else _datetime(self._established_at),
            signals_dropped=self._signals.dropped if self._signals else 0,
            signals_failed=self._signals.failed if self._signals else 0,
        )

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
        if self._is_monitoring:
            return
        self._is_monitoring = True
        self.feed(SignalingChanged(self._signaling.available))
        if not isinstance(self._signaling, ApplicationSignaling):
            self.feed(Started())
        self._signaling.attach(self)

    async def handle_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """`report_network_change`, for those who await it."""
        return self.report_network_change(change, data)

    def report_network_change(self, change: Trigger, data: Mapping[str, object] | None = None) -> Decision | None:
        """Say that the network changed, or that somebody thinks so; what was decided, `None` where the tube has ended.

        Args:
            data: what is known: `has_address` (bool: whether there is a usable local address now), `is_new_address`
                (bool: it appeared within the last 2 s, so the engine cannot know it yet), `slept_seconds` (for
                WAKE_UP), `detail` (a word for the log).

        Raises:
            ValueError: an unknown key or a value of another type.
        """
        before = self._core.decisions
        self.feed(_network_changed(change, data or {}))
        after = self._core.decisions
        return after[-1] if after and after is not before else None

    async def restart_ice(self) -> str:
        """Recover the path now, or join the recovery that is under way; the offer's SDP.

        An ICE restart where there is a carrier, otherwise a new carrier. With the application's own signaling the same
        offer comes as the signal `ice_restart_offer`: send it once. Cancelling this leaves the recovery running.

        Raises:
            RuntimeError: the tube has ended.
            PeerError: nothing can be offered now (no signaling, no address, or the other end makes the offer).
        """
        self._check_open()
        await self.start_monitoring()
        self.feed(RecoveryRequested())
        return await self._offer()

    async def _execute_ice_restart(self) -> str:
        return await self.restart_ice()

    def rebuild(self) -> None:
        """Build a new carrier now, where one works. Streams go on."""
        self.feed(RecoveryRequested(rebuild=True))

    async def shutdown(self, reason: Reason = Reason.CLOSED_LOCALLY, detail: str = "") -> None:
        """End the tube: the peer is told, streams are reset, the carrier is closed. Twice is fine.

        Cancelling this leaves the tube ending by itself.

        Raises:
            ValueError: `reason` is none of `CLOSE_REASONS`.
        """
        if reason not in CLOSE_REASONS:
            raise ValueError(f"a tube is not closed for {reason.name}; choose one of CLOSE_REASONS")
        if self._end is None:
            self.end_now(reason, detail)
            await self.wait_ended()

    def end_now(self, reason: Reason, detail: str = "") -> None:
        """`shutdown`, without waiting for it."""
        self._is_monitoring = True  # the farewell has a timer, also where nothing else was to be watched
        self.feed(CloseRequested(reason, detail))

    def ice_servers_changed(self, servers: Sequence[IceServer]) -> None:
        """Other ICE servers, or other credentials, are in use from now on."""
        urls = tuple(server.url for server in servers)
        username = next((server.username for server in servers if server.username), None)
        self._emit(TurnCredentialsRefreshed(self.tube_id, self.conversation_id, urls, username))

    async def wait_ended(self) -> ChangeState:
        """Wait until the tube has FAILED or is CLOSED; the last change, with its reason."""
        if self._end is not None:
            return self._end
        waiter: asyncio.Future[ChangeState] = asyncio.get_running_loop().create_future()
        self._end_waiters = [*(self._end_waiters or ()), waiter]
        try:
            return await waiter
        finally:
            self._end_waiters = [other for other in self._end_waiters or () if other is not waiter] or None

    def update_activity(self) -> None:
        """Say that the tube is in use: the session timeout counts from now."""
        self.feed(Used())

    def extend(self, seconds: float | None = None) -> None:
        """Let the tube live at least `seconds` from now, used or not; by default another `session_timeout`.

        Raises:
            ValueError: `seconds` is not between 0 and 30 days.
        """
        wanted = self._registry.session_limits.session_timeout if seconds is None else seconds
        if not 0 <= wanted <= 30 * 86400:
            raise ValueError(f"a tube is extended by 0 to 2592000 s, not by {wanted} s")
        self.feed(Extended(wanted))

    def add_state_change_callback(self, callback: Callable[[ChangeState], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each change of state; what is returned removes it."""
        if self._state_callbacks is None:
            self._state_callbacks = Callbacks()
        return self._state_callbacks.add(callback)

    def add_network_change_callback(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        """Call `callback`, plain or async, with each decision of the policy; what is returned removes it."""
        if self._network_callbacks is None:
            self._network_callbacks = Callbacks()
        return self._network_callbacks.add(callback)

    def kill_carrier(self) -> None:
        """Tear the current carrier down as a crash would. For tests and the demo."""
        self.streams.kill_carrier()

    # The application's own signaling.

    async def create_offer(self) -> str:
        """Begin to connect; the first offer's SDP, for the peer.

        Raises:
            RuntimeError: the tube has ended, or does not use the application's signaling.
            PeerError: the other end makes the offer, or the engine made none in time.
        """
        self._application_signaling()
        await self.start_monitoring()
        self.feed(Started())
        return await self._offer()

    async def create_answer(self) -> str:
        """Take the offer that this tube was created with; the answer's SDP, for the peer. Cancelling loses nothing.

        Raises:
            RuntimeError: the tube has ended, was created without an offer, or is connected.
            ProtocolError: the offer gave way to a later one.
            PeerError: the engine made no answer in time.
        """
        self._application_signaling()
        if self._first_offer is None:
            raise RuntimeError(f"tube {self.tube_id!r} was created without an offer, or is connected")
        await self.start_monitoring()
        self.feed(Started())
        return await self._answer(self._first_offer)

    async def set_remote_description(self, sdp: str, kind: Literal["offer", "answer"]) -> str | None:
        """Take what the peer described: `kind` "answer" returns nothing, "offer" the answer's SDP.

        The same description twice is fine. Cancelling this loses nothing: the same offer gets the same answer.

        Raises:
            ProtocolError: not SDP, not of this tube, or of a negotiation that does not count any more.
            PeerError: the engine made no answer in time, or the answer gave way to a newer negotiation.
            RuntimeError: the tube has ended.
        """
        self._application_signaling()
        session_id, message = read_description(sdp, kind)
        if session_id != self.streams.session.session_id:
            raise ProtocolError(f"the {kind} belongs to another tube")
        if isinstance(message, Offer):
            return await self._answer(message)
        core = self._core
        if message.generation != core.generation or not core.offered_here:
            raise ProtocolError(f"an answer to offer {message.generation}; the one that counts is {core.generation}")
        if self._descriptions.taken != message.generation:
            self._take_description(message)
        return None

    async def _answer(self, offer: Offer) -> str:
        core, generation = self._core, offer.generation
        if generation > core.generation:
            self._take_description(offer)
        if generation != core.generation or core.offered_here:
            raise ProtocolError(f"offer {generation} gives way to {core.generation}")
        if core.state.is_up and not self._descriptions.has(generation):
            raise ProtocolError(f"offer {generation} was answered, and the path works")
        return await self._descriptions.wait(generation, for_offer=False)

    def _take_description(self, message: Offer | Answer) -> None:
        self.signaling_message(message)
        if message.generation == self._core.generation:
            for candidate in self._descriptions.take(message.generation):
                self.signaling_message(candidate)

    def add_ice_candidate(self, candidate: Mapping[str, object]) -> bool:
        """Take a candidate of the peer, as its `icecandidate` signal's `data`; whether it may be of use still. One of
        a gone generation is no error: candidates come late. One that comes before its description waits for it.

        Raises:
            ProtocolError: it is not a candidate.
            RuntimeError: the tube has ended.
        """
        self._application_signaling()
        message = read_candidate(candidate)
        if message.generation < self._core.generation:
            return False
        if message.generation == self._descriptions.taken == self._core.generation:
            self.signaling_message(message)
        else:
            self._descriptions.keep(message)
        return True

    def set_signaling_available(self, available: bool) -> None:
        """Say whether the peer can be told something now. While it cannot, no attempt is made, nor spent."""
        self._application_signaling().set_available(available)

    def _application_signaling(self) -> ApplicationSignaling:
        self._check_open()
        if not isinstance(self._signaling, ApplicationSignaling):
            raise RuntimeError(f"tube {self.tube_id!r} has perdure's own signaling")
        return self._signaling

    def _said_to_application(self, message: Message) -> None:
        match message:
            case Offer(generation, _, restarts):
                sdp = describe(self.streams.session.session_id, message)
                if self._established_at is not None or not self._descriptions.offer_is_awaited:
                    rung = Rung.ICE_RESTART if restarts else Rung.REBUILD
                    self._emit(IceRestartOffer(self.tube_id, self.conversation_id, sdp, generation, rung.value))
                self._descriptions.made(generation, sdp, is_offer=True)
            case Answer(generation):
                sdp = describe(self.streams.session.session_id, message)
                self._descriptions.made(generation, sdp, is_offer=False)
            case Candidate(generation, candidate, sdp_mid, sdp_mline):
                self._emit(IceCandidate(self.tube_id, self.conversation_id, candidate, sdp_mid, sdp_mline, generation))
            case Bye():
                pass  # `channel_closed` says it
            case _:
                assert_never(message)

    # Signaling.

    def signaling_message(self, message: Message) -> None:
        match message:
            case Offer(generation, sdp, restarts, cause):
                log_negotiation_begun(self.tube_id, generation, "restart" if restarts else "carrier", "the peer")
                self.feed(OfferReceived(generation, sdp, restarts, printable(cause)))
            case Answer(generation, sdp):
                self.feed(AnswerReceived(generation, sdp))
            case Candidate(generation, candidate, sdp_mid, sdp_mline_index):
                self.feed(CandidateReceived(generation, candidate, sdp_mid, sdp_mline_index))
            case Bye(reason):
                self.feed(PeerLeft(printable(reason)))
            case _:
                assert_never(message)

    def signaling_available(self, available: bool) -> None:
        self.feed(SignalingChanged(available))

    def signaling_peer_restarted(self) -> None:
        self.feed(PeerRestarted())

    # The link.

    @property
    def is_recovering(self) -> bool:
        return self.state is State.RECONNECTING

    def described(self, generation: int, sdp: str) -> None:
        core = self._core
        if generation != core.generation:
            return
        if not core.offered_here:
            self._signaling.send(Answer(generation, sdp))
            return
        restarts = core.carrier if core.carrier != generation else 0
        self._signaling.send(Offer(generation, sdp, restarts, self._cause.value if self._cause is not None else ""))
        if not isinstance(self._signaling, ApplicationSignaling):
            self._descriptions.made(generation, sdp, is_offer=True)

    def candidate_found(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._signaling.send(Candidate(generation, candidate, sdp_mid, sdp_mline))

    def stream_opened(self, stream_id: int, target: bytes) -> StreamSink | None:
        return None if self._on_stream is None else self._on_stream(self, stream_id, target)

    def feed(self, event: Event) -> None:
        """Tell the core, and do what it decides."""
        self._carry_out(self._core.handle_event(event, clock()))
        self.rearm()

    # Carrying out.

    def _carry_out(self, actions: list[Action]) -> None:
        """In the order of the core's decisions, also where carrying one out leads to the next."""
        if not actions:
            return
        if self._due_actions is not None:
            self._due_actions.extend(actions)
            return
        self._due_actions = due = actions
        try:
            while due:
                self._carry_out_one(due.pop(0))
        finally:
            self._due_actions = None

    def _carry_out_one(self, action: Action) -> None:
        link = self.streams
        match action:
            case MakeOffer(generation, cause):
                self._cause = cause
                if cause is not None:
                    self._reconnections += 1
                    self._restarted_at = clock()
                log_negotiation_begun(self.tube_id, generation, "carrier", "us")
                link.offer(generation)
            case MakeAnswer(generation, sdp):
                link.answer(generation, sdp)
            case RestartIce(generation, _, cause):
                self._cause = cause
                self._ice_restarts += 1
                self._restarted_at = clock()
                log_negotiation_begun(self.tube_id, generation, "restart", "us")
                link.restart(generation)
            case AnswerRestart(generation, sdp):
                link.answer_restart(generation, sdp)
            case ApplyAnswer(_, sdp):
                link.apply_answer(sdp)
            case ApplyCandidate(_, candidate, sdp_mid, sdp_mline):
                link.add_candidate(candidate, sdp_mid, sdp_mline)
            case CloseCarrier():
                link.close_carrier()
            case Probe():
                link.probe()
            case MeasureHealth():
                link.measure()
            case KeepAlive(idle_seconds):
                link.probe()
                self._emit(Keepalive(self.tube_id, self.conversation_id, idle_seconds, self._core.rtt))
            case WarnOfTimeout(idle_seconds, remaining_seconds):
                log_timeout_warning(self.tube_id, action)
                self._emit(SessionTimeoutWarning(self.tube_id, self.conversation_id, idle_seconds, remaining_seconds))
            case SayGoodbye(reason, detail):
                link.say_goodbye(_CLOSE_CODES.get(reason, CloseCode.DONE), short_reason(detail or reason.value))
            case ChangeState():
                self._changed(action)
            case Decision():
                self._decided(action)
            case _:
                assert_never(action)

    def _decided(self, decision: Decision) -> None:
        log_decision(self.tube_id, decision)
        if decision.trigger is None:
            return
        delay = None if decision.next_attempt_at is None else decision.next_attempt_at - decision.at
        self._emit(
            NetworkChangeDetected(
                self.tube_id,
                self.conversation_id,
                decision.trigger.value,
                decision.rung.value,
                decision.reason.value,
                decision.attempt,
                delay,
                decision.detail,
            )
        )
        if self._network_callbacks is not None:
            self._network_callbacks.call(decision)

    def _changed(self, change: ChangeState) -> None:
        outage = None
        if change.after is State.RECONNECTING:
            self._lost_at = clock()
        elif change.after is State.CONNECTED:
            self._descriptions.forget()
            self._first_offer = None
            if change.before is State.RECONNECTING:
                outage = clock() - self._lost_at
            if self._established_at is None:
                self._established_at = clock()
        log_state_change(self.tube_id, change, self._core.generation, outage)
        about = (self.tube_id, self.conversation_id)
        self._emit(
            ConnectionStateChanged(
                *about, change.before.value, change.after.value, change.reason.value, change.detail, outage
            )
        )
        self._registry.changed(self, change)
        if change.after.is_final:
            self._wind_up(change)
            self._emit(ChannelClosed(*about, change.reason.value, change.detail, change.after.value))
            if self._signals is not None:
                self._signals.close()
        if self._state_callbacks is not None:
            self._state_callbacks.call(change)
        for waiter in self._take_end_waiters() if change.after.is_final else ():
            if not waiter.done():
                waiter.set_result(change)

    def _wind_up(self, change: ChangeState) -> None:
        self._end = change
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if change.reason is not Reason.CLOSED_BY_PEER:
            self._signaling.send(Bye(short_reason(change.detail or change.reason.value)))
        self._signaling.close()
        self._first_offer = None
        self._descriptions.end(PeerError(f"the tube ended: {change.reason.value}", reason=change.reason.name))
        self.streams.wind_up()

    def _take_end_waiters(self) -> list[asyncio.Future[ChangeState]]:
        waiters, self._end_waiters = self._end_waiters, None
        return waiters or []

    def _emit(self, signal: Signal) -> None:
        if self._signals is not None:
            self._signals.emit(signal)

    async def _offer(self) -> str:
        """The SDP of the offer that this end has just begun, or had begun before."""
        core = self._core
        decided = core.decisions[-1] if core.decisions else None
        waits = decided is not None and decided.rung in {Rung.WAIT, Rung.FAIL}
        if core.offered_here and core.carrier and not core.state.is_up and not waits:
            return await self._descriptions.wait(core.generation, for_offer=True)
        why = decided.reason.value if decided is not None else "the other end makes the first offer"
        raise PeerError(f"tube {self.tube_id!r} cannot make an offer now: {why}", reason=core.state.name)

    def _check_open(self) -> None:
        if self._end is not None:
            raise RuntimeError(f"tube {self.tube_id!r} has ended: {self._end.reason.value}")

    # The timer.

    def rearm(self) -> None:
        """One timer handle, for the earliest deadline; one that has moved away is noticed when it fires."""
        core_at, session_at = self._core.next_deadline(), self.streams.next_deadline()
        at = min((at for at in (core_at, session_at) if at is not None), default=None)
        if at is None or not self._is_monitoring or self._end is not None:
            return
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = asyncio.get_running_loop().call_later(max(0.0, at - clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = clock()
        core_at = self._core.next_deadline()
        if core_at is not None and core_at <= now:
            self._carry_out(self._core.handle_event(self.streams.evidence(self._core.carrier), now))
            self._carry_out(self._core.handle_timeout(max(now, clock())))
        self.streams.handle_timeout(now)
        self.rearm()


def _network_changed(change: Trigger, data: Mapping[str, object]) -> NetworkChanged:
    if not isinstance(change, Trigger):
        raise ValueError(f"a network change is a NetworkChangeType, not {change!r}")
    if not isinstance(data, Mapping):
        raise ValueError(f"what is known of a network change comes as a dict, not as {type(data).__name__}")
    kinds = {"has_address": bool, "is_new_address": bool, "slept_seconds": (int, float), "detail": str}
    for name, value in data.items():
        kind = kinds.get(name)
        if kind is None:
            raise ValueError(f"{name!r} says nothing about a network change; known are {', '.join(kinds)}")
        if not isinstance(value, kind) or (name == "slept_seconds" and isinstance(value, bool)):  # type: ignore[arg-type]
            raise ValueError(f"{name} is {value!r}, which is of another type")
        if isinstance(value, float | int) and not 0 <= value <= MAX_SLEPT_SECONDS:
            raise ValueError(f"{name} is {value}, outside 0 to {MAX_SLEPT_SECONDS:.0f} s")
    return NetworkChanged(change, **data)  # type: ignore[arg-type]


def _datetime(at: float) -> datetime:
    """An instant of `clock` on the wall."""
    return datetime.now(UTC) - timedelta(seconds=clock() - at)
