"""How often a carrier may be begun beside a suspect one: each that was not needed doubles the wait for the next."""

from __future__ import annotations

FIRST_WAIT = 1.0
LONGEST_WAIT = 30.0
"""Seconds after a spare that was not needed. One costs both ends an offer, an answer and a DTLS handshake, some 30 ms
of CPU; a path that is always late to answer has one each half minute."""

FORGOTTEN_AFTER = 60.0
"""Seconds without one that was not needed, after which the count begins anew."""


class SpareBudget:
    __slots__ = ("_not_before", "_wasted")

    def __init__(self) -> None:
        self._wasted = 0
        self._not_before = 0.0

    def next_at(self, now: float) -> float:
        """When the next may be begun."""
        return max(now, self._not_before)

    def wasted(self, now: float) -> None:
        """One was not needed, or did not open."""
        if now >= self._not_before + FORGOTTEN_AFTER:
            self._wasted = 0
        self._not_before = now + min(LONGEST_WAIT, FIRST_WAIT * 2.0**self._wasted)
        self._wasted = min(self._wasted + 1, 8)

    def used(self) -> None:
        """The session went on on one."""
        self._wasted = 0
        self._not_before = 0.0
