"""Decides for one tube: puts what happened to the rules, and remembers what their answers depend on.

That is the attempts that failed in a row, the last hand-over, the restarts of the last minute, carriers that were lost
at once, and restarts for quality. The rules are in `rules`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.core import rules
from perdure.core.conditions import (
    GLARE_DELAY,
    SHORT_LIFE_SECONDS,
    SHORT_LIVES_FORGIVEN,
    UNCOUNTED,
    Facts,
    resuming_until,
)
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Situation, Trigger
from perdure.core.restart_limit import UNLIMITED, Allowance, RestartLimit
from perdure.core.rules import Table, Until
from perdure.core.state import Reason
from perdure.doubling import doubled

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy
    from perdure.core.events import NetworkChanged

JITTER = 0.1
"""The share by which a wait is lengthened at random, so that a gateway's many clients do not come back in step."""

_BEGINS = (RecoveryAction.ICE_RESTART, RecoveryAction.SPARE, RecoveryAction.SWITCH, RecoveryAction.REBUILD)
_FAILURES = (DecisionReason.BACKOFF, DecisionReason.SHORT_LIVES, DecisionReason.PEERS_TURN, DecisionReason.EXHAUSTED)


class RecoveryPolicy:
    """What it returns is carried out by `Recovery`. A decision that begins something is counted here."""

    __slots__ = (
        "_attempts_failed",
        "_grace_is_for_known",
        "_grace_until",
        "_limit",
        "_policy",
        "_quality_tries",
        "_quality_until",
        "_random",
        "_short_lives",
        "_succeeded_at",
    )

    def __init__(self, policy: RestartPolicy, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._attempts_failed = 0
        self._grace_until = 0.0
        self._grace_is_for_known = True
        """Whether the hand-over of the grace was to a network that the engine knew: one to a new address breaks it."""
        self._limit: RestartLimit | None = None
        """Since there was something to count."""
        self._short_lives = 0
        self._succeeded_at: float | None = None
        self._quality_tries = 0
        self._quality_until = 0.0

    # What happened.

    def network_moved(self, now: float, *, is_return: bool = False) -> None:
        """A network event came, of this end or, as its offer says, of the peer; `is_return`: see `NetworkChanged`."""
        self._counting().moved(now, is_return=is_return)

    def peer_began(self, trigger: Trigger | None, now: float) -> None:
        """The peer begins a recovery for `trigger`."""
        if trigger not in UNCOUNTED:
            self._counting().peer_spends(now)
        if trigger is not None and trigger.is_network_event:
            self.network_moved(now)
            self._begin_grace(now, is_new_address=False)

    def succeeded(self, now: float) -> None:
        """The path works again."""
        self._attempts_failed = 0
        self._succeeded_at = now

    def acknowledged(self) -> None:
        """What was sent on the new carrier was acknowledged: it was a success, however short its life."""
        self._short_lives = 0
        self._succeeded_at = None

    def quality_restored(self) -> None:
        self._quality_tries = 0
        self._quality_until = 0.0

    def precaution_wasted(self, begun_at: float) -> None:
        """The spare of a suspicion was not needed."""
        self._counting().take_back(begun_at)

    # What to do.

    def first(self, situation: Situation) -> Decision:
        """This end makes the first offer."""
        return self._decide(rules.FIRST_OFFER, self._facts(None, situation))

    def network_event(self, event: NetworkChanged, situation: Situation) -> Decision:
        """An interface or an address changed, or the machine woke up. The count of attempts starts over: the world is
        different now."""
        self._attempts_failed = 0
        decision = self._decide(rules.NETWORK_EVENT, self._facts(event.trigger, situation, event=event), event.detail)
        if decision.action in _BEGINS:
            self._begin_grace(situation.now, is_new_address=event.is_new_address)
        return decision

    def network_event_answered(self, trigger: Trigger, situation: Situation) -> Decision:
        """An event that waited needs nothing more."""
        return self._decide(rules.EVENT_ANSWERED, self._facts(trigger, situation))

    def path_suspect(self, situation: Situation) -> Decision:
        """An answer is overdue. The spare counts as a restart, unless it turns out not to be needed."""
        return self._decide(rules.PATH_SUSPECT, self._facts(Trigger.CONNECTION_TIMEOUT, situation))

    def path_lost(self, trigger: Trigger, situation: Situation) -> Decision:
        """No answer came although one was due (CONNECTION_TIMEOUT); or ICE has given up every pair (ICE_FAILURE)."""
        return self._decide(rules.PATH_LOST, self._facts(trigger, situation))

    def carrier_lost(self, situation: Situation, detail: str) -> Decision:
        """The engine gave a working carrier up."""
        life = None if self._succeeded_at is None else situation.now - self._succeeded_at
        self._short_lives = self._short_lives + 1 if life is not None and life < SHORT_LIFE_SECONDS else 0
        if self._short_lives > SHORT_LIVES_FORGIVEN:
            self._attempts_failed = self._short_lives - SHORT_LIVES_FORGIVEN - 1
        return self._decide(rules.CARRIER_LOST, self._facts(Trigger.ICE_FAILURE, situation), detail)

    def quality_poor(self, situation: Situation, *, carries_data: bool) -> Decision:
        """The path's quality is below the threshold."""
        facts = self._facts(Trigger.QUALITY_DEGRADATION, situation, carries_data=carries_data)
        decision = self._decide(rules.QUALITY_POOR, facts)
        if decision.action in _BEGINS:
            self._quality_tries += 1
            self._quality_until = situation.now + self._backoff(self._quality_tries)
        return decision

    def requested(self, situation: Situation, *, rebuild: bool, why: DecisionReason = DecisionReason.ASKED) -> Decision:
        """A new path is wanted."""
        return self._decide(rules.REQUESTED, self._facts(Trigger.REQUEST, situation, asks_for_rebuild=rebuild, why=why))

    def reported(self, trigger: Trigger, situation: Situation, detail: str) -> Decision:
        """Somebody else's opinion of the path: evidence, never the verdict."""
        return self._decide(rules.REPORTED, self._facts(trigger, situation), detail)

    # When an attempt, or a wait, is over.

    def retry(
        self, trigger: Trigger | None, situation: Situation, why: DecisionReason = DecisionReason.RETRY
    ) -> Decision:
        """A wait is over, or what was waited for is there, or an ICE restart failed: only a new carrier helps."""
        return self._decide(rules.RETRY, self._facts(trigger, situation, why=why))

    def answered_late(self, trigger: Trigger | None, situation: Situation) -> Decision:
        """The peer found an offer that had waited for it, and builds on a carrier that is gone here."""
        return self._decide(rules.ANSWERED_LATE, self._facts(trigger, situation))

    def rebuild_failed(self, trigger: Trigger | None, situation: Situation, detail: str) -> Decision:
        """A carrier could not be built."""
        return self._decide(rules.BUILD_FAILED, self._facts(trigger, situation), detail)

    # How.

    def _facts(
        self,
        trigger: Trigger | None,
        situation: Situation,
        *,
        event: NetworkChanged | None = None,
        carries_data: bool = False,
        asks_for_rebuild: bool = False,
        why: DecisionReason = DecisionReason.RETRY,
    ) -> Facts:
        now, most = situation.now, self._policy.max_restart_attempts
        return Facts(
            situation,
            trigger,
            event,
            carries_data,
            asks_for_rebuild,
            why,
            in_grace=now < self._grace_until,
            grace_is_for_known=self._grace_is_for_known,
            limit=self._allowance(trigger, now),
            carriers_short_lived=self._short_lives > SHORT_LIVES_FORGIVEN,
            is_last_attempt=self._attempts_failed + 1 >= most,
            attempts_spent=self._attempts_failed >= most,
            quality_tried=now < self._quality_until,
        )

    def _decide(self, table: Table, facts: Facts, detail: str = "") -> Decision:
        rule = table.find(facts)
        trigger, now = facts.trigger, facts.situation.now
        action, attempt = rule.action, self._attempts_failed
        if action in _BEGINS:
            self._count(trigger, now)
            if table is not rules.PATH_SUSPECT:  # a precaution is no attempt
                attempt += 1
            if action is RecoveryAction.SPARE and not facts.situation.is_open:
                action = RecoveryAction.REBUILD
        elif rule.reason in _FAILURES and table is not rules.RETRY:
            self._attempts_failed = attempt = attempt + 1
        return Decision(trigger, action, rule.reason, attempt, self._next_at(rule.until, facts), now, detail)

    def _next_at(self, until: Until | None, facts: Facts) -> float | None:
        match until:
            case None:
                return None
            case Until.GRACE:
                return self._grace_until
            case Until.LIMIT:
                limit = facts.limit
                return limit.reserved_until if limit.spent_until is None else limit.spent_until
            case Until.BACKOFF:
                return facts.situation.now + self._backoff(self._attempts_failed)
            case Until.RESUMED:
                return resuming_until(facts.situation)
            case Until.GLARE:
                return facts.situation.now + GLARE_DELAY
            case _:
                assert_never(until)

    def _allowance(self, trigger: Trigger | None, now: float) -> Allowance:
        if self._limit is None or trigger is None or trigger in UNCOUNTED:
            return UNLIMITED
        return self._limit.look(now, network_event=trigger.is_network_event)

    def _begin_grace(self, now: float, *, is_new_address: bool) -> None:
        self._grace_until = now + self._policy.handover_grace
        self._grace_is_for_known = not is_new_address

    def _backoff(self, failures: int) -> float:
        return backoff(self._policy, failures, self._random)

    def _count(self, trigger: Trigger | None, now: float) -> None:
        if trigger not in UNCOUNTED:
            self._counting().spend(now)

    def _counting(self) -> RestartLimit:
        if self._limit is None:
            self._limit = RestartLimit(self._policy.max_restarts_per_minute)
        return self._limit


def backoff(policy: RestartPolicy, failures: int, random: Random) -> float:
    """Seconds to wait after so many failures in a row, from 1: base, twice the base, … the longest."""
    delay = doubled(policy.restart_backoff_base, failures - 1, policy.restart_backoff_max)
    return min(policy.restart_backoff_max, delay * (1 + JITTER * random.random()))


def renewal_delay(policy: RestartPolicy, reason: Reason, failures: int, random: Random) -> float:
    """Seconds until a new session replaces one that ended for `reason`.

    Args:
        failures: sessions in a row that never worked, this one included; 0 where it did.

    A peer that answered "I do not know this session" is there, and so it is where this end's session timed out: the
    first new one begins at once.
    """
    is_there = reason in _PEER_IS_THERE
    return 0.0 if is_there and failures <= 1 else backoff(policy, max(1, failures), random)


_PEER_IS_THERE = (
    Reason.PEER_RESTARTED,
    Reason.UNKNOWN_SESSION,
    Reason.CLOSED_BY_PEER,
    Reason.SESSION_TIMEOUT,
    Reason.SESSION_LIMIT,
)
