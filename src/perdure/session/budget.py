"""How many bytes the sessions of one registry may hold together."""

from __future__ import annotations


class ByteBudget:
    """Shared by any number of sessions; each adds what it holds, and gives all of it back when it ends.

    A full budget stops no stream that holds less than `SMALLEST_SHARE_BYTES`.
    """

    __slots__ = ("held_bytes", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        """May be set at any time; what is held beyond it is kept."""
        self.held_bytes = 0
        """Unacknowledged and unsent bytes over all streams of all sessions."""

    @property
    def is_full(self) -> bool:
        return self.held_bytes >= self.limit_bytes
