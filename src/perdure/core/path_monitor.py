"""Watches the path in use: its silence, its quality, and the idle peer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core import overdue
from perdure.core.actions import KeepAlive, MeasureHealth, Probe
from perdure.core.decision import DecisionReason, RecoveryAction
from perdure.core.direct_trials import DirectTrials
from perdure.core.keepalive import Liveness, Verdict
from perdure.core.quality import Quality
from perdure.core.state import Reason, State
from perdure.core.timers import Timer

if TYPE_CHECKING:
    from perdure.config import RestartPolicy
    from perdure.core.context import Context
    from perdure.core.events import HealthMeasured, PathEvidence, RttMeasured
    from perdure.core.recovery import Recovery

HEALTH_SHARE_WHILE_DEGRADED = 8
"""How many times as often the statistics are read while the path is DEGRADED, or may be: every 15 s by default."""

LATE_VERDICT = 0.1
"""Seconds too late at which a verdict on a carrier's silence waits until what came meanwhile is read."""

CARRIES_DATA_SECONDS = 5.0
"""A path on which the peer was heard within this time carries data; twice the engine's own 2.5 s between checks."""


class PathMonitor:
    """Feeds `Recovery` with what it sees; decides DEGRADED and back itself."""

    __slots__ = ("_context", "_direct_trials", "_policy", "_recovery", "liveness", "quality")

    def __init__(self, context: Context, policy: RestartPolicy, liveness: Liveness, recovery: Recovery) -> None:
        self.liveness = liveness
        self.quality = Quality()
        self._context = context
        self._policy = policy
        self._recovery = recovery
        self._direct_trials: DirectTrials | None = None
        """While the path is relayed."""

    def start(self, *, is_new_carrier: bool, is_doubted: bool = False) -> None:
        """The path works, maybe another one than before. `is_doubted`: nobody has heard it for a while."""
        self.liveness.start(self._context.now)
        if is_doubted:
            self.liveness.doubt(self._context.now)
        self.quality.restart(is_new_carrier=is_new_carrier)
        self._context.timers.set(Timer.HEALTH, self._context.now + self._policy.connection_health_check_interval)
        if is_new_carrier and self._direct_trials is not None:
            self._direct_trials.path_changed(self._context.now)

    def network_moved(self) -> None:
        """A network event: what was relayed may do without now."""
        if self._direct_trials is not None:
            at = self._direct_trials.network_moved(self._context.now)
            if self._context.state.is_up:
                self._look_by(at)

    def learn(self, evidence: PathEvidence) -> None:
        self.liveness.evidence(evidence)

    def rtt_measured(self, measured: RttMeasured) -> None:
        self.liveness.rtt.sample(measured.seconds)
        self.liveness.gets_there(self._context.now - measured.seconds)
        if self._context.state.is_up:
            self.liveness.hear(self._context.now)
        if measured.is_idle:
            self.liveness.answered()
        self.quality.rtt_sample(measured.seconds, self._context.now)
        self._judge_quality()

    def health_measured(self, measured: HealthMeasured) -> None:
        if not self._context.state.is_up:
            return
        if measured.rtt is not None:
            self.quality.rtt_sample(measured.rtt, self._context.now)
        if measured.checks_sent is not None and measured.checks_answered is not None:
            self.quality.checks(measured.checks_sent, measured.checks_answered)
        self._judge_quality()
        self._judge_relay(is_relayed=measured.is_relayed)

    def judge_liveness(self) -> None:
        """LIVENESS is due."""
        context = self._context
        match self.liveness.judge(context.now):
            case Verdict.KEEPALIVE:
                context.actions.append(KeepAlive(context.now - self.liveness.last_heard_at))
            case Verdict.PROBE:
                context.actions.append(Probe())
                self._judge_quality()
            case Verdict.SUSPECT:
                context.actions.append(Probe())
                overdue.path_suspect(self._recovery)
                self._judge_quality()
            case Verdict.SILENT:
                if self._recovery.carriers.is_holding or not overdue.path_silent(self._recovery):
                    self.excuse()
            case Verdict.STALLED:
                self._recovery.end(State.FAILED, Reason.PEER_STALLED)
            case Verdict.FINE:
                pass

    def puts_off_verdict(self, timer: Timer, *, late: float) -> bool:
        """`timer` is noticed `late` seconds after its time; whether the path, or the warm spare that was asked, is
        judged a moment later instead."""
        if late <= LATE_VERDICT:
            return False
        if timer is Timer.SPARE:
            return self._recovery.carriers.has_standby and self._recovery.warm.put_off()
        return timer is Timer.LIVENESS and self.liveness.put_off(self._context.now)

    def excuse(self) -> None:
        """Silence counts from now, and the path is asked."""
        self.liveness.excuse(self._context.now)
        self._context.actions.append(Probe())

    def check_health(self) -> None:
        """HEALTH is due."""
        context = self._context
        is_degraded = context.state is State.DEGRADED
        share = HEALTH_SHARE_WHILE_DEGRADED if is_degraded else 1
        context.timers.set(Timer.HEALTH, context.now + self._policy.connection_health_check_interval / share)
        context.actions.append(MeasureHealth())
        if is_degraded and not self._carries_data:
            self._recovery.quality_poor(carries_data=False)

    def rearm(self) -> None:
        """LIVENESS, for what is known now."""
        context, timers = self._context, self._context.timers
        at = self.liveness.next_check() if context.state.is_up or self._recovery.carriers.is_holding else None
        if at is None:
            timers.cancel(Timer.LIVENESS)
        else:
            # A deadline first learned after it passed is due now; it does not mean that the machine slept.
            before = timers.deadline(Timer.LIVENESS)
            if at != before:
                timers.set(Timer.LIVENESS, max(at, min(context.now, before)))

    @property
    def _carries_data(self) -> bool:
        """Whether the peer was heard lately, and no answer is overdue. A poor path that is idle can be tried anew."""
        now = self._context.now
        return now - self.liveness.last_heard_at < CARRIES_DATA_SECONDS and not self.liveness.is_suspect(now)

    def _judge_quality(self) -> None:
        context, quality = self._context, self.quality
        if not context.state.is_up or not quality.is_due(context.now):
            return
        changed = quality.judge(context.now, self.liveness.overdue_for(context.now), self._policy.quality_threshold)
        if changed or quality.is_in_doubt:
            self._look_soon()
        if not changed:
            return
        score = f"score {quality.score:.2f}"
        if quality.is_degraded:
            context.change(State.DEGRADED, Reason.QUALITY_DEGRADED, score)
            self._recovery.quality_poor(carries_data=self._carries_data)
        else:
            context.change(State.CONNECTED, Reason.QUALITY_RESTORED, score)
            self._recovery.quality_restored()

    def _judge_relay(self, *, is_relayed: bool) -> None:
        """A relayed path is tried without the relay now and then: on a spare, so that nothing is risked."""
        now, interval = self._context.now, self._policy.direct_retry_interval
        if not is_relayed or not interval:
            self._direct_trials = None
        elif self._direct_trials is None:
            self._direct_trials = DirectTrials(interval, now)
        elif self._context.state is State.CONNECTED and self._direct_trials.is_due(now):
            decision = self._recovery.requested(rebuild=True, why=DecisionReason.TRY_DIRECT)
            if decision.action is not RecoveryAction.HOLD:
                self._direct_trials.tried(now)

    def _look_soon(self) -> None:
        self._look_by(self._context.now + self._policy.connection_health_check_interval / HEALTH_SHARE_WHILE_DEGRADED)

    def _look_by(self, at: float) -> None:
        """HEALTH is due at `at` at the latest."""
        timers = self._context.timers
        timers.set(Timer.HEALTH, min(at, timers.deadline(Timer.HEALTH)))
