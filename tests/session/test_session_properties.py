"""What is read is exactly what was written, whatever the carriers do."""

from __future__ import annotations

from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.config import ResourceLimits
from perdure.session import ByteBudget
from perdure.session.receiver import Receiver
from support.session_pair import End, Pair, check_direction, known_streams, position_coded

ROOMY = ResourceLimits(stream_window_bytes=64 * 1024, stream_buffer_bytes=256 * 1024, session_buffer_bytes=512 * 1024)

SIDES = st.sampled_from([0, 1])
STREAMS = st.integers(0, 5)
STEPS = st.one_of(
    st.tuples(st.just("open"), SIDES),
    st.tuples(st.just("write"), SIDES, STREAMS, st.sampled_from([1, 7, 300, 4096, 5000, 20_000, 70_000])),
    st.tuples(st.just("write"), SIDES, STREAMS, st.integers(1, 9000)),
    st.tuples(st.just("finish"), SIDES, STREAMS),
    st.tuples(st.just("reset"), SIDES, STREAMS),
    st.tuples(st.just("abort"), SIDES, STREAMS),
    st.tuples(st.just("consume"), SIDES, STREAMS),
    st.tuples(st.just("send"), SIDES, st.integers(1, 4)),
    st.tuples(st.just("deliver"), SIDES, st.integers(1, 4)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("connect")),
    st.tuples(st.just("reconnect"), st.integers(0, 3)),
    st.tuples(st.just("exchange"), st.integers(1, 3)),
    st.tuples(st.just("write_and_send"), SIDES, STREAMS, st.sampled_from([3, 3000, 30_000])),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.03, 2.0])),
    st.tuples(st.just("spare"), st.sampled_from(["begin", "drop", "lose old", "lose current"])),
    st.tuples(st.just("open_spare"), SIDES),
    st.tuples(st.just("deliver_beside"), SIDES, st.integers(1, 4)),
    st.tuples(st.just("spare_and_open"), SIDES, st.integers(0, 3)),
    st.tuples(st.just("signal"), SIDES, st.sampled_from([0, 600, 16_000])),
)


def connected(pair: Pair) -> Pair:
    pair.connect()
    pair.exchange(1)
    return pair


def run(pair: Pair, steps: list[tuple[object, ...]]) -> list[list[int]]:
    connected(pair)
    opened: list[list[int]] = [[], []]
    for step in steps:
        take(step, pair, opened)
        for streams in (end.session.streams for end in pair.ends):
            assert streams.under_way_bytes == sum(stream.buffer.under_way for stream in streams)
    return opened


def take(step: tuple[object, ...], pair: Pair, opened: list[list[int]]) -> None:
    match step:
        case ("open", int(side)):
            end = pair.ends[side]
            if len(opened[side]) < 6 and not end.is_closing and end.closed is None:
                opened[side].append(pair.ends[side].session.open_stream(b"target"))
        case ("cut",):
            pair.cut()
        case ("connect",):
            pair.connect()
        case ("reconnect", int(rounds)):
            pair.connect()
            pair.exchange(rounds)
        case ("exchange", int(rounds)):
            pair.exchange(rounds)
        case ("wait", float(seconds)):
            pair.advance(seconds)
        case ("spare", "begin"):
            pair.begin_spare()
        case ("spare", "drop"):
            pair.drop_spare()
        case ("spare", "lose old"):
            pair.lose_old()
        case ("spare", "lose current"):
            pair.lose_current()
        case ("open_spare", int(side)):
            pair.open_spare(pair.ends[side])
        case ("spare_and_open", int(side), int(rounds)):
            pair.begin_spare()
            pair.open_spare(pair.ends[side])
            pair.exchange(rounds)
            pair.open_spare(pair.ends[1 - side])
        case ("deliver_beside", int(side), int(most)):
            pair.deliver_beside(pair.ends[side], most)
        case ("signal", int(side), int(size)):
            pair.ends[side].signal(size)
        case ("send", int(side), int(most)):
            pair.send(pair.ends[side], most)
        case ("deliver", int(side), int(most)):
            pair.deliver(pair.ends[side], most)
        case (str(verb), int(side), int(index), *rest):
            end = pair.ends[side]
            streams = known_streams(end, opened[side])
            if streams:
                use_stream(verb, pair, end, streams[index % len(streams)], *rest)


def use_stream(verb: str, pair: Pair, end: End, stream_id: int, *rest: object) -> None:
    match verb, rest:
        case "write", [int(count)]:
            end.write(stream_id, count)
        case "write_and_send", [int(count)]:
            end.write(stream_id, count)
            pair.send(end, 2)
        case "finish", []:
            end.finish(stream_id)
        case "reset", []:
            end.reset_stream(stream_id)
        case "abort", []:
            end.abort_stream(stream_id)
        case "consume", []:
            end.consume(stream_id)


@settings(max_examples=500)
@given(st.lists(STEPS, min_size=5, max_size=60), st.booleans())
def test_what_is_read_is_what_was_written_over_carriers_cut_anywhere_and_spares_beside_them(
    steps: list[tuple[object, ...]], ends_on_spare: bool
) -> None:
    pair = Pair()
    opened = run(pair, steps)
    if ends_on_spare and pair.initiator.current == pair.acceptor.current != 0:
        pair.begin_spare()
        for end in pair.ends:
            pair.open_spare(end)
    else:
        pair.connect()
    pair.settle()
    for end, other in (pair.ends, pair.ends[::-1]):
        assert not end.unusable
        assert end.closed is None
        assert len(set(end.signals)) == len(end.signals), "of signaling nothing comes twice"
        assert set(end.signals) <= set(other.said_signals)
    for stream_id in opened[0] + opened[1]:
        check_direction(pair.initiator, pair.acceptor, stream_id)
        check_direction(pair.acceptor, pair.initiator, stream_id)
        for end, other in (pair.ends, pair.ends[::-1]):
            if stream_id in end.reset and stream_id not in other.reset and stream_id in other.opened:
                ended_cleanly = stream_id in other.saw_finish and stream_id in other.finished
                assert stream_id in other.saw_reset or ended_cleanly


@settings(max_examples=300)
@given(st.lists(STEPS, min_size=5, max_size=60))
def test_a_usual_message_that_is_read_in_one_go_does_what_its_frames_do(steps: list[tuple[object, ...]]) -> None:
    in_one_go, by_frames = Pair(), Pair()
    run(in_one_go, steps)
    with patch.object(Receiver, "apply_usual", lambda *_: (0, 0)):
        run(by_frames, steps)
    for here, there in zip(in_one_go.ends, by_frames.ends, strict=True):
        assert {name: value for name, value in vars(here).items() if name != "session"} == {
            name: value for name, value in vars(there).items() if name != "session"
        }
        ours, theirs = here.session, there.session
        assert ours.awaiting_since() == theirs.awaiting_since()
        assert ours.next_deadline() == theirs.next_deadline()
        assert ours.next_message(in_one_go.now) == theirs.next_message(by_frames.now)


def test_most_messages_are_usual_ones() -> None:
    pair = connected(Pair())
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    with patch.object(Receiver, "apply", side_effect=AssertionError):
        for _ in range(10):
            for end, other in (pair.ends, pair.ends[::-1]):
                end.write(stream_id, 64)
                pair.send(end)
                pair.deliver(other)
                other.consume(stream_id)


@settings(max_examples=200)
@given(st.lists(STEPS, min_size=5, max_size=40), st.lists(STEPS, max_size=20), SIDES)
def test_what_was_accepted_before_a_close_is_delivered_before_it(
    before: list[tuple[object, ...]], behind: list[tuple[object, ...]], side: int
) -> None:
    pair = Pair()
    opened = run(pair, before)
    closing, other = pair.ends[side], pair.ends[1 - side]
    closing.close()
    for step in behind:
        if not closing.session.is_close_sent:  # it is not repeated on another carrier
            take(step, pair, opened)
    if not closing.session.is_close_sent:
        pair.connect()
    pair.settle()
    assert closing.session.is_close_sent
    assert not closing.unusable + other.unusable
    assert other.closed is not None
    assert other.closed.by_peer
    assert (closing.session.streams.buffered_bytes, other.session.streams.buffered_bytes) == (0, 0)
    for stream_id in opened[0] + opened[1]:
        read = bytes(other.read.get(stream_id, b""))
        assert read == position_coded(0, len(read))
        if stream_id in closing.aborted | other.reset or stream_id in closing.saw_reset:
            continue
        assert len(read) == closing.written.get(stream_id, 0), "bytes are missing"
        assert (stream_id in other.saw_finish) == (stream_id in closing.finished) or stream_id in closing.reset
        is_known = stream_id in other.opened or stream_id in opened[1 - side]
        assert stream_id in other.saw_reset or stream_id not in closing.reset or not is_known


@settings(max_examples=100)
@given(st.lists(STEPS, max_size=40))
def test_once_every_stream_has_ended_nothing_is_kept(steps: list[tuple[object, ...]]) -> None:
    pair = Pair()
    opened = run(pair, steps)
    pair.connect()
    pair.settle()
    for end, own in zip(pair.ends, opened, strict=True):
        for stream_id in known_streams(end, own):
            end.finish(stream_id)
    pair.settle()
    assert [len(end.session.streams) for end in pair.ends] == [0, 0]
    assert [end.session.awaiting_since() for end in pair.ends] == [None, None]
    assert [end.session.next_message(pair.now) for end in pair.ends] == [None, None]


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 1), STEPS), max_size=60), st.sampled_from([1, 70_000, 200_000]))
def test_sessions_that_share_a_budget_hold_what_it_says_and_none_waits_for_ever(
    steps: list[tuple[int, tuple[object, ...]]], limit_bytes: int
) -> None:
    budget = ByteBudget(limit_bytes)
    pairs = [connected(Pair(ROOMY, budget)) for _ in range(2)]
    sessions = [pair.initiator.session for pair in pairs]
    opened: list[list[list[int]]] = [[[], []], [[], []]]
    for which, step in steps:
        take(step, pairs[which], opened[which])
        assert budget.held_bytes == sum(session.streams.buffered_bytes for session in sessions)
        for session, pair in zip(sessions, pairs, strict=True):
            assert session.streams.buffered_bytes <= sum(pair.initiator.written.values())
            assert session.traffic.sent_bytes >= sum(map(len, pair.acceptor.read.values()))
    for pair in pairs:
        pair.connect()
        pair.settle()
        waiting = pair.initiator.blocked - pair.initiator.reset - pair.initiator.saw_reset.keys()
        assert waiting == set(), "a stream that has nothing left to be acknowledged still waits"
    assert budget.held_bytes == 0


@settings(max_examples=50)
@given(st.lists(STEPS, max_size=40))
def test_a_session_that_is_abandoned_anywhere_owes_its_budget_nothing(steps: list[tuple[object, ...]]) -> None:
    budget = ByteBudget(100_000)
    pair = Pair(budget=budget)
    run(pair, steps)
    pair.initiator.session.abandon()
    assert budget.held_bytes == 0


@settings(max_examples=200)
@given(st.binary(min_size=1, max_size=200), st.booleans())
def test_garbage_never_raises_and_never_reaches_a_stream(garbage: bytes, to_initiator: bool) -> None:
    pair = Pair()
    pair.connect()
    stream_id = pair.initiator.session.open_stream(b"target")
    pair.settle()
    end = pair.initiator if to_initiator else pair.acceptor
    end.note(end.session.receive(pair.generation, garbage, pair.now))
    assert len(end.session.receive(pair.generation, b"\x7f", pair.now)) <= 1
    pair.connect()
    if end.closed is None and len(end.session.streams):
        pair.initiator.write(stream_id, 1000)
        pair.settle()
