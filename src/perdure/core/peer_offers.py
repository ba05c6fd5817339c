"""What the peer's offers and answers mean for one tube."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.decision import DecisionReason, Trigger
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.climber import Climber
    from perdure.core.context import Context
    from perdure.core.events import AnswerReceived, OfferReceived
    from perdure.core.recovery import Recovery


def offered(context: Context, recovery: Recovery, offer: OfferReceived) -> bool:
    """The peer's offer, of a new carrier or of a restart of this one; whether it counts."""
    climber, rules = recovery.climber, recovery.rules
    trigger = None if context.state is State.CONNECTING else Trigger.named(offer.cause)
    if context.state is State.INITIALIZING or not climber.negotiation.take_offer(offer.generation):
        if trigger is not None and trigger.is_network_event:
            rules.network_moved(context.now)  # its offer gives way, its news does not
        return False
    if (why := _cannot_answer(climber, offer)) is not None:
        # Only a new carrier helps, and the peer is there to take its offer.
        climber.stop_attempt()
        recovery.execute(rules.retry(trigger, recovery.situation(), why))
        return True
    if not climber.is_open or offer.restarts:
        recovery.pending = None
    if climber.spare is not None and climber.spare.is_precaution:
        rules.precaution_wasted(climber.spare.begun_at)
    if offer.restarts or not climber.is_open or trigger is not Trigger.CONNECTION_TIMEOUT:
        rules.peer_began(trigger, context.now)
    climber.follow(offer, trigger)
    recovery.ask_what_is_kept()
    return True


def _cannot_answer(climber: Climber, offer: OfferReceived) -> DecisionReason | None:
    """Why the ICE restart that the peer offers cannot be answered; `None`: it can, or `offer` is of a carrier."""
    if not offer.restarts:
        return None
    if offer.restarts != climber.carrier:
        return DecisionReason.PEER_IS_BEHIND
    return None if climber.can_restart else DecisionReason.CANNOT_RESTART


def answered(recovery: Recovery, answer: AnswerReceived) -> bool:
    """The peer's answer to an offer of ours; whether it counts."""
    climber = recovery.climber
    if climber.is_answered_late(answer):
        recovery.execute(recovery.rules.answered_late(climber.trigger, recovery.situation()))
        return False
    if not climber.takes_answer(answer):
        return False
    if not climber.is_refusal(answer):
        climber.take_answer(answer)
    elif climber.is_attempting:
        recovery.attempt_failed(DecisionReason.PEER_CANNOT_RESTART, "")
    return True
