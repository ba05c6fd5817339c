"""The carriers beside the current one: the spare, which may replace it, and the one before it.

Rules:
1. On a spare nothing but HELLO and RESUME is sent until both ends are proved on it. Its RESUME takes nothing as told: a
   spare may be dropped.
2. Once the peer is proved on the spare the session goes on there, from what is acknowledged for certain: what is not is
   sent again, and what was told on the carrier that is left is told again. While the current one works, padding may go
   out on the spare before that (`spare_padding`).
3. That carrier is still read and no longer written. It is of no use once the peer says something on the new one behind
   its RESUME; padding says nothing.
4. The positions in a spare's RESUME may be old when they arrive. That a stream is absent from it means that it is gone
   only where its OPEN was acknowledged before the spare was begun.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from perdure.session.spare_padding import padding_for

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.handshake import Handshake
    from perdure.session.spare_padding import SparePadding
    from perdure.session.stream import Stream
    from perdure.wire import Resume


class Beside:
    """Made where a spare is begun; `None` takes its place once there is neither."""

    __slots__ = ("_acknowledged_before", "old", "padding", "spare")

    def __init__(self) -> None:
        self.spare: Handshake | None = None
        """Of the spare, once it is open."""
        self.old: Handshake | None = None
        """Of the carrier before the current one, while it is read."""
        self.padding: SparePadding | None = None
        """Of the spare, while the peer is proved on it and the session goes on on the current carrier."""
        self._acknowledged_before: frozenset[int] | None = None
        """The streams whose OPEN the peer had acknowledged when the spare was begun; `None`: none was."""

    def spare_begun(self, streams: Iterable[Stream]) -> Beside:
        """A new one is being made."""
        self.spare = self.padding = None
        self._acknowledged_before = frozenset(each.stream_id for each in streams if each.open_acknowledged)
        return self

    def pad(self, resume: Resume, under_way_bytes: int, round_trip: float | None, now: float) -> None:
        """The peer is proved on the spare by `resume`: padding goes first, where that is worth while."""
        self.padding = padding_for(resume, under_way_bytes, round_trip, now)

    def next_padding(self, now: float) -> bytes | None:
        """The next message for the spare."""
        if self.padding is None or self.spare is None or not self.spare.is_resumed:
            return None
        return self.padding.take(now)

    def leaves_at(self, current: Handshake, heard_at: float | None, awaiting_since: float | None) -> float | None:
        """When the session leaves the current carrier, if the spare waits for its padding."""
        if self.padding is None or self.spare is None or not self.spare.is_resumed:
            return None
        if heard_at is None or not current.is_resumed:
            return -inf
        return self.padding.ends_at(heard_at, awaiting_since)

    def switch(self, current: Handshake) -> frozenset[int]:
        """The spare takes the place of the current one. Returns the streams whose absence from its RESUME counts."""
        self.spare, self.old = None, current if current.is_resumed else None
        self.padding = None
        known, self._acknowledged_before = self._acknowledged_before, None
        return known or frozenset()

    def find(self, generation: int) -> Handshake | None:
        """The handshake of that carrier, where it is one of these."""
        for handshake in (self.spare, self.old):
            if handshake is not None and handshake.generation == generation:
                return handshake
        return None

    def without_spare(self) -> Beside | None:
        """There is none any more, or it will not be."""
        self.spare = self.padding = self._acknowledged_before = None
        return self if self.old is not None else None

    def without_old(self) -> Beside | None:
        """The one before is gone."""
        self.old = None
        return self if self._acknowledged_before is not None else None
