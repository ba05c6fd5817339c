"""Who used the tube, and when: the user's activity apart from recovery's own traffic."""

from __future__ import annotations


class Activity:
    """Counts what was exchanged, each kind apart, and knows when the user was last active.

    Descriptions and candidates of the first set-up are the user's doing; those of a recovery count, but are not.
    """

    __slots__ = ("candidates", "descriptions", "last_at", "recovery_candidates", "recovery_descriptions")

    def __init__(self, now: float) -> None:
        self.last_at = now
        """When the user was last active."""
        self.descriptions = 0
        self.candidates = 0
        self.recovery_descriptions = 0
        self.recovery_candidates = 0

    def described(self, now: float, *, recovering: bool) -> None:
        """An SDP offer or answer went or came."""
        if recovering:
            self.recovery_descriptions += 1
        else:
            self.descriptions += 1
            self.used(now)

    def candidate(self, now: float, *, recovering: bool) -> None:
        """An ICE candidate went or came."""
        if recovering:
            self.recovery_candidates += 1
        else:
            self.candidates += 1
            self.used(now)

    def used(self, at: float) -> None:
        """Streams' bytes moved for the first time, or the user said so, at `at`."""
        self.last_at = max(self.last_at, at)
