"""What one tube's core decides, as its driver sees it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core.cores import (
    NEW_ADDRESS,
    OFFLINE,
    ONLINE,
    POLICY,
    ROAM,
    closes,
    connected,
    created,
    deadline,
    decided,
    decisions,
    lose,
    reasons,
    rest,
    rest_of,
    sdp,
    silent,
    started,
    states,
)
from perdure.config import RestartPolicy, SessionLimits
from perdure.core.actions import (
    AnswerRestart,
    ApplyAnswer,
    ApplyCandidate,
    CloseCarrier,
    CloseNow,
    DoubtSignaling,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    Probe,
    RenewNetworks,
    RestartIce,
    SayGoodbye,
    StateChanged,
    WarnOfTimeout,
)
from perdure.core.closing import FAREWELL_SECONDS, GOODBYE_TIMEOUT
from perdure.core.conditions import GLARE_DELAY, SHORT_LIVES_FORGIVEN
from perdure.core.connection import RETURN_TIMEOUT, Connection
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CloseRequested,
    CloseSent,
    Event,
    Extended,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RecoveryRequested,
    RttMeasured,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.peer_offers import MAX_CANDIDATES_OF_CARRIER
from perdure.core.recovery import FIRST_OFFER_TIMEOUT, MAX_DECISIONS
from perdure.core.restart_limit import QUIET_BEFORE_LAST
from perdure.core.state import Reason, State

UNLIMITED = SessionLimits(session_timeout=0.0)

SILENT_AFTER = 3 * POLICY.silence_floor
"""Three timeouts of the floor."""


# The first set-up.


def test_the_initiator_end_offers_at_once() -> None:
    core = created()
    core.handle_event(SignalingChanged(True), 0.0)
    actions = core.handle_event(Started(), 0.0)
    assert states(actions) == [State.CONNECTING]
    assert decided(actions) == [("REBUILD", "FIRST")]
    assert rest_of(actions) == [MakeOffer(3, None)]


def test_the_acceptor_end_waits_for_the_first_offer_and_gives_up_at_last() -> None:
    core = started(initiator=False)
    assert core.next_deadline() == FIRST_OFFER_TIMEOUT
    actions = core.handle_timeout(FIRST_OFFER_TIMEOUT)
    assert (states(actions), reasons(actions)) == ([State.FAILED], ["ABANDONED"])


def test_the_acceptor_end_has_any_tubes_patience_once_the_first_offer_came() -> None:
    core = started(initiator=False, limits=UNLIMITED)
    core.handle_event(OfferReceived(3, sdp("peer")), FIRST_OFFER_TIMEOUT - 1)
    given_up_at = FIRST_OFFER_TIMEOUT - 1 + POLICY.abandon_after
    assert reasons(rest(core, given_up_at - 1)) == []
    assert core.next_deadline() == given_up_at
    assert reasons(core.handle_timeout(given_up_at)) == ["ABANDONED"]


@pytest.mark.parametrize("event", [ROAM, NEW_ADDRESS, SignalingChanged(True)])
def test_the_acceptor_end_leaves_the_first_offer_to_the_other_whatever_the_network_does(event: Event) -> None:
    actions = rest_of(started(initiator=False).handle_event(event, 1.0))
    assert not any(isinstance(action, MakeOffer | RestartIce) for action in actions)


def test_an_attempt_waits_for_signaling_is_not_spent_meanwhile_and_is_abandoned_at_last() -> None:
    core = started(signaling=False, limits=UNLIMITED)
    assert decided([*core.decisions]) == [("WAIT", "NO_SIGNALING")]
    assert core.next_deadline() == POLICY.abandon_after
    assert rest_of(core.handle_event(SignalingChanged(True), 500.0)) == [MakeOffer(3, None)]
    assert reasons(rest(started(signaling=False, limits=UNLIMITED), 1e6)) == ["ABANDONED"]


def test_the_answer_to_the_current_offer_is_applied_once_and_a_stale_one_is_not() -> None:
    core = started()
    assert core.handle_event(AnswerReceived(1, sdp("old")), 0.1) == []
    assert core.handle_event(AnswerReceived(3, sdp("peer")), 0.1) == [ApplyAnswer(3, sdp("peer"))]
    assert core.handle_event(AnswerReceived(3, sdp("peer")), 0.2) == []


def test_candidates_reach_the_negotiation_that_counts_only() -> None:
    core = started()
    assert core.handle_event(CandidateReceived(3, "c", "0", 0), 0.1) == [ApplyCandidate(3, "c", "0", 0)]
    assert core.handle_event(CandidateReceived(2, "c", "0", 0), 0.1) == []
    core.handle_event(CarrierLost(3, ""), 0.2)
    assert core.handle_event(CandidateReceived(3, "c", "0", 0), 0.3) == []


def test_an_offer_before_the_driver_is_ready_is_not_taken() -> None:
    assert created(initiator=False).handle_event(OfferReceived(3, sdp("peer")), 0.0) == []


def test_the_first_set_up_fails_after_three_attempts() -> None:
    core = started()
    actions = rest(core, 1e6)
    assert decided(actions)[-1] == ("FAIL", "EXHAUSTED")
    assert reasons(actions) == ["ATTEMPTS_EXHAUSTED"]
    assert sum(isinstance(action, MakeOffer) for action in actions) == 2


def test_a_session_that_resumes_on_another_carrier_is_not_believed() -> None:
    core = started()
    assert core.handle_event(SessionResumed(1), 0.1) == []
    assert states(core.handle_event(SessionResumed(3), 0.1)) == [State.CONNECTED]
    assert core.handle_event(SessionResumed(3), 0.2) == []


# An ICE restart.


def test_a_network_event_restarts_ice_at_once_and_the_old_carrier_stays() -> None:
    core = connected()
    actions = core.handle_event(ROAM, 10.0)
    assert decided(actions) == [("ICE_RESTART", "NETWORK_MOVED")]
    assert reasons(actions) == ["NETWORK_CHANGED"]
    assert rest_of(actions) == [RestartIce(5, 3, Trigger.INTERFACE_CHANGE)]
    assert core.carrier == 3


def test_a_restart_has_worked_once_the_peer_is_heard_after_its_answer() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    assert core.handle_event(PathEvidence(3, 10.05, None), 10.05) == []
    assert core.handle_event(AnswerReceived(5, sdp("new")), 10.1) == [ApplyAnswer(5, sdp("new")), Probe()]
    assert core.handle_event(PathEvidence(3, 10.05, 10.1), 10.15) == []
    actions = core.handle_event(PathEvidence(3, 10.2, None), 10.2)
    assert (states(actions), reasons(actions)) == ([State.CONNECTED], ["ICE_RESTARTED"])
    assert core.carrier == 3


@pytest.mark.parametrize("answer", [sdp("peer"), "not SDP at all", ""])
def test_a_peer_that_answers_with_its_old_credentials_or_with_none_gets_a_spare(answer: str) -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    actions = core.handle_event(AnswerReceived(5, answer), 10.1)
    assert decided(actions) == [("SPARE", "PEER_CANNOT_RESTART")]
    assert rest_of(actions) == [MakeOffer(7, Trigger.INTERFACE_CHANGE, is_spare=True), Probe()]
    assert core.state is State.RECONNECTING


def test_a_restart_that_is_not_answered_in_time_climbs_to_a_spare() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    assert core.next_deadline() == 10.0 + POLICY.ice_restart_timeout
    actions = core.handle_timeout(13.0)
    assert decided(actions) == [("SPARE", "RESTART_FAILED")]
    assert rest_of(actions) == [MakeOffer(7, Trigger.INTERFACE_CHANGE, is_spare=True), Probe()]


def test_a_restart_that_was_answered_and_brings_nothing_climbs_too() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.1)
    assert decided(core.handle_timeout(13.0)) == [("SPARE", "RESTART_FAILED")]


def test_a_carrier_that_is_lost_during_its_restart_is_built_anew_at_once() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    assert rest_of(lose(core, 10.5)) == [CloseCarrier(3), MakeOffer(7, Trigger.INTERFACE_CHANGE)]


def test_the_peers_restart_is_answered_and_has_worked_once_the_peer_is_heard_after_it() -> None:
    core = connected(initiator=False)
    actions = core.handle_event(OfferReceived(5, sdp("new"), restarts=3, cause="interface change"), 10.0)
    assert reasons(actions) == ["PEER_RESTARTS_ICE"]
    assert rest_of(actions) == [AnswerRestart(5, sdp("new")), Probe()]
    assert core.handle_event(PathEvidence(3, 9.9, None), 10.1) == []
    assert reasons(core.handle_event(PathEvidence(3, 10.2, None), 10.2)) == ["ICE_RESTARTED"]


def test_who_answers_a_restart_is_a_second_more_patient_than_who_offers_it() -> None:
    core = connected(initiator=False)
    core.handle_event(OfferReceived(5, sdp("new"), restarts=3), 10.0)
    assert core.next_deadline() == 10.0 + POLICY.ice_restart_timeout + 1.0
    assert decided(core.handle_timeout(14.0)) == [("SPARE", "RESTART_FAILED")]


@pytest.mark.parametrize("initiator", [False, True])
def test_a_peer_that_restarts_a_carrier_which_is_gone_here_gets_a_new_one(initiator: bool) -> None:
    core = connected(initiator=initiator)
    lose(core, 10.0)
    theirs = 5 if not initiator else 6
    actions = core.handle_event(OfferReceived(theirs, sdp("new"), restarts=3), 10.05)
    assert decided(actions) == [("REBUILD", "PEER_IS_BEHIND")]
    assert isinstance(actions[-1], MakeOffer)
    assert core.generation == actions[-1].generation > theirs


def test_a_restart_of_a_carrier_that_is_not_in_use_yet_here_still_waits_for_the_session() -> None:
    core = started(initiator=False)
    core.handle_event(OfferReceived(3, sdp("peer")), 0.0)
    core.handle_event(OfferReceived(5, sdp("new"), restarts=3), 0.1)
    core.handle_event(PathEvidence(3, 0.2, None), 0.2)
    assert core.state is State.CONNECTING
    assert reasons(core.handle_event(SessionResumed(3), 0.3)) == ["SESSION_BEGUN"]


@pytest.mark.parametrize("away", [OFFLINE, SignalingChanged(False)])
def test_a_carrier_that_the_peer_has_given_up_is_closed_where_no_other_can_be_offered(away: Event) -> None:
    core = connected()
    lose(core, 10.0)
    core.handle_event(away, 10.1)
    actions = core.handle_event(OfferReceived(6, sdp("new"), restarts=3), 10.2)
    assert [action for action, _ in decided(actions)] == ["WAIT"]
    assert rest_of(actions) == [CloseCarrier(5)]


# A rebuild.


def test_a_lost_carrier_is_built_anew_at_once() -> None:
    core = connected()
    actions = lose(core, 10.0)
    assert actions[0] == CloseCarrier(3)
    assert decided(actions) == [("REBUILD", "CARRIER_LOST")]
    assert StateChanged(State.CONNECTED, State.RECONNECTING, Reason.CARRIER_LOST, "") in actions
    assert actions[-1] == MakeOffer(5, Trigger.ICE_FAILURE)
    assert reasons(core.handle_event(SessionResumed(5), 10.1)) == ["SESSION_RESUMED"]


def test_the_acceptor_end_leaves_the_first_word_to_the_other_but_not_for_long() -> None:
    core = connected(initiator=False)
    assert decided(lose(core, 10.0)) == [("WAIT", "GLARE")]
    assert rest_of(core.handle_timeout(10.0 + GLARE_DELAY)) == [MakeOffer(4, Trigger.ICE_FAILURE)]


def test_a_tube_that_worked_before_says_whether_the_other_end_is_silent_or_no_path_is_found() -> None:
    core = connected()
    lose(core, 10.0)
    (decision,) = decisions(rest(core, 10.0 + POLICY.attempt_timeout))
    assert decision.detail == "the other end has not answered for 10 s"
    offer = next(each for each in rest(core, deadline(core)) if isinstance(each, MakeOffer))
    core.handle_event(AnswerReceived(offer.generation, sdp("new")), deadline(core) - 1.0)
    (decision,) = decisions(rest(core, deadline(core)))
    assert decision.detail.startswith("no path to the other end was found in 10 s")


def test_an_address_that_the_engine_does_not_know_is_answered_by_a_rebuild() -> None:
    core = connected()
    actions = core.handle_event(NEW_ADDRESS, 10.0)
    assert decided(actions) == [("REBUILD", "NEW_ADDRESS")]
    assert rest_of(actions) == [RenewNetworks(), CloseCarrier(3), MakeOffer(5, Trigger.IP_ADDRESS_CHANGE)]


def test_the_peers_offer_is_answered_beside_a_carrier_that_works_here() -> None:
    core = connected(initiator=False)
    actions = core.handle_event(OfferReceived(5, sdp("new"), cause="address change"), 1.0)
    assert actions == [MakeAnswer(5, sdp("new"), is_spare=True)]
    assert (core.state, core.carrier, core.spare) == (State.CONNECTED, 3, 5)


@pytest.mark.parametrize("cause", ["", "a word of a later version", "\x1b[31m"])
def test_a_cause_that_this_version_does_not_know_harms_nothing(cause: str) -> None:
    core = connected(initiator=False)
    assert core.handle_event(OfferReceived(5, sdp("new"), cause=cause), 1.0) == [
        MakeAnswer(5, sdp("new"), is_spare=True)
    ]
    actions = core.handle_event(OfferReceived(7, sdp("newer"), restarts=3, cause=cause), 2.0)
    assert StateChanged(State.CONNECTED, State.RECONNECTING, Reason.PEER_RESTARTS_ICE, "ICE failure") in actions


@pytest.mark.parametrize("answer", [sdp("peer"), "not SDP at all"])
def test_what_answers_a_rebuild_is_for_the_engine_to_judge(answer: str) -> None:
    core = connected()
    lose(core, 10.0)
    assert core.handle_event(AnswerReceived(5, answer), 10.1) == [ApplyAnswer(5, answer)]


def test_a_late_offer_of_an_earlier_round_is_ignored() -> None:
    core = connected(initiator=False)
    core.handle_event(OfferReceived(7, sdp("new")), 1.0)
    assert core.handle_event(OfferReceived(5, sdp("late")), 1.1) == []


@pytest.mark.parametrize("generation", [99, 0, -1, 2])
def test_an_offer_that_cannot_be_the_peers_is_ignored(generation: int) -> None:
    assert connected().handle_event(OfferReceived(generation, sdp("x")), 1.0) == []


def test_three_attempts_fail_and_the_tube_with_them() -> None:
    core = connected()
    lose(core, 100.0)
    actions = rest(core, 1e6)
    waits = [each.next_attempt_at - each.at for each in decisions(actions) if each.next_attempt_at is not None]
    assert waits == [pytest.approx(delay, rel=0.11) for delay in (5.0, 10.0)]
    assert reasons(actions) == ["ATTEMPTS_EXHAUSTED"]
    last = actions[-1]
    assert isinstance(last, StateChanged)
    assert last.detail == "the other end has not answered for 10 s"


def test_the_acceptor_end_waits_for_the_peer_when_its_own_attempts_are_spent() -> None:
    core = connected(initiator=False)
    lose(core, 10.0)
    rest(core, 1000.0)
    assert core.state is State.RECONNECTING
    assert core.handle_event(SignalingChanged(False), 1000.0) == []
    assert rest_of(core.handle_event(SignalingChanged(True), 1000.0)) == []
    assert MakeAnswer(4097, sdp("back")) in core.handle_event(OfferReceived(4097, sdp("back")), 2000.0)


def test_a_peer_that_never_comes_back_is_given_up() -> None:
    core = connected(initiator=False, limits=UNLIMITED)
    core.handle_event(SignalingChanged(False), 9.0)
    lose(core, 10.0)
    assert core.next_deadline() == 10.0 + POLICY.abandon_after
    assert reasons(core.handle_timeout(10.0 + POLICY.abandon_after)) == ["ABANDONED"]


def test_carriers_that_die_young_again_and_again_are_not_rebuilt_in_a_spin() -> None:
    core, offers, now = connected(rtt=None), 0, 0.0
    for _ in range(50):
        now += 0.01
        offers += sum(isinstance(action, MakeOffer) for action in lose(core, now))
        core.handle_event(SessionResumed(core.carrier), now)
    assert offers == SHORT_LIVES_FORGIVEN
    assert reasons(rest(core, now + 60.0)) == ["ATTEMPTS_EXHAUSTED"]


# A network event during a recovery.


def test_one_change_that_yields_several_events_causes_one_recovery() -> None:
    core = connected()
    actions = core.handle_event(ROAM, 10.0)
    for tenth in (1, 3, 8):
        actions += core.handle_event(NetworkChanged(Trigger.IP_ADDRESS_CHANGE), 10.0 + tenth / 10)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.85)
    core.handle_event(PathEvidence(3, 10.9, None), 10.9)
    actions += rest(core, 60.0)
    assert decided(actions) == [("ICE_RESTART", "NETWORK_MOVED"), *[("HOLD", "IN_GRACE")] * 3, ("HOLD", "CARRIES_DATA")]


def test_an_event_within_the_grace_does_not_restart_a_restart_that_takes_longer() -> None:
    # Found by review: at the grace's end the restart under way was begun anew.
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(ROAM, 10.5)
    actions = core.handle_timeout(11.0)
    assert decided(actions) == [("HOLD", "UNDER_WAY")]
    assert core.next_deadline() == 13.0


def test_an_event_within_the_grace_that_leaves_the_path_dead_is_answered_at_its_end() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.1)
    core.handle_event(PathEvidence(3, 10.2, None), 10.2)
    core.handle_event(ROAM, 10.5)
    assert decided(core.handle_timeout(11.0)) == [("ICE_RESTART", "NETWORK_MOVED")]


def test_an_event_within_the_grace_is_answered_by_the_peers_offer() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.1)
    core.handle_event(PathEvidence(3, 10.2, None), 10.2)
    core.handle_event(ROAM, 10.5)
    core.handle_event(OfferReceived(6, sdp("theirs")), 10.6)
    core.handle_event(SessionResumed(6), 10.7)
    assert decided(rest(core, 100.0)) == []


def test_a_new_address_acts_at_once_even_within_the_grace() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    actions = core.handle_event(NEW_ADDRESS, 10.1)
    assert rest_of(actions) == [RenewNetworks(), CloseCarrier(3), MakeOffer(7, Trigger.IP_ADDRESS_CHANGE)]


def test_an_event_that_takes_the_paths_address_acts_at_once_though_another_waits_for_the_grace() -> None:
    core = connected()
    core.handle_event(NEW_ADDRESS, 10.0)
    assert decided(core.handle_event(NEW_ADDRESS, 10.05)) == [("HOLD", "IN_GRACE")]
    core.handle_event(AnswerReceived(core.generation, sdp("there")), 10.1)
    core.handle_event(SessionResumed(core.carrier), 10.2)
    assert core.state is State.CONNECTED
    assert decided(core.handle_event(replace(ROAM, local_address_lost=True), 10.3)) == [
        ("REBUILD", "LOCAL_ADDRESS_LOST")
    ]


def test_what_was_under_way_when_the_path_lost_its_address_does_not_speak_for_it() -> None:
    """The old network goes, and some milliseconds later the new one comes, as for a laptop that is unplugged."""
    core = connected()
    assert decided(core.handle_event(replace(OFFLINE, local_address_lost=True), 10.0)) == [("WAIT", "NO_ADDRESS")]
    core.handle_event(SignalingChanged(False), 10.001)
    core.handle_event(PathEvidence(3, 10.002, None), 10.002)
    assert decided(core.handle_event(SignalingChanged(True), 10.01)) == [("WAIT", "NO_ADDRESS")]
    assert decided(core.handle_event(replace(NEW_ADDRESS, has_address=True, local_address_lost=False), 10.02)) == [
        ("REBUILD", "NEW_ADDRESS")
    ]


WIFI_PREFERRED = replace(NEW_ADDRESS, has_address=True, local_address_lost=True, leads_elsewhere=True)
"""Ethernet is as it was, and the default route leads by the Wi-Fi that came up."""


def test_without_signaling_a_path_that_is_only_off_the_default_route_is_kept_until_another_can_be_built() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    actions = core.handle_event(WIFI_PREFERRED, 10.0)
    assert decided(actions) == [("WAIT", "NO_SIGNALING")]
    assert CloseCarrier(3) not in actions
    assert (core.state, core.carrier) == (State.CONNECTED, 3)
    assert decided(core.handle_event(SignalingChanged(True), 12.0)) == [("REBUILD", "NEW_ADDRESS")]


def test_without_signaling_a_path_whose_address_is_gone_is_replaced_all_the_same() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    gone = replace(WIFI_PREFERRED, leads_elsewhere=False)
    assert decided(core.handle_event(gone, 10.0)) == [("REBUILD", "NEW_ADDRESS")]


def test_with_signaling_the_default_route_is_followed() -> None:
    assert decided(connected().handle_event(WIFI_PREFERRED, 10.0)) == [("REBUILD", "NEW_ADDRESS")]


def test_an_event_after_the_grace_begins_the_attempt_under_way_anew() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    assert rest_of(core.handle_event(ROAM, 11.5)) == [RestartIce(7, 3, Trigger.INTERFACE_CHANGE)]
    lose(core, 11.6)
    assert rest_of(core.handle_event(ROAM, 13.0)) == [CloseCarrier(9), MakeOffer(11, Trigger.INTERFACE_CHANGE)]


def test_an_event_during_a_backoff_acts_at_once_and_starts_the_count_over() -> None:
    core = connected()
    lose(core, 10.0)
    lose(core, 10.5)
    core.handle_timeout(deadline(core))
    assert decided(lose(core, 20.0)) == [("WAIT", "BACKOFF")]
    actions = core.handle_event(ROAM, 21.0)
    assert decided(actions) == [("REBUILD", "NOT_OPEN")]
    assert decisions(actions)[0].attempt == 1


def test_a_restart_after_a_second_of_silence_would_come_too_late_so_a_spare_is_begun() -> None:
    core = connected(rtt=0.4)
    core.handle_event(PathEvidence(3, None, 10.0), 10.0)
    core.handle_timeout(deadline(core))
    assert core.state is State.CONNECTED
    actions = core.handle_event(ROAM, 11.1)
    assert (decided(actions), states(actions)) == ([("SPARE", "PATH_SILENT")], [State.RECONNECTING])


def test_silence_goes_on_counting_while_a_restart_is_under_way() -> None:
    # Found by review: what the session told during a restart was dropped, so a second event restarted in vain.
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.1)
    core.handle_event(PathEvidence(3, None, 10.1), 10.1)
    assert decided(core.handle_event(ROAM, 12.0)) == [("SPARE", "PATH_SILENT")]


def test_many_events_cause_six_restarts_a_minute() -> None:
    core = connected()
    restarts: list[float] = []
    for second in range(120):
        now = 10.0 + 1.5 * second
        actions = rest(core, now) + core.handle_event(ROAM, now)
        restarts += [now for action in actions if isinstance(action, RestartIce | MakeOffer)]
        if core.state is State.RECONNECTING or core.spare:
            core.handle_event(AnswerReceived(core.generation, sdp(f"new{second}")), now + 0.1)
            if core.generation in (core.carrier, core.spare):
                core.handle_event(SessionResumed(core.generation), now + 0.2)
            core.handle_event(PathEvidence(core.carrier, now + 0.2, None), now + 0.2)
    assert core.state is State.CONNECTED
    for at in restarts:
        assert sum(at <= other < at + 60.0 for other in restarts) <= POLICY.max_restarts_per_minute
    assert len(restarts) >= 15


@pytest.mark.parametrize("looks", [16, 60])
def test_an_interface_that_flaps_leaves_a_restart_for_the_address_that_it_comes_to_rest_with(looks: int) -> None:
    """Whether what was begun last is still under way, or was given up."""
    core = connected()
    there = replace(NEW_ADDRESS, has_address=True)
    offers: list[MakeOffer] = []
    for look in range(looks):
        now = 10.0 + look / 4
        actions = rest(core, now) + core.handle_event(there if look % 2 else OFFLINE, now)
        offers += [action for action in actions if isinstance(action, MakeOffer)]
        if look % 8 == 7:  # what is built works at once, and is lost with the next flap
            core.handle_event(AnswerReceived(core.generation, sdp("there")), now)
            core.handle_event(SessionResumed(core.carrier), now)
    assert len(offers) <= POLICY.max_restarts_per_minute - len(QUIET_BEFORE_LAST)
    rest_at = 10.0 + looks / 4
    core.handle_event(there, rest_at)
    assert [action for action, _ in decided(rest(core, rest_at + QUIET_BEFORE_LAST[1]))].count("REBUILD") == 1


def test_the_peers_restarts_count_towards_the_restart_limit_and_leave_the_last_one() -> None:
    core = connected()
    for generation in range(4, 4 + 2 * POLICY.max_restarts_per_minute, 2):
        core.handle_event(OfferReceived(generation, sdp("theirs"), cause="interface change"), 10.0)
    core.handle_event(SessionResumed(core.carrier), 10.1)
    assert decided(core.handle_event(ROAM, 12.0)) == [("WAIT", "UNSETTLED")]
    assert decided(core.handle_timeout(12.0 + QUIET_BEFORE_LAST[0]))[0] == ("ICE_RESTART", "NETWORK_MOVED")
    assert decided(core.handle_event(ROAM, 18.0)) == [("HOLD", "RESTART_LIMIT")]


@pytest.mark.parametrize("is_return", [False, True])
@pytest.mark.parametrize("is_agreed", [False, True])
def test_an_attempt_that_was_agreed_before_a_new_address_came_starts_over(is_agreed: bool, is_return: bool) -> None:
    # Found with flapping simulated: it took the attempt's 10 s, and a backoff, until the address was used.
    core = connected()
    core.handle_event(NEW_ADDRESS, 10.0)
    if is_agreed:
        core.handle_event(AnswerReceived(5, sdp("peer")), 10.2)
    assert decided(core.handle_event(replace(NEW_ADDRESS, is_return=is_return), 10.5)) == [("HOLD", "IN_GRACE")]
    expected = ("REBUILD", "NEW_ADDRESS") if is_agreed and not is_return else ("HOLD", "UNDER_WAY")
    assert decided(core.handle_timeout(11.0)) == [expected]


@pytest.mark.parametrize("is_agreed", [False, True])
def test_a_spare_that_is_the_attempt_and_was_agreed_before_a_new_address_came_starts_over(is_agreed: bool) -> None:
    core = connected()
    core.handle_event(NEW_ADDRESS, 10.0)
    core.handle_event(AnswerReceived(5, sdp("peer")), 10.1)
    core.handle_event(SessionResumed(5), 10.1)
    core.handle_event(IceUnhealthy(5, has_failed=True), 10.2)
    if is_agreed:
        core.handle_event(AnswerReceived(7, sdp("spare")), 10.3)
    assert decided(core.handle_event(NEW_ADDRESS, 10.5)) == [("HOLD", "IN_GRACE")]
    expected = ("REBUILD", "NEW_ADDRESS") if is_agreed else ("HOLD", "UNDER_WAY")
    assert decided(core.handle_timeout(11.0)) == [expected]


def test_an_event_at_the_restart_limit_during_an_attempt_is_judged_again_when_there_is_room() -> None:
    """The attempt may be for the network that this event takes away."""
    core = connected(policy=RestartPolicy(max_restarts_per_minute=1, attempt_timeout=300.0))
    core.handle_event(NEW_ADDRESS, 10.0)
    assert decided(core.handle_event(replace(ROAM, local_address_lost=True), 20.0)) == [("HOLD", "RESTART_LIMIT")]
    assert ("REBUILD", "LOCAL_ADDRESS_LOST") in decided(rest(core, 70.0))


def test_the_end_of_the_limits_wait_and_an_overdue_silence_are_one_recovery() -> None:
    core = connected(policy=RestartPolicy(max_restarts_per_minute=1, silence_floor=0.305))
    core.handle_event(ROAM, 10.0)
    core.handle_event(PathEvidence(3, None, 10.0), 10.0)
    rest(core, 69.9)
    actions = core.handle_timeout(70.7)
    assert decided(actions) == [("SPARE", "RETRY")]


@pytest.mark.parametrize("restart_fails_by", ["silence", "refusal", "loss"])
def test_a_restart_that_fails_when_the_restart_limit_is_reached_waits_and_goes_on(restart_fails_by: str) -> None:
    # Found by review: it was left without a deadline.
    core = connected(policy=RestartPolicy(max_restarts_per_minute=1))
    core.handle_event(ROAM, 10.0)
    match restart_fails_by:
        case "silence":
            actions = core.handle_timeout(13.0)
        case "refusal":
            actions = core.handle_event(AnswerReceived(5, sdp("peer")), 10.1)
        case _:
            actions = lose(core, 10.1)
    assert decided(actions) == [("WAIT", "RESTART_LIMIT")]
    assert core.next_deadline() == 70.0
    assert MakeOffer(7, Trigger.INTERFACE_CHANGE, is_spare=restart_fails_by != "loss") in core.handle_timeout(70.0)


# Without an address, or without signaling.


@pytest.mark.parametrize("initiator", [False, True])
def test_without_an_address_a_silent_path_is_held_until_there_is_one(initiator: bool) -> None:
    core = connected(initiator=initiator)
    actions = core.handle_event(OFFLINE, 10.0)
    assert decided(actions) == [("WAIT", "NO_ADDRESS")]
    assert (core.state, rest_of(actions)) == (State.CONNECTED, [Probe()])
    actions = silent(core, 10.0)
    assert decided(actions)[-1] == ("WAIT", "NO_ADDRESS")
    assert not closes(actions)
    assert core.handle_event(SignalingChanged(False), 100.0) == []
    assert not any(isinstance(each, MakeOffer) for each in core.handle_event(SignalingChanged(True), 200.0))
    actions = core.handle_event(ONLINE, 300.0)
    assert decided(actions) == [("SPARE", "PATH_SILENT")]
    assert decisions(actions)[0].attempt == 1
    assert not closes(actions)


def test_a_silent_path_is_held_while_signaling_is_away() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    actions = silent(core, 10.0)
    assert states(actions) == [State.RECONNECTING]
    assert not closes(actions)
    assert rest_of(core.handle_event(SignalingChanged(True), 12.0)) == [
        MakeOffer(5, Trigger.CONNECTION_TIMEOUT, is_spare=True),
        Probe(),
    ]
    assert (core.state, core.carrier) == (State.RECONNECTING, 3)


def test_a_held_path_that_carries_data_again_is_connected_again() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    silent(core, 10.0)
    assert states(core.handle_event(PathEvidence(3, None, 11.5), 12.0)) == []
    assert reasons(core.handle_event(PathEvidence(3, 13.0, None), 13.0)) == ["PATH_HEALED"]
    assert core.handle_event(SignalingChanged(True), 14.0) == []


def test_a_held_path_does_not_heal_by_what_was_heard_before_it_was_held() -> None:
    # Found by review: what the restart's old path said before it died made it count as healed.
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(PathEvidence(3, 10.5, None), 10.5)
    core.handle_event(SignalingChanged(False), 11.0)
    core.handle_timeout(13.0)
    core.handle_event(PathEvidence(3, 10.5, 13.0), 13.1)
    assert core.state is State.RECONNECTING


def test_a_path_that_is_held_after_a_failed_restart_is_asked_anew() -> None:
    # Found by Hypothesis: its silence was overdue already, and judged at the same instant for ever.
    core = connected(policy=RestartPolicy(max_restarts_per_minute=1))
    core.handle_event(ROAM, 0.0)
    core.handle_event(PathEvidence(3, None, 0.0), 0.0)
    assert Probe() in core.handle_timeout(3.0)
    assert deadline(core) > 3.0


def test_a_held_path_is_asked_again_and_again() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    silent(core, 10.0)
    probes = rest_of(rest(core, 100.0))
    assert set(probes) == {Probe()}
    assert 3 <= len(probes) <= 40


def test_a_held_carrier_that_is_lost_changes_nothing_but_that() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    silent(core, 10.0)
    assert lose(core, 20.0) == [CloseCarrier(3)]
    assert rest_of(core.handle_event(SignalingChanged(True), 30.0)) == [MakeOffer(5, Trigger.CONNECTION_TIMEOUT)]


@pytest.mark.parametrize("away", [SignalingChanged(False), OFFLINE])
def test_an_attempt_that_fails_while_it_could_not_be_made_is_not_spent(away: Event) -> None:
    # Found by review: after a network event this was left without a deadline.
    core = connected()
    core.handle_event(NEW_ADDRESS, 10.0)
    core.handle_event(away, 12.0)
    actions = core.handle_timeout(20.0)
    assert [action for action, _ in decided(actions)] == ["WAIT"]
    core.handle_event(ONLINE, 500.0)
    actions = core.handle_event(SignalingChanged(True), 500.0)
    assert core.carrier == core.generation == 7
    assert decisions([*core.decisions])[-1].attempt == 1


def test_an_event_that_came_while_signaling_was_away_is_answered_when_it_returns() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.9)
    actions = core.handle_event(ROAM, 10.0)
    assert (decided(actions), rest_of(actions)) == ([("WAIT", "NO_SIGNALING")], [Probe()])
    assert rest_of(core.handle_event(SignalingChanged(True), 10.3)) == [RestartIce(5, 3, Trigger.INTERFACE_CHANGE)]


def test_an_event_that_the_path_has_survived_meanwhile_is_not() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.9)
    core.handle_event(ROAM, 10.0)
    core.handle_event(PathEvidence(3, 10.1, None), 10.1)
    assert decided(core.handle_event(SignalingChanged(True), 10.3)) == [("HOLD", "CARRIES_DATA")]


def test_an_event_that_waited_brings_back_no_old_news_of_addresses() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(OFFLINE, 10.0)
    core.handle_event(NetworkChanged(Trigger.WAKE_UP, has_address=True, slept_seconds=1.0), 10.1)
    core.handle_event(SignalingChanged(True), 10.2)
    assert decided([*core.decisions])[-1][1] != "NO_ADDRESS"


# Requests.


def test_the_user_gets_a_restart_or_another_carrier_at_once() -> None:
    assert rest_of(connected().handle_event(RecoveryRequested(), 1.0)) == [RestartIce(5, 3, Trigger.REQUEST)]
    core = connected(initiator=False)
    actions = core.handle_event(RecoveryRequested(rebuild=True), 1.0)
    assert decided(actions) == [("SPARE", "ASKED")]
    assert rest_of(actions) == [MakeOffer(4, Trigger.REQUEST, is_spare=True)]
    assert core.state is State.CONNECTED


def test_a_request_joins_the_recovery_that_is_under_way() -> None:
    core = connected()
    core.handle_event(ROAM, 10.0)
    actions = core.handle_event(RecoveryRequested(), 10.5)
    assert (decided(actions), rest_of(actions)) == ([("HOLD", "UNDER_WAY")], [])


def test_a_request_during_a_backoff_acts_at_once() -> None:
    core = connected()
    lose(core, 10.0)
    lose(core, 11.0)
    assert MakeOffer(7, Trigger.REQUEST) in core.handle_event(RecoveryRequested(), 12.0)


@pytest.mark.parametrize("initiator", [False, True])
def test_a_rebuild_needs_no_rendezvous_while_the_carrier_can_take_its_offer_to_the_peer(initiator: bool) -> None:
    core = connected(initiator=initiator)
    core.handle_event(SignalingChanged(False), 9.0)
    actions = core.handle_event(RecoveryRequested(rebuild=True), 11.6)
    assert decided(actions) == [("SPARE", "ASKED")]
    assert core.state is State.CONNECTED


def test_a_rebuild_is_not_begun_while_it_could_not_be_ended() -> None:
    core = connected()
    core.handle_event(SessionResumed(3, peer_takes_spare=False), 8.0)
    core.handle_event(SignalingChanged(False), 9.0)
    actions = core.handle_event(RecoveryRequested(rebuild=True), 11.6)
    assert (decided(actions), rest_of(actions)) == ([("HOLD", "NO_SIGNALING")], [Probe()])
    assert core.state is State.CONNECTED


def test_a_suspect_path_takes_no_offer_to_the_peer() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(PathEvidence(3, None, 10.0), 10.0)
    rest(core, 10.0 + POLICY.suspicion_floor + 0.01)
    assert decided(core.handle_event(RecoveryRequested(rebuild=True), 10.3)) == [("HOLD", "NO_SIGNALING")]


def test_a_network_event_waits_for_the_rendezvous_though_the_path_was_up() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    assert decided(core.handle_event(NetworkChanged(Trigger.INTERFACE_CHANGE), 10.0)) == [("WAIT", "NO_SIGNALING")]


@pytest.mark.parametrize("is_late", [False, True])
def test_a_second_copy_of_an_offer_is_no_news_of_the_peers_network(is_late: bool) -> None:
    """`is_late`: another one was answered meanwhile."""
    one, other = connected(initiator=False), connected(initiator=False)
    for core in (one, other):
        for generation in range(5, 5 + 2 * (POLICY.max_restarts_per_minute - 2), 2):
            core.handle_event(OfferReceived(generation, sdp("peer"), cause=Trigger.INTERFACE_CHANGE.value), 10.0)
    generation = other.generation - 2 * is_late
    copy = OfferReceived(generation, sdp("peer"), cause=Trigger.INTERFACE_CHANGE.value)
    assert other.handle_event(copy, 13.0) == []
    for core in (one, other):
        core.handle_event(SessionResumed(core.spare), 13.5)
        silent(core, 14.0)
        assert core.decisions[-1].reason.name == "UNSETTLED"
    assert other.decisions[-1].next_attempt_at == one.decisions[-1].next_attempt_at


def test_a_second_copy_of_an_answer_whose_attempt_is_over_is_no_sign_that_the_peer_is_back() -> None:
    core = connected()
    lose(core, 10.0)
    core.handle_event(AnswerReceived(5, sdp("peer")), 10.1)
    rest(core, 10.0 + POLICY.attempt_timeout + 0.1)
    assert core.handle_event(AnswerReceived(5, sdp("peer")), 10.0 + POLICY.attempt_timeout + 0.2) == []


def test_a_request_before_the_begin_begins() -> None:
    core = created()
    core.handle_event(SignalingChanged(True), 0.0)
    assert rest_of(core.handle_event(RecoveryRequested(), 0.0)) == [MakeOffer(3, None)]


# Silence.


def test_silence_while_an_answer_is_due_is_probed_and_then_the_verdict_which_keeps_the_carrier() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    assert core.next_deadline() == 10.0 + POLICY.suspicion_floor
    actions = core.handle_timeout(deadline(core))
    assert rest_of(actions) == [Probe(), DoubtSignaling(), MakeOffer(5, Trigger.CONNECTION_TIMEOUT, is_spare=True)]
    assert core.state is State.CONNECTED
    assert core.next_deadline() == pytest.approx(10.0 + SILENT_AFTER)
    actions = core.handle_timeout(deadline(core))
    assert reasons(actions) == ["PATH_SILENT"]
    assert rest_of(actions) == [DoubtSignaling(), Probe()]
    assert (core.carrier, core.spare) == (3, 5)


def test_the_acceptor_end_that_has_no_spare_at_the_verdict_waits_a_moment_for_the_others_offer() -> None:
    core = connected(initiator=False, policy=replace(POLICY, silence_floor=0.3))
    core.handle_event(PathEvidence(3, None, 5.0), 5.0)
    rest(core, 5.4)
    assert core.spare == 4
    core.handle_event(PathEvidence(3, 5.4, None), 5.4)  # it was not needed: no other one within 1 s
    actions = silent(core, 5.45)
    assert decided(actions) == [("WAIT", "GLARE")]
    assert not closes(actions)
    actions = rest_of(rest(core, 5.45 + 0.9 + GLARE_DELAY + 0.001))
    assert actions == [MakeOffer(6, Trigger.CONNECTION_TIMEOUT, is_spare=True), Probe()]


def test_a_sign_of_life_ends_the_suspicion() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.3)
    core.handle_event(PathEvidence(3, 10.5, None), 10.6)
    assert core.next_deadline() == POLICY.connection_health_check_interval


def test_a_path_that_is_slow_and_not_dead_is_given_more_time_on_each_carrier() -> None:
    # Found by review: a message that needs more than the limit to cross was sent again and again, for ever.
    core, now, waits = connected(policy=RestartPolicy(max_restarts_per_minute=100)), 10.0, []
    for _ in range(8):
        core.handle_event(PathEvidence(core.carrier, now, now), now)
        began_at = now
        while core.state is State.CONNECTED:
            now = deadline(core)
            core.handle_timeout(now)
        waits.append(now - began_at)
        core.handle_event(SessionResumed(core.carrier), now)
    assert waits == pytest.approx([1.2, 2.4, 4.8, 9.6, 19.2, 30.0, 30.0, 30.0])


def test_an_idle_path_is_asked_every_five_minutes_and_gone_thirty_seconds_after() -> None:
    core = connected()
    actions = rest(core, 300.0)
    assert KeepAlive(300.0) in actions
    core.handle_event(PathEvidence(3, 0.0, 300.0, awaits_only_ping=True), 300.0)
    assert states(rest(core, 329.9)) == []
    assert reasons(rest(core, 330.1)) == ["PATH_SILENT"]


def test_a_doubted_path_is_judged_by_the_fast_limit() -> None:
    for doubt in (IceUnhealthy(3), OFFLINE, NetworkChanged(Trigger.ICE_FAILURE)):
        core = connected()
        core.handle_event(doubt, 10.0)
        assert core.state is State.CONNECTED
        core.handle_event(PathEvidence(3, 0.0, 10.0, awaits_only_ping=True), 10.0)
        actions = rest(core, 10.0 + SILENT_AFTER + 0.001)
        assert reasons(actions) == ["PATH_SILENT"]


def test_without_keepalives_an_idle_path_is_left_alone() -> None:
    core = connected(policy=RestartPolicy(ice_keepalive_enabled=False))
    actions = rest(core, 3000.0)
    assert not [action for action in actions if isinstance(action, KeepAlive | Probe)]
    assert reasons(silent(core, 3000.0)) == ["PATH_SILENT"]


def test_a_peer_that_talks_but_never_acknowledges_is_not_believed_for_ever() -> None:
    core, now = connected(), 0.0
    while core.state is State.CONNECTED and now < 100:
        now += 0.25
        core.handle_event(PathEvidence(3, now, 0.25), now)
        core.handle_event(RttMeasured(3, 0.1), now)
        actions = core.handle_timeout(now)
    assert reasons(actions) == ["PEER_STALLED"]
    assert closes(actions)
    assert now == pytest.approx(POLICY.stall_timeout + 0.25, abs=0.5)


def test_a_peer_that_talks_but_gets_nothing_is_tried_on_another_carrier() -> None:
    core, now = connected(), 0.0
    while core.state is State.CONNECTED and now < 100:
        now += 0.25
        core.handle_event(PathEvidence(3, now, 0.25), now)
        actions = core.handle_timeout(now)
    assert core.state is State.RECONNECTING
    assert reasons(actions) == ["PATH_SILENT"]
    assert now == pytest.approx(POLICY.stall_timeout + 1.0, abs=1.0)


def test_the_engines_doubt_is_probed_and_changes_nothing_else() -> None:
    core = connected()
    actions = core.handle_event(IceUnhealthy(3), 10.0)
    assert decided(actions) == [("HOLD", "DOUBTED")]
    assert rest_of(actions) == [Probe()]
    assert core.state is State.CONNECTED
    assert core.handle_event(IceUnhealthy(1), 10.0) == []


def test_an_overdue_silence_and_the_end_of_a_grace_at_one_instant_are_one_recovery() -> None:
    # Found by review: timers that an earlier one had settled were served all the same, and built twice.
    core = connected()
    core.handle_event(ROAM, 10.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 10.05)
    core.handle_event(PathEvidence(3, 10.1, None), 10.1)
    core.handle_event(PathEvidence(3, 10.1, 10.1), 10.1)
    core.handle_event(ROAM, 10.11)
    actions = core.handle_timeout(11.05)
    assert len([action for action in actions if isinstance(action, RestartIce | MakeOffer)]) == 1


# Sleep.


def test_a_deadline_noticed_a_little_late_earns_a_probe_and_not_a_verdict() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    assert core.handle_timeout(30.0) == [Probe()]
    assert core.state is State.CONNECTED
    assert reasons(rest(core, 30.0 + SILENT_AFTER + 0.001)) == ["PATH_SILENT"]


def test_a_process_that_stood_still_reads_what_came_before_it_judges_the_path() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    assert core.handle_timeout(10.95) == []
    core.handle_event(PathEvidence(3, 10.96, None), 10.96)
    assert decided(rest(core, 20.0)) == []


def test_a_dead_path_is_noticed_by_a_process_that_is_always_late_too() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    now, actions = 10.0, []
    while now < 13.0:
        now = deadline(core) + 0.5
        actions += core.handle_timeout(now)
    assert ("SPARE", "PATH_SUSPECT") in decided(actions)


def test_a_deadline_noticed_a_minute_late_is_a_wake_up() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_event(PathEvidence(3, 10.0, 10.0), 110.0)
    actions = core.handle_timeout(110.0)
    assert decided(actions) == [("REBUILD", "LONG_SLEEP")]
    assert reasons(actions) == ["WOKE_UP"]


def test_a_long_sleep_is_noticed_without_keepalives_too() -> None:
    core = connected(policy=RestartPolicy(ice_keepalive_enabled=False))
    assert decided(core.handle_timeout(POLICY.connection_health_check_interval + 60.0)) == [("REBUILD", "LONG_SLEEP")]


def test_a_wake_up_that_the_monitor_told_first_is_one_recovery() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    actions = core.handle_event(NetworkChanged(Trigger.WAKE_UP, slept_seconds=1000.0), 1010.0)
    actions += core.handle_timeout(1010.0)
    assert decided(actions) == [("REBUILD", "LONG_SLEEP")]


def test_evidence_that_is_told_late_is_no_sleep() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 100.0)
    assert core.next_deadline() == 100.0
    assert reasons(core.handle_timeout(100.0)) == ["PATH_SILENT"]


def test_a_peer_is_not_abandoned_because_this_machine_slept() -> None:
    core = connected(limits=UNLIMITED)
    core.handle_event(SignalingChanged(False), 9.0)
    lose(core, 10.0)
    assert core.handle_timeout(3620.0) == []
    assert core.next_deadline() == 3620.0 + RETURN_TIMEOUT
    assert rest_of(core.handle_event(SignalingChanged(True), 3625.0)) == [MakeOffer(5, Trigger.ICE_FAILURE)]


def test_an_attempt_that_was_slept_through_is_made_again_and_not_spent() -> None:
    core = connected()
    lose(core, 10.0)
    actions = core.handle_timeout(1000.0)
    assert rest_of(actions) == [CloseCarrier(5), MakeOffer(7, Trigger.ICE_FAILURE)]
    assert decisions(actions)[0].attempt == 1


@pytest.mark.parametrize("away", [SignalingChanged(False), OFFLINE])
def test_an_attempt_that_was_slept_through_waits_where_it_cannot_be_made_again(away: Event) -> None:
    # Found by review: after a network event this was left without a deadline.
    core = connected()
    core.handle_event(NEW_ADDRESS, 10.0)
    core.handle_event(away, 11.0)
    actions = core.handle_timeout(1000.0)
    assert [action for action, _ in decided(actions)] == ["WAIT"]
    core.handle_event(ONLINE, 1001.0)
    core.handle_event(SignalingChanged(True), 1001.0)
    assert core.carrier == core.generation


def test_a_session_timeout_that_was_slept_through_ends_the_tube_without_a_useless_recovery() -> None:
    core = connected()
    actions = core.handle_timeout(10_000.0)
    assert SayGoodbye(Reason.SESSION_TIMEOUT, "") in actions
    assert not [action for action in actions if isinstance(action, RestartIce | MakeOffer)]


# The session's lifetime.


def test_a_session_that_nobody_uses_is_warned_of_and_closed_gracefully() -> None:
    core = connected(policy=RestartPolicy(ice_keepalive_enabled=False))
    actions = rest(core, 3600.0)
    warnings = [action for action in actions if isinstance(action, WarnOfTimeout)]
    assert [(each.idle_seconds, each.remaining_seconds) for each in warnings] == [
        (1140.0, 2460.0),
        (1800.0, 1800.0),
        (2700.0, 900.0),
        (3300.0, 300.0),
        (3540.0, 60.0),
    ]
    assert actions[-1] == SayGoodbye(Reason.SESSION_TIMEOUT, "")
    core.handle_event(CloseSent(), 3600.0)
    assert reasons(rest(core, 3601.0)) == ["SESSION_TIMEOUT"]


def test_a_recovery_does_not_put_the_session_timeout_off() -> None:
    core = connected(policy=RestartPolicy(ice_keepalive_enabled=False))
    rest(core, 3500.0)
    core.handle_event(ROAM, 3500.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 3500.1)
    core.handle_event(CandidateReceived(5, "c", "0", 0), 3500.1)
    core.handle_event(PathEvidence(3, 3500.2, None), 3500.2)
    assert SayGoodbye(Reason.SESSION_TIMEOUT, "") in rest(core, 3600.0)


def test_an_extension_puts_it_off() -> None:
    core = connected(policy=RestartPolicy(ice_keepalive_enabled=False))
    rest(core, 3599.0)
    core.handle_event(Extended(3600.0), 3599.0)
    assert states(rest(core, 7198.0)) == []
    assert states(rest(core, 7202.0)) == [State.CLOSED]


@pytest.mark.parametrize("seconds", [-1.0, 1e9, float("inf"), float("nan")])
def test_a_tube_is_extended_by_a_time_that_makes_sense(seconds: float) -> None:
    with pytest.raises(ValueError, match="extended"):
        Extended(seconds)


def test_a_tube_that_never_began_times_out_as_well() -> None:
    core = created(limits=SessionLimits(session_timeout=100.0))
    assert reasons(rest(core, 1000.0)) == ["SESSION_TIMEOUT"]


# The end.


@pytest.mark.parametrize(
    ("event", "state", "reason"),
    [
        (PeerRestarted(), State.FAILED, Reason.PEER_RESTARTED),
        (PeerLeft("bye"), State.CLOSED, Reason.CLOSED_BY_PEER),
        (SessionEnded(Reason.UNKNOWN_SESSION, ""), State.FAILED, Reason.UNKNOWN_SESSION),
        (SessionEnded(Reason.CLOSED_BY_PEER, ""), State.CLOSED, Reason.CLOSED_BY_PEER),
    ],
)
def test_an_end_has_its_reason_closes_the_carrier_and_is_the_last_word(
    event: Event, state: State, reason: Reason
) -> None:
    core = connected()
    actions = core.handle_event(event, 5.0)
    assert actions[0] == CloseCarrier(3)
    assert [(each.after, each.reason) for each in actions if isinstance(each, StateChanged)] == [(state, reason)]
    assert core.next_deadline() is None
    assert core.handle_event(OfferReceived(99, sdp("late")), 6.0) == []
    assert core.handle_event(CloseRequested(), 6.0) == []
    assert core.handle_timeout(7.0) == []


@pytest.mark.parametrize("seconds", [0.0, 0.3, 1.9])
def test_a_close_says_goodbye_behind_what_is_held_and_lets_it_leave(seconds: float) -> None:
    core = connected()
    assert core.handle_event(CloseRequested(Reason.SHUT_DOWN, "bye"), 5.0) == [SayGoodbye(Reason.SHUT_DOWN, "bye")]
    assert core.handle_event(CloseSent(), 5.0 + seconds) == []
    assert core.next_deadline() == 5.0 + seconds + FAREWELL_SECONDS
    actions = core.handle_timeout(5.0 + seconds + FAREWELL_SECONDS)
    assert rest_of(actions) == [CloseCarrier(3)]
    assert reasons(actions) == ["SHUT_DOWN"]


def test_a_peer_that_does_not_take_what_is_held_puts_the_goodbye_off_for_a_while_and_no_longer() -> None:
    core = connected()
    core.handle_event(CloseRequested(Reason.SHUT_DOWN), 5.0)
    assert core.next_deadline() == 5.0 + GOODBYE_TIMEOUT
    assert core.handle_timeout(5.0 + GOODBYE_TIMEOUT) == [CloseNow()]
    end = 5.0 + GOODBYE_TIMEOUT + FAREWELL_SECONDS
    assert core.next_deadline() == end
    core.handle_event(CloseSent(), end - 0.1)
    assert core.next_deadline() == end, "it has its time, sent or not"
    assert reasons(core.handle_timeout(end)) == ["SHUT_DOWN"]


def test_a_last_message_that_was_sent_twice_puts_nothing_off() -> None:
    core = connected()
    core.handle_event(CloseRequested(), 5.0)
    core.handle_event(CloseSent(), 5.0)
    core.handle_event(CloseSent(), 5.1)
    assert core.next_deadline() == 5.0 + FAREWELL_SECONDS


def test_the_last_message_of_a_session_that_refused_its_peer_ends_nothing_by_itself() -> None:
    core = connected()
    before = core.next_deadline()
    assert core.handle_event(CloseSent(), 0.1) == []
    assert core.next_deadline() == before


@pytest.mark.parametrize(
    "event",
    [ROAM, PathEvidence(3, 5.0, 5.0), RttMeasured(3, 9.0), OfferReceived(6, sdp("x")), CloseRequested(), Started()],
)
@pytest.mark.parametrize("is_sent", [False, True])
def test_nothing_is_recovered_while_the_last_message_leaves(event: Event, is_sent: bool) -> None:
    core = connected()
    core.handle_event(CloseRequested(), 5.0)
    if is_sent:
        core.handle_event(CloseSent(), 5.0)
    assert core.handle_event(event, 5.1) == []
    assert core.next_deadline() == 5.0 + (FAREWELL_SECONDS if is_sent else GOODBYE_TIMEOUT)
    assert reasons(rest(core, 100.0)) == ["CLOSED_LOCALLY"]


def test_no_silence_is_judged_while_the_last_message_leaves() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, None, 4.9), 4.9)
    core.handle_event(CloseRequested(), 5.0)
    core.handle_event(IceUnhealthy(3), 5.1)
    assert core.next_deadline() == 5.0 + GOODBYE_TIMEOUT


@pytest.mark.parametrize(
    "event",
    [
        CarrierLost(3, ""),
        PeerLeft(""),
        PeerRestarted(),
        SessionEnded(Reason.PROTOCOL, ""),
        replace(ROAM, local_address_lost=True),
    ],
)
def test_a_close_that_nobody_can_hear_any_more_ends_at_once_with_its_own_reason(event: Event) -> None:
    core = connected()
    core.handle_event(CloseRequested(), 5.0)
    assert reasons(core.handle_event(event, 5.1)) == ["CLOSED_LOCALLY"]


@pytest.mark.parametrize("core", [created(), started(), started(initiator=False)])
def test_a_tube_without_a_path_is_closed_at_once(core: Connection) -> None:
    assert reasons(core.handle_event(CloseRequested(Reason.STALE), 0.0)) == ["STALE"]


def test_a_tube_is_not_closed_here_for_a_reason_of_the_peers() -> None:
    with pytest.raises(ValueError, match="not a reason to close"):
        CloseRequested(Reason.CLOSED_BY_PEER)


# Bookkeeping.


def test_the_last_decisions_are_kept_and_no_more() -> None:
    core = connected()
    for tick in range(1000):
        core.handle_event(IceUnhealthy(3), 10.0 + tick / 100)
    assert len(core.decisions) == MAX_DECISIONS
    assert core.decisions[-1].at == pytest.approx(19.99)


def test_what_the_driver_reads() -> None:
    core = connected(rtt=0.05)
    assert (core.carrier, core.generation, core.carriers.negotiation.offered_here) == (3, 3, True)
    assert core.liveness.rtt.srtt == pytest.approx(0.05)
    assert (core.quality, core.loss_rate) == (1.0, 0.0)
    assert connected(initiator=False).carriers.negotiation.offered_here is False
    assert created().liveness.rtt.srtt is None


def test_time_that_goes_back_is_the_callers_mistake() -> None:
    core = connected()
    core.handle_event(IceUnhealthy(3), 5.0)
    with pytest.raises(ValueError, match="went back"):
        core.handle_timeout(4.0)
    with pytest.raises(ValueError, match="went back"):
        core.handle_event(Started(), 4.9)


def test_a_tube_that_is_closed_while_its_path_is_restarted_says_goodbye_on_the_old_one() -> None:
    # Found by review: the peer was not told, and waited for an hour.
    core = connected()
    core.handle_event(ROAM, 10.0)
    assert SayGoodbye(Reason.SHUT_DOWN, "") in core.handle_event(CloseRequested(Reason.SHUT_DOWN), 10.1)
    core.handle_event(CloseSent(), 10.1)
    assert states(core.handle_timeout(10.1 + FAREWELL_SECONDS)) == [State.CLOSED]


def test_what_an_application_says_of_a_change_is_in_the_decision() -> None:
    core = connected()
    core.handle_event(NetworkChanged(Trigger.INTERFACE_CHANGE, detail="wlan0"), 10.0)
    core.handle_event(NetworkChanged(Trigger.CONNECTION_TIMEOUT, detail="ping"), 10.1)
    assert [decision.detail for decision in core.decisions[-2:]] == ["wlan0", "ping"]


def test_a_carrier_takes_so_many_candidates_of_its_peer_and_the_next_carrier_as_many_again() -> None:
    # Found by review: a thousand candidates held the engine, and with it the process, up for seconds.
    core = connected()

    def taken(now: float) -> int:
        found = [core.handle_event(CandidateReceived(core.generation, "c", "0", 0), now) for _ in range(1000)]
        return sum(len(actions) for actions in found)

    assert taken(1.0) == MAX_CANDIDATES_OF_CARRIER
    core.handle_event(ROAM, 2.0)
    assert taken(2.0) == 0
    lose(core, 3.0)
    assert taken(3.0) == MAX_CANDIDATES_OF_CARRIER
