"""ICE's checks of the pair in use, as a real engine counts and times them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure_lab.sim.association import Association
    from perdure_lab.sim.internet import Way

CHECK_INTERVAL = 2.5
"""Seconds between two checks."""


class IceChecks:
    """Of one carrier, since it was made."""

    def __init__(self) -> None:
        self._sent = self._answered = 0.0
        self._counted_at = 0.0
        self._rtt: float | None = None
        self._timed_pair: tuple[str, str] | None = None
        """The pair of addresses that `_rtt` is of."""

    def rtt_of(self, addresses: tuple[str, str]) -> float | None:
        """The round trip that was read last, if it was of that pair."""
        return self._rtt if addresses == self._timed_pair else None

    def read_rtt(self, association: Association | None) -> float | None:
        """The round trip on the pair in use; `None` where nothing gets through."""
        self._rtt = self._timed_pair = None
        if association is not None and (pair := association.pair) is not None:
            out, back = association.ways
            self._timed_pair = pair.addresses
            self._rtt = round(out.round_trip, 3) if out is not None and back is not None else None
        return self._rtt

    def counted(self, now: float, out: Way | None, back: Way | None) -> tuple[int, int]:
        """How many were sent until `now`, and how many of them answered."""
        passed = (now - self._counted_at) / CHECK_INTERVAL if self._counted_at else 0.0
        self._counted_at = now
        self._sent += passed
        if out is not None and back is not None:
            self._answered += passed * (1 - out.lost_share) * (1 - back.lost_share)
        return int(self._sent), int(self._answered)
