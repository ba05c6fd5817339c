"""Who used the tube."""

from __future__ import annotations

from core.cores import ROAM, connected, created, sdp, started
from perdure.core.activity import Activity
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    OfferReceived,
    PathEvidence,
    SessionResumed,
    Started,
    Used,
)


def test_the_first_set_ups_messages_are_the_users_and_each_kind_is_counted_apart() -> None:
    core = started()
    core.handle_event(AnswerReceived(3, sdp("peer")), 1.0)
    core.handle_event(CandidateReceived(3, "candidate:1", "0", 0), 2.0)
    core.handle_event(CandidateReceived(3, "candidate:2", "0", 0), 3.0)
    assert (core.activity.descriptions, core.activity.candidates) == (1, 2)
    assert core.activity.last_at == 3.0


def test_a_recoverys_messages_are_counted_and_are_nobodys_activity() -> None:
    core = connected()
    core.handle_event(ROAM, 100.0)
    core.handle_event(AnswerReceived(5, sdp("new")), 100.1)
    core.handle_event(CandidateReceived(5, "candidate:1", "0", 0), 100.2)
    core.handle_event(SessionResumed(3), 100.3)
    assert (core.activity.recovery_descriptions, core.activity.recovery_candidates) == (1, 1)
    assert core.activity.last_at == 0.0


def test_messages_of_a_negotiation_that_does_not_count_are_not_counted() -> None:
    core = started()
    core.handle_event(OfferReceived(99, sdp("mine?")), 1.0)
    core.handle_event(AnswerReceived(1, sdp("old")), 1.0)
    core.handle_event(CandidateReceived(1, "candidate:1", "0", 0), 1.0)
    assert (core.activity.descriptions, core.activity.candidates) == (0, 0)


def test_a_streams_bytes_are_activity_at_the_instant_they_moved() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 50.0, None, last_data_at=42.0), 50.0)
    assert core.activity.last_at == 42.0


def test_bytes_that_an_earlier_carrier_moved_count_as_well() -> None:
    core = connected()
    core.handle_event(PathEvidence(1, None, None, last_data_at=42.0), 50.0)
    assert core.activity.last_at == 42.0


def test_a_pings_answer_is_no_activity() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 50.0, None), 50.0)
    assert core.activity.last_at == 0.0


def test_the_user_may_say_that_the_tube_is_in_use_before_it_begins() -> None:
    core = created()
    core.handle_event(Used(), 7.0)
    core.handle_event(Started(), 8.0)
    assert core.activity.last_at == 7.0


def test_activity_never_goes_back() -> None:
    activity = Activity(10.0)
    activity.used(5.0)
    assert activity.last_at == 10.0
