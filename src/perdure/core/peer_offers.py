"""What the peer's offers and answers mean for one tube."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import ApplyCandidate
from perdure.core.decision import DecisionReason, Trigger
from perdure.core.events import AnswerReceived, CandidateReceived, OfferReceived
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.activity import Activity
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.recovery import Recovery


def negotiate(
    context: Context, recovery: Recovery, activity: Activity, event: OfferReceived | AnswerReceived | CandidateReceived
) -> None:
    """What the peer says of a negotiation."""
    recovering = context.state is not State.CONNECTING
    match event:
        case OfferReceived():
            if _offered(context, recovery, event):
                activity.described(context.now, recovering=recovering)
        case AnswerReceived():
            if _answered(recovery, event):
                activity.described(context.now, recovering=recovering)
        case CandidateReceived(generation, candidate, sdp_mid, sdp_mline):
            if recovery.carriers.takes_candidate(generation):
                activity.candidate(context.now, recovering=recovering)
                context.actions.append(ApplyCandidate(generation, candidate, sdp_mid, sdp_mline))
        case _:
            assert_never(event)


def _offered(context: Context, recovery: Recovery, offer: OfferReceived) -> bool:
    """The peer's offer, of a new carrier or of a restart of this one; whether it counts."""
    carriers, rules = recovery.carriers, recovery.rules
    trigger = None if context.state is State.CONNECTING else Trigger.named(offer.cause)
    if context.state is State.INITIALIZING or not carriers.negotiation.take_offer(offer.generation):
        is_copy = offer.generation == carriers.negotiation.current
        if trigger is not None and trigger.is_network_event and not is_copy:
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


def _answered(recovery: Recovery, answer: AnswerReceived) -> bool:
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
