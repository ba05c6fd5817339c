"""A peer that sends what costs much and says nothing."""

from __future__ import annotations

import pytest

from perdure.config import ResourceLimits
from perdure.session import StreamData
from perdure.session.receiver import MAX_USELESS_FRAMES, USELESS_FRAMES_A_STREAM
from perdure.wire import (
    Ack,
    Data,
    Fin,
    Frame,
    Gone,
    Open,
    Pong,
    Reset,
    ResetCode,
    Window,
    encode_frame,
)
from support.session_pair import SMALL_LIMITS, Pair, say


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


@pytest.mark.parametrize(
    "frame",
    [
        Gone(1001),
        Gone(7),
        Pong(99),
        Ack(1, 0),
        Window(1, 0),
        Fin(1, 5),
        Data(1, 0, memoryview(b"")),
        Data(1, 0, memoryview(b"x")),
        Data(7, 0, memoryview(b"x")),
        Open(1, 0, b"t"),
        Open(7, 0, b"t"),
        Reset(7, ResetCode.ABORTED),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_frames_that_change_nothing_cost_the_carrier_after_a_few(pair: Pair, frame: Frame) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    for _ in range(3):
        reset = pair.initiator.session.open_stream(b"t")
        pair.settle()
        pair.initiator.reset_stream(reset)
    pair.settle()
    pair.initiator.write(stream_id, 5)
    pair.initiator.finish(stream_id)
    pair.settle()
    allowed = MAX_USELESS_FRAMES + 4 * USELESS_FRAMES_A_STREAM
    say(pair, pair.acceptor, *[frame] * allowed)
    assert not pair.acceptor.unusable
    say(pair, pair.acceptor, *[frame] * 8)
    assert "change nothing" in pair.acceptor.unusable[0]


def test_streams_that_both_ends_reset_at_once_cost_nothing(pair: Pair) -> None:
    for _ in range(500):
        stream_id = pair.initiator.session.open_stream(b"t")
        pair.settle()
        for end in pair.ends:
            end.reset_stream(stream_id)
        pair.settle()
    assert not pair.acceptor.unusable
    assert not pair.initiator.unusable


def test_an_honest_peer_is_not_cut_for_what_it_sent_before_its_streams_were_refused() -> None:
    pair = Pair(SMALL_LIMITS)
    pair.acceptor.session.streams.limits = ResourceLimits(max_streams=2)
    pair.connect()
    pair.settle()
    for _ in range(10):
        pair.initiator.write(pair.initiator.session.open_stream(b"t"), 64 * 1024)
    pair.settle()
    assert not pair.acceptor.unusable
    assert list(pair.initiator.saw_reset.values()) == [ResetCode.LIMIT] * 8
    assert sorted(map(len, pair.acceptor.read.values())) == [64 * 1024] * 2


def test_an_end_that_closes_delivers_what_it_holds_though_the_other_one_opens_streams() -> None:
    pair = Pair()
    pair.connect()
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.acceptor.write(stream_id, 50_000)
    pair.acceptor.close()
    for _ in range(5):
        pair.initiator.write(pair.initiator.session.open_stream(b"t"), 64 * 1024)
    pair.settle()
    assert not pair.acceptor.unusable
    assert len(pair.initiator.read[stream_id]) == 50_000
    assert pair.initiator.closed is not None


def test_bytes_that_come_one_by_one_are_read_as_one(pair: Pair) -> None:
    first, second = (pair.initiator.session.open_stream(b"t") for _ in range(2))
    pair.settle()
    frames = [Data(first, offset, memoryview(b"x")) for offset in range(100)]
    frames += [Data(second, 0, memoryview(b"y")), Data(first, 100, memoryview(b"z"))]
    events = pair.acceptor.session.receive(pair.generation, b"".join(map(encode_frame, frames)), pair.now)
    read = [(event.stream_id, bytes(event.data)) for event in events if isinstance(event, StreamData)]
    assert read == [(first, b"x" * 100), (second, b"y"), (first, b"z")]
