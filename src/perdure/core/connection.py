"""One tube's core: takes events, asks the parts, returns actions.

Contracts, held by property tests:
1. `now` never decreases.
2. After `handle_timeout(now)` the next deadline is later than `now`.
3. Evidence before deadlines: a driver feeds queued events before a due timeout.
4. What a peer sends never raises.
5. Nothing comes after FAILED or CLOSED.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import (
    Action,
    ApplyAnswer,
    ApplyCandidate,
    AttemptDelayed,
    ChangeState,
    CloseCarrier,
    MakeAnswer,
    MakeOffer,
    Probe,
)
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CloseRequested,
    Event,
    OfferReceived,
    PathDoubted,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RebuildRequested,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.keepalive import Liveness, Verdict
from perdure.core.negotiation import Negotiation
from perdure.core.restart import RestartSchedule
from perdure.core.state import TRANSITIONS, Reason, State
from perdure.core.timers import Timer, Timers

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy

COURTESY_DELAY = 0.1
"""Seconds that the polite end leaves the first word to the other one after a loss which both of them see: more than a
local rendezvous needs, and little beside an outage that only the polite end has noticed."""

FIRST_OFFER_TIMEOUT = 60.0
"""Seconds that the polite end waits for the first carrier: six attempts' worth."""

LATE_SECONDS = 1.0
"""A deadline noticed this much too late means that the process was stopped or the machine slept: what did not happen
meanwhile says nothing about the peer, so it earns another try and not a verdict."""

RETURN_TIMEOUT = 60.0
"""Seconds that a peer has to come back after this machine slept through the end of its time."""


class Connection:
    """Decides for one tube.

    Args:
        polite: whether this end gives way when offers cross; it also leaves the first offer to the other end.
        random: for jitter only.
        now: seconds on a clock that never goes back, and runs on while the machine sleeps.
    """

    def __init__(self, policy: RestartPolicy, *, polite: bool, random: Random, now: float) -> None:
        self.state = State.INITIALIZING
        self._policy = policy
        self._polite = polite
        self._now = now
        self._timers = Timers()
        self._negotiation = Negotiation(polite=polite)
        self._schedule = RestartSchedule(policy, random)
        self._liveness = Liveness(policy)
        self._signaling_available = False
        self._has_carrier = False
        self._attempt_waits = False
        self._silent_since = now
        self._actions: list[Action] = []

    @property
    def generation(self) -> int:
        """The current carrier's generation; 0 before the first."""
        return self._negotiation.current

    @property
    def offered_here(self) -> bool:
        """Whether the current carrier is one that this end offered."""
        return self._negotiation.offered_here

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        return self._timers.next_deadline()

    def handle_event(self, event: Event, now: float) -> list[Action]:
        """Take one event. Raises `ValueError` only where `now` goes back."""
        self._advance(now)
        if not self.state.is_final:
            self._route(event)
        return self._taken()

    def handle_timeout(self, now: float) -> list[Action]:
        """Act on the deadlines that have passed."""
        self._advance(now)
        for timer, due_at in self._timers.pop_due(now):
            if self.state.is_final:
                break
            if now - due_at > LATE_SECONDS:
                self._excuse(timer)
                continue
            match timer:
                case Timer.ATTEMPT:
                    found = f"no path to the other end was found in {self._policy.attempt_timeout:.0f} s"
                    self._attempt_failed(f"{found}; is UDP allowed, and --ice-server (STUN, TURN) right at both ends?")
                case Timer.NEXT_ATTEMPT:
                    self._attempt()
                case Timer.LIVENESS:
                    self._judge()
                case Timer.ABANDON:
                    self._end(State.FAILED, Reason.ABANDONED)
                case _:
                    assert_never(timer)
        return self._taken()

    def _route(self, event: Event) -> None:
        match event:
            case Started():
                self._start()
            case SignalingChanged(available):
                self._signaling_available = available
                if available and self._attempt_waits:
                    self._attempt()
            case OfferReceived(generation, sdp):
                self._offered(generation, sdp)
            case AnswerReceived(generation, sdp):
                if self._negotiation.takes_answer(generation) and self._has_carrier:
                    self._actions.append(ApplyAnswer(generation, sdp))
            case CandidateReceived(generation, candidate, sdp_mid, sdp_mline):
                if self._is_current(generation):
                    self._actions.append(ApplyCandidate(generation, candidate, sdp_mid, sdp_mline))
            case CarrierLost(generation, detail):
                if self._is_current(generation):
                    self._carrier_lost(Reason.CARRIER_LOST, detail)
            case PathDoubted(generation):
                if self._is_current(generation) and self.state is State.CONNECTED:
                    self._actions.append(Probe())
            case SessionResumed(generation):
                if self._is_current(generation):
                    self._resumed()
            case PathEvidence(generation, last_heard_at, awaiting_since):
                if self._is_current(generation) and (self.state is State.CONNECTED or self._is_holding):
                    self._learn(last_heard_at, awaiting_since)
            case RebuildRequested():
                if self.state is State.CONNECTED and self._signaling_available:
                    self._carrier_lost(Reason.REBUILD_REQUESTED, "")
            case PeerRestarted():
                self._end(State.FAILED, Reason.PEER_RESTARTED)
            case SessionEnded(reason, detail):
                self._end(State.CLOSED if reason is Reason.CLOSED_BY_PEER else State.FAILED, reason, detail)
            case PeerLeft(detail):
                self._end(State.CLOSED, Reason.CLOSED_BY_PEER, detail)
            case CloseRequested(detail):
                self._end(State.CLOSED, Reason.CLOSED_LOCALLY, detail)
            case _:
                assert_never(event)

    # Building carriers.

    def _start(self) -> None:
        if self.state is not State.INITIALIZING:
            return
        self._change(State.CONNECTING, Reason.STARTED)
        if self._polite:
            self._timers.set(Timer.ABANDON, self._now + FIRST_OFFER_TIMEOUT)
        else:
            self._attempt()

    def _attempt(self) -> None:
        """Offer a new carrier, or wait for signaling: an attempt that cannot reach the peer is not spent."""
        self._attempt_waits = not self._signaling_available
        if self._attempt_waits:
            return
        self._drop_carrier()
        self._timers.cancel(Timer.NEXT_ATTEMPT, Timer.LIVENESS)
        generation = self._negotiation.next_offer()
        self._has_carrier = True
        self._timers.set(Timer.ATTEMPT, self._now + self._policy.attempt_timeout)
        self._actions.append(MakeOffer(generation))

    def _offered(self, generation: int, sdp: str) -> None:
        if self.state is State.INITIALIZING or not self._negotiation.take_offer(generation):
            return
        self._drop_carrier()
        if self.state is State.CONNECTED:
            self._reconnect(Reason.PEER_REBUILDS)
        self._attempt_waits = False
        self._has_carrier = True
        self._timers.cancel(Timer.NEXT_ATTEMPT, Timer.LIVENESS)
        self._timers.set(Timer.ATTEMPT, self._now + self._policy.attempt_timeout)
        self._actions.append(MakeAnswer(generation, sdp))

    def _reconnect(self, reason: Reason, detail: str = "") -> None:
        self._timers.cancel(Timer.LIVENESS)
        self._timers.set(Timer.ABANDON, self._now + self._policy.abandon_after)
        self._change(State.RECONNECTING, reason, detail)

    def _resumed(self) -> None:
        if self.state not in {State.CONNECTING, State.RECONNECTING}:
            return
        began = self.state is State.CONNECTING
        self._timers.clear()
        self._schedule.succeeded(self._now)
        self._liveness.start(self._now)
        self._timers.set(Timer.LIVENESS, self._liveness.next_check())
        self._change(State.CONNECTED, Reason.SESSION_BEGUN if began else Reason.SESSION_RESUMED)

    def _carrier_lost(self, reason: Reason, detail: str) -> None:
        if self.state is not State.CONNECTED:
            self._attempt_failed(detail)
            return
        self._drop_carrier()
        self._reconnect(reason, detail)
        if not self._schedule.lost(self._now):
            self._delay("carriers are lost again and again")
        elif self._polite and reason is not Reason.REBUILD_REQUESTED:
            self._timers.set(Timer.NEXT_ATTEMPT, self._now + COURTESY_DELAY)
        else:
            self._attempt()

    def _attempt_failed(self, detail: str) -> None:
        self._drop_carrier()
        self._timers.cancel(Timer.ATTEMPT, Timer.LIVENESS)
        if self._signaling_available:
            self._delay(detail)
        else:
            self._attempt_waits = True

    def _delay(self, detail: str) -> None:
        delay = self._schedule.failed()
        if delay is not None:
            self._timers.set(Timer.NEXT_ATTEMPT, self._now + delay)
            self._actions.append(AttemptDelayed(self._schedule.attempt, self._now + delay, detail))
        elif not self._polite:
            self._end(State.FAILED, Reason.ATTEMPTS_EXHAUSTED, detail)
        # The polite end has no more to try, but the other one may come back from a new network: it waits for that
        # offer until ABANDON.

    # Judging the path.

    def _judge(self) -> None:
        match self._liveness.judge(self._now):
            case Verdict.PROBE:
                self._actions.append(Probe())
            case Verdict.SILENT if self._signaling_available:
                self._carrier_lost(Reason.PATH_SILENT, "")
                return
            case Verdict.SILENT:
                self._hold()
            case Verdict.STALLED:
                self._end(State.FAILED, Reason.PEER_STALLED)
                return
            case Verdict.FINE:
                pass
        self._timers.set(Timer.LIVENESS, self._liveness.next_check())

    @property
    def _is_holding(self) -> bool:
        """Whether a silent carrier is kept because there is no way to a better one."""
        return self.state is State.RECONNECTING and self._has_carrier and not self._timers.is_set(Timer.ATTEMPT)

    def _hold(self) -> None:
        """Keep a silent carrier while signaling is away, and probe it: a path can heal by itself."""
        if self.state is State.CONNECTED:
            self._silent_since = self._now
            self._reconnect(Reason.PATH_SILENT, "held, as signaling is away")
            self._attempt_waits = True
        self._liveness.excuse(self._now)
        self._actions.append(Probe())

    def _learn(self, last_heard_at: float | None, awaiting_since: float | None) -> None:
        self._liveness.evidence(last_heard_at, awaiting_since)
        if self._is_holding and last_heard_at is not None and last_heard_at > self._silent_since:
            self._attempt_waits = False
            self._timers.cancel(Timer.ABANDON)
            self._change(State.CONNECTED, Reason.PATH_HEALED)
        self._timers.set(Timer.LIVENESS, self._liveness.next_check())

    def _excuse(self, timer: Timer) -> None:
        """A deadline noticed much too late, as after a sleep, begins over instead of being held against anybody."""
        match timer:
            case Timer.ATTEMPT | Timer.NEXT_ATTEMPT:
                self._attempt()
            case Timer.LIVENESS:
                self._liveness.excuse(self._now)
                self._actions.append(Probe())
                self._timers.set(Timer.LIVENESS, self._liveness.next_check())
            case Timer.ABANDON:
                self._timers.set(Timer.ABANDON, self._now + RETURN_TIMEOUT)
            case _:
                assert_never(timer)

    # Bookkeeping.

    def _advance(self, now: float) -> None:
        if now < self._now:
            raise ValueError(f"time went back from {self._now} to {now}")
        self._now = now

    def _taken(self) -> list[Action]:
        actions, self._actions = self._actions, []
        return actions

    def _is_current(self, generation: int) -> bool:
        return self._has_carrier and generation == self._negotiation.current

    def _drop_carrier(self) -> None:
        if self._has_carrier:
            self._has_carrier = False
            self._actions.append(CloseCarrier())

    def _end(self, state: State, reason: Reason, detail: str = "") -> None:
        self._drop_carrier()
        self._timers.clear()
        self._change(state, reason, detail)

    def _change(self, state: State, reason: Reason, detail: str = "") -> None:
        """The one place where the state changes."""
        before = self.state
        if state not in TRANSITIONS[before]:
            raise AssertionError(f"{before} to {state} is not in the table")
        self.state = state
        self._actions.append(ChangeState(before, state, reason, detail))
