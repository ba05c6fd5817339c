"""What passes between a tube and an application that signals itself, and does not come when it is wanted.

1. Who asked for a description waits until the engine has made it.
2. A description is made once, and handed out again to who asks again, until the tube is connected.
3. The peer's candidates may overtake the description that they belong to; they are kept until it is there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.errors import CarrierError, PeerError, PerdureError

if TYPE_CHECKING:
    from perdure.signaling.messages import Candidate

DESCRIPTION_TIMEOUT = 10.0
"""Seconds for the engine to make a description. It takes milliseconds; a resolver that hangs may take seconds."""

MAX_EARLY_CANDIDATES = 64
"""The peer's candidates that wait for their description; beyond it the oldest goes. A machine with 4 addresses has 8,
and a few more for each STUN and TURN server."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    generation: int
    for_offer: bool
    outcome: asyncio.Future[str | PerdureError]

    def settle(self, outcome: str | PerdureError) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class Descriptions:
    """Those of one tube. Idle, it holds nothing."""

    __slots__ = ("_early", "_made", "_waiters", "taken")

    def __init__(self) -> None:
        self.taken = 0
        """The generation of the peer's last description that was taken; 0 before the first."""
        self._made: tuple[int, str] | None = None
        self._waiters: tuple[_Waiter, ...] = ()
        self._early: deque[Candidate] | None = None

    @property
    def offer_is_awaited(self) -> bool:
        """Whether somebody waits for this end's next offer."""
        return any(waiter.for_offer for waiter in self._waiters)

    def has(self, generation: int) -> bool:
        """Whether this end's description of `generation` is kept."""
        return self._made is not None and self._made[0] == generation

    def is_own(self, sdp: str) -> bool:
        """Whether this end made `sdp`, however its lines end by now."""
        return self._made is not None and self._made[1].split() == sdp.split()

    def made(self, generation: int, sdp: str, *, is_offer: bool) -> None:
        """This end's description is there. Who waits for an offer gets a later one too: it displaced the one before."""
        self._made = (generation, sdp)
        for waiter in self._waiters:
            if waiter.for_offer == is_offer and (is_offer or waiter.generation == generation):
                waiter.settle(sdp)
            else:
                what = "offer" if waiter.for_offer else "answer"
                text = f"the {what} of negotiation {waiter.generation} gave way to negotiation {generation}"
                waiter.settle(PeerError(text, reason="gave way"))

    def carrier_gone(self, error: CarrierError, *, is_replaced: bool) -> None:
        """The engine gave a carrier up. Who waits for an answer gets none; for an offer, that of the next carrier."""
        for waiter in self._waiters:
            if not (waiter.for_offer and is_replaced):
                waiter.settle(error)

    def forget(self) -> None:
        """The path works: nobody needs its description any more."""
        self._made = None

    def end(self, error: PerdureError) -> None:
        """The tube has ended: who waits is told, and nothing is kept."""
        self._made = self._early = None
        for waiter in self._waiters:
            waiter.settle(error)

    async def wait(self, generation: int, *, for_offer: bool) -> str:
        """This end's description of `generation`. Cancelling this loses nothing: it can be asked for again.

        Raises:
            PeerError: it gave way to another negotiation, or the tube ended.
            CarrierError: the engine made none, or not in time.
        """
        if self._made is not None and self._made[0] == generation:
            return self._made[1]
        waiter = _Waiter(generation, for_offer, asyncio.get_running_loop().create_future())
        self._waiters = (*self._waiters, waiter)
        try:
            async with asyncio.timeout(DESCRIPTION_TIMEOUT):
                outcome = await waiter.outcome
        except TimeoutError:
            text = f"the engine made no description in {DESCRIPTION_TIMEOUT:.0f} s"
            outcome = CarrierError(text, generation=generation)
        finally:
            self._waiters = tuple(other for other in self._waiters if other is not waiter)
        if isinstance(outcome, PerdureError):
            raise outcome
        return outcome

    def keep(self, candidate: Candidate) -> None:
        """It came before the description that it belongs to."""
        if self._early is None:
            self._early = deque(maxlen=MAX_EARLY_CANDIDATES)
        self._early.append(candidate)

    def take(self, generation: int) -> list[Candidate]:
        """The peer's description of `generation` was taken; the candidates that waited for it."""
        self.taken = generation
        early, self._early = self._early or (), None
        for candidate in early:
            if candidate.generation > generation:
                self.keep(candidate)
        return [candidate for candidate in early if candidate.generation == generation]
