"""ICE's checks of the pair in use, as a real engine counts them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_lab.sim.internet import Way

CHECK_INTERVAL = 2.5
"""Seconds between two checks."""


class IceChecks:
    """Of one carrier, since it was made."""

    def __init__(self) -> None:
        self._sent = self._answered = 0.0
        self._counted_at = 0.0

    def counted(self, now: float, out: Way | None, back: Way | None) -> tuple[int, int]:
        """How many were sent until `now`, and how many of them answered."""
        passed = (now - self._counted_at) / CHECK_INTERVAL if self._counted_at else 0.0
        self._counted_at = now
        self._sent += passed
        if out is not None and back is not None:
            self._answered += passed * (1 - out.lost_share) * (1 - back.lost_share)
        return int(self._sent), int(self._answered)
