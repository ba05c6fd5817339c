"""One tube's core: takes events, asks the parts, returns actions.

Contracts, held by property tests:
1. `now` never decreases.
2. After `handle_timeout(now)` the next deadline is later than `now`.
3. Evidence before deadlines: a driver feeds queued events before a due timeout.
4. What a peer sends never raises.
5. Nothing comes after FAILED or CLOSED.

A tube that is closed here:

| what happens | what is done |
| --- | --- |
| no carrier on which streams flow | it ends at once: nobody would hear it |
| there is one | SayGoodbye; GOODBYE in `GOODBYE_TIMEOUT` |
| CloseSent before GOODBYE | FAREWELL in `FAREWELL_SECONDS` |
| GOODBYE | CloseNow; FAREWELL in `FAREWELL_SECONDS` |
| FAREWELL | it ends |
| the carrier is lost or its address gone; the peer, or the session, has ended | it ends at once |
| anything else | nothing: the path is recovered no more |

So an idle tube, whose CloseSent answers SayGoodbye at once, ends after `FAREWELL_SECONDS`, and any tube ends within
`GOODBYE_TIMEOUT + FAREWELL_SECONDS`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import Action, ApplyCandidate, CloseNow, SayGoodbye, WarnOfTimeout
from perdure.core.activity import Activity
from perdure.core.context import Context
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CarrierMade,
    CloseRequested,
    CloseSent,
    Event,
    Extended,
    HealthMeasured,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RecoveryRequested,
    RttMeasured,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
    Used,
)
from perdure.core.keepalive import Liveness
from perdure.core.lifetime import Lifetime, Notice
from perdure.core.recovery import Recovery
from perdure.core.restart import LONG_SLEEP_SECONDS
from perdure.core.state import Reason, State
from perdure.core.timers import Timer
from perdure.core.vigil import Vigil

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy, SessionLimits
    from perdure.core.decision import Decision

LATE_SECONDS = 1.0
"""A deadline noticed this much too late means that the process was stopped or the machine slept: what did not happen
meanwhile says nothing about the peer, so it earns another try and not a verdict."""

MAX_DUE = 16
"""Deadlines served at one instant: each timer's, and once more what they led to."""

RETURN_TIMEOUT = 60.0
"""Seconds that a peer has to come back after this machine slept through the end of its time."""

GOODBYE_TIMEOUT = 2.0
"""Seconds that a tube which is closed here waits until its peer has all that was accepted before. A full stream's 2 MiB
at 10 Mbit/s take 1.7 s, and a lost packet's retransmission 0.4 s (dcSCTP's least timeout). Longer, and whoever pressed
Ctrl-C would press it again: a peer that never reads costs all of it."""

FAREWELL_SECONDS = 0.25
"""How long a carrier stays open behind a last message: SCTP has no flush, and closing drops what is queued."""


class Connection:
    """Decides for one tube.

    Args:
        initiator: whether this end began the session. It makes the first offer; the acceptor's gives way where offers
            cross.
        random: for jitter only.
        now: seconds on a clock that never goes back, and runs on while the machine sleeps.
    """

    __slots__ = ("_closing", "_context", "_lifetime", "_recovery", "_vigil", "activity")

    def __init__(
        self, policy: RestartPolicy, limits: SessionLimits, *, initiator: bool, random: Random, now: float
    ) -> None:
        liveness = Liveness(policy)
        self.activity = Activity(now)
        self._context = Context(now)
        self._recovery = Recovery(self._context, policy, liveness, initiator=initiator, random=random)
        self._vigil = Vigil(self._context, policy, liveness, self._recovery)
        self._lifetime = Lifetime(limits, self.activity, now)
        self._closing: CloseRequested | None = None
        """Why the tube is being closed, while what is held and the last message leave."""
        self._arm_lifetime()

    @property
    def state(self) -> State:
        return self._context.state

    @property
    def carrier(self) -> int:
        """The generation that made the current carrier; 0 where there is none."""
        return self._recovery.carrier

    @property
    def generation(self) -> int:
        """The negotiation that counts; 0 before the first."""
        return self._recovery.generation

    @property
    def offered_here(self) -> bool:
        """Whether this end made the offer of that negotiation."""
        return self._recovery.offered_here

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The last decisions, the oldest first; at most `recovery.MAX_DECISIONS`."""
        return self._recovery.decisions

    @property
    def quality(self) -> float:
        """The path's score, 0 … 1."""
        return self._vigil.quality.score

    @property
    def loss_rate(self) -> float:
        """The share of ICE checks that were not answered lately, 0 … 1."""
        return self._vigil.quality.loss_rate

    @property
    def rtt(self) -> float | None:
        """Smoothed round-trip time in seconds, the peer's delay of acknowledgements included; `None` before one."""
        return self._vigil.liveness.rtt.srtt

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        at = self._context.timers.earliest
        return None if at == math.inf else at

    def handle_event(self, event: Event, now: float) -> list[Action]:
        """Take one event. Raises `ValueError` only where `now` goes back."""
        context = self._context
        context.advance(now)
        if self._closing is not None:
            self._route_last(event)
        elif not context.state.is_final:
            self._route(event)
            if context.actions or type(event) is not HealthMeasured:  # which alone moves no deadline of silence
                self._after()
        return context.take_actions()

    def handle_timeout(self, now: float) -> list[Action]:
        """Act on the deadlines that have passed."""
        context = self._context
        context.advance(now)
        slept_seconds = 0.0
        timers = context.timers
        only_health = True
        for _ in range(MAX_DUE):
            due_at = timers.earliest
            if due_at > now:
                break
            timer = timers.take()
            only_health = only_health and timer is Timer.HEALTH
            if now - due_at > LATE_SECONDS:
                slept_seconds = max(slept_seconds, now - due_at)
                if self._excuse(timer):
                    continue
            self._due(timer)
        if slept_seconds >= LONG_SLEEP_SECONDS and self._closing is None and context.state.is_up:
            self._recovery.network_changed(NetworkChanged(Trigger.WAKE_UP, slept_seconds=slept_seconds))
        if not only_health or len(context.actions) > 1:  # reading the statistics moves no deadline of silence
            self._after()
        return context.take_actions()

    # Events.

    def _route(self, event: Event) -> None:
        recovery = self._recovery
        match event:  # the frequent ones first
            case PathEvidence():
                self._learn(event)
            case RttMeasured(carrier):
                if self._is_current(carrier):
                    recovery.acknowledged()
                    self._vigil.rtt_measured(event)
            case HealthMeasured(carrier):
                if self._is_current(carrier):
                    self._vigil.health_measured(event)
            case NetworkChanged():
                recovery.network_changed(event)
            case Started():
                self._start()
            case SignalingChanged(available):
                recovery.signaling_changed(available)
            case OfferReceived() | AnswerReceived() | CandidateReceived():
                self._negotiate(event)
            case CarrierMade(carrier, can_restart):
                if self._is_current(carrier):
                    recovery.carrier_made(can_restart=can_restart)
            case CarrierLost(carrier, detail):
                if self._is_current(carrier):
                    recovery.carrier_lost(detail)
            case IceUnhealthy(carrier):
                if self._is_current(carrier) and self.state.is_up:
                    recovery.doubted(Trigger.ICE_FAILURE)
            case SessionResumed(carrier):
                if self._is_current(carrier) and recovery.resumed():
                    self._vigil.start(is_new_carrier=True)
            case RecoveryRequested(rebuild):
                if self.state is State.INITIALIZING:
                    self._start()
                else:
                    recovery.requested(rebuild=rebuild)
            case Used():
                self.activity.used(self._context.now)
            case Extended(seconds):
                self._lifetime.extend(self._context.now, seconds)
                self._arm_lifetime()
            case PeerRestarted():
                self._recovery.end(State.FAILED, Reason.PEER_RESTARTED)
            case SessionEnded(reason, detail):
                self._recovery.end(State.CLOSED if reason is Reason.CLOSED_BY_PEER else State.FAILED, reason, detail)
            case PeerLeft(detail):
                self._recovery.end(State.CLOSED, Reason.CLOSED_BY_PEER, detail)
            case CloseRequested():
                self._close(event)
            case CloseSent():
                pass  # the session refused the peer's, and ends by itself
            case _:
                assert_never(event)

    def _route_last(self, event: Event) -> None:
        """While the tube is being closed nothing is recovered any more."""
        match event:
            case CloseSent():
                if self._context.timers.deadline(Timer.GOODBYE) != math.inf:
                    self._part()
            case (
                CarrierLost() | SessionEnded() | PeerLeft() | PeerRestarted() | NetworkChanged(local_address_lost=True)
            ):
                self._finish_closing()  # nobody would hear it any more
            case _:
                pass

    def _start(self) -> None:
        if self.state is not State.INITIALIZING:
            return
        self._context.change(State.CONNECTING, Reason.STARTED)
        self._recovery.begin()

    def _negotiate(self, event: OfferReceived | AnswerReceived | CandidateReceived) -> None:
        recovering = self.state is not State.CONNECTING
        match event:
            case OfferReceived():
                if self._recovery.offered(event):
                    self.activity.described(self._context.now, recovering=recovering)
            case AnswerReceived():
                if self._recovery.answered(event):
                    self.activity.described(self._context.now, recovering=recovering)
            case CandidateReceived(generation, candidate, sdp_mid, sdp_mline):
                if self._recovery.takes_candidate(generation):
                    self.activity.candidate(self._context.now, recovering=recovering)
                    self._context.actions.append(ApplyCandidate(generation, candidate, sdp_mid, sdp_mline))
            case _:
                assert_never(event)

    def _learn(self, evidence: PathEvidence) -> None:
        if evidence.last_data_at is not None:
            self.activity.used(min(evidence.last_data_at, self._context.now))
        if not self._is_current(evidence.carrier):
            return
        if self._recovery.heard(evidence.last_heard_at):
            self._vigil.start(is_new_carrier=False)
        if self._recovery.is_open:
            self._vigil.learn(evidence)

    # Deadlines.

    def _due(self, timer: Timer) -> None:
        match timer:  # the frequent ones first
            case Timer.HEALTH:
                self._vigil.check_health()
            case Timer.LIVENESS:
                self._vigil.judge_liveness()
            case Timer.LIFETIME:
                self._check_lifetime()
            case Timer.ATTEMPT:
                self._recovery.attempt_timed_out()
            case Timer.NEXT_ATTEMPT:
                self._recovery.attempt_is_due()
            case Timer.REJUDGE:
                self._recovery.judge_pending()
            case Timer.ABANDON:
                self._recovery.end(State.FAILED, Reason.ABANDONED)
            case Timer.GOODBYE:
                self._context.actions.append(CloseNow())
                self._part()
            case Timer.FAREWELL:
                self._finish_closing()
            case _:
                assert_never(timer)

    def _excuse(self, timer: Timer) -> bool:
        """A deadline noticed much too late, as after a sleep, begins over instead of being held against anybody."""
        match timer:
            case Timer.ATTEMPT | Timer.NEXT_ATTEMPT:
                self._recovery.attempt_is_due()
            case Timer.LIVENESS:
                self._vigil.excuse()
            case Timer.ABANDON:
                self._context.timers.set(Timer.ABANDON, self._context.now + RETURN_TIMEOUT)
            case Timer.REJUDGE | Timer.HEALTH | Timer.LIFETIME | Timer.GOODBYE | Timer.FAREWELL:
                return False
            case _:
                assert_never(timer)
        return True

    def _check_lifetime(self) -> None:
        match self._lifetime.check(self._context.now):
            case Notice(idle_seconds, remaining_seconds):
                self._context.actions.append(WarnOfTimeout(idle_seconds, remaining_seconds))
            case Reason() as reason:
                self._close(CloseRequested(reason))
                return
            case None:
                pass
        self._arm_lifetime()

    # The end.

    def _close(self, request: CloseRequested) -> None:
        self._closing = request
        if not self._recovery.is_open:
            self._finish_closing()
            return
        self._context.timers.clear()
        self._context.timers.set(Timer.GOODBYE, self._context.now + GOODBYE_TIMEOUT)
        self._context.actions.append(SayGoodbye(request.reason, request.detail))

    def _part(self) -> None:
        """The last message is out, or is next: it has its time to leave."""
        self._context.timers.cancel(Timer.GOODBYE)
        self._context.timers.set(Timer.FAREWELL, self._context.now + FAREWELL_SECONDS)

    def _finish_closing(self) -> None:
        if self._closing is not None and not self.state.is_final:
            self._recovery.end(State.CLOSED, self._closing.reason, self._closing.detail)

    # Bookkeeping.

    def _after(self) -> None:
        if self._closing is None and not self._context.state.is_final:
            self._vigil.rearm()

    def _arm_lifetime(self) -> None:
        at = self._lifetime.next_deadline()
        if at is None:
            self._context.timers.cancel(Timer.LIFETIME)
        else:
            self._context.timers.set(Timer.LIFETIME, at)

    def _is_current(self, carrier: int) -> bool:
        return self._recovery.carrier != 0 and carrier == self._recovery.carrier
