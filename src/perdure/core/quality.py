"""How well the path works: a score in 0 … 1, and whether that is DEGRADED."""

from __future__ import annotations

import math

from perdure.core.rtt import RttEstimator

SMALLEST_BASELINE = 0.025
"""Seconds: what a round trip may take on any path before it is compared with the path's own best. The event loop's
stalls and the queues of a busy local path stay below."""

RTT_ALLOWANCE = 4.0
"""Times its baseline that a round trip may take without loss of quality: a busy path's queue."""

BASELINE_SHARE = 1 / 600
"""How much of the way to the present round trip the baseline rises with each judgement: a path that has become slower
for good is the new normal after about ten minutes."""

LOSS_WEIGHT = 4.0
"""5 % of lost checks cost 0.2, which is the default threshold: what interactive use begins to feel."""

QUEUE_ALLOWANCE = 0.25
"""Seconds that sent bytes may wait for their answer beyond a round trip."""

HYSTERESIS = 0.1
"""A degraded path is good again this much above the threshold."""

FRESH_SECONDS = 10.0
"""What an idle path answered longer ago says nothing of it now: one stall of a process must not degrade a path for the
hours until enough better answers have come."""

JUDGE_INTERVAL = 1.0
"""Seconds between two judgements, both of which must agree before the state changes."""

LOSS_WINDOW = 24
"""STUN checks over which losses are averaged: a minute of them, as the engine sends one about every 2.5 s. With fewer
a single lost one would look like a bad path."""


_NEVER = -math.inf


class Quality:
    """Judges one path at a time from samples; `restart` where the path is another."""

    __slots__ = (
        "_baseline",
        "_counted",
        "_judged_at",
        "_rtt",
        "_sampled_at",
        "is_degraded",
        "is_in_doubt",
        "loss_rate",
        "score",
    )

    def __init__(self) -> None:
        self.restart(is_new_carrier=True)

    def restart(self, *, is_new_carrier: bool) -> None:
        """Another path: what is normal for it is not known yet. A new carrier's checks are counted from 0."""
        self._rtt = RttEstimator()
        self._sampled_at = _NEVER
        self._baseline: float | None = None
        self._counted: tuple[int, int] | None = (0, 0) if is_new_carrier else None
        """Checks sent and lost up to the last measurement; `None`: they count from the next one."""
        self._judged_at: float | None = None
        self.is_in_doubt = False
        """Whether the last judgement was for a change, which the next one has to confirm."""
        self.loss_rate = 0.0
        """The share of the last STUN checks that had no answer, 0 … 1."""
        self.score = 1.0
        self.is_degraded = False

    def rtt_sample(self, seconds: float, now: float) -> None:
        """Something was answered after `seconds`."""
        if now > self._sampled_at + FRESH_SECONDS:
            self._rtt.srtt = None
        self._sampled_at = now
        self._rtt.sample(seconds)
        self._baseline = seconds if self._baseline is None else min(self._baseline, seconds)

    def checks(self, sent: int, answered: int) -> None:
        """The engine's counts, which begin anew where it takes another pair of candidates."""
        lost = max(0, sent - answered)
        if self._counted is not None and sent > self._counted[0]:
            new = sent - self._counted[0]
            # One may be under way at either end, so the difference of two counts is right on average.
            new_rate = (lost - self._counted[1]) / new
            rate = self.loss_rate + (new_rate - self.loss_rate) * min(1.0, new / LOSS_WINDOW)
            self.loss_rate = min(1.0, max(0.0, rate))
        self._counted = (sent, lost)

    def is_due(self, now: float) -> bool:
        """Whether it is time for another judgement."""
        return self._judged_at is None or now >= self._judged_at + JUDGE_INTERVAL

    def judge(self, now: float, overdue: float, threshold: float) -> bool:
        """Judge, `overdue` being the seconds for which sent bytes have been waiting beyond a timeout; whether
        `is_degraded` changed. Below `threshold` a path is degraded."""
        self._judged_at = now
        self.score = self._rtt_factor() * max(0.0, 1 - LOSS_WEIGHT * self.loss_rate) * _queue_factor(overdue)
        limit = min(1.0, threshold + HYSTERESIS) if self.is_degraded else threshold
        wants_change = (self.score >= limit) if self.is_degraded else (self.score < limit)
        changes = wants_change and self.is_in_doubt
        self.is_in_doubt = wants_change and not changes
        if changes:
            self.is_degraded = not self.is_degraded
        return changes

    def _rtt_factor(self) -> float:
        if self._rtt.srtt is None or self._baseline is None:
            return 1.0
        allowed = RTT_ALLOWANCE * max(SMALLEST_BASELINE, self._baseline)
        self._baseline += max(0.0, self._rtt.srtt - self._baseline) * BASELINE_SHARE
        return min(1.0, allowed / self._rtt.srtt) if self._rtt.srtt > 0 else 1.0


def _queue_factor(overdue: float) -> float:
    return min(1.0, QUEUE_ALLOWANCE / overdue) if overdue > 0 else 1.0
