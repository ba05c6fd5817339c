"""What a session counts and measures: bytes once, round trips of what was sent once, the user's activity."""

from __future__ import annotations

import pytest

from perdure.session.outbox import ACK_DELAY
from perdure.session.traffic import RTT_SAMPLE_INTERVAL
from perdure.wire import Ack, Open, ResetCode, encode_frame
from support.session_pair import End, Pair


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


@pytest.fixture
def stream_id(pair: Pair) -> int:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    return stream_id


def acknowledge(pair: Pair, stream_id: int, position: int) -> None:
    message = encode_frame(Ack(stream_id, position))
    pair.initiator.note(pair.initiator.session.receive(pair.generation, message, pair.now))


def write_and_send(pair: Pair, stream_id: int, count: int) -> None:
    pair.initiator.write(stream_id, count)
    pair.send(pair.initiator)


# Round trips.


def test_a_ping_measures_the_round_trip(pair: Pair) -> None:
    pair.initiator.session.ping()
    pair.send(pair.initiator)
    assert pair.initiator.session.awaiting_since() == pair.now
    pair.deliver(pair.acceptor)
    pair.send(pair.acceptor)
    pair.advance(0.25)
    pair.deliver(pair.initiator)
    assert pair.initiator.round_trips == [pytest.approx(0.25)]
    assert pair.initiator.session.traffic.rtt == pytest.approx(0.25)
    assert pair.initiator.session.awaiting_since() is None


def test_a_ping_that_was_lost_with_its_carrier_measures_nothing(pair: Pair) -> None:
    pair.initiator.session.ping()
    pair.send(pair.initiator)
    pair.connect()
    pair.settle()
    assert pair.initiator.round_trips == []
    assert pair.initiator.session.traffic.rtt is None


def test_an_acknowledgement_measures_until_it_came_its_own_delay_included(pair: Pair, stream_id: int) -> None:
    write_and_send(pair, stream_id, 10)
    pair.advance(0.03)
    pair.deliver(pair.acceptor)
    pair.advance(ACK_DELAY)
    pair.send(pair.acceptor)
    pair.advance(0.05)
    pair.deliver(pair.initiator)
    assert pair.initiator.round_trips == [pytest.approx(0.1)]
    assert pair.initiator.session.traffic.rtt == pytest.approx(0.1)


def test_one_offset_is_timed_at_a_time(pair: Pair, stream_id: int) -> None:
    write_and_send(pair, stream_id, 10)
    pair.advance(0.5)
    write_and_send(pair, stream_id, 10)
    pair.advance(0.5)
    acknowledge(pair, stream_id, 20)
    assert pair.initiator.round_trips == [pytest.approx(1.0)]


def test_an_acknowledgement_below_the_timed_offset_is_no_sample(pair: Pair, stream_id: int) -> None:
    write_and_send(pair, stream_id, 10)
    pair.advance(0.5)
    acknowledge(pair, stream_id, 9)
    assert pair.initiator.round_trips == []
    acknowledge(pair, stream_id, 10)
    assert pair.initiator.round_trips == [pytest.approx(0.5)]


def test_a_quick_path_is_not_timed_more_often_than_the_interval(pair: Pair, stream_id: int) -> None:
    for sent in range(1, 51):
        write_and_send(pair, stream_id, 1)
        pair.advance(RTT_SAMPLE_INTERVAL / 5)
        acknowledge(pair, stream_id, sent)
    assert len(pair.initiator.round_trips) == 10
    assert pair.initiator.round_trips == pytest.approx([RTT_SAMPLE_INTERVAL / 5] * 10)


def test_what_is_sent_again_is_not_timed(pair: Pair, stream_id: int) -> None:
    write_and_send(pair, stream_id, 10)
    pair.advance(5.0)
    pair.connect()
    pair.settle()
    assert pair.initiator.session.traffic.resent_bytes == 10
    assert pair.initiator.round_trips == []
    write_and_send(pair, stream_id, 10)
    pair.advance(0.5)
    acknowledge(pair, stream_id, 20)
    assert pair.initiator.round_trips == [pytest.approx(0.5)]


@pytest.mark.parametrize("by_peer", [False, True])
def test_a_stream_that_goes_is_timed_no_longer(pair: Pair, stream_id: int, by_peer: bool) -> None:
    other = pair.initiator.session.open_stream(b"t")
    pair.settle()
    write_and_send(pair, stream_id, 10)
    if by_peer:
        pair.acceptor.reset_stream(stream_id)
        pair.send(pair.acceptor)
        pair.deliver(pair.initiator)
    else:
        pair.initiator.reset_stream(stream_id)
    pair.advance(0.5)
    write_and_send(pair, other, 10)
    pair.advance(0.2)
    acknowledge(pair, other, 10)
    assert pair.initiator.round_trips == [pytest.approx(0.2)]


# Bytes.


def test_each_byte_is_sent_once_and_every_further_time_it_is_resent(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 40_000)
    pair.send(pair.initiator, 16)
    for _ in range(2):
        pair.connect()
        pair.exchange(1)
        pair.send(pair.initiator, 16)
    pair.initiator.write(stream_id, 500)
    pair.connect()
    pair.settle()
    session = pair.initiator.session
    assert (session.traffic.sent_bytes, session.traffic.resent_bytes) == (40_500, 120_000)
    assert pair.acceptor.session.traffic.received_bytes == 40_500


def test_what_is_held_is_what_nobody_acknowledged(pair: Pair, stream_id: int) -> None:
    session = pair.initiator.session
    pair.initiator.write(stream_id, 1000)
    assert session.streams.buffered_bytes == 1000
    pair.send(pair.initiator)
    acknowledge(pair, stream_id, 400)
    assert session.streams.buffered_bytes == 600
    pair.settle()
    assert session.streams.buffered_bytes == 0
    pair.initiator.write(stream_id, 1000)
    pair.initiator.reset_stream(stream_id)
    assert session.streams.buffered_bytes == 1000
    pair.initiator.abort_stream(stream_id)
    assert session.streams.buffered_bytes == 0


# The user's activity.


def last_data_at(pair: Pair) -> list[float | None]:
    return [end.session.traffic.last_data_at for end in pair.ends]


def test_the_sessions_own_words_are_nobodys_activity(pair: Pair) -> None:
    pair.initiator.session.ping()
    pair.settle()
    pair.connect()
    pair.settle()
    assert last_data_at(pair) == [None, None]


def test_an_open_is_activity_at_both_ends(pair: Pair) -> None:
    pair.initiator.session.open_stream(b"t")
    pair.send(pair.initiator)
    sent_at = pair.now
    pair.advance(1.0)
    pair.deliver(pair.acceptor)
    assert last_data_at(pair) == [sent_at, pair.now]


def test_bytes_are_activity_at_both_ends(pair: Pair, stream_id: int) -> None:
    write_and_send(pair, stream_id, 10)
    sent_at = pair.now
    pair.advance(1.0)
    pair.deliver(pair.acceptor)
    assert last_data_at(pair) == [sent_at, pair.now]
    received_at = pair.now
    pair.settle()
    assert last_data_at(pair) == [sent_at, received_at]


def test_what_is_said_again_after_a_loss_is_no_activity(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 40_000)
    pair.send(pair.initiator, 16)
    sent_at = pair.now
    for _ in range(3):
        pair.advance(100.0)
        pair.connect()
        pair.exchange(1)
        pair.send(pair.initiator, 16)
        pair.deliver(pair.acceptor, 2)
    assert pair.initiator.session.traffic.last_data_at == sent_at
    pair.settle()
    assert pair.acceptor.opened
    assert pair.initiator.session.traffic.last_data_at == sent_at
    write_and_send(pair, stream_id, 1)
    assert pair.initiator.session.traffic.last_data_at == pair.now


def test_a_frame_that_is_said_twice_is_activity_once(pair: Pair) -> None:
    message = encode_frame(Open(1, 0, b"t"))
    pair.acceptor.note(pair.acceptor.session.receive(pair.generation, message, pair.now))
    opened_at = pair.now
    pair.advance(1.0)
    pair.acceptor.note(pair.acceptor.session.receive(pair.generation, message, pair.now))
    assert pair.acceptor.session.traffic.last_data_at == opened_at


# What waits for an answer.


def ping_on(end: End, pair: Pair) -> None:
    end.session.ping()
    pair.send(end)


def test_an_idle_ping_waits_alone_until_it_is_answered(pair: Pair, stream_id: int) -> None:
    session = pair.initiator.session
    assert not session.awaits_only_ping, "nothing waits"
    ping_on(pair.initiator, pair)
    assert session.awaits_only_ping
    pair.settle()
    assert not session.awaits_only_ping


def test_a_ping_beside_a_streams_word_does_not_wait_alone(pair: Pair, stream_id: int) -> None:
    session = pair.initiator.session
    ping_on(pair.initiator, pair)
    write_and_send(pair, stream_id, 10)
    assert not session.awaits_only_ping, "bytes wait"
    pair.settle()
    pair.initiator.session.open_stream(b"t")
    ping_on(pair.initiator, pair)
    assert not session.awaits_only_ping, "an OPEN waits"
    pair.settle()
    pair.initiator.session.finish(stream_id)
    ping_on(pair.initiator, pair)
    assert not session.awaits_only_ping, "a FIN waits"
    pair.settle()
    pair.initiator.session.reset(stream_id, ResetCode.ABORTED)
    ping_on(pair.initiator, pair)
    assert not session.awaits_only_ping, "a RESET waits"


def test_bytes_that_the_peer_gives_no_credit_for_wait_for_no_answer(pair: Pair, stream_id: int) -> None:
    while stream_id not in pair.initiator.blocked:
        pair.initiator.write(stream_id, 10_000)
    for _ in range(3):
        pair.send(pair.initiator, 64)
        pair.deliver(pair.acceptor, 64)
        pair.advance(0.05)
        pair.send(pair.acceptor, 64)
        pair.deliver(pair.initiator, 64)
    assert pair.initiator.session.streams.buffered_bytes > 0
    ping_on(pair.initiator, pair)
    assert pair.initiator.session.awaits_only_ping


def test_the_ping_behind_a_window_is_the_streams(pair: Pair, stream_id: int) -> None:
    for _ in range(8):
        pair.initiator.write(stream_id, 8_000)
        pair.send(pair.initiator, 4)
        pair.deliver(pair.acceptor, 4)
    pair.acceptor.consume(stream_id)
    pair.send(pair.acceptor, 4)
    assert pair.acceptor.session.awaiting_since() == pair.now
    assert not pair.acceptor.session.awaits_only_ping
    pair.settle()
    ping_on(pair.acceptor, pair)
    assert pair.acceptor.session.awaits_only_ping


def test_a_window_that_follows_an_idle_ping_waits_with_it(pair: Pair, stream_id: int) -> None:
    ping_on(pair.acceptor, pair)
    for _ in range(8):
        pair.initiator.write(stream_id, 8_000)
        pair.send(pair.initiator, 4)
        pair.deliver(pair.acceptor, 4)
    pair.acceptor.consume(stream_id)
    assert pair.acceptor.session.awaits_only_ping
    pair.send(pair.acceptor, 4)
    assert not pair.acceptor.session.awaits_only_ping
