"""What the peer's offers and answers mean for one tube."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import ApplyCandidate
from perdure.core.decision import DecisionReason, Trigger
from perdure.core.description import ice_ufrag
from perdure.core.events import AnswerReceived, CandidateReceived, OfferReceived
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.activity import Activity
    from perdure.core.carriers import Carriers
    from perdure.core.context import Context
    from perdure.core.recovery import Recovery


MAX_CANDIDATES_OF_CARRIER = 256
"""The peer's, all restarts together; further ones are dropped. A machine with 4 addresses has 8 a negotiation. The
engine checks each pair and frees each when it closes: 256 take it 10 ms, 1,000 held the process up for 8 s."""


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
            if _takes_candidate(recovery.carriers, generation):
                activity.candidate(context.now, recovering=recovering)
                context.actions.append(ApplyCandidate(generation, candidate, sdp_mid, sdp_mline))
        case _:
            assert_never(event)


def _offered(context: Context, recovery: Recovery, offer: OfferReceived) -> bool:
    """The peer's offer, of a new carrier or of a restart of this one; whether it counts."""
    carriers, rules = recovery.carriers, recovery.rules
    trigger = None if context.state is State.CONNECTING else Trigger.named(offer.cause)
    is_news, is_first = carriers.negotiation.hear_offer(offer.generation), recovery.awaits_first_offer
    if context.state is State.INITIALIZING or not carriers.negotiation.take_offer(offer.generation):
        if trigger is not None and trigger.is_network_event and is_news:
            rules.network_moved(context.now)  # its offer gives way, its news does not
        return False
    if is_first:
        recovery.first_offer_came()
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


def _is_late(carriers: Carriers, answer: AnswerReceived) -> bool:
    """Whether it answers this end's last offer, whose attempt is over."""
    attempt = carriers.attempt
    if attempt is None or attempt.is_under_way or carriers.spare is not None:
        return False
    return answer.generation != carriers.current and carriers.negotiation.takes_answer(answer.generation)


def _is_refusal(carriers: Carriers, answer: AnswerReceived) -> bool:
    """Whether the peer was asked to restart ICE, and did not: it answers with its old credentials, or none."""
    is_restart = answer.generation not in (carriers.current, carriers.spare_generation)
    return is_restart and ice_ufrag(answer.sdp) in (None, carriers.peer_ufrag)


def _takes_candidate(carriers: Carriers, generation: int) -> bool:
    """Whether a candidate of the peer is of the negotiation that counts, and not one too many."""
    if not carriers.negotiates or generation != carriers.negotiation.current:
        return False
    if carriers.candidates >= MAX_CANDIDATES_OF_CARRIER:
        return False
    carriers.candidates += 1
    return True


def _answered(recovery: Recovery, answer: AnswerReceived) -> bool:
    """The peer's answer to an offer of ours; whether it counts."""
    carriers = recovery.carriers
    if _is_late(carriers, answer):
        recovery.execute(recovery.rules.answered_late(carriers.trigger, recovery.situation()))
        return False
    if not carriers.takes_answer(answer):
        return False
    if not _is_refusal(carriers, answer):
        carriers.take_answer(answer)
    elif carriers.is_attempting:
        recovery.attempt_failed(DecisionReason.PEER_CANNOT_RESTART, "")
    return True
