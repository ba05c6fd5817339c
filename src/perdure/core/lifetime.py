"""How long a tube lives that nobody uses: warnings, the end, and what puts it off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from perdure.core.state import Reason

if TYPE_CHECKING:
    from perdure.config import SessionLimits
    from perdure.core.activity import Activity


@dataclass(frozen=True, slots=True)
class Notice:
    """The session ends in `remaining_seconds` unless it is used."""

    idle_seconds: float
    remaining_seconds: float


class Lifetime:
    """Deadlines from the user's last activity. The clock runs on while the machine sleeps, and so does this."""

    __slots__ = ("_activity", "_began_at", "_limits", "_not_before", "_warned_at")

    def __init__(self, limits: SessionLimits, activity: Activity, now: float) -> None:
        self._limits = limits
        self._activity = activity
        self._began_at = now
        self._not_before = now
        self._warned_at = now
        """Up to when warnings have been given."""

    def extend(self, now: float, seconds: float | None) -> None:
        """The tube lives at least `seconds` more, by default another session timeout, however idle; the absolute limit
        stands."""
        self._not_before = max(self._not_before, now + (self._limits.session_timeout if seconds is None else seconds))

    def next_deadline(self) -> float | None:
        """The next warning, or the end."""
        ends_at = self._ends_at()
        if ends_at is None:
            return None
        return min((at for at in self._warnings_at(ends_at) if at > self._warned_at), default=ends_at[0])

    def check(self, now: float) -> Notice | Reason | None:
        """What is due now: a warning, why the tube ends, or nothing. Of several missed warnings only the last."""
        ends_at = self._ends_at()
        if ends_at is None:
            return None
        if now >= ends_at[0]:
            return ends_at[1]
        due = [at for at in self._warnings_at(ends_at) if self._warned_at < at <= now]
        self._warned_at = now
        return Notice(now - self._activity.last_at, ends_at[0] - now) if due else None

    def _ends_at(self) -> tuple[float, Reason] | None:
        limits = self._limits
        ends = []
        if limits.session_timeout:
            idle_end = max(self._activity.last_at + limits.session_timeout, self._not_before)
            ends.append((idle_end, Reason.SESSION_TIMEOUT))
        if limits.session_duration_limit:
            ends.append((self._began_at + limits.session_duration_limit, Reason.SESSION_LIMIT))
        return min(ends, key=lambda end: end[0], default=None)

    def _warnings_at(self, ends_at: tuple[float, Reason]) -> list[float]:
        """As long before the end as the limits say; so `extend` puts them off too."""
        return [ends_at[0] - before for before in _warnings_before_end(self._limits)]


@cache
def _warnings_before_end(limits: SessionLimits) -> tuple[float, ...]:
    timeout = limits.session_timeout or limits.session_duration_limit
    stages = {limits.session_timeout_warning, *limits.session_timeout_warning_stages}
    return tuple(timeout - stage for stage in sorted(stages) if stage < timeout)
