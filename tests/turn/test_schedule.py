"""When new ICE servers are asked for."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from perdure.turn.schedule import RefreshSchedule

lifetimes = st.floats(2, 10**6)
intervals = st.floats(1, 86400)
instants = st.floats(0, 10**6)
randoms = st.integers().map(Random)


def fetched(schedule: RefreshSchedule, lifetime: float | None, *, took: float = 0.0) -> float:
    """Ask when it is time; when that was."""
    at = schedule.next_at
    schedule.asked(at)
    schedule.succeeded(lifetime, at + took)
    return at


@given(intervals, randoms, instants)
def test_the_first_are_asked_for_at_once(interval: float, random: Random, now: float) -> None:
    assert RefreshSchedule(interval, random, now=now).next_at == now


@given(lifetimes, intervals, randoms, instants)
def test_the_next_are_asked_for_at_two_thirds_of_the_lifetime_or_after_the_interval(
    lifetime: float, interval: float, random: Random, now: float
) -> None:
    schedule = RefreshSchedule(interval, random, now=now)
    at = fetched(schedule, lifetime)
    after = schedule.next_at - at
    assert after <= max(1.0, min(interval, lifetime * 0.734)) + 1e-6
    assert after >= min(interval, lifetime * 0.599) - 1e-6
    assert schedule.next_at < at + lifetime, "before they expire"


@given(intervals, randoms, instants)
def test_those_of_unknown_lifetime_are_asked_for_each_interval(interval: float, random: Random, now: float) -> None:
    schedule = RefreshSchedule(interval, random, now=now)
    fetched(schedule, None)
    assert schedule.next_at == now + interval
    assert schedule.expires_in(now) is None


@given(st.floats(1e-9, 10), randoms)
def test_two_fetches_are_a_second_apart_whatever_a_provider_says(lifetime: float, random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    before = fetched(schedule, lifetime, took=0.5)
    for _ in range(5):
        at = fetched(schedule, lifetime, took=0.5)
        assert at >= before + 1.5
        before = at


@given(lifetimes, randoms)
def test_failures_are_tried_again_after_1_2_4_to_60_seconds_also_when_all_has_expired(
    lifetime: float, random: Random
) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, lifetime)
    expires_at = schedule.expires_at
    for wait in (1, 2, 4, 8, 16, 32, *[60] * 2000):
        at = schedule.next_at
        schedule.asked(at)
        schedule.failed(at + 3)
        assert wait <= schedule.next_at - (at + 3) <= wait * 1.1 + 1e-6
    assert schedule.expires_at == expires_at, "a failure shortens nothing"
    fetched(schedule, lifetime)
    at = schedule.next_at
    schedule.asked(at)
    schedule.failed(at)
    assert schedule.next_at - at <= 1.1 + 1e-6, "a success starts over"


@given(lifetimes, st.floats(0, 5), randoms)
def test_the_lifetime_counts_from_the_question_and_not_from_the_answer(
    lifetime: float, took: float, random: Random
) -> None:
    schedule = RefreshSchedule(600.0, random, now=7.0)
    fetched(schedule, lifetime, took=took)
    assert schedule.expires_at == 7.0 + lifetime


def test_what_a_server_refuses_is_asked_for_anew_at_once() -> None:
    schedule = RefreshSchedule(600.0, Random(1), now=0.0)
    fetched(schedule, 3600.0)
    schedule.refused(100.0)
    assert schedule.next_at == 100.0


def test_a_server_that_refuses_all_there_are_does_not_make_a_provider_be_asked_without_end() -> None:
    schedule = RefreshSchedule(10_000.0, Random(1), now=0.0)
    now, fetches = 0.0, 0
    while now < 3600.0:
        if now >= schedule.next_at:
            schedule.asked(now)
            schedule.succeeded(None, now)
            fetches += 1
        schedule.refused(now)
        now += 0.5
    assert fetches < 70


def test_a_server_that_revokes_what_it_took_again_and_again_is_answered_at_once_each_time() -> None:
    # Found by `benchmarks.turn_rotation --revocations`: each was one more refusal in a row, and the fifth waited 16 s.
    schedule, now = RefreshSchedule(600.0, Random(1), now=0.0), 0.0
    for _ in range(20):
        schedule.asked(now)
        schedule.succeeded(3600.0, now)
        now += 7.0
        schedule.refused(now)
        assert schedule.next_at == now


@given(lifetimes, instants, randoms)
def test_a_refusal_never_puts_a_fetch_off(lifetime: float, after: float, random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, lifetime)
    planned = schedule.next_at
    schedule.refused(after)
    assert schedule.next_at <= planned


def spent(random: Random) -> RefreshSchedule:
    """One whose credentials have expired at 90, and whose provider failed since: the next retry is far away."""
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, 90.0)
    while schedule.next_at < 150.0:
        at = schedule.next_at
        schedule.asked(at)
        schedule.failed(at)
    return schedule


@given(lifetimes, randoms)
def test_who_seeks_a_path_with_good_credentials_waits_for_nothing(lifetime: float, random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    assert schedule.path_sought(0.0) is None, "there are none yet"
    fetched(schedule, lifetime)
    next_at = schedule.next_at
    assert schedule.path_sought(lifetime * 0.99) is None
    assert schedule.next_at == next_at


@given(randoms)
def test_who_seeks_a_path_with_expired_credentials_has_new_ones_asked_for_at_once_and_waits_two_seconds(
    random: Random,
) -> None:
    schedule, now = spent(random), 149.0
    assert schedule.path_sought(now) == now + 2.0
    assert schedule.next_at == now
    schedule.asked(now)
    assert schedule.path_sought(now + 1.5) == now + 2.0, "as long as a fetch may take"
    assert schedule.path_sought(now + 2.0) is None
    schedule.succeeded(90.0, now + 3.0)
    assert schedule.path_sought(now + 3.0) is None


@given(randoms)
def test_who_seeks_a_path_right_after_a_fetch_failed_waits_for_nothing(random: Random) -> None:
    schedule, now = spent(random), 149.0
    schedule.path_sought(now)
    schedule.asked(now)
    schedule.failed(now)
    assert schedule.path_sought(now + 0.1) is None
    assert schedule.next_at == now + 5.0
    assert schedule.path_sought(now + 4.0) == now + 6.0


@given(randoms)
def test_who_seeks_a_path_with_credentials_that_were_refused_waits_for_others(random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, 3600.0)
    schedule.refused(100.0)
    assert schedule.path_sought(100.0) == 102.0
    schedule.asked(100.0)
    schedule.succeeded(3600.0, 100.1)
    assert schedule.path_sought(100.1) is None


@given(st.floats(0, 4.9), randoms)
def test_who_seeks_a_path_waits_for_no_others_where_those_just_fetched_were_refused(
    after: float, random: Random
) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, 3600.0)
    schedule.refused(after)
    next_at = schedule.next_at
    for now in (after, 4.99, 5.0, 100.0):
        assert schedule.path_sought(now) is None
    assert schedule.next_at == next_at, "nor are they fetched earlier than the refusal asks for"
    schedule.asked(next_at)
    assert schedule.path_sought(next_at) is None, "nor is the fetch that the refusal has asked for"
    schedule.succeeded(3600.0, next_at)
    schedule.refused(next_at + 100.0)
    assert schedule.path_sought(next_at + 100.0) is not None, "those were taken for a while, maybe: others may be"


@given(randoms)
def test_who_seeks_a_path_waits_where_those_that_were_refused_at_once_have_expired_since(random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, 90.0)
    schedule.refused(0.1)
    assert schedule.path_sought(89.9) is None
    assert schedule.path_sought(90.0) == 92.0


@given(randoms)
def test_a_provider_that_failed_is_asked_at_once_when_the_network_changes(random: Random) -> None:
    schedule = spent(random)
    schedule.network_moved(149.0)
    assert schedule.next_at == 149.0
    schedule.asked(149.0)
    schedule.failed(149.0)
    schedule.network_moved(149.1)
    assert schedule.next_at == 150.0, "two fetches are a second apart"


@given(lifetimes, randoms)
def test_a_change_of_the_network_asks_nobody_anew_who_did_not_fail(lifetime: float, random: Random) -> None:
    schedule = RefreshSchedule(600.0, random, now=0.0)
    fetched(schedule, lifetime)
    next_at = schedule.next_at
    schedule.network_moved(next_at - 0.1)
    assert schedule.next_at == next_at
