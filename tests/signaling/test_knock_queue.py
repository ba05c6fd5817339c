"""Whose knock is answered next, and when: a flood costs little time, and shuts out nobody. Time is an argument."""

from __future__ import annotations

from perdure.signaling.knock_queue import (
    KNOCKS_AT_ONCE,
    KNOCKS_PER_SECOND,
    MAX_OPENED_KNOCKS,
    MAX_WAITING_KNOCKS,
    KnockQueue,
)


def rested() -> KnockQueue:
    """One whose burst is spent at 0.0."""
    queue = KnockQueue()
    for number in range(KNOCKS_AT_ONCE):
        queue.add("burst", b"%d" % number, is_proved=False)
        assert queue.take(0.0) == ("burst", b"%d" % number)
    return queue


def answered(queue: KnockQueue, now: float, until: float) -> list[str]:
    """The peer ids whose knocks are taken, each as early as it may be."""
    peers = []
    while (delay := queue.delay(now)) is not None and now + delay <= until:
        now += delay
        if (taken := queue.take(now)) is not None:
            peers.append(taken[0])
    return peers


def test_whatever_comes_no_more_are_answered_than_there_is_time_for() -> None:
    queue, now, count = KnockQueue(), 0.0, 0
    while now < 10.0:
        for number in range(10):
            queue.add(f"{now}-{number}", b"knock", is_proved=number % 2 == 0)
        while queue.take(now) is not None:
            count += 1
        now += 0.01
    assert abs(count - KNOCKS_AT_ONCE - 10.0 * KNOCKS_PER_SECOND) <= 1


def test_a_peer_that_knocks_without_end_has_one_place_and_its_latest_knock_counts() -> None:
    queue = rested()
    assert queue.add("flood", b"0", is_proved=False)
    for number in range(1, 1000):
        assert not queue.add("flood", b"%d" % number, is_proved=False)
    assert queue.add("honest", b"knock", is_proved=False)
    assert queue.take(1.0) == ("flood", b"999")
    assert queue.take(1.0) == ("honest", b"knock")
    assert queue.delay(1.0) is None


def test_an_honest_stranger_waits_for_one_knock_of_each_other_client_of_the_room_at_most() -> None:
    queue = rested()
    flood = [f"flood-{number}" for number in range(63)]
    now, taken = 0.0, ""
    queue.add("honest", b"knock", is_proved=False)
    while taken != "honest":
        for peer in flood:
            queue.add(peer, b"flood", is_proved=peer < "flood-3")
        now += 0.001
        taken = (queue.take(now) or ("",))[0]
    assert now <= 2 * 64 / KNOCKS_PER_SECOND


def test_who_has_proved_itself_goes_first_and_takes_turns_with_the_others() -> None:
    queue = rested()
    for number in range(3):
        queue.add(f"stranger-{number}", b"", is_proved=False)
    for number in range(2):
        queue.add(f"known-{number}", b"", is_proved=True)
    taken = answered(queue, 0.0, 1.0)
    assert taken == ["known-0", "stranger-0", "known-1", "stranger-1", "stranger-2"]


def test_a_knock_of_a_peer_that_has_gone_costs_nothing() -> None:
    queue = rested()
    queue.add("gone", b"", is_proved=False)
    queue.add("gone-too", b"", is_proved=True)
    queue.drop("gone")
    queue.drop("gone-too")
    queue.drop("never there")
    assert queue.delay(1.0) is None
    queue.add("gone", b"", is_proved=False)
    queue.clear()
    assert queue.take(1.0) is None


def test_invented_peers_make_nothing_grow_and_leave_the_places_of_those_with_a_session() -> None:
    queue = rested()
    kept = [queue.add(f"{number}", b"", is_proved=False) for number in range(MAX_WAITING_KNOCKS + 10)]
    assert kept == [True] * MAX_WAITING_KNOCKS + [False] * 10
    assert queue.add("known", b"", is_proved=True)
    assert queue.take(1.0) == ("known", b"")


def test_a_knock_that_was_opened_is_known_again_and_of_too_many_the_oldest_is_forgotten() -> None:
    queue = KnockQueue()
    for number in range(MAX_OPENED_KNOCKS + 1):
        assert not queue.was_opened(number.to_bytes(32))
        queue.opened(number.to_bytes(32))
    assert not queue.was_opened(bytes(32))
    assert all(queue.was_opened(number.to_bytes(32)) for number in range(1, MAX_OPENED_KNOCKS + 1))


def test_a_delay_is_never_so_short_that_it_is_none_on_a_late_clock() -> None:
    queue, now = KnockQueue(), 1e9
    for number in range(500):
        queue.add(f"{number % 100}", b"", is_proved=False)
        delay = queue.delay(now)
        assert delay is not None
        if delay == 0.0:
            assert queue.take(now) is not None
        else:
            assert now + delay > now
        now += delay
