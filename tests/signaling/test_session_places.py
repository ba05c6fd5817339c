"""A gateway's sessions: who holds a place, who is remembered, and what bounds both."""

from __future__ import annotations

from dataclasses import replace

from perdure.admission import Holder
from perdure.signaling.channel import PeerChannel
from perdure.signaling.session_places import MAX_ENDED_SESSIONS, Session, SessionPlaces

HOLDER = Holder("default", bytes(16), bytes(32))


def session(number: int) -> Session:
    return Session(number.to_bytes(16), HOLDER, 1)


def with_channel(number: int) -> Session:
    """One whose client has proved itself, and can be reached."""
    made = session(number)
    made.channel = PeerChannel(transmit=lambda body: None, on_close=lambda: None)
    made.channel.peer_reachable()
    return made


def test_a_holder_stays_the_same_though_its_ticket_gets_another_name() -> None:
    assert replace(HOLDER, ticket="renamed") == HOLDER
    assert replace(HOLDER, ticket_id=bytes([1] * 16)) != HOLDER
    assert replace(HOLDER, client_key=bytes([1] * 32)) != HOLDER


async def test_one_without_a_channel_goes_for_another_and_one_with_a_channel_does_not() -> None:
    sessions = SessionPlaces(2)
    claimed, unclaimed = with_channel(1), session(2)
    assert sessions.make_room()
    sessions.add(claimed)
    sessions.move(claimed, "a")
    sessions.add(unclaimed)
    sessions.expect(unclaimed, "a")
    assert sessions.make_room()
    assert list(sessions) == sessions.expected_from("a") == [claimed]
    sessions.add(with_channel(3))
    assert not sessions.make_room()
    assert len(sessions) == 2


async def test_the_oldest_unclaimed_one_of_the_ticket_that_has_most_goes_for_another() -> None:
    sessions = SessionPlaces(4)
    honest, *flood = (session(number) for number in range(1, 5))
    for each in flood:
        each.holder = Holder("greedy", bytes([1] * 16), bytes(32))
    for each in (honest, *flood):
        sessions.add(each)
    assert sessions.make_room()
    assert list(sessions) == [honest, *flood[1:]]


async def test_one_that_has_ended_holds_no_place_and_stays_with_its_client() -> None:
    sessions = SessionPlaces(1)
    ended = with_channel(1)
    sessions.add(ended)
    sessions.move(ended, "a")
    sessions.end(ended)
    assert len(sessions) == 0
    assert sessions.find(ended.session_id) is None
    assert sessions.has_ended(ended.session_id)
    assert sessions.of_peer("a") == [ended]
    assert sessions.ended_channels == [ended.channel]


async def test_one_that_has_ended_stays_with_its_client_that_knocks_for_it_again() -> None:
    sessions = SessionPlaces(1)
    ended, again = with_channel(1), session(1)
    sessions.add(ended)
    sessions.move(ended, "a")
    sessions.end(ended)
    sessions.add(again)
    sessions.expect(again, "a")
    assert sessions.expected_from("a") == [ended, again]
    assert sessions.of_peer("a") == [ended]
    assert not sessions.has_proved("a")
    assert sessions.make_room()
    assert sessions.expected_from("a") == [ended]


async def test_a_session_whose_client_comes_under_another_id_is_with_that_one_alone() -> None:
    sessions = SessionPlaces(1)
    moved = with_channel(1)
    sessions.add(moved)
    sessions.move(moved, "a")
    sessions.move(moved, "b")
    assert sessions.peers == ["b"]
    assert sessions.of_peer("a") == []


async def test_a_knock_from_ever_other_ids_moves_nothing_and_makes_nothing_grow() -> None:
    sessions = SessionPlaces(1)
    proved = with_channel(1)
    sessions.add(proved)
    sessions.move(proved, "a")
    for peer_id in "bca":
        sessions.expect(proved, peer_id)
        assert sessions.of_peer("a") == sessions.expected_from(peer_id) == [proved]
    sessions.expect(proved, "d")
    assert sessions.peers == ["a", "d"]
    assert sessions.of_peer("d") == []
    sessions.move(proved, "d")
    assert sessions.peers == ["d"]


async def test_a_client_that_comes_for_an_ended_session_from_ever_other_ids_makes_nothing_grow() -> None:
    sessions = SessionPlaces(1)
    ended = [with_channel(1) for _ in "abc"]
    for each, peer_id in zip(ended, "abc", strict=True):
        sessions.add(each)
        sessions.move(each, peer_id)
        sessions.end(each)
    assert sessions.peers == ["c"]
    assert sessions.ended_channels == [ended[-1].channel]
    assert [each.channel.available for each in ended if each.channel is not None] == [False, False, True]


async def test_of_the_ended_the_oldest_is_forgotten() -> None:
    sessions = SessionPlaces(1)
    ended = [with_channel(number) for number in range(MAX_ENDED_SESSIONS + 1)]
    for number, each in enumerate(ended):
        sessions.add(each)
        sessions.move(each, f"{number}")
        sessions.end(each)
    first, second, *_ = ended
    assert not sessions.has_ended(first.session_id)
    assert sessions.has_ended(second.session_id)
    assert len(sessions.ended_channels) == len(sessions.peers) == MAX_ENDED_SESSIONS
    assert first.channel is not None
    assert not first.channel.available
