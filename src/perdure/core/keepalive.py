"""Whether the path is alive: judged by what the peer says, never by the engine's opinion."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.config import RestartPolicy


class Verdict(Enum):
    FINE = auto()
    PROBE = auto()
    SILENT = auto()
    STALLED = auto()
    """The peer talks, but has not acknowledged anything for `stall_timeout`."""


MAX_PATIENCE = 16.0
"""24 s with the default `lost_after`: a path slower than 64 KiB in that time is of no use to anybody."""


class Liveness:
    """Judges one carrier's path at a time.

    A path that is slow and not dead would be judged silent on each carrier, for ever. So each carrier that is judged
    silent without having had a single acknowledgement doubles the patience with the next one, up to `MAX_PATIENCE`.
    """

    __slots__ = ("_awaited", "_awaiting_since", "_last_heard_at", "_patience", "_policy", "_probed_at", "_since")

    def __init__(self, policy: RestartPolicy) -> None:
        self._policy = policy
        self._since = 0.0
        self._last_heard_at = 0.0
        self._awaiting_since: float | None = None
        self._awaited: float | None = None
        """Since when the first answer of this carrier was due."""
        self._probed_at: float | None = None
        self._patience = 1.0

    def start(self, now: float) -> None:
        """A new carrier works; its silence counts from now."""
        self._since = self._last_heard_at = now
        self._awaiting_since = self._probed_at = self._awaited = None

    def evidence(self, last_heard_at: float | None, awaiting_since: float | None) -> None:
        """What the session knows."""
        if last_heard_at is not None:
            self._last_heard_at = max(self._last_heard_at, last_heard_at)
        self._awaiting_since = awaiting_since
        if self._awaited is None:
            self._awaited = awaiting_since
        elif awaiting_since != self._awaited:
            self._patience = 1.0

    def excuse(self, now: float) -> None:
        """This process was not there to hear anything: silence counts from now."""
        self._since = now
        self._probe(now)

    def judge(self, now: float) -> Verdict:
        """The verdict at a deadline."""
        if self._awaiting_since is None:
            return self._probe(now) if now >= self._last_heard_at + self._policy.keepalive_interval else Verdict.FINE
        silent_since = max(self._last_heard_at, self._awaiting_since, self._since)
        if now - silent_since >= self._lost_after:
            self._patience = min(MAX_PATIENCE, self._patience * 2)
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
            return idle_at if self._probed_at is None else max(idle_at, self._probed_at + self._lost_after)
        silent_since = max(self._last_heard_at, self._awaiting_since, self._since)
        stalled_at = max(self._awaiting_since, self._since) + self._policy.stall_timeout
        if self._has_probed(silent_since):
            return min(silent_since + self._lost_after, stalled_at)
        return min(silent_since + self._policy.probe_after, stalled_at)

    @property
    def _lost_after(self) -> float:
        return self._policy.lost_after * self._patience

    def _has_probed(self, silent_since: float) -> bool:
        return self._probed_at is not None and self._probed_at >= silent_since

    def _probe(self, now: float) -> Verdict:
        self._probed_at = now
        return Verdict.PROBE
