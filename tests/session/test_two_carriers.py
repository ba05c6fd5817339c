"""What is read is what was written while the session moves from one carrier to another that was begun beside it."""

from __future__ import annotations

from collections import deque
from random import Random

import pytest

from perdure.config import ResourceLimits
from perdure.session import SessionResumed
from perdure.session.beside import FIRST_TOKEN
from perdure.wire import (
    MAX_MESSAGE_FRAMES,
    MIN_MESSAGE_BYTES,
    Ack,
    Data,
    Frame,
    Open,
    Ping,
    Pong,
    ResetCode,
    Resume,
    decode_message,
    encode_frame,
)
from perdure.wire.frames import OUR_CARRIERS
from support.session_pair import BINDING, End, Pair, check_direction, known_streams, position_coded, say

LITTLE = ResourceLimits(
    max_streams=16, stream_window_bytes=64 * 1024, stream_buffer_bytes=96 * 1024, session_buffer_bytes=256 * 1024
)

WALKS = 400
STEPS = 120
STEP_WEIGHTS = {
    "user": 30,
    "send": 20,
    "deliver": 20,
    "beside": 14,
    "begin": 5,
    "open": 8,
    "pad": 12,
    "rotate": 3,
    "drop": 1,
    "lose old": 3,
    "lose current": 1,
    "wait": 6,
    "ask": 2,
    "answer": 3,
    "use": 1,
    "anew": 0.5,
}


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


class Walk:
    """A long random exchange in which streams are busy and spares come and go."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.pair = Pair(LITTLE)
        self.opened: list[list[int]] = [[], []]
        self.padded = 0
        """Messages of padding, and spares that they were for."""
        self.pair.connect()
        self.pair.exchange(2)
        self.waits: tuple[float, ...] = (0.001, 0.03, 2.0)
        if seed % 2:
            self.talk_from_afar()
            self.waits = (0.001, 0.01, 0.03)
        for _ in range(STEPS):
            self.step()

    def talk_from_afar(self) -> None:
        """Both ends learn that a round trip takes some 100 ms, which makes padding worth while."""
        for side, end in enumerate(self.pair.ends):
            self.opened[side].append(end.session.open_stream(b"target"))
            end.write(self.opened[side][0], 1)
        for _ in range(4):
            self.pair.exchange(1)
            self.pair.advance(0.05)

    def step(self) -> None:
        random, pair = self.random, self.pair
        side = random.randrange(2)
        end = pair.ends[side]
        match random.choices(tuple(STEP_WEIGHTS), tuple(STEP_WEIGHTS.values()))[0]:
            case "user":
                self.use(side, end)
            case "send":
                pair.send(end, random.randint(1, 3))
            case "deliver":
                pair.deliver(end, random.randint(1, 3))
            case "beside":
                pair.deliver_beside(end, random.randint(1, 3))
            case "begin":
                pair.begin_spare(stands_by=random.random() < 0.5)
            case "ask":
                pair.ask_standby(end)
            case "answer":
                pair.answer_beside(end)
            case "use":
                pair.use_standby(end)
            case "open":
                pair.open_spare(end)
            case "pad":
                self.padded += pair.pad_spare(end, random.randint(1, 3))
            case "rotate":
                self.rotate()
            case "drop":
                pair.drop_spare()
            case "lose old":
                pair.lose_old()
            case "lose current":
                pair.lose_current()
            case "wait":
                pair.advance(random.choice(self.waits))
            case _:
                pair.connect()

    def rotate(self) -> None:
        """A carrier that has just answered is replaced while much is under way on it."""
        pair = self.pair
        for side, end in enumerate(pair.ends):
            for stream_id in known_streams(end, self.opened[side]):
                if end.written.get(stream_id, 0) < 20_000:
                    end.write(stream_id, 20_000)
        pair.exchange(1)
        pair.begin_spare()
        for end in pair.ends:
            pair.open_spare(end)
        for end in pair.ends:
            pair.deliver_beside(end, self.random.randint(0, 1))

    def use(self, side: int, end: End) -> None:
        streams = known_streams(end, self.opened[side])
        if len(self.opened[side]) < 4 and (not streams or self.random.random() < 0.1):
            self.opened[side].append(end.session.open_stream(b"target"))
        elif streams:
            stream_id = self.random.choice(streams)
            match self.random.choices(("write", "consume", "finish", "reset", "abort"), (12, 10, 1, 0.3, 0.2))[0]:
                case "write":
                    end.write(stream_id, self.random.choice((1, 300, 5000, 40_000)))
                case "consume":
                    end.consume(stream_id)
                case "finish":
                    end.finish(stream_id)
                case "reset":
                    end.reset_stream(stream_id)
                case _:
                    end.abort_stream(stream_id)

    def settle(self) -> None:
        """Bring what is begun to its end, without a carrier that nobody has begun."""
        pair = self.pair
        if not pair.connected or (pair.initiator.current != pair.acceptor.current and not self.meets):
            pair.connect()
        for end in pair.ends:
            pair.open_spare(end)
        pair.settle()
        for end in pair.ends:
            if not end.current or self.random.random() < 0.5:
                pair.use_standby(end)
        pair.settle()
        if self.random.random() < 0.5:
            pair.lose_old()
            pair.settle()

    @property
    def meets(self) -> bool:
        """Whether both ends come to the same carrier once what is under way arrives."""
        one, other = self.pair.ends
        return (one.spare or one.current) == (other.spare or other.current)


@pytest.mark.parametrize("block", range(8))
def test_what_is_read_is_what_was_written_in_any_interleaving_of_two_carriers(block: int) -> None:
    padded = 0
    for seed in range(block * WALKS // 8, (block + 1) * WALKS // 8):
        walk = Walk(seed)
        padded += walk.padded
        walk.settle()
        pair = walk.pair
        assert not pair.initiator.unusable + pair.acceptor.unusable, seed
        for end in pair.ends:
            assert end.closed is None, seed
            assert end.session.awaiting_since() is None, (seed, "something waits for ever")
            assert end.session.streams.buffered_bytes == 0, (seed, "bytes are never acknowledged")
        for stream_id in walk.opened[0] + walk.opened[1]:
            check_direction(pair.initiator, pair.acceptor, stream_id, seed)
            check_direction(pair.acceptor, pair.initiator, stream_id, seed)
    assert padded > 50, "too few of these walks have a spare that waits for its padding"


# Case by case.


def opened_spare(pair: Pair) -> None:
    """A spare on which each end's RESUME is under way."""
    pair.begin_spare()
    for end in pair.ends:
        pair.open_spare(end)


def switch(pair: Pair, end: End) -> None:
    """`end` hears the peer's RESUME on the spare."""
    pair.deliver(end, 1, end.spare)


def say_on(pair: Pair, to: End, generation: int, *frames: Frame) -> None:
    """As if the peer had proved nothing there, and said `frames`."""
    to.note(to.session.receive(generation, b"".join(map(encode_frame, frames)), pair.now))


def lose_what_is_under_way(end: End) -> None:
    end.inboxes[end.current].clear()


def test_streams_go_on_on_the_spare_once_the_peer_is_proved_on_it_and_the_old_carrier_is_read_meanwhile(
    pair: Pair,
) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    opened_spare(pair)
    pair.acceptor.write(stream_id, 100)
    pair.send(pair.acceptor)
    switch(pair, pair.initiator)
    assert pair.initiator.resumed[-1] == SessionResumed(2, 0, OUR_CARRIERS)
    pair.deliver_beside(pair.initiator)
    assert bytes(pair.initiator.read[stream_id]) == position_coded(0, 100)
    pair.settle()
    assert [end.current for end in pair.ends] == [2, 2]
    assert [end.old for end in pair.ends] == [0, 0], "the carrier that both have left is closed"


def test_on_a_spare_nothing_but_hello_and_resume_goes_out_before_the_peer_is_proved(pair: Pair) -> None:
    pair.initiator.session.open_stream(b"t")
    pair.begin_spare()
    first = pair.initiator.session.spare_opened(2, BINDING)
    assert [type(frame) for frame in decode_message(first)] == [Resume]


def test_a_spare_that_dies_has_told_nothing(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 1000)
    pair.settle()
    pair.initiator.write(stream_id, 1000)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    opened_spare(pair)
    pair.drop_spare()
    pair.settle()
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert pair.initiator.session.awaiting_since() is None


def spend_credit(pair: Pair) -> tuple[int, int]:
    """A stream whose window is full, with 1000 bytes that wait; its id, and the window's bytes."""
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    window = pair.acceptor.session.streams.limits.stream_window_bytes
    pair.initiator.write(stream_id, window)
    pair.initiator.session.write(stream_id, position_coded(window, 1000))
    while pair.send(pair.initiator, 64) + pair.deliver(pair.acceptor, 64) + pair.send(pair.acceptor, 64):
        pair.deliver(pair.initiator, 64)
    return stream_id, window


def test_credit_that_was_not_told_before_is_not_told_by_a_spare_that_dies(pair: Pair) -> None:
    stream_id, window = spend_credit(pair)
    pair.acceptor.consume(stream_id)
    opened_spare(pair)
    pair.drop_spare()
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == window + 1000


def test_credit_that_was_granted_on_the_carrier_that_is_left_is_granted_again(pair: Pair) -> None:
    stream_id, window = spend_credit(pair)
    opened_spare(pair)
    pair.acceptor.consume(stream_id)
    pair.send(pair.acceptor, 64)
    lose_what_is_under_way(pair.initiator)
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == window + 1000


def test_an_acceptance_that_was_told_on_the_carrier_that_is_left_is_told_again(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.send(pair.initiator)
    pair.begin_spare()
    pair.open_spare(pair.acceptor)
    pair.deliver(pair.acceptor)
    pair.send(pair.acceptor, 64)
    lose_what_is_under_way(pair.initiator)
    pair.open_spare(pair.initiator)
    pair.settle()
    assert pair.initiator.accepted == {stream_id}


def test_a_stream_that_is_newer_than_the_peers_resume_is_not_taken_for_gone(pair: Pair) -> None:
    pair.begin_spare()
    pair.open_spare(pair.acceptor)
    stream_id = pair.initiator.session.open_stream(b"t")
    for _ in range(2):
        for end in pair.ends:
            pair.send(end)
        for end in pair.ends:
            pair.deliver(end)
    assert pair.initiator.accepted == {stream_id}
    pair.open_spare(pair.initiator)
    pair.settle()
    pair.initiator.write(stream_id, 10)
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10)
    assert not pair.initiator.saw_reset


def test_acknowledgements_of_what_was_sent_on_the_carrier_that_is_left_count(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 5000)
    pair.initiator.finish(stream_id)
    pair.send(pair.initiator, 64)
    opened_spare(pair)
    switch(pair, pair.initiator)
    pair.deliver(pair.acceptor, 64)
    pair.advance(0.05)
    pair.send(pair.acceptor, 64)
    pair.deliver_beside(pair.initiator, 64)
    assert pair.initiator.session.streams.buffered_bytes == 0
    assert not pair.initiator.unusable
    pair.settle()
    assert pair.acceptor.saw_finish == {stream_id}


def test_an_acknowledgement_of_what_was_never_sent_is_refused_on_either_carrier(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 10)
    pair.settle()
    opened_spare(pair)
    pair.settle()
    say(pair, pair.initiator, Ack(stream_id, 11))
    assert pair.initiator.unusable == [f"stream {stream_id}: ACK of 11, sent 10"]


def test_what_breaks_the_protocol_on_the_old_carrier_costs_that_one_alone(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    opened_spare(pair)
    switch(pair, pair.initiator)
    end = pair.initiator
    end.note(end.session.receive(1, encode_frame(Data(99, 0, memoryview(b"x"))), pair.now))
    assert end.unusable == ["Data for stream 99, which was never opened"]
    assert end.session.is_resumed
    assert end.session.receive(1, encode_frame(Ping(7)), pair.now) == []
    pair.settle()
    pair.acceptor.write(stream_id, 10)
    pair.settle()
    assert bytes(end.read[stream_id]) == position_coded(0, 10)


def test_a_frame_before_resume_on_a_spare_costs_the_spare_alone(pair: Pair) -> None:
    pair.begin_spare()
    pair.open_spare(pair.initiator)
    end = pair.initiator
    end.note(end.session.receive(2, encode_frame(Open(2, 100, b"t")), pair.now))
    assert end.unusable == ["Open before RESUME"]
    assert end.session.is_resumed


def test_the_peer_of_a_session_that_is_over_hears_nothing_on_a_spare(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    opened_spare(pair)
    pair.initiator.reset_stream(stream_id)
    pair.initiator.close()
    pair.settle()
    assert pair.acceptor.saw_reset == {stream_id: ResetCode.ABORTED}
    assert pair.acceptor.closed is not None


def test_a_session_that_is_abandoned_with_a_spare_takes_nothing_more(pair: Pair) -> None:
    opened_spare(pair)
    pair.initiator.session.abandon()
    switch(pair, pair.initiator)
    assert not pair.initiator.resumed[1:]


# A carrier that stands by.


def proved_standby(pair: Pair) -> None:
    pair.begin_spare(stands_by=True)
    for end in pair.ends:
        pair.open_spare(end)
    pair.settle()
    assert [end.standby_is_proved for end in pair.ends] == [True, True]


def test_the_session_stays_where_it_is_though_both_ends_are_proved_on_a_carrier_that_stands_by(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    proved_standby(pair)
    pair.initiator.write(stream_id, 100)
    pair.settle()
    assert [end.current for end in pair.ends] == [1, 1]
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 100)


def test_a_question_on_the_standby_is_answered_there_and_moves_nobody(pair: Pair) -> None:
    proved_standby(pair)
    pair.ask_standby(pair.initiator)
    pair.settle()
    assert pair.initiator.standby_answers == 1
    assert [end.current for end in pair.ends] == [1, 1]


def test_nothing_is_asked_on_a_standby_before_both_ends_are_proved(pair: Pair) -> None:
    pair.begin_spare(stands_by=True)
    pair.open_spare(pair.initiator)
    pair.ask_standby(pair.initiator)
    assert len(pair.acceptor.inboxes[2]) == 1, "HELLO and RESUME alone"
    assert pair.initiator.session.leave_current(pair.now, for_standby=True) == []
    say_on(pair, pair.initiator, 2, Ping(1))
    assert pair.initiator.unusable == ["Ping before RESUME"]


def test_all_that_is_asked_in_a_message_is_answered_in_one(pair: Pair) -> None:
    proved_standby(pair)
    tokens = range(1 << 40, (1 << 40) + MAX_MESSAGE_FRAMES)
    say_on(pair, pair.acceptor, 2, *map(Ping, tokens))
    answers = pair.acceptor.answers_beside
    assert b"".join(answer for _, answer in answers) == b"".join(encode_frame(Pong(token)) for token in tokens)
    assert len(answers) == 1


def test_answers_are_no_longer_than_what_the_peer_takes(pair: Pair) -> None:
    pair.begin_spare(stands_by=True)
    for end in pair.ends:
        end.spare_is_open = True
        opening = end.session.spare_opened(2, BINDING, MIN_MESSAGE_BYTES)
        other = pair.acceptor if end is pair.initiator else pair.initiator
        other.inboxes.setdefault(2, deque()).append(opening)
    pair.settle()
    tokens = range(1 << 40, (1 << 40) + MAX_MESSAGE_FRAMES)
    say_on(pair, pair.acceptor, 2, *map(Ping, tokens))
    lengths = [len(answer) for _, answer in pair.acceptor.answers_beside]
    assert max(lengths) <= MIN_MESSAGE_BYTES
    assert len(lengths) == -(-sum(lengths) // MIN_MESSAGE_BYTES) == 3


def test_an_answer_on_the_standby_counts_once(pair: Pair) -> None:
    proved_standby(pair)
    pair.ask_standby(pair.initiator)
    say_on(pair, pair.initiator, 2, *[Pong(FIRST_TOKEN + 1)] * MAX_MESSAGE_FRAMES)
    assert pair.initiator.standby_answers == 1


def test_a_standby_on_which_the_protocol_was_broken_is_used_no_more(pair: Pair) -> None:
    proved_standby(pair)
    pair.initiator.note(pair.initiator.session.receive(2, b"nonsense", pair.now))
    assert len(pair.initiator.unusable) == 1
    pair.use_standby(pair.initiator)
    assert pair.initiator.current == 1
    assert pair.initiator.session.beside is not None
    assert pair.initiator.session.beside.ask() is None
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 100)
    pair.exchange(3)
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 100)


def test_an_end_that_uses_the_standby_takes_the_peer_along_and_loses_no_byte(pair: Pair) -> None:
    mine, theirs = (end.session.open_stream(b"t") for end in pair.ends)
    pair.settle()
    proved_standby(pair)
    pair.initiator.write(mine, 5000)
    pair.acceptor.write(theirs, 5000)
    for end in pair.ends:
        pair.send(end, 64)
    for end in pair.ends:
        lose_what_is_under_way(end)
    pair.use_standby(pair.initiator)
    assert pair.initiator.resumed[-1].generation == 2
    pair.settle()
    assert [end.current for end in pair.ends] == [2, 2]
    assert [end.old for end in pair.ends] == [0, 0], "the carrier that both have left is closed"
    assert bytes(pair.acceptor.read[mine]) == position_coded(0, 5000)
    assert bytes(pair.initiator.read[theirs]) == position_coded(0, 5000)


def test_an_end_that_uses_the_standby_without_a_stream_takes_the_peer_along(pair: Pair) -> None:
    # Found by a reader: its only word there is a PING, which the peer took for a question.
    proved_standby(pair)
    pair.use_standby(pair.initiator)
    pair.settle()
    assert [end.current for end in pair.ends] == [2, 2]


def test_a_stream_that_is_newer_than_the_standby_goes_on_there(pair: Pair) -> None:
    proved_standby(pair)
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 10)
    pair.use_standby(pair.acceptor)
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10)
    assert not pair.initiator.saw_reset


def test_an_end_of_a_stream_that_was_lost_with_the_carrier_is_said_on_the_standby(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    proved_standby(pair)
    pair.initiator.finish(stream_id)
    pair.settle()
    pair.acceptor.finish(stream_id)
    pair.send(pair.acceptor, 64)
    lose_what_is_under_way(pair.initiator)
    pair.use_standby(pair.initiator)
    pair.settle()
    assert pair.initiator.saw_finish == pair.acceptor.saw_finish == {stream_id}
    assert not pair.initiator.saw_reset
    assert not pair.acceptor.saw_reset


@pytest.mark.parametrize("frame", [Ping, Pong])
def test_what_is_said_on_a_standby_does_not_say_that_the_peer_goes_on_where_it_is_a_spare_like_any_other(
    pair: Pair, frame: type[Ping | Pong]
) -> None:
    pair.begin_spare()
    pair.open_spare(pair.initiator)
    pair.open_spare(pair.acceptor)
    pair.deliver_beside(pair.initiator)
    assert (pair.initiator.current, pair.initiator.old) == (2, 1)
    say_on(pair, pair.initiator, 2, frame(FIRST_TOKEN + 1))
    assert pair.initiator.old == 1
    say_on(pair, pair.initiator, 2, Ping(1))
    assert pair.initiator.old == 0


def test_an_answer_on_the_standby_does_not_say_that_the_peer_has_left_the_old_carrier(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    proved_standby(pair)
    pair.ask_standby(pair.initiator)
    pair.deliver_beside(pair.acceptor)
    pair.answer_beside(pair.acceptor)
    pair.acceptor.write(stream_id, 100)
    pair.send(pair.acceptor)
    pair.use_standby(pair.initiator)
    pair.deliver(pair.initiator)
    assert pair.initiator.old == 1, "the old one is read on"
    pair.deliver_beside(pair.initiator)
    assert bytes(pair.initiator.read[stream_id]) == position_coded(0, 100)
