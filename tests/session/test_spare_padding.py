"""A spare's congestion window is opened by padding while the carrier that it replaces still works."""

from __future__ import annotations

import pytest

from perdure.session.outbox import ACK_DELAY
from perdure.session.spare_padding import (
    MOST_PADDING_BYTES,
    MOST_REPLIES,
    MOST_ROUND_TRIPS,
    PADDING_BYTES,
    UNDER_WAY_TIMES,
    padding_for,
)
from perdure.wire import Data, Fin, Open, Padding, Ping, ResetCode, Resume, decode_message, encode_frame
from support.session_pair import End, Pair, position_coded

ROUND_TRIP = 0.1
UNDER_WAY = 20_000


@pytest.fixture
def pair() -> Pair:
    """Two ends that know their round trip."""
    pair = Pair()
    pair.connect()
    pair.settle()
    for end in pair.ends:
        stream_id = end.session.open_stream(b"t")
        end.write(stream_id, 1)
        answered(pair, end)
        assert end.session.traffic.rtt == pytest.approx(ROUND_TRIP)
    return pair


def answered(pair: Pair, end: End) -> None:
    """What `end` sends now is answered a round trip later."""
    other = pair.acceptor if end is pair.initiator else pair.initiator
    pair.send(end, 64)
    pair.advance(ROUND_TRIP / 2)
    pair.deliver(other, 64)
    pair.advance(ACK_DELAY)
    pair.send(other, 64)
    pair.advance(ROUND_TRIP / 2 - ACK_DELAY)
    pair.deliver(end, 64)


def rotate(pair: Pair, under_way: int = UNDER_WAY) -> None:
    """The initiator has so much under way when the acceptor is proved on a spare; the acceptor waits for its RESUME."""
    pair.initiator.write(1, 1)
    answered(pair, pair.initiator)
    pair.begin_spare()
    for end in pair.ends:
        pair.open_spare(end)
    pair.initiator.write(1, under_way)
    pair.send(pair.initiator, 64)
    pair.deliver(pair.initiator, 1, pair.initiator.spare)


def padding_under_way(pair: Pair) -> int:
    """Bytes of padding on their way to the acceptor."""
    frames = [frame for message in pair.acceptor.inboxes[2] for frame in decode_message(message)]
    return sum(frame.length for frame in frames if isinstance(frame, Padding))


def test_the_session_goes_on_on_the_spare_a_round_trip_after_its_padding(pair: Pair) -> None:
    rotate(pair)
    pair.pad_spare(pair.initiator, 1000)
    assert padding_under_way(pair) >= UNDER_WAY_TIMES * UNDER_WAY
    assert (pair.initiator.current, pair.initiator.padded) == (1, [2])
    pair.deliver(pair.acceptor, 64)
    pair.advance(0.5 * ROUND_TRIP)
    pair.send(pair.acceptor, 64)
    pair.deliver(pair.initiator, 64)
    pair.pad_spare(pair.initiator)
    assert pair.initiator.current == 1
    pair.advance(0.6 * ROUND_TRIP)
    pair.pad_spare(pair.initiator)
    assert pair.initiator.current == 2
    assert pair.initiator.session.next_padding(pair.now) is None
    pair.settle()
    assert len(pair.acceptor.read[1]) == 2 + UNDER_WAY
    assert [end.old for end in pair.ends] == [0, 0]


def test_streams_go_on_on_the_current_carrier_while_padding_goes_out(pair: Pair) -> None:
    rotate(pair)
    pair.pad_spare(pair.initiator, 3)
    pair.initiator.write(1, 100)
    pair.send(pair.initiator, 64)
    pair.deliver(pair.acceptor, 64)
    assert len(pair.acceptor.read[1]) == 2 + UNDER_WAY + 100


def test_padding_does_not_say_that_the_other_carrier_was_left(pair: Pair) -> None:
    rotate(pair)
    pair.pad_spare(pair.initiator, 3)
    pair.deliver_beside(pair.acceptor)
    assert (pair.acceptor.current, pair.acceptor.old) == (2, 1)
    pair.deliver(pair.acceptor, 64)
    assert pair.acceptor.old == 1


@pytest.mark.parametrize(("under_way", "round_trip"), [(5_000, ROUND_TRIP), (UNDER_WAY, 0.002), (UNDER_WAY, None)])
def test_nothing_is_padded_where_nobody_would_notice(under_way: int, round_trip: float | None) -> None:
    assert padding_for(Resume(b"", 2, b"", ()), under_way, round_trip, 0.0) is None


def test_a_bulk_transfer_is_padded_within_a_bound() -> None:
    padding = padding_for(Resume(b"", 2, b"", ()), 10 * MOST_PADDING_BYTES, ROUND_TRIP, 0.0)
    assert padding is not None
    messages = 0
    while padding.take(0.0) is not None:
        messages += 1
    assert messages * PADDING_BYTES == MOST_PADDING_BYTES


def test_the_session_leaves_a_silent_carrier_at_once(pair: Pair) -> None:
    pair.initiator.write(1, UNDER_WAY)
    pair.send(pair.initiator, 64)
    pair.begin_spare()
    pair.advance(0.4)
    for end in pair.ends:
        pair.open_spare(end)
    pair.deliver(pair.initiator, 1, pair.initiator.spare)
    assert pair.initiator.current == 2


def test_the_session_leaves_a_carrier_that_falls_silent_behind_the_peers_resume(pair: Pair) -> None:
    rotate(pair)
    due_at = pair.initiator.session.next_deadline()
    assert due_at is not None
    assert due_at <= pair.now + 0.1 + 2 * ROUND_TRIP + 0.001
    pair.advance(due_at - pair.now)
    pair.pad_spare(pair.initiator)
    assert pair.initiator.current == 2


def test_the_session_leaves_at_once_where_the_peer_offers_another_carrier(pair: Pair) -> None:
    # Found by the simulator (chaos, seed 5102): the peer had gone on on the spare, which gave way to its next offer.
    rotate(pair)
    pair.pad_spare(pair.initiator, 3)
    assert pair.initiator.session.leave_current(pair.now) == []
    pair.initiator.note(pair.initiator.session.leave_current(pair.now, at_once=True))
    assert pair.initiator.current == 2
    pair.settle()
    assert bytes(pair.acceptor.read[1]) == position_coded(0, 2 + UNDER_WAY)


def test_a_spare_that_takes_no_padding_is_used_all_the_same(pair: Pair) -> None:
    rotate(pair)
    for _ in range(2 * MOST_ROUND_TRIPS):
        pair.deliver(pair.acceptor, 64)
        pair.advance(ROUND_TRIP / 2)
        pair.initiator.write(1, 10)
        pair.send(pair.initiator, 64)
        pair.send(pair.acceptor, 64)
        pair.deliver(pair.initiator, 64)
        pair.initiator.note(pair.initiator.session.leave_current(pair.now))
    assert pair.initiator.current == 2


def test_the_session_goes_on_on_the_spare_at_once_where_the_current_carrier_is_lost(pair: Pair) -> None:
    rotate(pair)
    pair.pad_spare(pair.initiator, 3)
    pair.lose_current()
    pair.pad_spare(pair.initiator)
    assert pair.initiator.current == 2
    pair.settle()
    assert bytes(pair.acceptor.read[1]) == position_coded(0, 2 + UNDER_WAY)


def test_the_current_carrier_goes_on_where_the_spare_is_lost_or_broken(pair: Pair) -> None:
    rotate(pair)
    pair.pad_spare(pair.initiator, 3)
    end = pair.initiator
    end.note(end.session.receive(2, encode_frame(Data(99, 0, memoryview(b"x"))), pair.now))
    assert end.unusable == ["Data for stream 99, which was never opened"]
    assert end.session.leave_current(pair.now + 10) == []
    assert end.session.next_padding(pair.now) is None
    assert end.session.is_resumed
    end.session.spare_lost()
    assert end.session.leave_current(pair.now + 10) == []


def test_what_the_peer_asks_on_the_spare_is_answered_again_as_the_answer_may_be_lost(pair: Pair) -> None:
    rotate(pair)
    pair.deliver_beside(pair.acceptor)
    assert pair.acceptor.current == 2
    pair.acceptor.reset_stream(2)
    pair.send(pair.acceptor, 64)
    pair.deliver_beside(pair.initiator, 64)
    assert pair.initiator.saw_reset == {2: ResetCode.ABORTED}
    pair.send(pair.initiator, 64)
    pair.lose_old()
    pair.pad_spare(pair.initiator)
    pair.settle()
    assert pair.acceptor.session.awaiting_since() is None
    assert [stream.stream_id for stream in pair.acceptor.session.streams] == [1]


def test_a_stream_that_ends_meanwhile_ends_at_the_peer_too_though_the_last_acknowledgement_is_lost(pair: Pair) -> None:
    # Found by the simulator (chaos, busy moves): the peer took it for a stall 30 s later, and ended the tube.
    rotate(pair)
    pair.deliver_beside(pair.acceptor)
    assert pair.acceptor.current == 2
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.finish(stream_id)
    pair.send(pair.initiator, 64)
    pair.deliver_beside(pair.acceptor, 64)
    pair.acceptor.finish(stream_id)
    pair.send(pair.acceptor, 64)
    pair.deliver_beside(pair.initiator, 64)
    pair.advance(ACK_DELAY)
    pair.send(pair.initiator, 64)
    assert pair.initiator.session.streams.get(stream_id) is None, "it is over, as far as this end knows"
    pair.lose_old()
    pair.pad_spare(pair.initiator)
    pair.settle()
    assert pair.acceptor.session.awaiting_since() is None
    assert pair.acceptor.session.streams.get(stream_id) is None
    assert pair.acceptor.saw_finish == {stream_id}
    assert not pair.acceptor.saw_reset


def test_a_peer_that_ends_many_streams_on_the_spare_ends_the_wait() -> None:
    padding = padding_for(Resume(b"", 2, b"", ()), UNDER_WAY, ROUND_TRIP, 0.0)
    assert padding is not None
    assert padding.ends_at(0.0, None) > 0.0
    padding.note([], b"".join(encode_frame(Fin(stream_id, 0)) for stream_id in range(MOST_REPLIES + 1)))
    assert padding.ends_at(0.0, None) < 0.0


def test_a_peer_that_asks_too_much_on_the_spare_ends_the_wait(pair: Pair) -> None:
    rotate(pair)
    end = pair.initiator
    end.note(end.session.receive(2, b"".join(encode_frame(Ping(token)) for token in range(300)), pair.now))
    pair.pad_spare(end)
    assert end.current == 2


def test_a_stream_that_the_peer_opens_on_the_spare_meanwhile_is_taken(pair: Pair) -> None:
    rotate(pair)
    end = pair.initiator
    end.note(end.session.receive(2, encode_frame(Open(4, 1000, b"t")), pair.now))
    assert end.opened[4] == b"t"
    assert end.current == 1


def test_what_is_sent_again_goes_in_short_messages(pair: Pair) -> None:
    rotate(pair, 200_000)
    for _ in range(10):
        pair.deliver(pair.acceptor, 1)
        pair.advance(0.001)
    pair.lose_current()
    pair.pad_spare(pair.initiator)
    messages = []
    while (message := pair.initiator.session.next_message(pair.now)) is not None:
        messages.append(len(message))
    assert sum(messages) > 50_000
    assert max(messages) <= 4096


def test_a_session_that_is_over_pads_nothing(pair: Pair) -> None:
    rotate(pair)
    pair.initiator.session.abandon()
    assert pair.initiator.session.next_padding(pair.now) is None
    assert pair.initiator.session.leave_current(pair.now + 10) == []
    assert pair.initiator.session.next_deadline() is None
