"""What one tube's core decides."""

from __future__ import annotations

from random import Random

import pytest

from perdure.config import RestartPolicy
from perdure.core.actions import (
    Action,
    ApplyAnswer,
    ApplyCandidate,
    AttemptDelayed,
    ChangeState,
    CloseCarrier,
    MakeAnswer,
    MakeOffer,
    Probe,
)
from perdure.core.connection import COURTESY_DELAY, FIRST_OFFER_TIMEOUT, Connection
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CloseRequested,
    OfferReceived,
    PathDoubted,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RebuildRequested,
    SessionEnded,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.state import Reason, State

POLICY = RestartPolicy()


def started(*, polite: bool = False, signaling: bool = True, policy: RestartPolicy = POLICY) -> Connection:
    core = Connection(policy, polite=polite, random=Random(1), now=0.0)
    core.handle_event(SignalingChanged(signaling), 0.0)
    core.handle_event(Started(), 0.0)
    return core


def connected(*, polite: bool = False) -> Connection:
    core = started(polite=polite)
    if polite:
        core.handle_event(OfferReceived(3, "offer"), 0.0)
    core.handle_event(SessionResumed(3), 0.0)
    assert core.state is State.CONNECTED
    return core


def states(actions: list[Action]) -> list[State]:
    return [action.after for action in actions if isinstance(action, ChangeState)]


def test_the_impolite_end_offers_at_once() -> None:
    core = Connection(POLICY, polite=False, random=Random(1), now=0.0)
    core.handle_event(SignalingChanged(True), 0.0)
    assert core.handle_event(Started(), 0.0) == [
        ChangeState(State.INITIALIZING, State.CONNECTING, Reason.STARTED, ""),
        MakeOffer(3),
    ]


def test_the_polite_end_waits_for_the_first_offer_and_gives_up_at_last() -> None:
    core = started(polite=True)
    assert core.next_deadline() == FIRST_OFFER_TIMEOUT
    assert states(core.handle_timeout(FIRST_OFFER_TIMEOUT)) == [State.FAILED]


def test_an_attempt_waits_for_signaling_and_is_not_spent_meanwhile() -> None:
    core = started(signaling=False)
    assert core.next_deadline() is None
    assert core.handle_event(SignalingChanged(True), 500.0) == [MakeOffer(3)]


def test_the_answer_to_the_current_offer_is_applied_and_a_stale_one_is_not() -> None:
    core = started()
    assert core.handle_event(AnswerReceived(1, "old"), 0.1) == []
    assert core.handle_event(AnswerReceived(3, "sdp"), 0.1) == [ApplyAnswer(3, "sdp")]


def test_candidates_reach_the_current_carrier_only() -> None:
    core = started()
    assert core.handle_event(CandidateReceived(3, "c", "0", 0), 0.1) == [ApplyCandidate(3, "c", "0", 0)]
    assert core.handle_event(CandidateReceived(2, "c", "0", 0), 0.1) == []


def test_a_lost_carrier_is_built_anew_at_once() -> None:
    core = connected()
    actions = core.handle_event(CarrierLost(3, "gone"), 10.0)
    assert actions == [
        CloseCarrier(),
        ChangeState(State.CONNECTED, State.RECONNECTING, Reason.CARRIER_LOST, "gone"),
        MakeOffer(5),
    ]
    assert states(core.handle_event(SessionResumed(5), 10.1)) == [State.CONNECTED]


def test_the_polite_end_leaves_the_first_word_to_the_other_but_not_for_long() -> None:
    core = connected(polite=True)
    assert MakeOffer(4) not in core.handle_event(CarrierLost(3, "gone"), 10.0)
    assert core.handle_timeout(10.0 + COURTESY_DELAY) == [MakeOffer(4)]


def test_when_offers_cross_the_polite_end_gives_way_and_the_other_stands() -> None:
    polite, impolite = connected(polite=True), connected()
    for core in (polite, impolite):
        core.handle_event(RebuildRequested(), 10.0)
    assert polite.handle_event(OfferReceived(5, "theirs"), 10.1) == [CloseCarrier(), MakeAnswer(5, "theirs")]
    assert impolite.handle_event(OfferReceived(4, "theirs"), 10.1) == []


def test_a_late_offer_of_an_earlier_round_is_ignored() -> None:
    core = connected(polite=True)
    core.handle_event(OfferReceived(7, "new"), 1.0)
    assert core.handle_event(OfferReceived(5, "late"), 1.1) == []


def test_an_offer_with_our_own_parity_is_ignored() -> None:
    assert connected().handle_event(OfferReceived(99, "ours?"), 1.0) == []


def test_the_peers_offer_replaces_a_carrier_that_works_here() -> None:
    core = connected(polite=True)
    assert core.handle_event(OfferReceived(5, "sdp"), 1.0) == [
        CloseCarrier(),
        ChangeState(State.CONNECTED, State.RECONNECTING, Reason.PEER_REBUILDS, ""),
        MakeAnswer(5, "sdp"),
    ]


def test_failed_attempts_wait_five_then_ten_seconds_and_the_third_is_the_last() -> None:
    core = connected()
    core.handle_event(CarrierLost(3, "gone"), 100.0)
    now, delays = 100.0, []
    while core.state is State.RECONNECTING:
        now = core.next_deadline() or 0.0
        delays += [a.next_attempt_at - now for a in core.handle_timeout(now) if isinstance(a, AttemptDelayed)]
    assert delays == [pytest.approx(delay, rel=0.11) for delay in (5.0, 10.0)]
    assert core.state is State.FAILED


def test_waits_never_exceed_the_longest() -> None:
    core = started(policy=RestartPolicy(max_restart_attempts=9))
    delays = []
    while core.state is State.CONNECTING:
        now = core.next_deadline() or 0.0
        delays += [a.next_attempt_at - now for a in core.handle_timeout(now) if isinstance(a, AttemptDelayed)]
    assert len(delays) == 8
    assert delays[4:] == [pytest.approx(60.0)] * 4


def test_a_success_starts_the_count_over() -> None:
    core = connected()
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    core.handle_event(CarrierLost(5, "failed"), 11.0)
    core.handle_timeout(core.next_deadline() or 0.0)
    core.handle_event(SessionResumed(7), 18.0)
    core.handle_event(CarrierLost(7, "gone"), 30.0)
    delayed = [a for a in core.handle_event(CarrierLost(9, "failed"), 31.0) if isinstance(a, AttemptDelayed)]
    assert [action.attempt for action in delayed] == [1]


def test_the_polite_end_waits_for_the_peer_when_its_own_attempts_are_spent() -> None:
    core = connected(polite=True)
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    for _ in range(10):
        if (deadline := core.next_deadline()) is not None and deadline < 1000:
            core.handle_timeout(deadline)
    assert core.state is State.RECONNECTING
    assert MakeAnswer(4097, "back") in core.handle_event(OfferReceived(4097, "back"), 2000.0)


def test_a_peer_that_never_comes_back_is_given_up() -> None:
    core = connected(polite=True)
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    core.handle_timeout(10.0 + COURTESY_DELAY)
    deadline = core.next_deadline()
    assert deadline == 10.0 + POLICY.abandon_after
    actions = core.handle_timeout(deadline)
    assert [a.reason for a in actions if isinstance(a, ChangeState)] == [Reason.ABANDONED]


def test_an_attempt_that_fails_while_signaling_is_down_is_not_spent() -> None:
    core = connected()
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    core.handle_event(SignalingChanged(False), 11.0)
    assert core.handle_timeout(10.0 + POLICY.attempt_timeout) == [CloseCarrier()]
    assert core.handle_event(SignalingChanged(True), 500.0) == [MakeOffer(7)]


def test_carriers_that_die_young_again_and_again_are_not_rebuilt_in_a_spin() -> None:
    core, now, offers = connected(), 0.0, 0
    for _ in range(50):
        now += 0.01
        actions = core.handle_event(CarrierLost(core.generation, "gone"), now)
        offers += sum(isinstance(action, MakeOffer) for action in actions)
        core.handle_event(SessionResumed(core.generation), now)
    assert offers == 5


def test_silence_while_an_answer_is_due_is_probed_and_then_ends_the_carrier() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    assert core.next_deadline() == 10.0 + POLICY.probe_after
    assert core.handle_timeout(10.0 + POLICY.probe_after) == [Probe()]
    assert core.next_deadline() == 10.0 + POLICY.lost_after
    actions = core.handle_timeout(10.0 + POLICY.lost_after)
    assert [a.reason for a in actions if isinstance(a, ChangeState)] == [Reason.PATH_SILENT]
    assert isinstance(actions[-1], MakeOffer)


def test_a_sign_of_life_ends_the_suspicion() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.5)
    core.handle_event(PathEvidence(3, 11.0, None), 11.5)
    assert core.handle_timeout(11.5) == []
    assert core.next_deadline() == 11.0 + POLICY.keepalive_interval


def test_a_silent_path_is_held_while_no_better_one_can_be_had() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.5)
    actions = core.handle_timeout(11.5)
    assert states(actions) == [State.RECONNECTING]
    assert CloseCarrier() not in actions
    assert core.handle_event(SignalingChanged(True), 12.0) == [CloseCarrier(), MakeOffer(5)]


def test_a_held_path_that_carries_data_again_is_connected_again() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.5)
    core.handle_timeout(11.5)
    assert states(core.handle_event(PathEvidence(3, 10.0, 11.5), 12.0)) == []
    assert states(core.handle_event(PathEvidence(3, 13.0, None), 13.0)) == [State.CONNECTED]
    assert core.handle_event(SignalingChanged(True), 14.0) == []


def test_a_rebuild_is_not_begun_while_it_could_not_be_ended() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    assert core.handle_event(RebuildRequested(), 11.6) == []
    assert core.state is State.CONNECTED


def test_a_path_that_is_slow_and_not_dead_is_given_more_time_on_each_carrier() -> None:
    # Found by review: a message that needs more than 1.5 s to cross was sent again and again, for ever.
    core, now, waits = connected(), 10.0, []
    for _ in range(6):
        core.handle_event(PathEvidence(core.generation, now, now), now)
        began_at = now
        while core.state is State.CONNECTED:
            now = core.next_deadline() or 0.0
            core.handle_timeout(now)
        waits.append(now - began_at)
        core.handle_event(SessionResumed(core.generation), now)
    assert waits == pytest.approx([1.5, 3.0, 6.0, 12.0, 24.0, 24.0])


def test_an_answer_ends_the_patience_with_a_slow_path() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.5)
    core.handle_timeout(11.5)
    core.handle_event(SessionResumed(5), 12.0)
    core.handle_event(PathEvidence(5, 12.0, 12.0), 12.0)
    core.handle_event(PathEvidence(5, 13.0, 13.0), 13.0)
    core.handle_timeout(13.5)
    assert states(core.handle_timeout(14.5)) == [State.RECONNECTING]


def test_an_idle_path_is_pinged_rarely() -> None:
    core = connected()
    assert core.next_deadline() == POLICY.keepalive_interval
    assert core.handle_timeout(POLICY.keepalive_interval) == [Probe()]


def test_a_deadline_noticed_after_a_sleep_earns_a_probe_and_not_a_verdict() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    assert core.handle_timeout(3610.0) == [Probe()]
    assert core.state is State.CONNECTED
    actions = core.handle_timeout(3610.0 + POLICY.lost_after)
    assert states(actions) == [State.RECONNECTING]


def test_a_peer_is_not_abandoned_because_this_machine_slept() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    assert core.handle_timeout(8000.0) == []
    assert core.handle_event(SignalingChanged(True), 8010.0) == [MakeOffer(5)]


def test_an_attempt_that_was_slept_through_is_made_again_and_not_spent() -> None:
    core = connected()
    core.handle_event(CarrierLost(3, "gone"), 10.0)
    assert core.handle_timeout(5000.0) == [CloseCarrier(), MakeOffer(7)]


def test_a_peer_that_talks_but_never_acknowledges_is_not_believed_for_ever() -> None:
    core = connected()
    now = 0.0
    while core.state is State.CONNECTED and now < 100:
        now += 0.4
        core.handle_event(PathEvidence(3, now, 0.4), now)
        core.handle_timeout(now)
    assert core.state is State.FAILED
    assert now == pytest.approx(POLICY.stall_timeout + 0.4, abs=1.0)


def test_the_engines_doubt_is_probed_and_changes_nothing_else() -> None:
    core = connected()
    assert core.handle_event(PathDoubted(3), 10.0) == [Probe()]
    assert core.state is State.CONNECTED


@pytest.mark.parametrize(
    ("event", "state", "reason"),
    [
        (PeerRestarted(), State.FAILED, Reason.PEER_RESTARTED),
        (PeerLeft("bye"), State.CLOSED, Reason.CLOSED_BY_PEER),
        (SessionEnded(Reason.UNKNOWN_SESSION, ""), State.FAILED, Reason.UNKNOWN_SESSION),
        (SessionEnded(Reason.CLOSED_BY_PEER, ""), State.CLOSED, Reason.CLOSED_BY_PEER),
        (CloseRequested(), State.CLOSED, Reason.CLOSED_LOCALLY),
    ],
)
def test_an_end_has_its_reason_closes_the_carrier_and_is_the_last_word(
    event: PeerRestarted | PeerLeft | SessionEnded | CloseRequested, state: State, reason: Reason
) -> None:
    core = connected()
    actions = core.handle_event(event, 5.0)
    assert actions[0] == CloseCarrier()
    assert [(a.after, a.reason) for a in actions if isinstance(a, ChangeState)] == [(state, reason)]
    assert core.next_deadline() is None
    assert core.handle_event(OfferReceived(99, "late"), 6.0) == []
    assert core.handle_event(CloseRequested(), 6.0) == []


def test_time_that_goes_back_is_the_callers_mistake() -> None:
    core = connected()
    core.handle_event(PathDoubted(3), 5.0)
    with pytest.raises(ValueError, match="went back"):
        core.handle_timeout(4.0)
