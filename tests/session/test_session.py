"""What one session does, case by case."""

from __future__ import annotations

import pytest

from perdure.config import ResourceLimits
from perdure.session import Session, StreamData, StreamOpened
from perdure.session.handshake import ownership_proof
from perdure.session.outbox import ACK_DELAY, MAX_REPLIES
from perdure.wire import (
    INITIAL_CREDIT_BYTES,
    MAX_MESSAGE_BYTES,
    MIN_MESSAGE_BYTES,
    Accept,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Parameters,
    Ping,
    Reset,
    ResetCode,
    Resume,
    Window,
    decode_message,
    encode_frame,
)
from support.session_pair import BINDING, KEY, SESSION_ID, SMALL_LIMITS, End, Pair, position_coded, say


@pytest.fixture
def pair() -> Pair:
    pair = Pair()
    pair.connect()
    pair.settle()
    return pair


def frames_of(end: End, now: float) -> list[Frame]:
    frames: list[Frame] = []
    while (message := end.session.next_message(now)) is not None:
        frames += decode_message(message)
    return frames


def data(stream_id: int, offset: int, payload: bytes) -> Data:
    return Data(stream_id, offset, memoryview(payload))


def test_a_request_goes_out_with_the_open_and_its_acceptance_is_told(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"host:22")
    pair.initiator.write(stream_id, 100)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    assert pair.acceptor.opened == {stream_id: b"host:22"}
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 100)
    pair.settle()
    assert pair.initiator.accepted == {stream_id}


def test_until_it_is_accepted_a_stream_sends_no_more_than_the_initial_credit() -> None:
    pair = Pair(ResourceLimits())
    pair.connect()
    pair.settle()
    stream_id = pair.initiator.session.open_stream(b"slow to dial")
    pair.initiator.write(stream_id, 4 * INITIAL_CREDIT_BYTES)
    sent = sum(len(f.payload) for f in frames_of(pair.initiator, 0.0) if isinstance(f, Data))
    assert sent == INITIAL_CREDIT_BYTES


def test_half_close_leaves_the_other_direction_open(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(stream_id, 10)
    pair.initiator.finish(stream_id)
    pair.settle()
    assert pair.acceptor.saw_finish == {stream_id}
    pair.acceptor.write(stream_id, 5000)
    pair.settle()
    assert bytes(pair.initiator.read[stream_id]) == position_coded(0, 5000)
    pair.acceptor.finish(stream_id)
    pair.settle()
    assert [len(end.session.streams) for end in pair.ends] == [0, 0]


def test_a_reset_carries_its_code_and_frees_the_stream_at_both_ends(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.acceptor.session.reset(stream_id, ResetCode.REFUSED)
    pair.settle()
    assert pair.initiator.saw_reset == {stream_id: ResetCode.REFUSED}
    assert [len(end.session.streams) for end in pair.ends] == [0, 0]


def test_resets_that_cross_end_in_peace(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    for end in pair.ends:
        end.reset_stream(stream_id)
    pair.settle()
    assert [len(end.session.streams) for end in pair.ends] == [0, 0]
    assert not pair.initiator.unusable + pair.acceptor.unusable


def test_a_message_is_shorter_where_answers_are_slow_and_longer_where_they_are_quick(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()

    def longest(answer_delay: float) -> int:
        for _ in range(12):
            pair.initiator.write(stream_id, 60_000)
            pair.send(pair.initiator, 64)
            pair.advance(answer_delay)
            pair.deliver(pair.acceptor, 64)
            pair.acceptor.consume(stream_id)
            pair.advance(0.0201)
            pair.send(pair.acceptor, 64)
            pair.deliver(pair.initiator, 64)
        return pair.initiator.session.message_bytes

    assert longest(0.5) == MIN_MESSAGE_BYTES
    assert longest(0.0) == MAX_MESSAGE_BYTES


def test_a_keystroke_does_not_wait_behind_a_bulk_transfer() -> None:
    pair = Pair(ResourceLimits())
    pair.connect()
    bulk, keys = (pair.initiator.session.open_stream(b"t") for _ in range(2))
    pair.settle()
    pair.initiator.write(bulk, 1_000_000)
    pair.send(pair.initiator)
    pair.initiator.write(keys, 1)
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert keys in {frame.stream_id for frame in decode_message(message) if isinstance(frame, Data)}


def test_streams_share_a_message_equally() -> None:
    pair = Pair(ResourceLimits())
    pair.connect()
    streams = [pair.initiator.session.open_stream(b"t") for _ in range(4)]
    pair.settle()
    for stream_id in streams:
        pair.initiator.write(stream_id, 200_000)
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert len(message) <= MAX_MESSAGE_BYTES
    shares = [len(frame.payload) for frame in decode_message(message) if isinstance(frame, Data)]
    assert len(shares) == 4
    assert max(shares) - min(shares) < MAX_MESSAGE_BYTES // 16


def opened(pair: Pair, early_bytes: int) -> int:
    """A stream of the initiator's has reached the acceptor, with so many bytes; nobody has accepted it."""
    initiator = pair.initiator.session
    stream_id = initiator.open_stream(b"host:80")
    initiator.write(stream_id, bytes(early_bytes))
    while (message := initiator.next_message(pair.now)) is not None:
        pair.acceptor.session.receive(pair.generation, message, pair.now)
    assert frames_of(pair.acceptor, pair.now) == [], "an ACK waits for company"
    return stream_id


def kinds(end: End, now: float) -> list[type[Frame]]:
    return [type(frame) for frame in frames_of(end, now)]


def test_an_open_its_first_bytes_the_answer_and_its_acceptance_are_two_messages(pair: Pair) -> None:
    pair.initiator.session.open_stream(b"host:80")
    pair.initiator.session.write(1, b"request")
    message = pair.initiator.session.next_message(pair.now)
    assert message is not None
    assert [type(frame) for frame in decode_message(message)] == [Open, Data]
    session = pair.acceptor.session
    session.receive(pair.generation, message, pair.now)
    session.accept(1)
    assert session.next_message(pair.now) is None
    session.write(1, b"answer")
    assert kinds(pair.acceptor, pair.now) == [Ack, Accept, Data], "that DATA is answered saves the PING"


def test_an_accept_goes_at_once_where_somebody_waits_for_it(pair: Pair) -> None:
    pair.acceptor.session.accept(opened(pair, early_bytes=0))
    assert kinds(pair.acceptor, pair.now) == [Ack, Accept, Ping]


def test_an_accept_for_which_nobody_waits_goes_with_the_acknowledgement(pair: Pair) -> None:
    session = pair.acceptor.session
    session.accept(opened(pair, early_bytes=100))
    assert session.next_message(pair.now) is None
    assert session.next_deadline() == pytest.approx(pair.now + ACK_DELAY)
    pair.advance(ACK_DELAY)
    assert kinds(pair.acceptor, pair.now) == [Ack, Accept, Ping]


def test_an_accept_waits_for_nothing_once_the_acknowledgement_has_gone(pair: Pair) -> None:
    stream_id = opened(pair, early_bytes=100)
    pair.advance(ACK_DELAY)
    assert kinds(pair.acceptor, pair.now) == [Ack]
    pair.acceptor.session.accept(stream_id)
    assert kinds(pair.acceptor, pair.now) == [Accept, Ping]


def test_an_accept_goes_at_once_where_the_credit_would_soon_be_used_up(pair: Pair) -> None:
    pair.acceptor.session.accept(opened(pair, early_bytes=INITIAL_CREDIT_BYTES // 2))
    assert kinds(pair.acceptor, pair.now) == [Ack, Accept, Ping]


def test_an_accept_that_waits_goes_once_the_credit_would_soon_be_used_up(pair: Pair) -> None:
    stream_id = opened(pair, early_bytes=100)
    pair.acceptor.session.accept(stream_id)
    say(pair, pair.acceptor, data(stream_id, 100, bytes(INITIAL_CREDIT_BYTES - 100)))
    assert kinds(pair.acceptor, pair.now) == [Ack, Accept, Ping]


def test_a_lone_acknowledgement_waits_a_little_and_then_goes(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 10)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    assert pair.acceptor.session.next_message(pair.now) is None
    assert pair.acceptor.session.next_deadline() == pytest.approx(pair.now + ACK_DELAY)
    pair.advance(ACK_DELAY)
    assert frames_of(pair.acceptor, pair.now) == [Ack(stream_id, 10)]


def test_an_answer_carries_the_acknowledgement_with_it(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 10)
    pair.send(pair.initiator)
    pair.deliver(pair.acceptor)
    pair.acceptor.write(stream_id, 5)
    kinds = [type(frame) for frame in frames_of(pair.acceptor, pair.now)]
    assert kinds == [Ack, Data]


def test_what_was_under_way_is_sent_again_from_where_the_peer_is(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 3_000)
    pair.send(pair.initiator)
    pair.initiator.write(stream_id, 2_000)
    pair.deliver(pair.acceptor)
    pair.send(pair.initiator)
    pair.connect()
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 5_000)
    assert [resumed.resent_bytes for resumed in pair.initiator.resumed][-1] == 2_000


def test_a_late_message_of_an_earlier_carrier_is_ignored(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    late = encode_frame(data(stream_id, 0, b"late"))
    old = pair.generation
    pair.connect()
    pair.settle()
    assert pair.acceptor.session.receive(old, late, pair.now) == []
    assert stream_id not in pair.acceptor.read


def test_a_message_of_a_carrier_that_was_lost_is_ignored(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.cut()
    assert pair.acceptor.session.receive(pair.generation, encode_frame(data(stream_id, 0, b"x")), pair.now) == []


def test_an_acceptor_without_the_session_says_so_and_the_initiator_learns_it(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    restarted = End(Session(session_id=SESSION_ID, initiator=False, key=None, limits=SMALL_LIMITS))
    pair.cut()
    pair.acceptor = restarted
    pair.ends = (pair.initiator, restarted)
    pair.connect()
    pair.exchange(2)
    for end in pair.ends:
        assert end.closed is not None
        assert end.closed.code is CloseCode.UNKNOWN_SESSION
    assert len(pair.initiator.session.streams) == 0
    assert not pair.initiator.session.write(stream_id, b"late"), "writing to what is gone changes nothing"


@pytest.mark.parametrize(
    "wrong",
    [
        Resume(SESSION_ID, 2, bytes(32), ()),
        Resume(SESSION_ID, 2, ownership_proof(bytes(32), SESSION_ID, 2, BINDING, by_initiator=True), ()),
        Resume(SESSION_ID, 2, ownership_proof(KEY, SESSION_ID, 1, BINDING, by_initiator=True), ()),
        Resume(SESSION_ID, 2, ownership_proof(KEY, SESSION_ID, 2, b"other", by_initiator=True), ()),
        Resume(SESSION_ID, 2, ownership_proof(KEY, SESSION_ID, 2, BINDING, by_initiator=False), ()),
        Resume(bytes(16), 2, ownership_proof(KEY, SESSION_ID, 2, BINDING, by_initiator=True), ()),
        Resume(SESSION_ID, 1, ownership_proof(KEY, SESSION_ID, 2, BINDING, by_initiator=True), ()),
    ],
    ids=["no-proof", "other-key", "other-generation", "other-carrier", "reflected", "other-session", "stale"],
)
def test_who_cannot_prove_ownership_gets_no_carrier(pair: Pair, wrong: Resume) -> None:
    pair.connect()
    assert pair.generation == 2
    say(pair, pair.acceptor, wrong)
    assert len(pair.acceptor.unusable) == 1
    assert not pair.acceptor.session.is_resumed


@pytest.mark.parametrize(
    "frame", [Hello(SESSION_ID, b"x" * 32), Close(CloseCode.DONE, ""), Close(CloseCode.VERSION, "")]
)
def test_who_has_proved_nothing_costs_a_carrier_and_never_the_session(pair: Pair, frame: Frame) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.connect()
    say(pair, pair.acceptor, frame)
    assert len(pair.acceptor.unusable) == 1
    pair.connect()
    pair.initiator.write(stream_id, 10)
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 10)


def test_an_acceptor_without_proof_can_only_say_that_it_does_not_know_the_session(pair: Pair) -> None:
    pair.connect()
    say(pair, pair.initiator, Close(CloseCode.DONE, ""))
    assert pair.initiator.closed is None
    pair.connect()
    say(pair, pair.initiator, Close(CloseCode.UNKNOWN_SESSION, ""))
    assert pair.initiator.closed is not None


def test_streams_opened_during_an_outage_are_heard_of_before_their_bytes() -> None:
    # Found by review: with many long names the OPENs filled a message, and DATA went out before its OPEN.
    pair = Pair(ResourceLimits())
    pair.connect()
    pair.settle()
    pair.cut()
    streams = [pair.initiator.session.open_stream(b"a" * 240 + b":80") for _ in range(400)]
    pair.initiator.write(streams[-1], 5)
    pair.connect()
    pair.settle()
    assert not pair.acceptor.unusable
    assert bytes(pair.acceptor.read[streams[-1]]) == position_coded(0, 5)


def test_a_peer_that_forgets_a_stream_too_early_resets_it(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(stream_id, 10)
    pair.acceptor.finish(stream_id)
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)
    say(pair, pair.initiator, Gone(stream_id))
    assert stream_id in pair.initiator.saw_reset


def test_what_a_reader_keeps_of_a_long_message_is_no_more_than_its_bytes(pair: Pair) -> None:
    message = encode_frame(Open(1, 1000, b"t")) + encode_frame(data(1, 0, b"small")) + encode_frame(Gone(99)) * 500
    events = pair.acceptor.session.receive(pair.generation, message, pair.now)
    kept = next(event.data for event in events if isinstance(event, StreamData))
    assert len(kept.obj) == len(b"small")  # type: ignore[arg-type]


def test_another_version_of_the_protocol_is_named() -> None:
    pair = Pair()
    pair.connect()
    say(pair, pair.acceptor, Hello(SESSION_ID, KEY, Parameters(98, 99)))
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)
    for end in pair.ends:
        assert end.closed is not None
        assert end.closed.code is CloseCode.VERSION
        assert "98 to 99" in end.closed.reason


@pytest.mark.parametrize(
    ("frames", "why"),
    [
        ([data(1, 5, b"gap")], "gap"),
        ([data(1, 0, bytes(SMALL_LIMITS.stream_window_bytes + 2))], "credit"),
        ([data(9, 0, b"x")], "never opened"),
        ([Fin(1, 5)], "FIN"),
        ([Fin(1, 0), data(1, 0, b"x")], "behind its FIN"),
        ([Ack(1, 5)], "ACK of 5"),
        ([Open(2, 0, b"t")], "not the peer's to open"),
        ([Open(0, 0, b"t")], "not the peer's to open"),
        ([Reset(7, ResetCode.ABORTED)], "never opened"),
        ([Ping(1)] * (MAX_REPLIES + 1), "reply"),
        ([Resume(SESSION_ID, 1, bytes(32), ())], "second RESUME"),
        ([Hello(bytes(16), KEY)], "another session"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_peer_that_breaks_the_protocol_loses_the_carrier_and_nothing_else(
    pair: Pair, frames: list[Frame], why: str
) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    size = sum(len(encode_frame(frame)) for frame in frames)
    if size > MAX_MESSAGE_BYTES:
        half = SMALL_LIMITS.stream_window_bytes // 2 + 1
        frames = [data(1, 0, bytes(half))]
        say(pair, pair.acceptor, *frames)
        frames = [data(1, half, bytes(half))]
    say(pair, pair.acceptor, *frames)
    assert len(pair.acceptor.unusable) == 1
    assert why in pair.acceptor.unusable[0]
    assert pair.acceptor.session.next_message(pair.now) is None
    if stream_id not in pair.acceptor.read and stream_id not in pair.acceptor.saw_finish:
        pair.connect()
        pair.initiator.write(stream_id, 1000)
        pair.settle()
        assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, 1000)


def test_a_stream_reset_before_the_peer_heard_of_it_leaves_no_trace() -> None:
    pair = Pair()
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.initiator.reset_stream(stream_id)
    pair.connect()
    pair.settle()
    assert pair.acceptor.opened == {}
    assert len(pair.initiator.session.streams) == 0


def test_frames_for_a_stream_that_has_ended_are_answered_gone(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.reset_stream(stream_id)
    pair.settle()
    say(pair, pair.acceptor, data(stream_id, 0, b"late"))
    assert frames_of(pair.acceptor, pair.now) == [Gone(stream_id)]


def test_a_message_is_never_longer_than_the_limit_however_many_streams_there_are() -> None:
    pair = Pair(ResourceLimits(max_streams=1000))
    pair.connect()
    pair.settle()
    for _ in range(1000):
        stream_id = pair.initiator.session.open_stream(b"a.long.host.name.example:65535")
        pair.initiator.write(stream_id, 50)
    pair.settle()
    pair.connect()
    for end in pair.ends:
        message = end.session.next_message(pair.now)
        assert message is not None
        assert len(message) <= MAX_MESSAGE_BYTES
    assert len(pair.acceptor.read) == 1000


def test_close_is_the_last_word(pair: Pair) -> None:
    pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.session.close(CloseCode.DONE, "enough")
    assert frames_of(pair.initiator, pair.now) == [Close(CloseCode.DONE, "enough")]
    say(pair, pair.acceptor, Close(CloseCode.DONE, "enough"))
    assert pair.acceptor.closed is not None
    assert pair.acceptor.closed.reason == "enough"
    assert pair.acceptor.session.next_message(pair.now) is None
    assert pair.initiator.session.receive(pair.generation, encode_frame(Ping(1)), pair.now) == []


def test_window_updates_are_few_but_a_reader_never_starves(pair: Pair) -> None:
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    updates = 0
    total = 20 * SMALL_LIMITS.stream_window_bytes
    while len(pair.acceptor.read.get(stream_id, b"")) < total:
        pair.initiator.write(stream_id, 4096)
        pair.send(pair.initiator)
        pair.deliver(pair.acceptor)
        pair.acceptor.consume(stream_id)
        pair.advance(0.001)
        for frame in frames_of(pair.acceptor, pair.now):
            updates += isinstance(frame, Window)
            say(pair, pair.initiator, frame)
    assert updates <= 20 * 4 + 1


def test_an_initiator_brings_a_key_and_an_acceptor_does_not() -> None:
    with pytest.raises(ValueError, match="key"):
        Session(session_id=SESSION_ID, initiator=True, key=None, limits=SMALL_LIMITS)


def test_events_before_a_protocol_error_still_count(pair: Pair) -> None:
    message = encode_frame(Open(1, 1000, b"t")) + encode_frame(data(1, 0, b"good")) + b"\x7f"
    events = pair.acceptor.session.receive(pair.generation, message, pair.now)
    assert StreamOpened(1, b"t") in events
    assert any(isinstance(event, StreamData) and bytes(event.data) == b"good" for event in events)
