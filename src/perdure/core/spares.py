"""Carriers that a suspicion begins beside the current one: when, and whether one was needed.

Each that was not needed doubles the wait for the next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.actions import DoubtSignaling
from perdure.core.attempt import Phase
from perdure.core.carriers import RETIRE_TIMEOUT
from perdure.core.decision import DecisionReason, Trigger
from perdure.core.timers import Timer
from perdure.doubling import doubled

if TYPE_CHECKING:
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.decision import Decision, Situation
    from perdure.core.keepalive import Liveness
    from perdure.core.recovery_policy import RecoveryPolicy

GLARE_DELAY = 0.05
"""Seconds that the acceptor leaves the first word to the initiator, which suspects the path too. Half of what it waits
where the path is lost (`conditions.GLARE_DELAY`): a spare is no loss, and offers that cross cost one of them."""

FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Seconds after a spare that was not needed. One costs both ends an offer, an answer and a DTLS handshake, some 30 ms
of CPU; a path that is always late to answer has one each half minute."""

FORGOTTEN_AFTER = 60.0
"""Seconds without one that was not needed, after which the count begins anew."""


class Spares:
    __slots__ = (
        "_carriers",
        "_context",
        "_initiator",
        "_liveness",
        "_not_before",
        "_rules",
        "_wasted",
        "peer_takes_them",
    )

    def __init__(
        self, context: Context, carriers: Carriers, rules: RecoveryPolicy, liveness: Liveness, *, initiator: bool
    ) -> None:
        self._context = context
        self._carriers = carriers
        self._rules = rules
        self._liveness = liveness
        self._initiator = initiator
        self._wasted = 0
        """How many in a row were not needed."""
        self._not_before = 0.0
        self.peer_takes_them = True
        """Whether the peer can have another carrier beside the current one."""

    def path_suspect(self) -> None:
        """An answer is overdue: SPARE is set, in case that it never comes."""
        if self._context.state.is_up:
            self._context.actions.append(DoubtSignaling())
        if self._carriers.spare is None and self._context.state.is_up:
            at = self._context.now + (0.0 if self._initiator else GLARE_DELAY)
            self._context.timers.set(Timer.SPARE, max(at, self._not_before))

    def is_due(self) -> bool:
        """SPARE: whether one is to be begun now. One that there is has had its time, and is dropped."""
        if self._carriers.spare is not None:
            self.waste()
            return False
        return self._context.state.is_up and self._liveness.is_suspect(self._context.now)

    def relays_renewed(self, situation: Situation) -> Decision | None:
        """There are new credentials of a TURN server. A path gets an allocation by them on a spare; a spare that was
        begun with the old ones is begun anew, or followed by another where it has to be brought to its end. An attempt
        is begun anew, too, and one that waits for its time begins now. What has not gathered yet does so with them."""
        carriers, spare, why = self._carriers, self._carriers.spare, DecisionReason.RELAYS_RENEWED
        if spare is not None and situation.is_up:
            spare.renews, spare.is_outdated = True, spare.is_told
        if carriers.gathers_later:
            if spare is not None and spare.renews and carriers.negotiation.offered_here:
                spare.trigger = Trigger.REQUEST  # one that a suspicion began is not dropped any more
            return None
        if not situation.is_up:
            attempt = carriers.attempt
            if attempt is None or not (attempt.is_under_way or attempt.phase is Phase.DELAYED):
                return None
            return self._rules.retry(attempt.trigger, situation, why)
        if spare is None or not spare.is_told:
            situation = situation._replace(has_spare=False)  # the next takes its place
        return self._rules.requested(situation, rebuild=True, why=why)

    def opened(self, *, is_proved: bool) -> None:
        """RESUME was said on the spare: the peer has its time to go on there. It has it again once its own RESUME has
        come (`is_proved`), behind which padding goes: on a bad path that takes seconds."""
        now, timers = self._context.now, self._context.timers
        if self._carriers.spare is not None:
            if not is_proved:
                self._carriers.spare.told_at = now
            timers.set(Timer.SPARE, max(timers.deadline(Timer.SPARE), now + RETIRE_TIMEOUT))

    def used(self) -> None:
        """The session goes on on the spare of a suspicion."""
        self._wasted = 0
        self._not_before = 0.0

    def heard(self, at: float) -> None:
        """The current carrier answers after all: who offered the spare drops it, unless the peer may go on on it."""
        spare = self._carriers.spare
        if spare is None or spare.is_told or not self._context.state.is_up:
            return
        if not self._carriers.negotiation.offered_here:
            return
        if spare.trigger is Trigger.CONNECTION_TIMEOUT and at > spare.begun_at:
            self.waste()

    def waste(self) -> None:
        """The spare was not needed, or did not open in its time."""
        spare, now = self._carriers.spare, self._context.now
        if spare is None:
            return
        if spare.trigger is Trigger.CONNECTION_TIMEOUT and self._carriers.negotiation.offered_here:
            if now >= self._not_before + FORGOTTEN_AFTER:
                self._wasted = 0
            self._not_before = now + doubled(FIRST_WAIT, self._wasted, LONGEST_WAIT)
            self._wasted = min(self._wasted + 1, 8)
        if spare.is_precaution:
            self._rules.precaution_wasted(spare.begun_at)
        self._carriers.drop_spare()
