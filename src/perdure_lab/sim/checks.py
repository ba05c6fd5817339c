"""What must hold at every step of a simulation.

A stream's bytes arrive in order, once, unaltered, and none is reset without a reason (`application`); no stream opens
to a target that is not allowed; who is told to write on has room; no tube ends without a reason; no more than the
restart limit's restarts, and nobody is held up by that limit before; new credentials of a relay renew a path once, and
a tube that is up stays so; states change by the table; signals are well formed (`signal_check`); nothing raises, and
nothing is logged as an error. What must hold at the end: `liveness`.
"""

from __future__ import annotations

import logging
from collections import deque
from itertools import takewhile
from typing import TYPE_CHECKING

from perdure.core.decision import DecisionReason, RecoveryAction, Trigger
from perdure.core.recovery import FIRST_OFFER_TIMEOUT
from perdure.core.recovery_policy import JITTER
from perdure.core.restart_limit import LIMIT_WINDOW
from perdure.core.state import TRANSITIONS, Reason, State
from perdure.streams.arrivals import TAKE_INTERVAL, TAKEN_AT_ONCE
from perdure.wire import MAX_STREAMS

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.actions import StateChanged
    from perdure.core.decision import Decision
    from perdure.manager import TunnelConnectionManager
    from perdure_lab.sim.peers import Process

UNCOUNTED = (None, Trigger.ICE_FAILURE, Trigger.REQUEST)
"""Restarts that no network causes: the restart limit does not count them."""

ROUNDING = 0.001
"""Seconds."""

LONGEST_TAKING = MAX_STREAMS / TAKEN_AT_ONCE * TAKE_INTERVAL + ROUNDING
"""Seconds until early bytes of a stream are handed over that came with all others that there may be."""

LATE_OFFER = 200.0
"""Seconds that the peer's offer may be on its way, until this end counts it: as long as the rendezvous is away, or this
end's machine stalled."""

GO_ON = (
    DecisionReason.RETRY,
    DecisionReason.RESTART_FAILED,
    DecisionReason.PEER_CANNOT_RESTART,
    DecisionReason.PEER_IS_BEHIND,
    DecisionReason.ANSWERED_LATE,
    DecisionReason.PEERS_TURN,
)
"""Why a decision goes on with what a network event began, and is not the judgement of a new one."""


_RESTARTS = (RecoveryAction.ICE_RESTART, RecoveryAction.REBUILD, RecoveryAction.SPARE)


def is_counted(decision: Decision) -> bool:
    """Whether it begins a restart of which only so many may be in a minute."""
    return decision.action in _RESTARTS and decision.trigger not in UNCOUNTED


class TubeWatch:
    """Watches one end of a tube."""

    def __init__(self, process: Process, manager: TunnelConnectionManager, violated: Callable[[str], None]) -> None:
        self._process = process
        self._manager = manager
        self._renewals_before = process.engine.relay_client.renewals
        self._planned = 0
        """How often a path that worked was renewed, as its relay has new credentials."""
        self._planned_at = -1.0
        self._violated = violated
        self._name = f"{process.machine.name} {manager.tube_id}"
        self._restarts: deque[float] = deque()
        self._failures = 0
        """Attempts in a row that failed, since the path worked or a network event may have been judged."""
        self._failures_in_all = 0
        """Since the path worked; before, those of the first set-up are missing, which nobody is told of."""
        self._has_worked = False
        self._has_short_lives = False
        """Whether carriers were lost again and again, which counts as attempts too."""
        self._state = manager.state
        self._began_at = process.machine.always_clock
        self._lost_at = self._began_at
        """Since when it is without a carrier, while it is."""
        self._peer = "gateway" if process.machine.name == "client" else "client"
        self._peers_life = process.surroundings.life_of(self._peer)
        manager.add_state_change_callback(self._changed)
        manager.add_network_change_callback(self._decided)

    def _changed(self, change: StateChanged) -> None:
        if change.before is not self._state or change.after not in TRANSITIONS[change.before]:
            self._violated(
                f"{self._name}: from {self._state.name} to {change.after.name} as if from {change.before.name}"
            )
        if change.after.is_up:
            self._failures = self._failures_in_all = 0
            self._has_worked = True
        if change.after is State.RECONNECTING:
            if change.reason is Reason.RECOVERY_REQUESTED and self._planned_at == self._process.surroundings.world.now:
                self._violated(f"{self._name}: it left {change.before.name} as its relay has new credentials")
            self._lost_at = self._process.machine.always_clock
        if change.after.is_final and not self._may_end(change.reason):
            self._violated(f"{self._name}: it ended for no reason: {change.reason.value}")
        self._state = change.after
        streams, most = self._manager.metrics.streams, self._process.registry.limits.max_streams
        if streams > most:
            self._violated(f"{self._name}: carries {streams} streams; {most} are allowed")

    def _may_end(self, reason: Reason) -> bool:
        process, now = self._process, self._process.machine.always_clock + ROUNDING
        surroundings = process.surroundings
        policy, limits = process.registry.policy, surroundings.settings.session
        is_first = self._state is State.CONNECTING
        match reason:
            case Reason.SHUT_DOWN:
                return process.is_ending
            case Reason.SESSION_TIMEOUT:
                used_at = max(self._began_at, surroundings.ledger.heard_at.get(self._manager, 0.0))
                return now - used_at + LONGEST_TAKING >= limits.session_timeout > 0
            case Reason.ATTEMPTS_EXHAUSTED:
                # The last attempt's failure is the end, and no wait. One that is killed fails at once. What is decided
                # at the first set-up nobody is told: there the waits between the attempts have to be over. The peer's
                # attempts, which fail here too, wait for nothing.
                waits = policy.max_restart_attempts - 1
                if is_first:
                    waits = max(0, waits - self._peers_attempts(now - self._began_at))
                    return now - self._began_at >= policy.restart_backoff_base * (2.0**waits - 1)
                return self._failures_in_all >= waits or self._has_short_lives
            case Reason.ABANDONED:
                awaits_offer = is_first and self._has_seen_no_attempt()
                patience = FIRST_OFFER_TIMEOUT if awaits_offer else policy.abandon_after
                return (is_first or self._state is State.RECONNECTING) and now - self._lost_at >= patience
            case Reason.PEER_RESTARTED | Reason.UNKNOWN_SESSION:
                return self._has_peer_ended()
            case Reason.CLOSED_BY_PEER:
                surroundings.claims.append(self.check_claim)  # it may still be closing
                return True
            case _:
                return False

    def _has_seen_no_attempt(self) -> bool:
        """Nothing was decided here but to wait for the client's first offer."""
        return all(decision.reason is DecisionReason.NOT_BEGUN for decision in self._manager.decisions)

    def _peers_attempts(self, seconds: float) -> int:
        """How many the peer has begun in the last `seconds`."""
        surroundings = self._process.surroundings
        since = surroundings.world.now - seconds
        recent = takewhile(lambda each: each[0] >= since, reversed(surroundings.decisions))
        return sum(site == self._peer and each.action in _RESTARTS for _, site, each in recent)

    def _has_peer_ended(self) -> bool:
        surroundings = self._process.surroundings
        has_restarted = surroundings.life_of(self._peer) != self._peers_life
        return has_restarted or surroundings.has_ended(self._peer, self._manager.tube_id)

    def check_claim(self) -> None:
        """It ended because the other end had closed it."""
        if not self._has_peer_ended():
            self._violated(f"{self._name}: it ended because the other end had closed it, which is there")

    def _decided(self, decision: Decision) -> None:
        self._has_short_lives = self._has_short_lives or decision.reason is DecisionReason.SHORT_LIVES
        if decision.reason is DecisionReason.BACKOFF:
            self._failures += 1
            self._failures_in_all += 1
            if decision.next_attempt_at is not None:
                self._check_backoff(decision.next_attempt_at - decision.at)
        elif decision.trigger is not None and decision.trigger.is_network_event and decision.reason not in GO_ON:
            self._failures = 0
        if decision.reason is DecisionReason.RELAYS_RENEWED and self._state.is_up:
            self._count_planned()
        if decision.reason is DecisionReason.RESTART_LIMIT:
            self._check_limit()
        if not is_counted(decision) or decision.reason is DecisionReason.PATH_SUSPECT:
            return
        restarts, budget = self._restarts, self._process.registry.policy.max_restarts_per_minute
        while restarts and restarts[0] <= decision.at - LIMIT_WINDOW + ROUNDING:
            restarts.popleft()
        restarts.append(decision.at)
        if len(restarts) > budget:
            self._violated(f"{self._name}: {len(restarts)} restarts in a minute; the budget is {budget}")

    def _count_planned(self) -> None:
        self._planned += 1
        self._planned_at = self._process.surroundings.world.now
        renewals = self._process.engine.relay_client.renewals - self._renewals_before
        if self._planned > renewals:
            self._violated(f"{self._name}: its path was renewed {self._planned} times for {renewals} new credentials")

    def _check_limit(self) -> None:
        """There were as many restarts in the last minute as may be, of both ends, as they came to this one. To use a
        warm spare is one of them, though it does not wait for the limit."""
        surroundings, budget = self._process.surroundings, self._process.registry.policy.max_restarts_per_minute
        since = surroundings.world.now - LIMIT_WINDOW - LATE_OFFER
        recent = takewhile(lambda each: each[0] >= since, reversed(surroundings.decisions))
        counted = (each.action is RecoveryAction.SWITCH or is_counted(each) for _, _, each in recent)
        if (restarts := sum(counted)) < budget:
            self._violated(
                f"{self._name}: the restart limit is reached after {restarts} restarts; the budget is {budget}"
            )

    def _check_backoff(self, delay: float) -> None:
        policy = self._process.registry.policy
        base, most = policy.restart_backoff_base, policy.restart_backoff_max
        shortest = min(most, base * 2.0 ** (self._failures - 1))
        is_counted = self._has_worked and not self._has_short_lives  # each of these is a failure that nobody is told
        longest = min(most, base * 2.0 ** (self._failures_in_all - 1) * (1 + JITTER)) if is_counted else most
        if not shortest - ROUNDING <= delay <= longest + ROUNDING:
            bounds = f"{shortest:.1f} to {longest:.1f}"
            self._violated(f"{self._name}: waits {delay:.1f} s after {self._failures} failures, not {bounds}")


class ErrorLog(logging.Handler):
    """Nothing that perdure logs as an error happens in a simulation."""

    def __init__(self, violated: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._violated = violated

    def emit(self, record: logging.LogRecord) -> None:
        self._violated(f"logged: {self.format(record)}")
