"""Whether the path is alive: judged by what the peer says, never by the engine's opinion."""

from __future__ import annotations

import math
from enum import Enum, auto
from typing import TYPE_CHECKING

from perdure.core.rtt import RttEstimator

if TYPE_CHECKING:
    from perdure.config import RestartPolicy
    from perdure.core.events import PathEvidence


class Verdict(Enum):
    FINE = auto()
    KEEPALIVE = auto()
    """Nothing was heard for the keepalive's interval, and nothing is due: ask. From now an answer is."""
    PROBE = auto()
    """A peer that talks acknowledges nothing: ask."""
    SUSPECT = auto()
    """An answer is overdue."""
    SILENT = auto()
    """It did not come."""
    STALLED = auto()
    """The peer has not acknowledged anything for `stall_timeout`, and yet answers what was sent later."""


LOST_AFTER = 3
"""Timeouts without a word until a suspect path counts as lost. One is for the answer, one for the probe, one for
the retransmission that a lost packet costs (SCTP's own timer begins at 0.4 s)."""


READING_DELAY = 0.05
"""Seconds that a process which stood still has to read what came meanwhile, before a carrier counts as silent."""

MAX_PATIENCE = 1024.0
"""Enough for any round trip to reach `timeout_threshold`."""


_NEVER = -math.inf


class Liveness:
    """Judges one carrier's path at a time.

    A path that is slow and not dead would be judged silent on each carrier, for ever. So each such judgement doubles
    the patience with the next carrier (RFC 6298 §5.5), up to `timeout_threshold`, until something is acknowledged.

    A peer that talks and acknowledges nothing may be heard on a path that carries one way only. So after
    `stall_timeout` it is asked: its answer, on a channel that keeps the order, says that it has all that was sent
    before; without one the path is silent, whoever is heard on it.
    """

    __slots__ = (
        "_awaited",
        "_awaiting_since",
        "_awaits_only_ping",
        "_gets_there",
        "_is_doubted",
        "_last_heard_at",
        "_patience",
        "_policy",
        "_probed_at",
        "_put_off_at",
        "_since",
        "_suspected_at",
        "_unread_since",
        "rtt",
    )

    def __init__(self, policy: RestartPolicy) -> None:
        self.rtt = RttEstimator()
        self._policy = policy
        self._since = 0.0
        self._last_heard_at = 0.0
        self._awaiting_since: float | None = None
        self._awaits_only_ping = False
        self._awaited: float | None = None
        """Since when the first answer of this carrier was due."""
        self._probed_at: float | None = None
        self._suspected_at = _NEVER
        """When an answer was last found to be overdue."""
        self._put_off_at = _NEVER
        """When a verdict was put off last, as this process was late to ask for it."""
        self._unread_since = _NEVER
        """From when silence counts for that."""
        self._gets_there = False
        """Whether something was answered that was sent after what waits for an answer."""
        self._is_doubted = False
        self._patience = 1.0

    @property
    def last_heard_at(self) -> float:
        """When the peer was last heard; the carrier's begin before."""
        return self._last_heard_at

    @property
    def awaiting_since(self) -> float | None:
        """Since when the answer is due that is due first; `None`: none is."""
        return self._awaiting_since

    @property
    def awaits_only_ping(self) -> bool:
        """Whether only an idle path's ping waits for that answer."""
        return self._awaits_only_ping

    def silent_for(self, now: float) -> float:
        """Seconds of silence while an answer is due; 0 where none is."""
        return 0.0 if self._awaiting_since is None else max(0.0, now - self._silent_since(self._awaiting_since))

    def overdue_for(self, now: float) -> float:
        """Seconds beyond a timeout for which an answer has been due; 0 where none is."""
        return 0.0 if self._awaiting_since is None else max(0.0, self.silent_for(now) - self.rtt.timeout)

    def is_suspect(self, now: float) -> bool:
        """Whether an answer is overdue."""
        since = self._awaiting_since
        return since is not None and now >= self._silent_since(since) + self._suspect_after  # added, as `judge` does

    def start(self, now: float) -> None:
        """A new carrier works; its silence counts from now."""
        self._since = self._last_heard_at = now
        self._awaiting_since = self._probed_at = self._awaited = None
        self._is_doubted = self._gets_there = False

    def gets_there(self, sent_at: float) -> None:
        """What was sent at `sent_at` was answered."""
        if self._awaiting_since is not None and sent_at > self._awaiting_since:
            self._gets_there = True

    def hear(self, at: float) -> None:
        """The peer said something at `at`."""
        if at > self._last_heard_at:
            self._last_heard_at = at
            self._is_doubted = False

    def answered(self) -> None:
        """Nothing is due any more."""
        self._awaiting_since = None
        self._awaits_only_ping = False

    def evidence(self, evidence: PathEvidence) -> None:
        """What the session knows."""
        if evidence.last_heard_at is not None:
            self.hear(evidence.last_heard_at)
        if evidence.awaiting_since != self._awaiting_since:
            self._gets_there = False
        self._awaiting_since = evidence.awaiting_since
        self._awaits_only_ping = evidence.awaits_only_ping
        if self._awaited is None:
            self._awaited = evidence.awaiting_since
        elif evidence.awaiting_since != self._awaited:
            self._patience = 1.0

    def doubt(self, now: float) -> None:
        """The path may be gone, and is asked now: that ping counts like data that waits."""
        if self._is_patient:
            self._since = now
        self._is_doubted = True
        self._probed_at = now

    def excuse(self, now: float) -> None:
        """This process was not there to hear anything: silence counts from now."""
        self._since = now
        self._probed_at = now

    def put_off(self, now: float) -> bool:
        """The verdict is asked for late, so this process stood still, and what came meanwhile is not read yet. Whether
        the verdict can wait for that; once in a silence, as a dead path must be noticed by a busy process too. An idle
        path's can not, as it is asked for at a rounded time, nor can a stall's."""
        awaiting_since = self._awaiting_since
        if awaiting_since is None or self._is_patient or self._put_off_at >= self._last_heard_at:
            return False
        if now >= self._stalled_at(awaiting_since):
            return False
        self._put_off_at = now
        is_suspect = self._suspected_at >= self._silent_since(awaiting_since)
        wait = self._lost_after if is_suspect else self._suspect_after
        self._unread_since = now + READING_DELAY - wait
        if is_suspect:  # it still is
            self._suspected_at = self._silent_since(awaiting_since)
        return True

    def judge(self, now: float) -> Verdict:
        """The verdict at a deadline."""
        awaiting_since = self._awaiting_since
        if awaiting_since is None:
            at = self._idle_check()
            if at is None or now < at:
                return Verdict.FINE
            self._probed_at = self._awaiting_since = now  # the ping goes out now: nobody needs to say so
            self._awaits_only_ping = True
            return Verdict.KEEPALIVE
        silent_since = self._silent_since(awaiting_since)
        stalled_at = self._stalled_at(awaiting_since)
        if now >= min(silent_since + self._lost_after, self._unanswered_at(stalled_at)):
            self._patience = min(MAX_PATIENCE, self._patience * 2)
            return Verdict.SILENT
        if now >= stalled_at:
            if self._gets_there:
                return Verdict.STALLED
            if not self._has_probed(stalled_at):
                self._probed_at = now
                return Verdict.PROBE
        is_overdue = now >= silent_since + self._suspect_after and not self._is_patient
        if is_overdue and self._suspected_at < silent_since:
            self._probed_at = self._suspected_at = now
            return Verdict.SUSPECT
        return Verdict.FINE

    def next_check(self) -> float | None:
        """When to judge again; later than the last judgement, unless evidence came since."""
        awaiting_since = self._awaiting_since
        if awaiting_since is None:
            return self._idle_check()
        silent_since = self._silent_since(awaiting_since)
        wait = self._lost_after
        if not self._is_patient and self._suspected_at < silent_since:
            wait = min(wait, self._suspect_after)
        stalled_at = self._stalled_at(awaiting_since)
        unanswered_at = self._unanswered_at(stalled_at)
        return min(silent_since + wait, stalled_at if unanswered_at == math.inf else unanswered_at)

    def _idle_check(self) -> float | None:
        if not self._policy.ice_keepalive_enabled:
            return None
        interval = self._policy.ice_keepalive_interval
        at = self._last_heard_at + interval
        if self._probed_at is None:
            return at
        return max(at, self._probed_at + min(interval, self._policy.timeout_threshold))

    def _silent_since(self, awaiting_since: float) -> float:
        return max(self._last_heard_at, awaiting_since, self._since, self._unread_since)

    def _stalled_at(self, awaiting_since: float) -> float:
        """Only who talks can stall."""
        since = max(awaiting_since, self._since)
        return since + self._policy.stall_timeout if self._last_heard_at > since else math.inf

    def _unanswered_at(self, stalled_at: float) -> float:
        """When the answer to what was asked since then is overdue; infinite where nothing was, or it came."""
        if self._probed_at is None or not self._has_probed(stalled_at) or self._gets_there:
            return math.inf
        return self._probed_at + self._lost_after

    @property
    def _suspect_after(self) -> float:
        return max(self._policy.suspicion_floor, self.rtt.timeout)

    @property
    def _is_patient(self) -> bool:
        """Whether nothing but an idle path's ping waits, which is its own probe."""
        return self._awaits_only_ping and not self._is_doubted

    @property
    def _lost_after(self) -> float:
        if self._is_patient:
            return self._policy.timeout_threshold
        answer_timeout = max(self._policy.silence_floor, self.rtt.timeout)
        return min(self._policy.timeout_threshold, LOST_AFTER * answer_timeout * self._patience)

    def _has_probed(self, since: float) -> bool:
        return self._probed_at is not None and self._probed_at >= since
