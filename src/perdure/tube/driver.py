"""Drives one tube's core: feeds it what happens, and carries out what it decides.

1. One timer handle for the core and the session together.
2. Evidence before deadlines: what the session knows is fed before a due timeout.
3. Nothing is decided here.
4. What one action raises is logged, and the next is carried out: a tube always comes to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import (
    Action,
    AnswerRestart,
    ApplyAnswer,
    ApplyCandidate,
    CloseCarrier,
    CloseNow,
    DoubtSignaling,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    MeasureHealth,
    Probe,
    RenewNetworks,
    RestartIce,
    SayGoodbye,
    StateChanged,
    TendStandby,
    WarnOfTimeout,
    WithdrawOffer,
)
from perdure.core.connection import Connection
from perdure.core.decision import Decision, RecoveryAction, Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    Described,
    Event,
    NetworkChanged,
    OfferReceived,
    OfferWithdrawn,
    PeerLeft,
    PeerRestarted,
    SignalingChanged,
    Started,
)
from perdure.core.state import Reason, State
from perdure.errors import CarrierError, PeerError
from perdure.eventlog import log_event
from perdure.session import Session
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, Withdraw, short_reason
from perdure.tube.carrier_session import CarrierSession
from perdure.tube.clock import clock
from perdure.tube.close_codes import CLOSE_CODES
from perdure.tube.descriptions import LocalDescriptions
from perdure.tube.log import carrier_kind, log, log_negotiation_begun, log_path_soon
from perdure.wire import CloseCode, printable

if TYPE_CHECKING:
    from perdure.signaling.in_band import InBandMessage
    from perdure.tube.environment import Endpoint, Environment
    from perdure.tube.tube_listener import TubeListener

COARSE_FROM = 10.0
COARSE_STEP = 0.5
"""Seconds: a deadline further away than the first waits for the next multiple of the second, so that idle tubes wake
together. A process that wakes for one tube alone pays more for waking than for the tube (300 µs on a virtual machine,
measured). Below the second after which a late deadline counts as a sleep."""


class Driver:
    """One tube's core, its session over carriers, and its signaling.

    Args:
        listener: hears what the application is to hear of.
    """

    __slots__ = (
        "_cause",
        "_context",
        "_due_actions",
        "_listener",
        "_timer",
        "_wakes_at",
        "carriers",
        "channel",
        "core",
        "descriptions",
        "end",
        "ice_restarts",
        "is_closing",
        "is_running",
        "rebuilds",
        "restarted_at",
        "tube_id",
    )

    def __init__(self, tube_id: str, endpoint: Endpoint, environment: Environment, listener: TubeListener) -> None:
        self.tube_id = tube_id
        self.channel = endpoint.channel
        self.core = Connection(
            environment.policy,
            environment.session_limits,
            initiator=endpoint.is_initiator,
            random=environment.random,
            now=clock(),
            relay_troubles=environment.relay_troubles,
        )
        session = Session(
            session_id=endpoint.session_id,
            initiator=endpoint.is_initiator,
            key=endpoint.key,
            limits=environment.limits,
            budget=environment.budget,
        )
        self.carriers = CarrierSession(self, environment.transport, session, environment.standby_places)
        self.descriptions = LocalDescriptions()
        """The offers and answers of this end."""
        self.end: StateChanged | None = None
        """The last change, where the tube has FAILED or is CLOSED."""
        self.ice_restarts = 0
        """ICE restarts that this end began."""
        self.rebuilds = 0
        """Carriers that this end began after a loss."""
        self.restarted_at: float | None = None
        """When the last of either began."""
        self._listener = listener
        self._context = environment.context
        self._cause = ""
        """What the last offer of this end answers."""
        self._due_actions: list[Action] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self.is_running = False
        self.is_closing = False
        """Whether the farewell is said, or was."""

    def run(self, *, connect: bool) -> None:
        """Let the timers run; with `connect`, also begin. Twice is fine."""
        if self.is_running:
            return
        self.is_running = True
        self.feed(SignalingChanged(self.channel.available))
        if connect:
            self.feed(Started())
        self.channel.attach(self)

    def network_changed(self, event: NetworkChanged) -> Decision | None:
        """`feed`. The event loop's timers stand still while the machine sleeps: after a sleep ours is set anew."""
        decision = self.feed(event)
        if event.slept_seconds:
            self._disarm()
            self.rearm()
        return decision

    def feed(self, event: Event) -> Decision | None:
        """Tell the core, and do what it decides; the last decision among that."""
        actions = self.core.handle_event(event, clock())
        decision = next((action for action in reversed(actions) if type(action) is Decision), None)
        self._carry_out(actions)
        self.rearm()
        return decision

    def check_open(self) -> None:
        """Raises `RuntimeError` where the tube is closing, or has ended."""
        if self.end is not None:
            raise RuntimeError(f"tube {self.tube_id!r} has ended: {self.end.reason.value}")
        if self.is_closing:
            raise RuntimeError(f"tube {self.tube_id!r} is closing")

    async def offer(self, decided: Decision | None) -> Offer | Answer:
        """The offer that this end has just begun, or had begun before; `decided`: what the core said to that.

        Raises:
            PeerError: nothing can be offered now.
            CarrierError: the engine made none.
        """
        core = self.core
        waits = decided is not None and decided.action in (RecoveryAction.WAIT, RecoveryAction.FAIL)
        if core.carriers.is_offer_begun and not waits:
            return await self.descriptions.wait(core.generation, for_offer=True)
        why = decided.reason.value if decided is not None else "the other end makes the first offer"
        raise PeerError(f"tube {self.tube_id!r} cannot make an offer now: {why}", reason=core.state.name)

    # Signaling.

    def signaling_message(self, message: Message) -> None:
        match message:
            case Offer(generation, sdp, restarts, cause, standby):
                if self.core.carriers.gives_way(generation):
                    self.carriers.handle(self.carriers.session.leave_current(clock(), at_once=True))
                    self.carriers.schedule_turn()
                self.feed(OfferReceived(generation, sdp, restarts, printable(cause), stands_by=standby))
            case Answer(generation, sdp):
                self.feed(AnswerReceived(generation, sdp))
            case Candidate(generation, candidate, sdp_mid, sdp_mline_index):
                self.feed(CandidateReceived(generation, candidate, sdp_mid, sdp_mline_index))
            case Withdraw(generation):
                self.feed(OfferWithdrawn(generation))
            case Bye(reason):
                self.feed(PeerLeft(printable(reason)))
            case _:
                assert_never(message)

    def signaling_available(self, available: bool) -> None:
        if available:
            # Evidence first: a path that survived meanwhile needs no recovery.
            self.feed(self.carriers.evidence(self.core.carrier))
        self.feed(SignalingChanged(available))

    def signaling_peer_restarted(self) -> None:
        self.feed(PeerRestarted())

    # What the carriers say.

    def described(self, generation: int, sdp: str) -> None:
        core = self.core
        if generation != core.generation:
            return
        self.feed(Described(generation))
        message: Offer | Answer = Answer(generation, sdp)
        if core.carriers.negotiation.offered_here:
            restarts = core.carrier if generation not in (core.carrier, core.spare) else 0
            standby = generation == core.spare and core.carriers.holds_standby
            message = Offer(generation, sdp, restarts, self._cause, standby=standby)
        self._say(message)
        self.descriptions.made(message)

    def carrier_gone(self, generation: int, why: str) -> None:
        """The engine, or the session, gave a carrier up."""
        self.feed(CarrierLost(generation, why))
        error = CarrierError(f"the engine gave the connection up: {why}", generation=generation)
        self.descriptions.carrier_gone(error, left={self.core.carrier, self.core.spare} - {0})

    def candidate_found(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._say(Candidate(generation, candidate, sdp_mid, sdp_mline))

    def _say(self, message: InBandMessage) -> None:
        """Every way that there is: the first copy counts."""
        self.carriers.say(message)
        self.channel.send(message)

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
                action = due.pop(0)
                try:
                    self._carry_out_one(action)
                except Exception as error:
                    self._log_failed(type(action).__name__, error)
        finally:
            self._due_actions = None

    def _carry_out_one(self, action: Action) -> None:
        carriers, held = self.carriers, self.carriers.held
        match action:  # the frequent ones first
            case MeasureHealth():
                held.measure()
            case Probe():
                carriers.probe()
            case KeepAlive():
                carriers.probe()
                self._listener.told(action)
            case Decision() | WarnOfTimeout():
                self._listener.told(action)
            case MakeOffer(generation, cause, is_spare, stands_by):
                self._begin(generation, carrier_kind(is_spare, stands_by), cause)
                self.rebuilds += cause is not None
                carriers.offer(generation, is_spare=is_spare, stands_by=stands_by)
            case RestartIce(generation, _, cause):
                self._begin(generation, "restart", cause)
                self.ice_restarts += 1
                held.restart(generation)
            case MakeAnswer(generation, sdp, is_spare, stands_by):
                log_negotiation_begun(self.tube_id, generation, carrier_kind(is_spare, stands_by), "the peer")
                carriers.answer(generation, sdp, is_spare=is_spare, stands_by=stands_by)
            case TendStandby(task):
                carriers.tend_standby(task)
            case AnswerRestart(generation, sdp):
                log_negotiation_begun(self.tube_id, generation, "restart", "the peer")
                held.answer_restart(generation, sdp)
            case ApplyAnswer(generation, sdp):
                held.apply_answer(generation, sdp)
            case ApplyCandidate(generation, candidate, sdp_mid, sdp_mline):
                held.add_candidate(generation, candidate, sdp_mid, sdp_mline)
            case RenewNetworks():
                held.renew_networks()
            case CloseCarrier(generation):
                carriers.close_carrier(generation)
            case DoubtSignaling():
                self.channel.doubt()
            case WithdrawOffer(generation):
                self._say(Withdraw(generation))
            case SayGoodbye(reason, detail):
                self.is_closing = True
                carriers.say_goodbye(CLOSE_CODES.get(reason, CloseCode.DONE), short_reason(detail or reason.value))
            case CloseNow():
                carriers.close_now()
            case StateChanged():
                if action.after.is_final:
                    self.is_closing = True
                    self.end = action
                    self._wind_up(action)
                elif action.after is State.CONNECTED:
                    log_path_soon(self.tube_id, carriers)
                self._listener.told(action)
            case _:
                assert_never(action)

    def _begin(self, generation: int, what: str, cause: Trigger | None) -> None:
        self._cause = "" if cause is None else cause.value
        if cause is not None:
            self.restarted_at = clock()
        log_negotiation_begun(self.tube_id, generation, what, "us")

    def _wind_up(self, change: StateChanged) -> None:
        self.is_running = False
        self._disarm()
        if change.reason is not Reason.CLOSED_BY_PEER:
            with self._survived("Bye"):
                self.channel.send(Bye(short_reason(change.detail or change.reason.value)))
        with self._survived("SignalingChannel.close"):
            self.channel.close()
        with self._survived("CarrierSession.wind_up"):
            self.carriers.wind_up()

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """What is done within may fail: that is logged, with its traceback."""
        try:
            yield
        except Exception as error:
            self._log_failed(what, error)

    def _log_failed(self, what: str, error: Exception) -> None:
        log_event(log, logging.ERROR, "action-failed", error, tube=self.tube_id, action=what)

    # Waking.

    def rearm(self) -> None:
        """Set the timer for the earliest deadline. One that has moved away is noticed at the next waking."""
        if not self.is_running:
            return
        at, session_at = self.core.next_deadline(), self.carriers.next_deadline()
        if at is None or (session_at is not None and session_at < at):
            at = session_at
        if at is None or at >= self._wakes_at:
            return
        self._disarm()
        delay = max(0.0, at - clock())
        if delay > COARSE_FROM:
            rounded = math.ceil(at / COARSE_STEP) * COARSE_STEP
            at, delay = rounded, delay + rounded - at
        self._wakes_at = at
        self._timer = self.carriers.loop.call_later(delay, self._wake, context=self._context)

    def _wake(self) -> None:
        """A deadline may have come. Evidence first: what the session knows and the core does not."""
        self._timer, self._wakes_at = None, math.inf
        core, carriers, now = self.core, self.carriers, clock()
        core_at = core.next_deadline()
        if core_at is not None and core_at <= now:
            self._carry_out(core.handle_event(carriers.evidence(core.carrier), now))
            now = clock()  # what that led to took its time, which the core has seen
            self._carry_out(core.handle_timeout(now))
        session_at = carriers.next_deadline()
        if session_at is not None and session_at <= now:
            carriers.handle_timeout(now)
        self.rearm()

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, math.inf
