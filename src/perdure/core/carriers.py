"""One tube's carriers: builds them, restarts their ICE, and knows how far that is. It decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.actions import (
    AnswerRestart,
    ApplyAnswer,
    CloseCarrier,
    MakeAnswer,
    MakeOffer,
    Probe,
    RestartIce,
    WithdrawOffer,
)
from perdure.core.attempt import REASONS, Phase, RecoveryAttempt
from perdure.core.decision import DecisionReason, Trigger
from perdure.core.description import ice_ufrag
from perdure.core.negotiation import Negotiation
from perdure.core.spare import SPARE_TIMEOUT, Spare
from perdure.core.state import Reason, State
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from perdure.config import RestartPolicy
    from perdure.core.context import Context
    from perdure.core.decision import Decision
    from perdure.core.events import AnswerReceived, OfferReceived

RETIRE_TIMEOUT = 5.0
"""Seconds that the carrier before the current one is read, at most. The peer is heard on the current one within two
round trips; where a packet is lost it takes longer by SCTP's retransmissions, not by 5 s."""

ANSWERER_PATIENCE = 1.0
"""Seconds that the end which answers a restart waits longer than the one that offered it, which then offers a new
carrier."""


class Carriers:
    """The current one, a spare beside it, the one before it; and the recovery attempt while no path works."""

    __slots__ = (
        "_context",
        "_policy",
        "attempt",
        "can_restart",
        "candidates",
        "current",
        "is_open",
        "negotiation",
        "old",
        "peer_ufrag",
        "restarts",
        "spare",
    )

    def __init__(self, context: Context, policy: RestartPolicy, *, initiator: bool) -> None:
        self.current = 0
        """The generation that made the current carrier; 0 where there is none."""
        self.is_open = False
        """Whether the session has resumed on that carrier, however well it works now."""
        self.spare: Spare | None = None
        """One that is begun beside it."""
        self.old = 0
        """The generation of the one before it, while that is read, or of a spare that gave way; 0: there is none."""
        self.candidates = 0
        """The peer's candidates that were taken for the carrier that was begun last."""
        self.restarts = 0
        """How often ICE was restarted on that carrier, by either end."""
        self.can_restart = True
        """Whether ICE can be restarted on that carrier, as far as the engine has said."""
        self.attempt: RecoveryAttempt | None = None
        self.negotiation = Negotiation(initiator=initiator)
        self._context = context
        self._policy = policy
        self.peer_ufrag: str | None = None
        """In the peer's last description for the current carrier."""

    @property
    def is_attempting(self) -> bool:
        return self.attempt is not None and self.attempt.is_under_way

    @property
    def is_waiting(self) -> bool:
        """Whether the next attempt waits for signaling, an address, or the peer."""
        return self.attempt is not None and self.attempt.phase is Phase.WAITING

    @property
    def is_restarting(self) -> bool:
        return self.attempt is not None and self.attempt.phase is Phase.RESTARTING

    @property
    def trigger(self) -> Trigger | None:
        """What the attempt, or the wait for one, answers; `None`: the first set-up."""
        return None if self.attempt is None else self.attempt.trigger

    @property
    def is_holding(self) -> bool:
        """Whether a silent carrier is kept: there is no way to a better one now, or that is not open yet."""
        return self.is_open and self.attempt is not None and not self.is_restarting

    # What is decided.

    def build(self, trigger: Trigger | None) -> None:
        self.drop_carriers()
        if trigger is not None:
            self._leave_up(REASONS[trigger])
        self.current = self.negotiation.next_offer()
        self._begin(trigger, Phase.BUILDING, self._policy.attempt_timeout)
        self._context.actions.append(MakeOffer(self.current, trigger))

    def build_beside(self, trigger: Trigger, reason: DecisionReason) -> None:
        """A carrier beside the current one, which goes on, well or badly."""
        if reason in (DecisionReason.PATH_SILENT, DecisionReason.ICE_FAILED):
            self._leave_up(REASONS[trigger])
        self.drop_spare()
        self.spare = self._begin_spare(self.negotiation.next_offer(), trigger)
        self.spare.is_precaution = reason is DecisionReason.PATH_SUSPECT
        self._context.actions.append(MakeOffer(self.spare_generation, trigger, is_spare=True))
        self._give_time(trigger)

    def build_standby(self) -> None:
        """A warm spare: another link is used where there is one."""
        self.drop_spare()
        self.spare = self._begin_spare(self.negotiation.next_offer(), None, stands_by=True)
        self._context.actions.append(MakeOffer(self.spare_generation, None, is_spare=True, stands_by=True))
        self._give_time(None)

    def restart(self, trigger: Trigger) -> None:
        self.drop_spare()
        self._leave_up(REASONS[trigger])
        generation = self.negotiation.next_offer()
        self._begin(trigger, Phase.RESTARTING, self._policy.ice_restart_timeout)
        self.restarts += 1
        self._context.actions.append(RestartIce(generation, self.current, trigger))

    def wait(self, decision: Decision) -> None:
        """Until a time, or for signaling, an address, or the peer. A silent carrier is kept: a path can heal."""
        next_at = decision.next_attempt_at
        self.stop_attempt()
        self._leave_up(REASONS[decision.trigger or Trigger.REQUEST], decision.detail or decision.reason.value)
        self._enter(decision.trigger, Phase.WAITING if next_at is None else Phase.DELAYED)
        if next_at is not None:
            self._context.timers.set(Timer.NEXT_ATTEMPT, next_at)
        self.drop_spare()
        if not self.is_open:
            self.drop_current()

    # What the engine says to it.

    def made(self, carrier: int, *, can_restart: bool) -> None:
        """The engine made a carrier, and says whether it can restart ICE on it."""
        if self.spare is not None and carrier == self.spare.generation:
            self.spare.can_restart = can_restart
        elif carrier == self.current:
            self.can_restart = can_restart

    def described(self, generation: int) -> None:
        """This end's description of that negotiation is made: from now on it gathers."""
        begun = self.spare or self.attempt
        if begun is not None and generation == self.negotiation.current:
            begun.is_described = True

    @property
    def gathers_later(self) -> bool:
        """Whether what is to bring a path has not gathered yet."""
        if self.spare is not None:
            return not (self.spare.stands_by or self.spare.is_described)
        return self.attempt is not None and self.attempt.is_under_way and not self.attempt.is_described

    # What the peer says to it.

    def follow(self, offer: OfferReceived, trigger: Trigger | None) -> None:
        """Take the peer's offer, of a new carrier or of a restart of this one."""
        policy, actions = self._policy, self._context.actions
        if offer.restarts:
            self.drop_spare()
            self.restarts += 1
            self._leave_up(Reason.PEER_RESTARTS_ICE, "" if trigger is None else trigger.value)
            if self.is_open:
                self._begin(trigger, Phase.RESTARTING, policy.ice_restart_timeout + ANSWERER_PATIENCE)
            else:
                self._begin(trigger, Phase.BUILDING, policy.attempt_timeout)
            actions += (AnswerRestart(offer.generation, offer.sdp), Probe())
        elif self.is_open:
            stands_by = offer.stands_by and self._context.state.is_up and not self.has_spare  # it takes its place
            self._leave_spare()
            self.spare = self._begin_spare(offer.generation, trigger, stands_by=stands_by)
            actions.append(MakeAnswer(offer.generation, offer.sdp, is_spare=True, stands_by=stands_by))
            self._give_time(trigger)
        else:
            self.drop_carriers()
            self.current = offer.generation
            self._begin(trigger, Phase.BUILDING, policy.attempt_timeout)
            actions.append(MakeAnswer(offer.generation, offer.sdp))
        self._agree(ice_ufrag(offer.sdp))

    def takes_answer(self, answer: AnswerReceived) -> bool:
        """Whether it answers the offer that counts, for the first time."""
        return self.negotiates and self.negotiation.takes_answer(answer.generation)

    def take_answer(self, answer: AnswerReceived) -> None:
        self._agree(ice_ufrag(answer.sdp))
        self._context.actions.append(ApplyAnswer(answer.generation, answer.sdp))
        if answer.generation not in (self.current, self.spare_generation):
            self._context.actions.append(Probe())

    # Its end.

    def resumed(self) -> bool:
        """The session flows on the carrier; whether that is new."""
        if self.is_open:
            return False
        self.is_open = True
        began = self._context.state is State.CONNECTING
        self._recovered(Reason.SESSION_BEGUN if began else Reason.SESSION_RESUMED)
        return True

    def heard(self, at: float, heard_before: float) -> bool:
        """The peer was last heard at `at`, and before that at `heard_before`; whether that ended a recovery."""
        if not self.is_open or self._context.state is not State.RECONNECTING:
            return False
        attempt = self.attempt
        if attempt is not None and attempt.phase is Phase.RESTARTING:
            if attempt.agreed_at is None or at <= attempt.agreed_at:
                return False
            self._recovered(Reason.ICE_RESTARTED)
        else:
            if at <= heard_before:
                return False
            self._recovered(Reason.PATH_HEALED)
            if self.has_spare and self.spare is not None:
                self._give_time(self.spare.trigger)
        return True

    def stop_attempt(self) -> None:
        """Nothing is under way any more, and nothing has its time."""
        self._context.timers.cancel(Timer.ATTEMPT, Timer.NEXT_ATTEMPT)
        if self.attempt is not None and self.attempt.is_under_way:
            self.attempt.phase = Phase.WAITING

    def drop_carriers(self) -> None:
        """The current one, and those beside it."""
        self.drop_spare()
        self.drop_current()

    def drop_current(self) -> None:
        """It is lost, or given up; the one before it with it."""
        self.drop_old()
        if self.current:
            self._context.actions.append(CloseCarrier(self.current))
            self.current = self.restarts = self.candidates = 0
            self.is_open = False
            self.can_restart = True

    def drop_old(self) -> None:
        if self.old:
            self._context.timers.cancel(Timer.RETIRE)
            self._context.actions.append(CloseCarrier(self.old))
            self.old = 0

    def drop_spare(self) -> None:
        """It is lost, or not needed; the peer is told where it may still be built there."""
        if self.spare is not None:
            spare, self.spare = self.spare, None
            self._context.timers.cancel(Timer.SPARE)
            self._context.actions.append(CloseCarrier(spare.generation))
            if self.negotiation.offered_here and self.negotiation.current == spare.generation:
                self._context.actions.append(WithdrawOffer(spare.generation))

    def await_spare(self, trigger: Trigger, detail: str = "") -> None:
        """The current carrier is lost, or silent, while another is built: that is the attempt now."""
        if self.spare is not None:
            self.spare.is_precaution = False
        self._leave_up(REASONS[trigger], detail)
        self._give_time(trigger)

    def promoted(self, *, recovers: bool = True) -> None:
        """The session goes on on the spare; the carrier before is read until the peer does so too. `recovers`: whether
        the tube is CONNECTED then."""
        spare = self.spare
        if spare is None:
            return
        self.spare = None
        self._retire(self.current)
        self.current, self.restarts, self.can_restart = spare.generation, 0, spare.can_restart
        self.peer_ufrag = spare.peer_ufrag
        self.is_open = True
        if self._context.state is State.CONNECTED:
            self.attempt = None
        elif recovers:
            self._recovered(Reason.SESSION_RESUMED)

    def _leave_spare(self) -> None:
        """It gives way to the peer's. One that the peer may be on stays open, as its loss would be the peer's."""
        spare = self.spare
        if spare is not None and spare.is_told:
            self.spare = None
            self._retire(spare.generation)
        self.drop_spare()

    def _retire(self, carrier: int) -> None:
        self.drop_old()
        self.old = carrier
        self._context.timers.cancel(Timer.SPARE)
        if carrier:
            self._context.timers.set(Timer.RETIRE, self._context.now + RETIRE_TIMEOUT)

    def drop_standby(self) -> None:
        """The warm spare, where there is one."""
        if self.holds_standby:
            self.drop_spare()

    @property
    def has_spare(self) -> bool:
        """Whether a carrier is under way beside the current one that is to replace it."""
        return self.spare is not None and not self.spare.stands_by

    @property
    def holds_standby(self) -> bool:
        """Whether there is a warm spare, ready or not."""
        return self.spare is not None and self.spare.stands_by

    @property
    def has_standby(self) -> bool:
        """Whether a warm spare is ready to be used."""
        return self.spare is not None and self.spare.is_ready

    @property
    def is_offer_begun(self) -> bool:
        """Whether an offer of this end is under way that is to bring a path, as that of a warm spare is not."""
        is_begun = self.has_spare or (self.current != 0 and not self._context.state.is_up)
        return is_begun and self.negotiation.offered_here

    def gives_way(self, generation: int) -> bool:
        """Whether the spare gives way to the peer's offer of that generation, and the peer may be on it already."""
        return self.spare is not None and self.spare.is_told and generation > self.negotiation.current

    @property
    def spare_generation(self) -> int:
        """0 where there is none."""
        return 0 if self.spare is None else self.spare.generation

    @property
    def negotiates(self) -> bool:
        """Whether what was negotiated last is there still: the spare or the attempt that it was for may be gone."""
        if self.negotiation.current in (self.current, self.spare_generation):
            return self.negotiation.current != 0
        return self.current != 0 and self.is_restarting

    def _begin_spare(self, generation: int, trigger: Trigger | None, *, stands_by: bool = False) -> Spare:
        self.candidates = 0
        return Spare(generation, trigger, self._context.now, stands_by=stands_by)

    def _give_time(self, trigger: Trigger | None) -> None:
        """To the spare. While the path is up nobody waits for it."""
        now, timers = self._context.now, self._context.timers
        if self._context.state.is_up:
            timers.set(Timer.SPARE, now + SPARE_TIMEOUT)
            return
        self._enter(trigger, Phase.BUILDING)
        timers.cancel(Timer.SPARE, Timer.NEXT_ATTEMPT)
        timers.set(Timer.ATTEMPT, now + self._policy.attempt_timeout)

    def _begin(self, trigger: Trigger | None, phase: Phase, timeout: float) -> None:
        attempt = self._enter(trigger, phase)
        attempt.agreed_at, attempt.is_described = None, False
        self._context.timers.cancel(Timer.NEXT_ATTEMPT, Timer.LIVENESS)
        self._context.timers.set(Timer.ATTEMPT, self._context.now + timeout)

    def _enter(self, trigger: Trigger | None, phase: Phase) -> RecoveryAttempt:
        if self.attempt is None:
            self.attempt = RecoveryAttempt(trigger, self._context.now)
        self.attempt.enter(trigger, phase, self._context.now)
        return self.attempt

    def _agree(self, peer_ufrag: str | None) -> None:
        """Both ends know what was negotiated last."""
        self.negotiation.is_agreed = True
        if (begun := self.spare or self.attempt) is not None:
            begun.agreed_at = self._context.now
        if self.spare is not None:
            self.spare.peer_ufrag = peer_ufrag
        else:
            self.peer_ufrag = peer_ufrag

    def _leave_up(self, reason: Reason, detail: str = "") -> None:
        """The path works no more, or is given up."""
        context = self._context
        if context.state.is_up:
            self.attempt = RecoveryAttempt(None, context.now)
            context.timers.cancel(Timer.HEALTH, Timer.LIVENESS)
            context.timers.set(Timer.ABANDON, context.now + self._policy.abandon_after)
            context.change(State.RECONNECTING, reason, detail)

    def _recovered(self, reason: Reason) -> None:
        self.attempt = None
        self._context.timers.cancel(Timer.ATTEMPT, Timer.NEXT_ATTEMPT, Timer.ABANDON)
        self._context.change(State.CONNECTED, reason)
