"""Puts what happened to one tube's path to the recovery policy, and has its carriers carry out the answer."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import DoubtSignaling, Probe, RenewNetworks
from perdure.core.attempt_failure import why_it_failed
from perdure.core.carriers import Carriers
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Situation, Trigger
from perdure.core.recovery_policy import RecoveryPolicy
from perdure.core.spares import Spares
from perdure.core.state import Reason, State
from perdure.core.timers import Timer
from perdure.core.warm import Warm

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy
    from perdure.core.context import Context
    from perdure.core.events import NetworkChanged
    from perdure.core.keepalive import Liveness

_NOT_BEGUN = (DecisionReason.UNSETTLED, DecisionReason.RESTART_LIMIT, DecisionReason.UNDER_WAY)
"""Why a network event waits whose attempt is not begun: one that is under way then was begun before."""

_UNASKED = (DecisionReason.CARRIES_DATA, DecisionReason.PATH_SUSPECT)
"""Why a path is left alone without being asked: it talks, or it was asked just now."""

MAX_DECISIONS = 64
"""Decisions kept for whoever asks: hours of a calm tube, minutes of a network that flaps."""

FIRST_OFFER_TIMEOUT = 60.0
"""Seconds that the acceptor waits for the first offer. A client sends it as soon as it is welcome; where its link to
the rendezvous fails just then, the link is dialled again within a minute, unless the rendezvous is away."""


class Recovery:
    """Keeps one tube's path alive, or brings it back."""

    __slots__ = (
        "_has_address",
        "_initiator",
        "_policy",
        "_signaling",
        "_spares",
        "_warm",
        "carriers",
        "context",
        "decisions",
        "liveness",
        "pending",
        "rules",
    )

    def __init__(
        self, context: Context, policy: RestartPolicy, liveness: Liveness, *, initiator: bool, random: Random
    ) -> None:
        self.context = context
        """Of the tube; to be read."""
        self._policy = policy
        self._initiator = initiator
        self.liveness = liveness
        """Of the path in use; to be read."""
        self.rules = RecoveryPolicy(policy, random)
        self.carriers = Carriers(context, policy, initiator=initiator)
        """The carriers, and the attempt under way; to be read."""
        self._spares: Spares | None = None
        self._warm: Warm | None = None
        self.decisions: tuple[Decision, ...] = ()
        self._signaling = False
        self._has_address = True
        self.pending: tuple[NetworkChanged, float, DecisionReason] | None = None
        """A network event that waits, when it came, and why it waits (a hand-over's result, signaling, the limit)."""

    @property
    def spares(self) -> Spares:
        """Made when the first is thought of: most tubes never need one."""
        if self._spares is None:
            self._spares = Spares(self.context, self.carriers, self.rules, self.liveness, initiator=self._initiator)
        return self._spares

    @property
    def warm(self) -> Warm:
        """Made where there are several uplinks, or the peer offers a warm spare."""
        if self._warm is None:
            self._warm = Warm(self.context, self.carriers, self._policy, self.liveness, initiator=self._initiator)
        return self._warm

    @property
    def knows_warm(self) -> bool:
        return self._warm is not None

    # The world changed.

    def begin(self) -> None:
        """The first set-up: the initiator offers, the acceptor waits for that offer."""
        patience = self._policy.abandon_after if self._initiator else FIRST_OFFER_TIMEOUT
        self.context.timers.set(Timer.ABANDON, self.context.now + patience)
        if self._initiator:
            self.execute(self.rules.first(self.situation()))

    @property
    def awaits_first_offer(self) -> bool:
        """Whether nothing can be done before the initiator has made the first offer."""
        is_acceptor = not self._initiator
        return is_acceptor and self.context.state is State.CONNECTING and not self.carriers.negotiation.current

    def first_offer_came(self) -> None:
        """The initiator is there: from now on this tube has the patience of any."""
        self.context.timers.set(Timer.ABANDON, self.context.now + self._policy.abandon_after)

    def signaling_changed(self, available: bool) -> None:
        self._signaling = available
        if available and self.carriers.is_waiting:
            self.execute(self.rules.retry(self.carriers.trigger, self.situation()))
        elif available:
            self.judge_pending()

    def network_changed(self, event: NetworkChanged) -> None:
        if event.has_address is not None:
            self._has_address = event.has_address
        if event.trigger.is_network_event:
            self.rules.network_moved(self.context.now, is_return=event.is_return)
            if event.is_new_address or event.local_address_lost:
                # Also where nothing is built now: the peer may build, or what is waited for may come.
                self.context.actions.append(RenewNetworks())
            # What this event leaves untouched, an earlier one that still waits may have invalidated.
            is_sure = self.pending is None or event.local_address_lost
            decision = self._judge(event if is_sure else replace(event, local_address_lost=None))
            if decision.action is RecoveryAction.SWITCH:
                self.pending = None
            else:
                self.carriers.drop_standby()
            self._unsettled()
        else:
            self.doubted(event.trigger, event.detail)

    def judge_pending(self) -> None:
        """What a network event waited for is there, or over."""
        if self.pending is None:
            return
        (event, came_at, why), self.pending = self.pending, None
        # What was under way when a path lost its address is heard after that, and proves nothing.
        works = self.context.state.is_up and not event.local_address_lost and self.liveness.last_heard_at > came_at
        # Begun while the network was flapping, or agreed before its address: it starts over.
        begun = self.carriers.spare or self.carriers.attempt
        is_elsewhere = event.is_new_address and not event.is_return
        is_stale = why in _NOT_BEGUN or (begun is not None and is_elsewhere and begun.was_agreed_before(came_at))
        if works or (self.carriers.is_attempting and not is_stale):
            self.execute(self.rules.network_event_answered(event.trigger, self.situation()))
        else:
            self._judge(event)

    def requested(self, *, rebuild: bool, why: DecisionReason = DecisionReason.ASKED) -> Decision:
        decision = self.rules.requested(self.situation(), rebuild=rebuild, why=why)
        self.execute(decision)
        if why is DecisionReason.ASKED and self.carriers.spare is not None and self.carriers.has_spare:
            self.carriers.spare.trigger = Trigger.REQUEST  # one that a suspicion began is not dropped any more
        return decision

    def relays_renewed(self, *, of_standby: bool = False) -> None:
        """There are new credentials of a TURN server."""
        if of_standby:
            self.warm.relays_renewed()
        elif (decision := self.spares.relays_renewed(self.situation())) is not None:
            self.execute(decision)

    # The path changed.

    def doubted(self, trigger: Trigger, detail: str = "") -> None:
        """Evidence against the path that decides nothing."""
        self.execute(self.rules.reported(trigger, self.situation(), detail))

    def spare_resumed(self) -> None:
        """The session goes on on the spare."""
        spare = self.carriers.spare
        if spare is None:
            return
        if self.pending is not None and spare.begun_at > self.pending[1]:
            self.pending = None
        if spare.stands_by:
            self.context.actions.append(DoubtSignaling())  # it may lie behind the same link
            self.warm.used()
        elif spare.trigger is Trigger.CONNECTION_TIMEOUT:
            self.spares.used()
            if not self.carriers.negotiation.offered_here:
                self.rules.peer_began(spare.trigger, self.context.now)
        self.carriers.promoted()
        self._succeeds(True)
        if spare.is_outdated:
            self.relays_renewed()

    def offer_withdrawn(self) -> None:
        """The peer does not need the spare that it offered."""
        carriers, spare = self.carriers, self.carriers.spare
        if carriers.negotiation.offered_here:
            return
        self.spares.waste()
        if carriers.is_attempting:
            carriers.stop_attempt()
            self.execute(self.rules.retry(carriers.trigger, self.situation(), DecisionReason.WITHDRAWN))
        elif spare is not None and spare.renews:
            self.relays_renewed()

    def path_lost(self, trigger: Trigger) -> None:
        """The liveness' verdict (CONNECTION_TIMEOUT), or ICE's (ICE_FAILURE). The carrier is kept, as it may heal; a
        spare that there is becomes the attempt."""
        self.context.actions.append(DoubtSignaling())
        decision = self.rules.path_lost(trigger, self.situation())
        self.execute(decision)
        if awaits_spare := self.carriers.has_spare and self.context.state.is_up:
            self.carriers.await_spare(trigger)
        if awaits_spare or decision.action is RecoveryAction.SWITCH:
            self.liveness.excuse(self.context.now)

    def quality_poor(self, *, carries_data: bool) -> None:
        self.execute(self.rules.quality_poor(self.situation(), carries_data=carries_data))

    def quality_restored(self) -> None:
        self.rules.quality_restored()

    def carrier_lost(self, detail: str) -> None:
        """The engine, or the session, gave the current carrier up."""
        if self.carriers.has_spare:
            self.carriers.drop_current()
            self.carriers.await_spare(Trigger.ICE_FAILURE, detail)
            return
        if not self.carriers.has_standby:
            self.carriers.drop_standby()
        self.carriers.drop_current()
        if self.context.state.is_up:
            self.execute(self.rules.carrier_lost(self.situation(), detail))
        elif self.carriers.is_attempting:
            self.attempt_failed(DecisionReason.RESTART_FAILED, detail)

    def resumed(self) -> bool:
        """The session flows on the current carrier; whether that is new, and so ended an attempt."""
        return self._succeeds(self.carriers.resumed())

    def heard(self, at: float | None) -> bool:
        """The peer was last heard on the current carrier at `at`, which the liveness is not told yet; whether that
        ended a recovery."""
        if at is None:
            return False
        has_recovered = self._succeeds(self.carriers.heard(at, self.liveness.last_heard_at))
        if self.carriers.has_spare:
            self.spares.heard(at)
        return has_recovered

    def acknowledged(self) -> None:
        """Something that was sent on the current carrier was acknowledged."""
        self.rules.acknowledged()

    # The attempt.

    def attempt_is_due(self) -> None:
        """A wait is over, or an attempt was slept through."""
        self.carriers.stop_attempt()
        self.execute(self.rules.retry(self.carriers.trigger, self.situation()))

    def attempt_timed_out(self) -> None:
        if (attempt := self.carriers.attempt) is not None:
            detail = why_it_failed(self.context, attempt, is_agreed=self.carriers.negotiation.is_agreed)
            self.attempt_failed(DecisionReason.RESTART_FAILED, detail)

    def end(self, state: State, reason: Reason, detail: str = "") -> None:
        """The tube ends."""
        self.carriers.drop_carriers()
        self.context.timers.clear()
        self.context.change(state, reason, detail)

    def attempt_failed(self, reason: DecisionReason, detail: str) -> None:
        carriers = self.carriers
        was_restart = carriers.is_restarting
        carriers.stop_attempt()
        if was_restart:
            self.execute(self.rules.retry(carriers.trigger, self.situation(), reason))
        else:
            carriers.drop_spare()
            if not carriers.is_open:
                carriers.drop_current()
            self.execute(self.rules.rebuild_failed(carriers.trigger, self.situation(), detail))

    def _unsettled(self) -> None:
        if self._warm is not None:
            self._warm.unsettled()

    def _succeeds(self, succeeded: bool) -> bool:
        if succeeded:
            self._unsettled()
            self.rules.succeeded(self.context.now)
        return succeeded

    # Deciding.

    def _judge(self, event: NetworkChanged) -> Decision:
        decision = self.rules.network_event(event, self.situation())
        self.execute(decision)
        is_held = decision.action is RecoveryAction.HOLD and decision.next_attempt_at is not None
        if is_held or (decision.action is RecoveryAction.WAIT and self.context.state.is_up):
            self.pending = (event, self.context.now, decision.reason)
            if decision.next_attempt_at is not None:
                self.context.timers.set(Timer.REJUDGE, decision.next_attempt_at)
        return decision

    def execute(self, decision: Decision) -> None:
        self.decisions = (*self.decisions[1 - MAX_DECISIONS :], decision)
        self.context.actions.append(decision)
        trigger, before = decision.trigger, self.carriers.spare
        match decision.action:
            case RecoveryAction.HOLD:
                if decision.reason not in _UNASKED:
                    self._ask()
            case RecoveryAction.ICE_RESTART:
                self.pending = None
                self.carriers.restart(trigger or Trigger.REQUEST)
            case RecoveryAction.REBUILD:
                self.pending = None
                self.carriers.build(trigger)
            case RecoveryAction.SPARE:
                if decision.reason is not DecisionReason.PATH_SUSPECT:
                    self.pending = None
                self.carriers.build_beside(trigger or Trigger.REQUEST, decision.reason)
                self.ask_what_is_kept()
            case RecoveryAction.SWITCH:
                self.warm.use()
            case RecoveryAction.WAIT if trigger is not None and trigger.is_network_event and self.context.state.is_up:
                self._ask()  # the path may still work: the liveness tells
            case RecoveryAction.WAIT:
                self.carriers.wait(decision)
                self.ask_what_is_kept()
            case RecoveryAction.FAIL:
                self.end(State.FAILED, Reason.ATTEMPTS_EXHAUSTED, decision.detail)
            case _:
                assert_never(decision.action)
        if before is not None and before.is_precaution and self.carriers.spare is not before:
            self.rules.precaution_wasted(before.begun_at)

    def ask_what_is_kept(self) -> None:
        """A silent path that is kept may heal: its silence counts from now, and it is asked."""
        if self.carriers.is_holding:
            self.liveness.excuse(self.context.now)
            self.context.actions.append(Probe())

    def _ask(self) -> None:
        """Whether the path is there."""
        if self.context.state.is_up:
            self.liveness.doubt(self.context.now)
            self.context.actions.append(Probe())

    def situation(self) -> Situation:
        context, carriers = self.context, self.carriers
        kept = carriers.attempt if carriers.is_holding else None
        now, state = context.now, context.state
        takes_spare = self._spares is None or self._spares.peer_takes_them
        return Situation(
            now=now,
            has_begun=state is not State.INITIALIZING and not self.awaits_first_offer,
            is_up=state.is_up,
            is_open=carriers.is_open,
            has_spare=carriers.has_spare,
            is_attempting=carriers.is_attempting,
            restarts=carriers.restarts,
            can_restart=carriers.can_restart,
            silent_for=now - kept.lost_at if kept is not None else self.liveness.silent_for(now),
            signaling=self._signaling,
            has_address=self._has_address,
            is_initiator=self._initiator,
            peer_takes_spare=takes_spare,
            in_band=takes_spare and state.is_up and carriers.is_open and not self.liveness.is_suspect(now),
            has_standby=carriers.has_standby,
            spare_told_at=-math.inf if carriers.spare is None else carriers.spare.told_at,
        )
