"""Carries out what the ladder decides: builds carriers, restarts their ICE, and knows which of it is under way."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import (
    AnswerRestart,
    ApplyAnswer,
    CloseCarrier,
    MakeAnswer,
    MakeOffer,
    Probe,
    RestartIce,
)
from perdure.core.description import ice_ufrag
from perdure.core.negotiation import Negotiation
from perdure.core.restart import Because, Decision, Ladder, Rung, Situation, Trigger
from perdure.core.state import Reason, State
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy
    from perdure.core.context import Context
    from perdure.core.events import AnswerReceived, NetworkChanged, OfferReceived
    from perdure.core.keepalive import Liveness

MAX_DECISIONS = 64
"""Decisions kept for whoever asks: hours of a calm tube, minutes of a storm."""

ANSWERER_PATIENCE = 1.0
"""Seconds that the end which answers a restart waits longer than the one that offered it, and that climbs first."""

_REASONS = {
    Trigger.INTERFACE_CHANGE: Reason.NETWORK_CHANGED,
    Trigger.IP_ADDRESS_CHANGE: Reason.NETWORK_CHANGED,
    Trigger.CONNECTION_TIMEOUT: Reason.PATH_SILENT,
    Trigger.ICE_FAILURE: Reason.CARRIER_LOST,
    Trigger.QUALITY_DEGRADATION: Reason.QUALITY_POOR,
    Trigger.WAKE_UP: Reason.WOKE_UP,
    Trigger.REQUEST: Reason.RECOVERY_REQUESTED,
}


class Phase(Enum):
    SETTLED = auto()
    """Nothing is under way: the carrier works, or the tube has not begun."""
    RESTARTING = auto()
    """An ICE restart of the carrier."""
    BUILDING = auto()
    """A new carrier."""
    DELAYED = auto()
    """The next attempt has its time."""
    WAITING = auto()
    """The next attempt waits for signaling, an address, or the peer."""


class Recovery:
    """Climbs the rungs of one tube."""

    __slots__ = (
        "_context",
        "_decisions",
        "_graced",
        "_has_address",
        "_ladder",
        "_liveness",
        "_negotiation",
        "_peer_ufrag",
        "_policy",
        "_polite",
        "_settled_at",
        "_silent_since",
        "_trigger",
        "carrier",
        "phase",
        "signaling",
    )

    def __init__(
        self, context: Context, policy: RestartPolicy, liveness: Liveness, *, polite: bool, random: Random
    ) -> None:
        self.carrier = 0
        """The generation that made the current carrier; 0 where there is none."""
        self.phase = Phase.SETTLED
        self.signaling = False
        self._context = context
        self._policy = policy
        self._polite = polite
        self._liveness = liveness
        self._ladder = Ladder(policy, random)
        self._negotiation = Negotiation(polite=polite)
        self._decisions: tuple[Decision, ...] = ()
        self._has_address = True
        self._trigger: Trigger | None = None
        """What the recovery under way answers; `None`: the first set-up."""
        self._graced: tuple[Trigger, float] | None = None
        """A network event that waits for the result of the hand-over before it, and when it came."""
        self._settled_at: float | None = None
        """When the restart under way was agreed with the peer."""
        self._silent_since = 0.0
        """When the tube was last left without a working path."""
        self._peer_ufrag: str | None = None

    @property
    def generation(self) -> int:
        """The negotiation that counts; 0 before the first."""
        return self._negotiation.current

    @property
    def offered_here(self) -> bool:
        return self._negotiation.offered_here

    @property
    def decisions(self) -> tuple[Decision, ...]:
        return self._decisions

    @property
    def is_holding(self) -> bool:
        """Whether a silent carrier is kept because there is no way to a better one now."""
        return bool(self.carrier) and self.phase in {Phase.DELAYED, Phase.WAITING}

    # What happened.

    def begin(self) -> bool:
        """The first set-up: the impolite end offers; whether this one waits for the other's offer."""
        if self._polite:
            self.phase = Phase.WAITING
        else:
            self._build(None)
        return self._polite

    def signaling_changed(self, available: bool) -> None:
        self.signaling = available
        if available and self.phase is Phase.WAITING and not (self._polite and self._trigger is None):
            self._execute(self._ladder.retry(self._trigger, self._situation()))

    def network_changed(self, event: NetworkChanged) -> None:
        trigger = event.trigger
        if not trigger.is_network_event:
            self._execute(self._ladder.doubted(trigger, self._situation()))
            return
        if event.has_address is not None:
            self._has_address = event.has_address
        decision = self._ladder.network_event(
            trigger, self._situation(), is_new_address=event.is_new_address, slept_seconds=event.slept_seconds
        )
        if decision.reason is Because.IN_GRACE:
            self._graced = (trigger, self._context.now)
            self._context.timers.set(Timer.REJUDGE, decision.next_attempt_at or self._context.now)
        self._execute(decision)

    def doubted(self, trigger: Trigger) -> None:
        """Evidence against the path that decides nothing."""
        self._execute(self._ladder.doubted(trigger, self._situation()))

    def grace_is_over(self) -> None:
        if self._graced is None:
            return
        (trigger, came_at), self._graced = self._graced, None
        is_fine = self._context.state.is_up and self._liveness.last_heard_at > came_at
        self._execute(self._ladder.grace_over(trigger, self._situation(), carries_data=is_fine))

    def path_silent(self) -> None:
        """The liveness' verdict."""
        self._execute(self._ladder.path_silent(self._situation()))

    def quality_poor(self, *, carries_data: bool) -> None:
        self._execute(self._ladder.quality_poor(self._situation(), carries_data=carries_data))

    def quality_restored(self) -> None:
        self._ladder.quality_restored()

    def requested(self, *, rebuild: bool) -> None:
        self._execute(self._ladder.requested(self._situation(), rebuild=rebuild))

    def carrier_lost(self, detail: str) -> None:
        """The engine, or the session, gave the current carrier up."""
        was_holding = self.is_holding
        self._drop_carrier()
        if self._context.state.is_up:
            self._execute(self._ladder.carrier_lost(self._situation(), detail))
        elif not was_holding:
            self._attempt_failed(Because.RESTART_FAILED, detail)

    def attempt_timed_out(self) -> None:
        found = f"no path to the other end was found in {self._policy.attempt_timeout:.0f} s"
        detail = f"{found}; is UDP allowed, and --ice-server (STUN, TURN) right at both ends?"
        self._attempt_failed(Because.RESTART_FAILED, detail)

    def attempt_is_due(self) -> None:
        """A wait is over, or an attempt was slept through."""
        self._execute(self._ladder.retry(self._trigger, self._situation()))

    def offered(self, offer: OfferReceived) -> None:
        """The peer's offer: of a new carrier, or of a restart of this one."""
        if self._context.state is State.INITIALIZING or not self._negotiation.take_offer(offer.generation):
            return
        trigger = _trigger(offer.cause)
        if offer.restarts and offer.restarts != self.carrier:
            self._peer_restarts_what_is_gone()
            return
        self._ladder.begun(trigger, self._context.now)
        self._peer_ufrag = ice_ufrag(offer.sdp)
        self._trigger = trigger
        if offer.restarts:
            self._begin_attempt(Phase.RESTARTING, self._policy.ice_restart_timeout + ANSWERER_PATIENCE)
            self._settled_at = self._context.now
            self._context.actions.append(AnswerRestart(offer.generation, offer.sdp))
            self._leave_up(Reason.PEER_RESTARTS_ICE, offer.cause)
            self._context.actions.append(Probe())
        else:
            self._drop_carrier()
            self._leave_up(Reason.PEER_REBUILDS, offer.cause)
            self.carrier = offer.generation
            self._begin_attempt(Phase.BUILDING, self._policy.attempt_timeout)
            self._context.actions.append(MakeAnswer(offer.generation, offer.sdp))

    def answered(self, answer: AnswerReceived) -> None:
        if not self._negotiation.takes_answer(answer.generation) or not self.carrier:
            return
        ufrag = ice_ufrag(answer.sdp)
        if self.phase is Phase.RESTARTING:
            if self._settled_at is not None:
                return
            if ufrag is None or ufrag == self._peer_ufrag:
                self._attempt_failed(Because.PEER_CANNOT_RESTART, "")
                return
            self._settled_at = self._context.now
        self._peer_ufrag = ufrag
        self._context.actions.append(ApplyAnswer(answer.generation, answer.sdp))
        if self.phase is Phase.RESTARTING:
            self._context.actions.append(Probe())

    def resumed(self) -> bool:
        """The session flows on the carrier that was built; whether that ended the attempt."""
        if self._context.state not in {State.CONNECTING, State.RECONNECTING}:
            return False
        began = self._context.state is State.CONNECTING
        self._recovered(Reason.SESSION_BEGUN if began else Reason.SESSION_RESUMED)
        return True

    def heard(self, at: float | None) -> bool:
        """The peer was last heard at `at`; whether that ended a recovery."""
        if at is None or self._context.state is not State.RECONNECTING:
            return False
        if self.phase is Phase.RESTARTING and self._settled_at is not None and at > self._settled_at:
            self._recovered(Reason.ICE_RESTARTED)
            return True
        if self.is_holding and at > self._silent_since:
            self._recovered(Reason.PATH_HEALED)
            return True
        return False

    def proved(self) -> None:
        """Something that was sent on the current carrier was acknowledged."""
        self._ladder.proved()

    def drop(self) -> None:
        """The tube ends."""
        self._drop_carrier()
        self.phase = Phase.SETTLED

    # Climbing.

    def _peer_restarts_what_is_gone(self) -> None:
        """Only a new carrier helps, and the peer is there to take its offer."""
        if self._context.state.is_up:
            self.carrier_lost("the peer restarts a carrier that is gone")
        else:
            self.attempt_is_due()

    def _execute(self, decision: Decision) -> None:
        self._decisions = (*self._decisions[1 - MAX_DECISIONS :], decision)
        self._context.actions.append(decision)
        match decision.rung:
            case Rung.HOLD:
                self._ask()
            case Rung.ICE_RESTART:
                self._restart(decision.trigger or Trigger.REQUEST)
            case Rung.REBUILD:
                self._build(decision.trigger)
            case Rung.WAIT:
                self._wait(decision)
            case Rung.FAIL:
                self._drop_carrier()
                self._context.timers.clear()
                self._context.change(State.FAILED, Reason.ATTEMPTS_EXHAUSTED, decision.detail)
            case _:
                assert_never(decision.rung)

    def _ask(self) -> None:
        """Whether the path is there."""
        if self._context.state.is_up:
            self._liveness.doubt(self._context.now)
            self._context.actions.append(Probe())

    def _restart(self, trigger: Trigger) -> None:
        self._ladder.begun(trigger, self._context.now)
        self._trigger = trigger
        self._leave_up(_REASONS[trigger])
        generation = self._negotiation.next_offer()
        self._settled_at = None
        self._begin_attempt(Phase.RESTARTING, self._policy.ice_restart_timeout)
        self._context.actions.append(RestartIce(generation, self.carrier, trigger))

    def _build(self, trigger: Trigger | None) -> None:
        self._trigger = trigger
        if not self.signaling or not self._has_address:
            self.phase = Phase.WAITING
            return
        self._ladder.begun(trigger, self._context.now)
        self._drop_carrier()
        if trigger is not None:
            self._leave_up(_REASONS[trigger])
        self.carrier = self._negotiation.next_offer()
        self._begin_attempt(Phase.BUILDING, self._policy.attempt_timeout)
        self._context.actions.append(MakeOffer(self.carrier, trigger))

    def _begin_attempt(self, phase: Phase, timeout: float) -> None:
        self.phase = phase
        self._context.timers.cancel(Timer.NEXT_ATTEMPT, Timer.LIVENESS)
        self._context.timers.set(Timer.ATTEMPT, self._context.now + timeout)

    def _wait(self, decision: Decision) -> None:
        """Until a time, or for signaling, an address, or the peer. A silent carrier is kept: a path can heal."""
        context = self._context
        is_event = decision.trigger is not None and decision.trigger.is_network_event
        if is_event and self.phase in {Phase.RESTARTING, Phase.BUILDING}:
            return  # what is under way may still work; when it fails, it waits
        is_silent = decision.trigger in {Trigger.CONNECTION_TIMEOUT, Trigger.ICE_FAILURE} or not self.carrier
        if context.state.is_up and not is_silent:
            # The path may still work: it is asked, and the liveness tells.
            self._ask()
            return
        if decision.reason is Because.COURTESY:
            self._drop_carrier()
        self._trigger = decision.trigger
        if context.state.is_up:
            self._leave_up(_REASONS[decision.trigger or Trigger.REQUEST], decision.detail or decision.reason.value)
        context.timers.cancel(Timer.ATTEMPT)
        if decision.next_attempt_at is None:
            self.phase = Phase.WAITING
            context.timers.cancel(Timer.NEXT_ATTEMPT)
        else:
            self.phase = Phase.DELAYED
            context.timers.set(Timer.NEXT_ATTEMPT, decision.next_attempt_at)
        if self.carrier:
            context.actions.append(Probe())

    def _attempt_failed(self, reason: Because, detail: str) -> None:
        situation = self._situation()
        if self.phase is Phase.RESTARTING:
            self._execute(self._ladder.restart_failed(self._trigger, situation, reason))
        else:
            self._drop_carrier()
            self._context.timers.cancel(Timer.ATTEMPT)
            self._execute(self._ladder.rebuild_failed(self._trigger, situation, detail))

    def _recovered(self, reason: Reason) -> None:
        context = self._context
        self.phase = Phase.SETTLED
        self._trigger = None
        context.timers.cancel(Timer.ATTEMPT, Timer.NEXT_ATTEMPT, Timer.ABANDON)
        self._ladder.succeeded(context.now)
        context.change(State.CONNECTED, reason)

    def _leave_up(self, reason: Reason, detail: str = "") -> None:
        """A rung is being climbed."""
        context = self._context
        if context.state.is_up:
            self._silent_since = context.now
            context.timers.set(Timer.ABANDON, context.now + self._policy.abandon_after)
            context.change(State.RECONNECTING, reason, detail)

    def _drop_carrier(self) -> None:
        if self.carrier:
            self.carrier = 0
            self._context.actions.append(CloseCarrier())

    def _situation(self) -> Situation:
        state = self._context.state
        now = self._context.now
        silent_for = now - self._silent_since if self.is_holding else self._liveness.silent_for(now)
        return Situation(
            now=now,
            has_begun=state is not State.INITIALIZING,
            is_open=bool(self.carrier) and self.phase is not Phase.BUILDING and state is not State.CONNECTING,
            is_recovering=self.phase in {Phase.RESTARTING, Phase.BUILDING},
            silent_for=silent_for,
            signaling=self.signaling,
            has_address=self._has_address,
            is_polite=self._polite,
        )


def _trigger(cause: str) -> Trigger | None:
    """What the peer names; a word that this version does not know counts as nothing."""
    return next((trigger for trigger in Trigger if trigger.value == cause), None)
