"""The offers and answers that this end made, for whoever waits for one.

1. A caller that asks for a description waits until the engine has made it.
2. A description is made once, and handed out again to each caller, until the tube is connected.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.errors import CarrierError, PeerError, PerdureError
from perdure.signaling.messages import Offer

if TYPE_CHECKING:
    from collections.abc import Collection

    from perdure.signaling.messages import Answer

    Description = Offer | Answer

DESCRIPTION_TIMEOUT = 10.0
"""Seconds for the engine to make a description. It takes milliseconds; a resolver that hangs may take seconds."""


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter:
    generation: int
    for_offer: bool
    outcome: asyncio.Future[Description | PerdureError]

    def settle(self, outcome: Description | PerdureError) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)


class LocalDescriptions:
    """Those of one tube. Idle, it holds nothing."""

    __slots__ = ("_made", "_waiters")

    def __init__(self) -> None:
        self._made: Description | None = None
        self._waiters: tuple[_Waiter, ...] = ()

    @property
    def offer_is_awaited(self) -> bool:
        """Whether somebody waits for this end's next offer."""
        return any(waiter.for_offer for waiter in self._waiters)

    @property
    def last(self) -> Description | None:
        """The last one, until the path works."""
        return self._made

    def has(self, generation: int) -> bool:
        """Whether this end's description of `generation` is kept."""
        return self._made is not None and self._made.generation == generation

    def made(self, description: Description) -> None:
        """It is there. A caller that waits for an offer gets a later one too: it displaced the one before."""
        self._made = description
        is_offer, generation = isinstance(description, Offer), description.generation
        for waiter in self._waiters:
            if waiter.for_offer == is_offer and (is_offer or waiter.generation == generation):
                waiter.settle(description)
            else:
                what = "offer" if waiter.for_offer else "answer"
                text = f"the {what} of negotiation {waiter.generation} gave way to negotiation {generation}"
                waiter.settle(PeerError(text, reason="gave way"))

    def carrier_gone(self, error: CarrierError, *, left: Collection[int]) -> None:
        """The engine gave a carrier up, and those of the generations `left` are there, or take its place: who waits for
        another one's description gets `error`. Who waits for an offer gets that of the carrier that takes its place."""
        for waiter in self._waiters:
            if waiter.generation not in left and not (waiter.for_offer and left):
                waiter.settle(error)

    def forget(self) -> None:
        """The path works: nobody needs its description any more."""
        self._made = None

    def end(self, error: PerdureError) -> None:
        """The tube has ended: all who wait are told, and nothing is kept."""
        self._made = None
        for waiter in self._waiters:
            waiter.settle(error)

    async def wait(self, generation: int, *, for_offer: bool) -> Description:
        """This end's description of `generation`. Cancelling this loses nothing: it can be asked for again.

        Raises:
            PeerError: it gave way to another negotiation, or the tube ended.
            CarrierError: the engine made none, or not in time.
        """
        if self._made is not None and self._made.generation == generation:
            return self._made
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
