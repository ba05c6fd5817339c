"""What the core does not do yet: each fails on the src of 16:40. To be moved into tests/core/test_spare.py."""

from __future__ import annotations

from core.cores import ROAM, connected, lose, rest, rest_of, rungs, sdp, silent
from core.test_spare import SUSPICION, answers, suspect, with_spare
from perdure.core.actions import Action, MakeOffer, Probe
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    CarrierMade,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    RecoveryRequested,
    RttMeasured,
    SessionResumed,
)


def offers(actions: list[Action]) -> list[MakeOffer]:
    return [action for action in actions if isinstance(action, MakeOffer)]


def test_1_a_peers_restart_that_cannot_be_answered_gets_a_new_offer_though_a_spare_is_under_way() -> None:
    core = with_spare()
    core.handle_event(CarrierMade(3, can_restart=False), 10.35)
    actions = core.handle_event(OfferReceived(6, sdp("r"), restarts=3, cause="interface change"), 10.4)
    assert offers(actions), "the spare's own offer does not count any more, so nobody can answer it"


def test_2_a_network_event_begins_the_spare_under_way_anew() -> None:
    core = connected()
    silent(core, 10.0)
    assert offers(core.handle_event(ROAM, 13.0)), "the spare's candidates are of the network before"


def test_2b_so_does_one_where_the_engine_cannot_restart() -> None:
    core = connected()
    core.handle_event(CarrierMade(3, can_restart=False), 0.0)
    core.handle_event(ROAM, 10.0)
    assert offers(core.handle_event(ROAM, 12.0))


def test_3_a_spare_that_was_slept_through_is_offered_again() -> None:
    core = connected()
    silent(core, 10.0)
    assert offers(core.handle_timeout(1000.0))


def test_4_old_credentials_are_known_after_a_spare_that_was_answered_and_dropped() -> None:
    core = with_spare()
    core.handle_event(AnswerReceived(5, sdp("spare")), 10.35)
    answers(core, 10.4)
    core.handle_event(ROAM, 20.0)
    assert rungs(core.handle_event(AnswerReceived(7, sdp("peer")), 20.1)) == [("SPARE", "PEER_CANNOT_RESTART")]


def test_5_spares_that_cross_are_one_restart() -> None:
    core, now = connected(initiator=False), 10.0
    for _ in range(3):
        suspect(core, now)
        core.handle_event(OfferReceived(core.generation + 1, sdp(f"spare{now}"), cause=SUSPICION), now + 0.3)
        core.handle_event(SessionResumed(core.spare), now + 0.4)
        for _ in range(30):
            core.handle_event(RttMeasured(core.carrier, 0.05), now + 0.4)
        now += 6.0
        rest(core, now)
    assert rungs(core.handle_event(ROAM, now)) == [("ICE_RESTART", "NETWORK_MOVED")]


def test_6_a_suspicions_spare_that_is_lost_counts_as_a_false_alarm() -> None:
    core = with_spare()
    core.handle_event(CarrierLost(5, ""), 10.35)
    core.handle_event(PathEvidence(3, 10.4, 10.4), 10.4)
    assert not offers(rest(core, 10.75))


def test_7_a_request_that_joins_a_suspicions_spare_is_not_dropped_with_it() -> None:
    core = with_spare()
    core.handle_event(RecoveryRequested(rebuild=True), 10.31)
    answers(core, 10.4)
    assert core.spare, "the user was told that a recovery is under way"


def test_8_a_late_answer_begins_an_attempt_beside_a_carrier_that_is_kept_too() -> None:
    core = connected()
    silent(core, 10.0)
    rest(core, 21.0)
    assert rungs(core.handle_event(AnswerReceived(5, sdp("late")), 21.5)) == [("SPARE", "ANSWERED_LATE")]


def test_9_a_withdrawn_spare_is_no_failed_attempt_of_this_end() -> None:
    core = connected()
    core.handle_event(OfferReceived(4, sdp("s"), cause=SUSPICION), 10.3)
    lose(core, 10.4)
    assert offers(core.handle_event(OfferWithdrawn(4), 10.5)), "nothing is tried for 5 s"


def test_10_one_probe_at_a_time() -> None:
    core = with_spare()
    assert rest_of(rest(core, 10.91)) == [Probe()]
