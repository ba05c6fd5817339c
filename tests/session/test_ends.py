"""No end overtakes its bytes: a reset and a close stand behind what was accepted before; an abort drops it."""

from __future__ import annotations

import pytest

from perdure.session import SessionClosed, StreamData, StreamFinished
from perdure.session.linger import LINGER_TIMEOUT
from perdure.wire import (
    INITIAL_CREDIT_BYTES,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Open,
    Reset,
    ResetCode,
    Window,
    decode_message,
    encode_frame,
)
from support.session_pair import SMALL_LIMITS, End, Pair, position_coded

WINDOW = SMALL_LIMITS.stream_window_bytes


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


@pytest.fixture
def stream_id(pair: Pair) -> int:
    """Open, and accepted by the acceptor."""
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    return stream_id


def frames_of(end: End, now: float) -> list[Frame]:
    frames: list[Frame] = []
    while (message := end.session.next_message(now)) is not None:
        frames += decode_message(message)
    return frames


def say(pair: Pair, to: End, *frames: Frame) -> None:
    to.note(to.session.receive(pair.generation, b"".join(map(encode_frame, frames)), pair.now))


def counts(pair: Pair) -> list[int]:
    return [len(end.session.streams) for end in pair.ends]


def fill_the_credit(pair: Pair, stream_id: int) -> None:
    """The acceptor has what it granted credit for, and reads none of it; the initiator holds some bytes more."""
    for _ in range(2):
        pair.initiator.write(stream_id, WINDOW)
        pair.exchange(4)
        pair.advance(0.05)
        pair.exchange(4)
    assert pair.initiator.session.streams.buffered_bytes > 0
    assert pair.initiator.session.next_message(pair.now) is None


# A reset stands behind the data.


def test_what_was_written_before_a_reset_is_delivered_first(pair: Pair, stream_id: int) -> None:
    # Found by public bug reports: a server that answers early and closes with unread input lost most of its answer.
    pair.acceptor.write(stream_id, 60_000)
    pair.acceptor.reset_stream(stream_id)
    pair.settle()
    assert bytes(pair.initiator.read[stream_id]) == position_coded(0, 60_000)
    assert stream_id in pair.initiator.saw_reset
    assert counts(pair) == [0, 0]
    assert pair.acceptor.session.streams.buffered_bytes == 0


def test_a_reset_follows_the_last_byte_in_the_same_message(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.initiator.reset_stream(stream_id)
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert [type(frame) for frame in decode_message(message)] == [Data, Reset]


def test_a_half_close_before_a_reset_is_told(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.initiator.finish(stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.settle()
    assert pair.acceptor.saw_finish == {stream_id}
    assert stream_id in pair.acceptor.saw_reset
    assert counts(pair) == [0, 0]


def test_an_acceptance_before_a_reset_is_told(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    pair.acceptor.write(stream_id, 10)
    pair.acceptor.reset_stream(stream_id)
    pair.settle()
    assert pair.initiator.accepted == {stream_id}
    assert len(pair.initiator.read[stream_id]) == 10


def test_a_stream_that_is_written_and_reset_before_it_was_told_of_arrives_whole() -> None:
    pair = Pair()
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 100)
    pair.initiator.reset_stream(stream_id)
    pair.connect()
    pair.settle()
    assert pair.acceptor.opened == {stream_id: b"t"}
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 100)
    assert stream_id in pair.acceptor.saw_reset


@pytest.mark.parametrize("heard", [0, 1, 2])
def test_after_a_lost_carrier_the_bytes_come_again_and_then_the_reset(pair: Pair, stream_id: int, heard: int) -> None:
    pair.initiator.write(stream_id, 5_000)
    pair.send(pair.initiator)
    pair.initiator.write(stream_id, 5_000)
    pair.initiator.reset_stream(stream_id)
    pair.send(pair.initiator, 4)
    pair.deliver(pair.acceptor, heard)
    pair.connect()
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10_000)
    assert stream_id in pair.acceptor.saw_reset
    assert counts(pair) == [0, 0]


def test_a_reset_whose_open_was_lost_with_the_carrier_is_told_with_its_bytes(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 100)
    pair.send(pair.initiator)
    pair.initiator.reset_stream(stream_id)
    pair.connect()
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 100)
    assert stream_id in pair.acceptor.saw_reset


def test_a_reset_with_nothing_before_it_does_not_wait_behind_other_streams(pair: Pair, stream_id: int) -> None:
    bulk = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(bulk, WINDOW)
    pair.initiator.reset_stream(stream_id)
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert next(iter(decode_message(message))) == Reset(stream_id, ResetCode.ABORTED)


def test_the_bytes_before_a_reset_keep_to_the_credit(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    assert pair.initiator.session.next_message(pair.now) is None
    assert pair.initiator.session.awaiting_since() is None, "a reader that is slow is not a path that is silent"
    assert counts(pair) == [1, 1]
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == pair.initiator.written[stream_id]
    assert counts(pair) == [0, 0]


def test_who_resets_takes_no_more_bytes(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.initiator.reset_stream(stream_id)
    assert not pair.initiator.session.is_writable(stream_id)
    assert not pair.initiator.session.write(stream_id, b"late")
    pair.initiator.session.finish(stream_id)
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == 10
    assert stream_id not in pair.acceptor.saw_finish


def test_what_comes_behind_a_reset_is_acknowledged_and_dropped(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.acceptor.write(stream_id, WINDOW)
    for _ in range(4):
        pair.exchange(4)
        pair.advance(0.05)
    assert pair.acceptor.session.streams.buffered_bytes == 0
    assert pair.acceptor.session.awaiting_since() is None
    pair.acceptor.write(stream_id, 1000)
    pair.exchange(4)
    assert pair.acceptor.session.streams.buffered_bytes == 1000, "the credit grew no more"
    pair.acceptor.finish(stream_id)
    pair.settle()
    assert stream_id not in pair.initiator.read
    assert not pair.initiator.unusable
    assert counts(pair) == [0, 0]


@pytest.mark.parametrize("wrong", [Data(1, 0, memoryview(bytes(WINDOW + 2))), Ack(1, 9), Fin(1, 9)])
def test_a_reset_excuses_no_breach_of_the_protocol(pair: Pair, stream_id: int, wrong: Frame) -> None:
    pair.initiator.reset_stream(stream_id)
    half = Data(1, 0, memoryview(bytes(WINDOW // 2)))
    if isinstance(wrong, Data):
        say(pair, pair.initiator, half)
        wrong = Data(1, WINDOW // 2, memoryview(bytes(WINDOW // 2 + 1)))
    say(pair, pair.initiator, wrong)
    assert len(pair.initiator.unusable) == 1


def test_a_reset_by_the_peer_drops_what_it_will_not_read(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.acceptor.reset_stream(stream_id)
    pair.exchange(2)
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert counts(pair) == [0, 0]
    assert not pair.initiator.saw_reset | pair.acceptor.saw_reset


def test_a_stream_that_both_ends_finished_and_one_resets_waits_for_the_peers_word(pair: Pair, stream_id: int) -> None:
    pair.acceptor.finish(stream_id)
    pair.exchange(1)
    pair.initiator.write(stream_id, 10)
    pair.initiator.finish(stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.send(pair.initiator)
    say(pair, pair.initiator, Ack(stream_id, 11))
    assert len(pair.initiator.session.streams) == 1
    assert pair.initiator.session.awaiting_since() == pair.now
    say(pair, pair.initiator, Gone(stream_id))
    assert len(pair.initiator.session.streams) == 0


def test_a_reset_tells_no_credit_that_was_not_told_before(pair: Pair, stream_id: int) -> None:
    pair.acceptor.write(stream_id, WINDOW)
    pair.exchange(2)
    pair.initiator.consume(stream_id)
    fill_the_credit(pair, stream_id)
    pair.acceptor.write(stream_id, WINDOW)
    pair.exchange(2)
    pair.initiator.session.consume(stream_id, pair.initiator.unconsumed.pop(stream_id))
    pair.initiator.reset_stream(stream_id)
    assert not [frame for frame in frames_of(pair.initiator, pair.now) if isinstance(frame, Window)]


# An abort drops the data.


def test_an_abort_drops_what_was_not_delivered_and_is_told_at_once(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.abort_stream(stream_id)
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert frames_of(pair.initiator, pair.now) == [Reset(stream_id, ResetCode.ABORTED)]


def test_an_abort_behind_a_reset_drops_the_rest_and_keeps_its_code(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.session.reset(stream_id, ResetCode.TIMED_OUT)
    pair.initiator.abort_stream(stream_id)
    pair.settle()
    assert pair.acceptor.saw_reset == {stream_id: ResetCode.TIMED_OUT}
    assert len(pair.acceptor.read[stream_id]) < pair.initiator.written[stream_id]
    assert counts(pair) == [0, 0]


@pytest.mark.parametrize("finished", [False, True])
def test_an_abort_that_is_told_again_on_the_next_carrier_leaves_no_gap(
    pair: Pair, stream_id: int, finished: bool
) -> None:
    pair.initiator.write(stream_id, 5_000)
    if finished:
        pair.initiator.finish(stream_id)
    pair.send(pair.initiator)
    pair.initiator.abort_stream(stream_id)
    pair.connect()
    pair.settle()
    assert not pair.acceptor.unusable
    assert stream_id in pair.acceptor.saw_reset
    assert counts(pair) == [0, 0]


def test_an_aborted_stream_that_the_peer_never_heard_of_leaves_no_trace() -> None:
    pair = Pair()
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, INITIAL_CREDIT_BYTES)
    pair.initiator.abort_stream(stream_id)
    pair.connect()
    pair.settle()
    assert pair.acceptor.opened == {}
    assert counts(pair) == [0, 0]


def test_early_data_for_a_target_that_is_refused_ends_with_the_reason(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 2 * INITIAL_CREDIT_BYTES)
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert isinstance(next(iter(decode_message(message))), Open)
    pair.acceptor.session.receive(pair.generation, message, pair.now)
    pair.acceptor.session.reset(stream_id, ResetCode.REFUSED)
    pair.settle()
    assert pair.initiator.saw_reset == {stream_id: ResetCode.REFUSED}
    assert stream_id not in pair.initiator.accepted
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert counts(pair) == [0, 0]


# A close stands behind everything.


def test_a_close_with_nothing_held_is_the_next_message(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.settle()
    pair.initiator.close()
    assert frames_of(pair.initiator, pair.now) == [Close(CloseCode.DONE, "enough")]
    assert pair.initiator.session.is_close_sent


def test_what_was_written_before_a_close_is_acknowledged_before_it(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 60_000)
    pair.initiator.finish(stream_id)
    pair.initiator.close()
    sent = frames_of(pair.initiator, pair.now)
    assert not [frame for frame in sent if isinstance(frame, Close)]
    assert not pair.initiator.session.is_close_sent
    say(pair, pair.acceptor, *sent)
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 60_000)
    assert pair.acceptor.saw_finish == {stream_id}
    assert pair.acceptor.closed == SessionClosed(CloseCode.DONE, "enough", by_peer=True)


def test_a_reset_before_a_close_is_told(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.initiator.session.reset(stream_id, ResetCode.TIMED_OUT)
    pair.initiator.close()
    pair.settle()
    assert pair.acceptor.saw_reset == {stream_id: ResetCode.TIMED_OUT}
    assert pair.acceptor.closed is not None


def test_a_close_waits_for_the_next_carrier_where_something_is_held(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.send(pair.initiator)
    pair.initiator.close()
    pair.connect()
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10)
    assert pair.acceptor.closed is not None


def test_a_close_is_said_only_on_a_carrier_on_which_both_ends_have_proved_themselves() -> None:
    pair = Pair()
    pair.initiator.close()
    pair.connect()
    pair.exchange(3)
    assert pair.acceptor.closed is not None
    assert not pair.acceptor.unusable


def test_once_closed_a_session_takes_neither_streams_nor_bytes(pair: Pair, stream_id: int) -> None:
    pair.initiator.write(stream_id, 10)
    pair.initiator.close()
    with pytest.raises(RuntimeError, match="closed"):
        pair.initiator.session.open_stream(b"t")
    assert not pair.initiator.session.is_writable(stream_id)
    assert not pair.initiator.session.write(stream_id, b"late")
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == 10


def test_a_stream_that_the_peer_opens_behind_a_close_is_lost_at_once(pair: Pair, stream_id: int) -> None:
    pair.acceptor.write(stream_id, 10)
    pair.acceptor.close()
    late = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(late, 10)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    assert late not in pair.acceptor.opened
    assert not pair.acceptor.unusable
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)
    assert pair.initiator.saw_reset == {late: ResetCode.SESSION_LOST}
    assert pair.initiator.closed is None


def test_what_the_peer_sends_is_delivered_until_the_close(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.close()
    pair.acceptor.write(stream_id, 1000)
    pair.exchange(2)
    assert len(pair.initiator.read[stream_id]) == 1000
    assert pair.initiator.closed is None


@pytest.mark.parametrize("reads", [False, True])
def test_who_does_not_wait_longer_says_close_at_once(pair: Pair, stream_id: int, reads: bool) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.close()
    if reads:
        pair.settle()
        assert pair.acceptor.closed is not None
    pair.initiator.session.close_now()
    assert pair.initiator.session.streams.buffered_bytes == 0
    expected = [] if reads else [Close(CloseCode.DONE, "enough")]
    assert frames_of(pair.initiator, pair.now) == expected, "once"


def test_a_peer_that_closes_reads_no_more(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.close()
    pair.acceptor.close()
    pair.exchange(1)
    assert pair.initiator.closed is not None
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert not pair.initiator.session.is_close_sent
    assert pair.initiator.session.next_message(pair.now) is None


def test_what_comes_before_a_close_is_told_before_it(pair: Pair, stream_id: int) -> None:
    frames: tuple[Frame, ...] = (Data(stream_id, 0, memoryview(b"last")), Fin(stream_id, 4), Close(CloseCode.DONE, ""))
    message = b"".join(map(encode_frame, frames))
    events = pair.acceptor.session.receive(pair.generation, message, pair.now)
    assert [type(event) for event in events] == [StreamData, StreamFinished, SessionClosed]


# A reader that hangs learns of the reset all the same.


def linger(pair: Pair, seconds: float) -> None:
    """Time passes, and what is due goes and comes, but for what the acceptor reads."""
    pair.advance(seconds)
    pair.exchange(4)


def test_a_reset_that_waits_for_credit_is_told_after_a_while_without_the_rest(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    other = pair.initiator.session.open_stream(b"t")
    pair.exchange(4)
    pair.initiator.session.reset(stream_id, ResetCode.TIMED_OUT)
    pair.exchange(1)
    assert pair.initiator.session.next_deadline() == pair.now + LINGER_TIMEOUT
    linger(pair, LINGER_TIMEOUT - 1.0)
    assert stream_id not in pair.acceptor.saw_reset
    linger(pair, 1.0)
    assert pair.acceptor.saw_reset == {stream_id: ResetCode.TIMED_OUT}
    assert len(pair.acceptor.read[stream_id]) < pair.initiator.written[stream_id]
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert pair.initiator.session.next_deadline() is None
    assert counts(pair) == [1, 1]
    assert pair.initiator.session.is_writable(other)


def test_a_reader_that_is_slow_gets_everything(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    for _ in range(8):
        linger(pair, LINGER_TIMEOUT - 1.0)
        count = min(WINDOW // 4, pair.acceptor.unconsumed[stream_id])
        pair.acceptor.unconsumed[stream_id] -= count
        pair.acceptor.session.consume(stream_id, count)
        pair.exchange(4)
    assert len(pair.acceptor.read[stream_id]) == pair.initiator.written[stream_id]
    assert stream_id in pair.acceptor.saw_reset


def test_time_without_a_carrier_is_not_the_readers(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    linger(pair, LINGER_TIMEOUT - 1.0)
    pair.cut()
    assert pair.initiator.session.next_deadline() is None
    pair.advance(10 * LINGER_TIMEOUT)
    pair.connect()
    pair.exchange(4)
    assert pair.initiator.session.next_deadline() == pair.now + LINGER_TIMEOUT
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == pair.initiator.written[stream_id]


def test_a_stream_that_goes_before_its_time_is_waited_for_no_longer(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.exchange(1)
    pair.initiator.abort_stream(stream_id)
    pair.exchange(2)
    assert pair.initiator.session.next_deadline() is None


def test_a_stream_that_waits_for_credit_and_was_not_reset_waits_as_long_as_it_takes(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    for _ in range(10):
        linger(pair, LINGER_TIMEOUT)
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == pair.initiator.written[stream_id]


def test_credit_that_comes_in_the_last_instant_counts(pair: Pair, stream_id: int) -> None:
    fill_the_credit(pair, stream_id)
    pair.initiator.reset_stream(stream_id)
    pair.exchange(1)
    pair.now += LINGER_TIMEOUT
    say(pair, pair.initiator, Window(stream_id, 4 * WINDOW))
    pair.initiator.session.handle_timeout(pair.now)
    assert pair.initiator.session.streams.buffered_bytes > 0
