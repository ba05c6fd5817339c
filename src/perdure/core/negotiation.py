"""Which offer counts: generations, and how crossing offers are resolved.

Each attempt has a generation of its own, so that a late answer or candidate can never reach another attempt's carrier.
Generations come in rounds of two: the acceptor's offer of round r is 2r, the initiator's is 2r + 1. The higher
one counts, at both ends; so where offers of one round cross, the acceptor's gives way (it is the polite end of W3C's
"perfect negotiation"), and no tie exists.
"""

from __future__ import annotations


class Negotiation:
    __slots__ = ("_heard", "_initiator", "current", "is_agreed", "offered_here")

    def __init__(self, *, initiator: bool) -> None:
        self._initiator = initiator
        self._heard = 0
        """The peer's highest."""
        self.current = 0
        """The generation that counts; 0 before the first."""
        self.offered_here = False
        self.is_agreed = False
        """Whether both ends know of it: the offer was answered."""

    def next_offer(self) -> int:
        """Begin an offer of ours; its generation."""
        self.current = 2 * (self.current // 2 + 1) + self._initiator
        self.offered_here = True
        self.is_agreed = False
        return self.current

    def hear_offer(self, generation: int) -> bool:
        """The peer's offer came: whether that is news, and no late copy. Each goes every way that there is."""
        is_news = generation > self._heard and generation % 2 != self._initiator
        if is_news:
            self._heard = generation
        return is_news

    def take_offer(self, generation: int) -> bool:
        """Whether the peer's offer counts from now on."""
        if generation <= self.current or generation % 2 == self._initiator:
            return False
        self.current = generation
        self.offered_here = self.is_agreed = False
        return True

    def takes_answer(self, generation: int) -> bool:
        """Whether it answers the offer that counts, for the first time."""
        return generation == self.current and self.offered_here and not self.is_agreed
