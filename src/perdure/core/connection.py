"""One tube's core: takes events, asks the parts, returns actions.

Contracts, held by property tests:
1. `now` never decreases.
2. After `handle_timeout(now)` the next deadline is later than `now`.
3. Evidence before deadlines: a driver feeds queued events before a due timeout.
4. What a peer sends never raises.
5. Nothing comes after FAILED or CLOSED.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, assert_never

from perdure.core import overdue
from perdure.core.actions import Action, WarnOfTimeout
from perdure.core.activity import Activity
from perdure.core.closing import Closing
from perdure.core.conditions import LONG_SLEEP_SECONDS
from perdure.core.context import Context
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CarrierMade,
    CloseRequested,
    CloseSent,
    Described,
    Event,
    Extended,
    HealthMeasured,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    PeerSwitched,
    RecoveryRequested,
    RelaysRenewed,
    RttMeasured,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    SpareOpened,
    SpareProved,
    StandbyAnswered,
    StandbyReady,
    StandbyUseless,
    Started,
    UplinksCounted,
    Used,
)
from perdure.core.keepalive import Liveness
from perdure.core.lifetime import Lifetime, Notice
from perdure.core.path_monitor import PathMonitor
from perdure.core.peer_offers import negotiate
from perdure.core.recovery import Recovery
from perdure.core.relay_troubles import RelayTroubles
from perdure.core.state import Reason, State
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from perdure.config import RestartPolicy, SessionLimits
    from perdure.core.carriers import Carriers
    from perdure.core.decision import Decision

LATE_SECONDS = 1.0
"""A deadline noticed this much too late means that the process was stopped or the machine slept: what did not happen
meanwhile says nothing about the peer, so it earns another try and not a verdict."""

MAX_DUE = 16
"""Deadlines served at one instant: each timer's, and once more what they led to."""

RETURN_TIMEOUT = 60.0
"""Seconds that a peer has to come back after this machine slept through the end of its time."""


class Connection:
    """Decides for one tube.

    Args:
        initiator: whether this end began the session. It makes the first offer; the acceptor's gives way where offers
            cross.
        random: for jitter only.
        now: seconds on a clock that never goes back, and runs on while the machine sleeps.
        relay_troubles: what is wrong with TURN servers now; for the detail of an attempt that failed.
    """

    __slots__ = ("_closing", "_context", "_lifetime", "_path_monitor", "_recovery", "activity")

    def __init__(
        self,
        policy: RestartPolicy,
        limits: SessionLimits,
        *,
        initiator: bool,
        random: Random,
        now: float,
        relay_troubles: Callable[[], RelayTroubles] = RelayTroubles,
    ) -> None:
        liveness = Liveness(policy)
        self.activity = Activity(now)
        self._context = Context(now, relay_troubles)
        self._recovery = Recovery(self._context, policy, liveness, initiator=initiator, random=random)
        self._path_monitor = PathMonitor(self._context, policy, liveness, self._recovery)
        self._lifetime = Lifetime(limits, self.activity, now)
        self._closing: Closing | None = None
        """Since the tube is being closed."""
        self._arm_lifetime()

    @property
    def state(self) -> State:
        return self._context.state

    @property
    def carrier(self) -> int:
        """The generation that made the current carrier; 0 where there is none."""
        return self._recovery.carriers.current

    @property
    def spare(self) -> int:
        """The generation of the carrier that is begun beside it; 0 where there is none."""
        return self._recovery.carriers.spare_generation

    @property
    def generation(self) -> int:
        """The negotiation that counts; 0 before the first."""
        return self._recovery.carriers.negotiation.current

    @property
    def carriers(self) -> Carriers:
        """To be read."""
        return self._recovery.carriers

    @property
    def decisions(self) -> tuple[Decision, ...]:
        """The last decisions, the oldest first; at most `recovery.MAX_DECISIONS`."""
        return self._recovery.decisions

    @property
    def quality(self) -> float:
        """The path's score, 0 … 1."""
        return self._path_monitor.quality.score

    @property
    def loss_rate(self) -> float:
        """The share of ICE checks that were not answered lately, 0 … 1."""
        return self._path_monitor.quality.loss_rate

    @property
    def liveness(self) -> Liveness:
        """To be read."""
        return self._path_monitor.liveness

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        at = self._context.timers.earliest
        return None if at == math.inf else at

    def handle_event(self, event: Event, now: float) -> list[Action]:
        """Take one event. Raises `ValueError` only where `now` goes back."""
        context = self._context
        context.advance(now)
        if self._closing is not None:
            self._closing.handle_event(event)
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
            elif self._path_monitor.puts_off_verdict(timer, late=now - due_at):
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
                    self._path_monitor.rtt_measured(event)
            case HealthMeasured(carrier):
                if self._is_current(carrier):
                    self._path_monitor.health_measured(event)
            case NetworkChanged():
                recovery.network_changed(event)
                if event.trigger.is_network_event:
                    self._path_monitor.network_moved()
            case Started():
                self._start()
            case SignalingChanged(available):
                recovery.signaling_changed(available)
            case OfferReceived() | AnswerReceived() | CandidateReceived():
                negotiate(self._context, recovery, self.activity, event)
            case OfferWithdrawn(generation):
                if self._is_spare(generation):
                    overdue.withdrawn(recovery)
            case CarrierMade(carrier, can_restart):
                recovery.carriers.made(carrier, can_restart=can_restart)
            case Described(generation):
                recovery.carriers.described(generation)
            case SpareOpened(carrier) | SpareProved(carrier):
                if self._is_spare(carrier):
                    recovery.spares.opened(is_proved=isinstance(event, SpareProved))
            case UplinksCounted(1) if not recovery.knows_warm:
                pass
            case StandbyReady() | StandbyAnswered() | StandbyUseless() | UplinksCounted():
                overdue.standby_told(recovery, event)
            case CarrierLost(carrier) if self._is_spare(carrier):
                overdue.spare_lost(recovery)
            case CarrierLost(carrier, detail) if self._is_current(carrier):
                recovery.carrier_lost(detail)
            case CarrierLost(carrier) | PeerSwitched(carrier):
                if carrier == recovery.carriers.old:
                    recovery.carriers.drop_old()
            case IceUnhealthy(carrier, has_failed):
                if self._is_spare(carrier):
                    overdue.standby_unhealthy(recovery)
                elif not self._is_current(carrier) or not self.state.is_up:
                    pass
                elif has_failed:
                    recovery.path_lost(Trigger.ICE_FAILURE)
                else:
                    recovery.doubted(Trigger.ICE_FAILURE)
            case SessionResumed(carrier, peer_takes_spare):
                if not peer_takes_spare:
                    recovery.spares.peer_takes_them = False
                if self._is_spare(carrier):
                    stood_by = recovery.carriers.holds_standby
                    recovery.spare_resumed()
                    self._path_monitor.start(is_new_carrier=True, is_doubted=stood_by)
                elif self._is_current(carrier) and recovery.resumed():
                    self._path_monitor.start(is_new_carrier=True)
            case RecoveryRequested(rebuild):
                if self.state is State.INITIALIZING:
                    self._start()
                else:
                    recovery.requested(rebuild=rebuild)
            case RelaysRenewed(of_standby):
                recovery.relays_renewed(of_standby=of_standby)
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

    def _start(self) -> None:
        if self.state is not State.INITIALIZING:
            return
        self._context.change(State.CONNECTING, Reason.STARTED)
        self._recovery.begin()

    def _learn(self, evidence: PathEvidence) -> None:
        if evidence.last_data_at is not None:
            self.activity.used(min(evidence.last_data_at, self._context.now))
            if self._recovery.knows_warm:
                self._recovery.warm.data_moved(min(evidence.last_data_at, self._context.now))
        if not self._is_current(evidence.carrier):
            return
        if self._recovery.heard(evidence.last_heard_at):
            self._path_monitor.start(is_new_carrier=False)
        if self._recovery.carriers.is_open:
            self._path_monitor.learn(evidence)

    # Deadlines.

    def _due(self, timer: Timer) -> None:
        match timer:  # the frequent ones first
            case Timer.HEALTH:
                self._path_monitor.check_health()
            case Timer.LIVENESS:
                self._path_monitor.judge_liveness()
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
                if self._closing is not None:
                    self._closing.hurry()
            case Timer.FAREWELL:
                if self._closing is not None:
                    self._closing.finish()
            case Timer.SPARE:
                overdue.spare_is_due(self._recovery)
            case Timer.RETIRE:
                self._recovery.carriers.drop_old()
            case Timer.WARM:
                overdue.warm_is_due(self._recovery)
            case _:
                assert_never(timer)

    def _excuse(self, timer: Timer) -> bool:
        """A deadline noticed much too late, as after a sleep, begins over instead of being held against anybody."""
        match timer:
            case Timer.ATTEMPT | Timer.NEXT_ATTEMPT:
                self._recovery.attempt_is_due()
            case Timer.LIVENESS:
                self._path_monitor.excuse()
            case Timer.ABANDON:
                self._context.timers.set(Timer.ABANDON, self._context.now + RETURN_TIMEOUT)
            case (
                Timer.REJUDGE
                | Timer.HEALTH
                | Timer.LIFETIME
                | Timer.GOODBYE
                | Timer.FAREWELL
                | Timer.SPARE
                | Timer.RETIRE
                | Timer.WARM
            ):
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

    def _close(self, request: CloseRequested) -> None:
        self._closing = Closing(self._context, self._recovery, request)
        self._closing.begin()

    # Bookkeeping.

    def _after(self) -> None:
        if self._closing is None and not self._context.state.is_final:
            self._path_monitor.rearm()

    def _arm_lifetime(self) -> None:
        at = self._lifetime.next_deadline()
        if at is None:
            self._context.timers.cancel(Timer.LIFETIME)
        else:
            self._context.timers.set(Timer.LIFETIME, at)

    def _is_spare(self, carrier: int) -> bool:
        return carrier != 0 and carrier == self._recovery.carriers.spare_generation

    def _is_current(self, carrier: int) -> bool:
        return self._recovery.carriers.current != 0 and carrier == self._recovery.carriers.current
