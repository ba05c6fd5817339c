"""The rules: which action answers a trigger, and when the next attempt begins.

Rules, in their order:
1. A new network event starts the count of attempts over: the world is different now.
2. Without a usable address or signaling nothing is attempted and nothing spent: wait. But a path that is lost with its
   address is replaced also while signaling is away: signaling comes back meanwhile, and then has the offer to send.
3. A network event acts at once, also where the path still looks good, unless it leaves the path's own address as it
   was: then the path is only asked. Within the grace after a hand-over an event waits for that one's result, unless it
   brings an address that is new and that one did not, or takes the address of a path that is up.
4. No more than `max_restarts_per_minute`, whatever the network does; the peer's count as well, and the last ones wait
   until it has come to rest, or the path's own address has come back. What the engine or the user ended does not
   count: no network causes that. Suspicions take at most half of them, and one that was not needed is given back.
5. ICE restart where the engine can, the path may still work, SCTP's timer has not backed off, and the carrier is not
   worn by many restarts; otherwise a new carrier.
6. An open carrier is kept beside the new one (a spare) until that has resumed. It is closed first (a rebuild) only
   where its own address is gone, or the engine has to read the networks anew (docs/design.md).
7. A restart that fails is followed by a new carrier; one that does not open waits, longer each time, until the
   attempts are spent.
8. Poor quality alone never restarts a path that carries data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Situation, Trigger
from perdure.core.restart_limit import RestartLimit
from perdure.core.state import Reason

if TYPE_CHECKING:
    from random import Random

    from perdure.config import RestartPolicy

JITTER = 0.1
"""The share by which a wait is lengthened at random, so that a gateway's many clients do not come back in step."""

SHORT_LIFE_SECONDS = 0.25
"""A carrier that lived less, and on which nothing was acknowledged, was no success."""

SHORT_LIVES_FORGIVEN = 5
"""Short lives in a row that are rebuilt at once; one more counts as a failed attempt, so nothing spins."""

RESTART_USEFUL_SECONDS = 0.3
"""Silence beyond which SCTP's retransmission timer has backed off (0.4, 0.8, 1.6 s …): after an outage of 0.3 s a
restarted carrier carries data as soon as a rebuilt one, after one of 0.5 s 0.7 s later (measured, docs/design.md)."""

MAX_RESTARTS_OF_CARRIER = 8
"""The engine keeps the sockets of each ICE generation as long as the carrier lives (measured: 4 descriptors a restart
with 4 local addresses, and `get_stats` four times as dear after 7): after so many a new carrier is cheaper."""

LONG_SLEEP_SECONDS = 60.0
"""A nap below leaves NAT mappings and SCTP's state alive (Tailscale: no rebind on a 55 s nap); a probe tells."""

GLARE_DELAY = 0.1
"""Seconds that the acceptor leaves the first word to the other one after a loss which both of them see: more than a
local rendezvous needs, and little beside an outage that only the acceptor has noticed."""


_BREAKS = (DecisionReason.NEW_ADDRESS, DecisionReason.LOCAL_ADDRESS_LOST, DecisionReason.LONG_SLEEP)
_BREAKING_TRIGGERS = (Trigger.IP_ADDRESS_CHANGE, Trigger.WAKE_UP)
"""Why an open carrier is closed before another is built: its own address is gone, or the engine has to read the
networks anew, which it does without a carrier."""

_UNCOUNTED = (None, Trigger.ICE_FAILURE, Trigger.REQUEST)
"""What the restart limit does not count."""

_ASKED_AGAIN = (Trigger.REQUEST, Trigger.QUALITY_DEGRADATION)
"""What does not wait while the path is up: the user knows the answer, and the next health check decides anew."""


class RecoveryPolicy:
    """Decides for one tube. What it returns is carried out by `Recovery`; one that begins something is counted."""

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
        self._limit = RestartLimit(policy.max_restarts_per_minute)
        self._short_lives = 0
        self._succeeded_at: float | None = None
        self._quality_tries = 0
        self._quality_until = 0.0

    # What happened.

    def network_moved(self, now: float, *, is_return: bool = False) -> None:
        """A network event came, of this end or, as its offer says, of the peer; `is_return`: see `NetworkChanged`."""
        self._limit.moved(now, is_return=is_return)

    def peer_began(self, trigger: Trigger | None, now: float) -> None:
        """The peer begins a recovery for `trigger`."""
        self._count(trigger, now)
        if trigger is not None and trigger.is_network_event:
            self.network_moved(now)
            self._grace_until = now + self._policy.handover_grace
            self._grace_is_for_known = True

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

    # What to do.

    def first(self, situation: Situation) -> Decision:
        """This end makes the first offer."""
        return self._obstacle(None, situation) or self._begin(
            None, RecoveryAction.REBUILD, DecisionReason.FIRST, situation
        )

    def network_event(
        self,
        trigger: Trigger,
        situation: Situation,
        *,
        is_new_address: bool,
        local_address_lost: bool | None,
        slept_seconds: float,
    ) -> Decision:
        """An interface or an address changed, or the machine woke up. `local_address_lost=None`: it is not known."""
        self._attempts_failed = 0
        is_lost = local_address_lost or (local_address_lost is None and is_new_address)
        ready = situation._replace(signaling=True) if is_lost else situation
        if (obstacle := self._obstacle(trigger, ready)) is not None:
            return obstacle
        is_wake_up = trigger is Trigger.WAKE_UP
        if is_wake_up and slept_seconds < LONG_SLEEP_SECONDS and situation.is_open:
            return self._hold(trigger, DecisionReason.SHORT_SLEEP, situation)
        if local_address_lost is False and situation.is_up and not is_wake_up:
            return self._hold(trigger, DecisionReason.UNTOUCHED, situation)
        is_news = (is_new_address and self._grace_is_for_known) or (local_address_lost and situation.is_up)
        if situation.now < self._grace_until and not is_news:
            return self._hold(trigger, DecisionReason.IN_GRACE, situation, self._grace_until)
        if (limited := self._limit_reached(trigger, situation)) is not None:
            return limited
        self._grace_until = situation.now + self._policy.handover_grace
        self._grace_is_for_known = not is_new_address
        if is_wake_up and situation.is_open:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.LONG_SLEEP, situation)
        if is_new_address:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS, situation)
        if local_address_lost:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.LOCAL_ADDRESS_LOST, situation)
        return self._restart_or_rebuild(trigger, DecisionReason.NETWORK_MOVED, situation)

    def network_event_answered(self, trigger: Trigger, situation: Situation) -> Decision:
        """An event that waited needs nothing more."""
        reason = DecisionReason.UNDER_WAY if situation.is_attempting else DecisionReason.CARRIES_DATA
        return self._hold(trigger, reason, situation)

    def path_suspect(self, situation: Situation) -> Decision:
        """An answer is overdue. The spare counts as a restart, unless it turns out not to be needed."""
        trigger = Trigger.CONNECTION_TIMEOUT
        reason = DecisionReason.PATH_SUSPECT
        if (
            situation.is_attempting
            or situation.has_spare
            or self._obstacle(trigger, situation) is not None
            or self._limit.is_reserved(situation.now)
        ):
            return self._hold(trigger, reason, situation)
        self._count(trigger, situation.now)
        return Decision(trigger, RecoveryAction.SPARE, reason, self._attempts_failed, None, situation.now)

    def precaution_wasted(self, begun_at: float) -> None:
        """The spare of a suspicion was not needed."""
        self._limit.take_back(begun_at)

    def path_silent(self, situation: Situation) -> Decision:
        """No answer came although one was due."""
        return self._path_lost(Trigger.CONNECTION_TIMEOUT, DecisionReason.PATH_SILENT, situation)

    def ice_failed(self, situation: Situation) -> Decision:
        """ICE has given up every pair of candidates: no answer will come."""
        return self._path_lost(Trigger.ICE_FAILURE, DecisionReason.ICE_FAILED, situation)

    def _path_lost(self, trigger: Trigger, reason: DecisionReason, situation: Situation) -> Decision:
        if situation.has_spare:
            return self._hold(trigger, DecisionReason.UNDER_WAY, situation)
        if (obstacle := self._obstacle(trigger, situation) or self._limit_reached(trigger, situation)) is not None:
            return obstacle
        if not situation.is_initiator:
            return self._wait(trigger, DecisionReason.GLARE, situation, situation.now + GLARE_DELAY)
        return self._begin(trigger, RecoveryAction.REBUILD, reason, situation)

    def carrier_lost(self, situation: Situation, detail: str) -> Decision:
        """The engine gave a working carrier up."""
        trigger = Trigger.ICE_FAILURE
        life = None if self._succeeded_at is None else situation.now - self._succeeded_at
        self._short_lives = self._short_lives + 1 if life is not None and life < SHORT_LIFE_SECONDS else 0
        if (obstacle := self._obstacle(trigger, situation, detail)) is not None:
            return obstacle
        if self._short_lives > SHORT_LIVES_FORGIVEN:
            self._attempts_failed = self._short_lives - SHORT_LIVES_FORGIVEN - 1
            return self._failed(trigger, situation, DecisionReason.SHORT_LIVES, detail)
        if not situation.is_initiator:
            return self._wait(trigger, DecisionReason.GLARE, situation, situation.now + GLARE_DELAY, detail)
        return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.CARRIER_LOST, situation, detail)

    def quality_poor(self, situation: Situation, *, carries_data: bool) -> Decision:
        """The path's quality is below the threshold."""
        trigger = Trigger.QUALITY_DEGRADATION
        if carries_data:
            return self._hold(trigger, DecisionReason.CARRIES_DATA, situation)
        if situation.has_spare:
            return self._hold(trigger, DecisionReason.UNDER_WAY, situation)
        if (obstacle := self._obstacle(trigger, situation) or self._limit_reached(trigger, situation)) is not None:
            return obstacle
        if situation.now < self._quality_until:
            return self._hold(trigger, DecisionReason.QUALITY_BACKOFF, situation)
        self._quality_tries += 1
        self._quality_until = situation.now + self._backoff(self._quality_tries)
        return self._restart_or_rebuild(trigger, DecisionReason.POOR_PATH, situation)

    def requested(self, situation: Situation, *, rebuild: bool) -> Decision:
        """The user asks for a new path."""
        trigger = Trigger.REQUEST
        if situation.is_attempting or situation.has_spare:
            return self._hold(trigger, DecisionReason.UNDER_WAY, situation)
        if (obstacle := self._obstacle(trigger, situation)) is not None:
            return obstacle
        if rebuild:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.ASKED, situation)
        return self._restart_or_rebuild(trigger, DecisionReason.ASKED, situation)

    def doubted(self, trigger: Trigger, situation: Situation) -> Decision:
        """Somebody else's opinion of the path: evidence, never the verdict."""
        reason = DecisionReason.DOUBTED if situation.has_begun else DecisionReason.NOT_BEGUN
        return self._hold(trigger, reason, situation)

    # When an attempt, or a wait, is over.

    def retry(
        self, trigger: Trigger | None, situation: Situation, reason: DecisionReason = DecisionReason.RETRY
    ) -> Decision:
        """A wait is over, or what was waited for is there, or an ICE restart failed: only a new carrier helps."""
        if (obstacle := self._obstacle(trigger, situation) or self._limit_reached(trigger, situation)) is not None:
            return obstacle
        if self._attempts_failed >= self._policy.max_restart_attempts:
            return self._wait(trigger, DecisionReason.PEERS_TURN, situation)
        return self._begin(trigger, RecoveryAction.REBUILD, reason, situation)

    def answered_late(self, trigger: Trigger | None, situation: Situation) -> Decision:
        """The peer found an offer that had waited for it, and builds on a carrier that is gone here."""
        if (obstacle := self._obstacle(trigger, situation) or self._limit_reached(trigger, situation)) is not None:
            return obstacle
        return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.ANSWERED_LATE, situation)

    def rebuild_failed(self, trigger: Trigger | None, situation: Situation, detail: str) -> Decision:
        """A carrier could not be built."""
        if (obstacle := self._obstacle(trigger, situation, detail)) is not None:
            return obstacle
        if situation.now < self._grace_until:
            return self._wait(trigger, DecisionReason.IN_GRACE, situation, self._grace_until, detail)
        return self._failed(trigger, situation, DecisionReason.BACKOFF, detail)

    # How.

    def _obstacle(self, trigger: Trigger | None, situation: Situation, detail: str = "") -> Decision | None:
        """Nothing can be attempted now, and nothing is spent."""
        if not situation.has_begun and trigger is not Trigger.REQUEST:
            return self._hold(trigger, DecisionReason.NOT_BEGUN, situation)
        if not situation.has_address:
            return self._wait(trigger, DecisionReason.NO_ADDRESS, situation, detail=detail)
        if not situation.signaling:
            return self._wait(trigger, DecisionReason.NO_SIGNALING, situation, detail=detail)
        return None

    def _limit_reached(self, trigger: Trigger | None, situation: Situation) -> Decision | None:
        if trigger in _UNCOUNTED:
            return None
        reason, until = DecisionReason.RESTART_LIMIT, self._limit.empty_until(situation.now)
        if until is None:
            is_network_event = trigger is not None and trigger.is_network_event
            reason = DecisionReason.UNSETTLED
            until = self._limit.kept_until(situation.now, network_event=is_network_event)
        if until is None:
            return None
        if situation.is_attempting:
            return self._hold(trigger, reason, situation, until)
        return self._wait(trigger, reason, situation, until)

    def _restart_or_rebuild(self, trigger: Trigger, why: DecisionReason, situation: Situation) -> Decision:
        if not situation.is_open:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN, situation)
        if situation.silent_for >= RESTART_USEFUL_SECONDS:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.PATH_SILENT, situation)
        if not situation.can_restart:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.CANNOT_RESTART, situation)
        if situation.restarts >= MAX_RESTARTS_OF_CARRIER:
            return self._begin(trigger, RecoveryAction.REBUILD, DecisionReason.WORN, situation)
        return self._begin(trigger, RecoveryAction.ICE_RESTART, why, situation)

    def _failed(self, trigger: Trigger | None, situation: Situation, reason: DecisionReason, detail: str) -> Decision:
        self._attempts_failed += 1
        if self._attempts_failed < self._policy.max_restart_attempts:
            next_at = situation.now + self._backoff(self._attempts_failed)
            return self._wait(trigger, reason, situation, next_at, detail)
        if not situation.is_initiator:
            return self._wait(trigger, DecisionReason.PEERS_TURN, situation, detail=detail)
        reason = DecisionReason.EXHAUSTED
        return Decision(trigger, RecoveryAction.FAIL, reason, self._attempts_failed, None, situation.now, detail)

    def _backoff(self, failures: int) -> float:
        return backoff(self._policy, failures, self._random)

    def _count(self, trigger: Trigger | None, now: float) -> None:
        if trigger not in _UNCOUNTED:
            self._limit.spend(now)

    def _hold(
        self, trigger: Trigger | None, reason: DecisionReason, situation: Situation, next_at: float | None = None
    ) -> Decision:
        return Decision(trigger, RecoveryAction.HOLD, reason, self._attempts_failed, next_at, situation.now)

    def _wait(
        self,
        trigger: Trigger | None,
        reason: DecisionReason,
        situation: Situation,
        next_at: float | None = None,
        detail: str = "",
    ) -> Decision:
        """Unless an attempt is under way, which may still work."""
        if situation.is_attempting or (situation.is_up and trigger in _ASKED_AGAIN):
            return self._hold(trigger, reason, situation)
        return Decision(trigger, RecoveryAction.WAIT, reason, self._attempts_failed, next_at, situation.now, detail)

    def _begin(
        self,
        trigger: Trigger | None,
        action: RecoveryAction,
        reason: DecisionReason,
        situation: Situation,
        detail: str = "",
    ) -> Decision:
        self._count(trigger, situation.now)
        if action is RecoveryAction.REBUILD and situation.is_open and not _breaks(trigger, reason):
            action = RecoveryAction.SPARE
        return Decision(trigger, action, reason, self._attempts_failed + 1, None, situation.now, detail)


def _breaks(trigger: Trigger | None, reason: DecisionReason) -> bool:
    """Whether an open carrier is closed before another is built."""
    return reason in _BREAKS or (trigger in _BREAKING_TRIGGERS and reason is DecisionReason.RETRY)


def backoff(policy: RestartPolicy, failures: int, random: Random) -> float:
    """Seconds to wait after so many failures in a row, from 1: base, twice the base, … the longest."""
    delay = policy.restart_backoff_base * 2.0 ** min(max(0, failures - 1), 32)
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
