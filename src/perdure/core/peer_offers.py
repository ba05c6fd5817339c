"""What the peer's offers and answers mean for one tube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.decision import DecisionReason, Trigger
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.events import AnswerReceived, OfferReceived
    from perdure.core.recovery import Recovery


def offered(context: Context, recovery: Recovery, offer: OfferReceived) -> bool:
    """The peer's offer, of a new carrier or of a restart of this one; whether it counts."""
    carriers, rules = recovery.carriers, recovery.rules
    trigger = None if context.state is State.CONNECTING else Trigger.named(offer.cause)
    if context.state is State.INITIALIZING or not carriers.negotiation.take_offer(offer.generation):
        if trigger is not None and trigger.is_network_event:
            rules.network_moved(context.now)  # its offer gives way, its news does not
        return False
    if (why := _cannot_answer(carriers, offer)) is not None:
        # Only a new carrier helps, and the peer is there to take its offer.
        carriers.stop_attempt()
        recovery.execute(rules.retry(trigger, recovery.situation(), why))
        return True
    if not carriers.is_open or offer.restarts:
        recovery.pending = None
    if carriers.spare is not None and carriers.spare.is_precaution:
        rules.precaution_wasted(carriers.spare.begun_at)
    if offer.restarts or not carriers.is_open or trigger is not Trigger.CONNECTION_TIMEOUT:
        rules.peer_began(trigger, context.now)
    carriers.follow(offer, trigger)
    recovery.ask_what_is_kept()
    return True


def _cannot_answer(carriers: Carriers, offer: OfferReceived) -> DecisionReason | None:
    """Why the ICE restart that the peer offers cannot be answered; `None`: it can, or `offer` is of a carrier."""
    if not offer.restarts:
        return None
    if offer.restarts != carriers.current:
        return DecisionReason.PEER_IS_BEHIND
    return None if carriers.can_restart else DecisionReason.CANNOT_RESTART


def answered(recovery: Recovery, answer: AnswerReceived) -> bool:
    """The peer's answer to an offer of ours; whether it counts."""
    carriers = recovery.carriers
    if carriers.is_answered_late(answer):
        recovery.execute(recovery.rules.answered_late(carriers.trigger, recovery.situation()))
        return False
    if not carriers.takes_answer(answer):
        return False
    if not carriers.is_refusal(answer):
        carriers.take_answer(answer)
    elif carriers.is_attempting:
        recovery.attempt_failed(DecisionReason.PEER_CANNOT_RESTART, "")
    return True
