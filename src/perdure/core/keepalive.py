"""Whether the path is alive: judged by what the peer says, never by the engine's opinion."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.config import RestartPolicy

LATE_SECONDS = 1.0
"""A deadline noticed this much too late means that the process was stopped or the machine slept: the peer's silence
meanwhile says nothing, so it earns a probe and not a verdict."""


class Verdict(Enum):
    FINE = auto()
    PROBE = auto()
    SILENT = auto()
    STALLED = auto()
    """The peer talks, but has not acknowledged anything for `stall_timeout`."""


class Liveness:
    """Judges one carrier's path at a time."""

    __slots__ = ("_awaiting_since", "_last_heard_at", "_policy", "_probed_at", "_since")

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._since = 0.0
        self._last_heard_at = 0.0
        self._awaiting_since: float | None = None
        self._probed_at: float | None = None

    def start(self, now: float) -> None:
        """A new carrier works; its silence counts from now."""
        self._since = self._last_heard_at = now
        self._awaiting_since = self._probed_at = None

    def evidence(self, last_heard_at: float | None, awaiting_since: float | None) -> None:
        """What the session knows."""
        if last_heard_at is not None:
            self._last_heard_at = max(self._last_heard_at, last_heard_at)
        self._awaiting_since = awaiting_since

    def judge(self, now: float, due_at: float) -> Verdict:
        """The verdict at a deadline that was due at `due_at`."""
        if now - due_at > LATE_SECONDS:
            self._since = now
            return self._probe(now)
        if self._awaiting_since is None:
            return self._probe(now) if now >= self._last_heard_at + self._policy.keepalive_interval else Verdict.FINE
        silent_since = max(self._last_heard_at, self._awaiting_since, self._since)
        if now - silent_since >= self._policy.lost_after:
            return Verdict.SILENT
        if now - max(self._awaiting_since, self._since) >= self._policy.stall_timeout:
            return Verdict.STALLED
        if now - silent_since >= self._policy.probe_after and not self._has_probed(silent_since):
            return self._probe(now)
        return Verdict.FINE

    def next_check(self) -> float:
        """When to judge again; later than the last judgement, unless evidence came since."""
        if self._awaiting_since is None:
            idle_at = self._last_heard_at + self._policy.keepalive_interval
            return idle_at if self._probed_at is None else max(idle_at, self._probed_at + self._policy.lost_after)
        silent_since = max(self._last_heard_at, self._awaiting_since, self._since)
        stalled_at = max(self._awaiting_since, self._since) + self._policy.stall_timeout
        if self._has_probed(silent_since):
            return min(silent_since + self._policy.lost_after, stalled_at)
        return min(silent_since + self._policy.probe_after, stalled_at)

    def _has_probed(self, silent_since: float) -> bool:
        return self._probed_at is not None and self._probed_at >= silent_since

    def _probe(self, now: float) -> Verdict:
        self._probed_at = now
        return Verdict.PROBE
