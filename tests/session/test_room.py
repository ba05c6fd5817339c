"""How much a session holds and grants: its limits, those set later, and the budget that sessions share."""

from __future__ import annotations

import pytest

from perdure.config import SMALLEST_SHARE_BYTES, ResourceLimits
from perdure.session import ByteBudget, Session
from perdure.wire import CloseCode, Data, Gone, Reset, ResetCode, decode_message, encode_frame
from support.session_pair import KEY, SESSION_ID, SMALL_LIMITS, Pair, position_coded

KIB = 1024
SOME = 10_000
ROOMY = ResourceLimits(stream_window_bytes=256 * KIB, stream_buffer_bytes=256 * KIB, session_buffer_bytes=4096 * KIB)


@pytest.fixture
def budget() -> ByteBudget:
    return ByteBudget(128 * KIB)


def fill(pair: Pair, stream_id: int) -> int:
    """Write until there is no room; how much that was."""
    before = pair.initiator.session.streams.buffered_bytes
    while stream_id not in pair.initiator.blocked:
        pair.initiator.write(stream_id, 8 * KIB)
    return pair.initiator.session.streams.buffered_bytes - before


def send_all(pair: Pair) -> None:
    """The acceptor receives what the initiator has credit for, and does not consume it."""
    while pair.send(pair.initiator, 64):
        pair.deliver(pair.acceptor, 64)


def connected(limits: ResourceLimits, budget: ByteBudget | None = None) -> tuple[Pair, int]:
    """A pair and a stream of its initiator."""
    pair = Pair(limits, budget)
    pair.connect()
    stream_id = pair.initiator.session.open_stream(b"t")
    pair.settle()
    return pair, stream_id


# One session's limits.


def test_a_full_buffer_stops_the_writer_and_nothing_is_dropped() -> None:
    pair, stream_id = connected(SMALL_LIMITS)
    written = 0
    while stream_id not in pair.initiator.blocked:
        pair.initiator.write(stream_id, 10_000)
        written += 10_000
        assert written <= SMALL_LIMITS.stream_buffer_bytes + 10_000
    pair.settle()
    assert stream_id not in pair.initiator.blocked
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, written)


def test_a_peer_that_never_acknowledges_costs_no_more_than_the_limits() -> None:
    pair = Pair()
    pair.connect()
    pair.exchange(2)
    for _ in range(SMALL_LIMITS.max_streams):
        stream_id = pair.initiator.session.open_stream(b"t")
        while stream_id not in pair.initiator.blocked:
            pair.initiator.write(stream_id, 8192)
    held = sum(pair.initiator.written.values())
    assert held <= SMALL_LIMITS.session_buffer_bytes + SMALL_LIMITS.max_streams * (SMALLEST_SHARE_BYTES + 8192)
    while pair.initiator.session.next_message(pair.now) is not None:
        pass
    assert pair.initiator.session.awaiting_since() == pair.now


@pytest.mark.parametrize("end", [None, Reset, Gone])
def test_room_that_a_streams_end_makes_reaches_the_streams_that_waited(end: type[Reset | Gone] | None) -> None:
    pair = Pair(ResourceLimits(stream_buffer_bytes=256 * KIB, session_buffer_bytes=512 * KIB))
    pair.connect()
    pair.settle()
    streams = [pair.initiator.session.open_stream(b"t") for _ in range(8)]
    for stream_id in streams:
        fill(pair, stream_id)
    hungry = pair.initiator.session.open_stream(b"t")
    pair.initiator.write(hungry, SMALLEST_SHARE_BYTES)
    assert hungry in pair.initiator.blocked
    for stream_id in streams:
        if end is None:
            pair.initiator.abort_stream(stream_id)
        else:
            frame = Gone(stream_id) if end is Gone else Reset(stream_id, ResetCode.ABORTED)
            pair.initiator.note(pair.initiator.session.receive(pair.generation, encode_frame(frame), pair.now))
    assert hungry not in pair.initiator.blocked


def test_streams_that_nobody_reads_do_not_stop_the_others() -> None:
    # Found by review: with the session's buffer full of what stalled readers leave, nobody was ever woken again.
    limits = ResourceLimits(
        stream_window_bytes=64 * 1024, stream_buffer_bytes=64 * 1024, session_buffer_bytes=256 * 1024
    )
    pair = Pair(limits)
    pair.connect()
    stalled = [pair.initiator.session.open_stream(b"t") for _ in range(32)]
    for stream_id in stalled:
        while stream_id not in pair.initiator.blocked:
            pair.initiator.write(stream_id, 32 * 1024)
    healthy = pair.initiator.session.open_stream(b"t")
    for _ in range(50):
        pair.initiator.write(healthy, 32 * 1024)
        pair.exchange(20)
        pair.advance(0.05)
        pair.acceptor.consume(healthy)
    assert len(pair.acceptor.read[healthy]) > 20 * 32 * 1024


def test_streams_beyond_the_limit_are_refused_one_by_one() -> None:
    few = ResourceLimits(max_streams=2)
    pair = Pair()
    pair.acceptor.session = Session(session_id=SESSION_ID, initiator=False, key=None, limits=few)
    pair.connect()
    streams = [pair.initiator.session.open_stream(b"t") for _ in range(3)]
    pair.settle()
    assert pair.initiator.saw_reset == {streams[2]: ResetCode.LIMIT}
    assert pair.initiator.accepted == set(streams[:2])


def test_opening_more_than_the_limit_here_is_the_callers_mistake() -> None:
    session = Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=ResourceLimits(max_streams=1))
    session.open_stream(b"t")
    with pytest.raises(RuntimeError, match="limit"):
        session.open_stream(b"t")


# The budget.


def test_a_budget_counts_what_all_of_its_sessions_hold(budget: ByteBudget) -> None:
    pairs = [connected(SMALL_LIMITS, budget) for _ in range(3)]
    for pair, stream_id in pairs:
        pair.initiator.write(stream_id, SOME)
    assert budget.held_bytes == 3 * SOME
    for pair, _ in pairs:
        pair.settle()
    assert budget.held_bytes == 0


def test_whatever_ends_a_stream_gives_back_what_it_held(budget: ByteBudget) -> None:
    pair, _ = connected(SMALL_LIMITS, budget)
    session = pair.initiator.session
    streams = [session.open_stream(b"t") for _ in range(4)]
    pair.settle()
    for stream_id in streams:
        pair.initiator.write(stream_id, SOME)
    unheard = session.open_stream(b"t")
    pair.initiator.write(unheard, SOME)
    assert budget.held_bytes == 5 * SOME
    pair.initiator.abort_stream(unheard)
    pair.initiator.abort_stream(streams[0])
    assert budget.held_bytes == 3 * SOME
    pair.acceptor.reset_stream(streams[1])
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)
    assert budget.held_bytes == 2 * SOME
    pair.initiator.note(session.receive(pair.generation, encode_frame(Gone(streams[2])), pair.now))
    assert budget.held_bytes == SOME
    pair.send(pair.initiator, 4)
    pair.deliver(pair.acceptor, 4)
    pair.connect()
    pair.exchange(1)
    assert budget.held_bytes == 0, "the peer's RESUME acknowledges"


def test_a_session_that_is_closed_gives_everything_back(budget: ByteBudget) -> None:
    pair, stream_id = connected(SMALL_LIMITS, budget)
    pair.initiator.write(stream_id, SOME)
    pair.initiator.session.close(CloseCode.DONE, "")
    assert budget.held_bytes == SOME, "it is delivered first"
    pair.initiator.session.close_now()
    assert (budget.held_bytes, pair.initiator.session.streams.buffered_bytes) == (0, 0)


def test_a_session_that_the_peer_closes_gives_everything_back(budget: ByteBudget) -> None:
    pair, stream_id = connected(SMALL_LIMITS, budget)
    pair.initiator.write(stream_id, SOME)
    pair.acceptor.session.close(CloseCode.SHUT_DOWN, "")
    pair.exchange(1)
    assert pair.initiator.closed is not None
    assert budget.held_bytes == 0


def test_a_session_that_is_abandoned_gives_everything_back_and_says_nothing(budget: ByteBudget) -> None:
    pair, stream_id = connected(SMALL_LIMITS, budget)
    session = pair.initiator.session
    pair.acceptor.write(stream_id, SOME)
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)
    assert session.next_deadline() is not None, "an acknowledgement is due"
    pair.initiator.write(stream_id, SOME)
    session.abandon()
    session.abandon()
    assert budget.held_bytes == 0
    assert len(session.streams) == 0
    assert session.next_message(pair.now) is None
    assert session.next_deadline() is None
    assert not session.write(stream_id, b"late"), "writing to what is gone changes nothing"
    assert budget.held_bytes == 0
    with pytest.raises(RuntimeError, match="closed"):
        session.open_stream(b"t")
    session.carrier_opened(pair.generation + 1, b"b" * 32)
    assert session.next_message(pair.now) is None


def test_who_abandons_a_session_that_was_closed_takes_back_its_last_word() -> None:
    pair, _ = connected(SMALL_LIMITS)
    pair.initiator.session.close(CloseCode.DONE, "")
    pair.initiator.session.abandon()
    assert pair.initiator.session.next_message(pair.now) is None


def test_where_the_budget_is_full_each_stream_has_its_smallest_share() -> None:
    budget = ByteBudget(ROOMY.stream_buffer_bytes)
    hog, hogging = connected(ROOMY, budget)
    assert fill(hog, hogging) == budget.limit_bytes
    for _ in range(3):
        modest, stream_id = connected(ROOMY, budget)
        assert fill(modest, stream_id) == SMALLEST_SHARE_BYTES
    budget.limit_bytes = 2**30
    free, stream_id = connected(ROOMY, budget)
    assert fill(free, stream_id) == ROOMY.stream_buffer_bytes


def test_a_stream_that_waits_because_of_others_is_told_by_its_own_acknowledgements() -> None:
    budget = ByteBudget(SMALLEST_SHARE_BYTES)
    hog, hogging = connected(ROOMY, budget)
    fill(hog, hogging)
    pair, stream_id = connected(ROOMY, budget)
    total = 0
    for _ in range(20):
        total += fill(pair, stream_id)
        pair.settle()
        assert budget.is_full, "nobody else made room"
        assert stream_id not in pair.initiator.blocked
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, total)


def test_a_stream_that_the_budget_stopped_over_an_outage_goes_on_after_it() -> None:
    budget = ByteBudget(SMALLEST_SHARE_BYTES)
    hog, hogging = connected(ROOMY, budget)
    fill(hog, hogging)
    pair, stream_id = connected(ROOMY, budget)
    pair.cut()
    fill(pair, stream_id)
    pair.connect()
    pair.settle()
    assert stream_id not in pair.initiator.blocked


# Limits that change.


def test_streams_beyond_a_limit_that_was_lowered_go_on_and_no_more_are_opened() -> None:
    pair, _ = connected(ResourceLimits())
    streams = [pair.initiator.session.open_stream(b"t") for _ in range(3)]
    pair.settle()
    few = ResourceLimits(max_streams=2)
    for end in pair.ends:
        end.session.streams.limits = few
    with pytest.raises(RuntimeError, match="limit"):
        pair.initiator.session.open_stream(b"t")
    pair.initiator.session.streams.limits = ResourceLimits()
    refused = pair.initiator.session.open_stream(b"t")
    for stream_id in streams:
        pair.initiator.write(stream_id, SOME)
    pair.settle()
    assert pair.initiator.saw_reset == {refused: ResetCode.LIMIT}
    for stream_id in streams:
        assert len(pair.acceptor.read[stream_id]) == SOME
        pair.initiator.reset_stream(stream_id)
    pair.settle()
    taken = pair.initiator.session.open_stream(b"t")
    pair.settle()
    assert taken in pair.initiator.accepted


def test_a_buffer_beyond_a_limit_that_was_lowered_is_kept_and_then_obeys_it() -> None:
    pair, stream_id = connected(ROOMY)
    total = fill(pair, stream_id)
    assert total == ROOMY.stream_buffer_bytes
    pair.initiator.session.streams.limits = SMALL_LIMITS
    pair.settle()
    assert stream_id not in pair.initiator.blocked
    total += fill(pair, stream_id)
    assert total == ROOMY.stream_buffer_bytes + SMALL_LIMITS.stream_buffer_bytes
    pair.settle()
    assert bytes(pair.acceptor.read[stream_id]) == position_coded(0, total)


def test_a_stream_that_waits_when_limits_are_raised_is_told_and_has_the_new_room() -> None:
    pair, stream_id = connected(SMALL_LIMITS)
    fill(pair, stream_id)
    pair.initiator.session.streams.limits = ROOMY
    pair.settle()
    assert fill(pair, stream_id) == ROOMY.stream_buffer_bytes


def test_credit_that_was_granted_is_not_taken_back() -> None:
    pair, stream_id = connected(ROOMY)
    granted = ROOMY.stream_window_bytes
    pair.acceptor.session.streams.limits = SMALL_LIMITS
    pair.acceptor.session.accept(stream_id)
    pair.connect()
    pair.settle()
    pair.initiator.write(stream_id, granted)
    send_all(pair)
    assert len(pair.acceptor.read[stream_id]) == granted, "all of it was under the first grant"
    pair.connect()
    pair.settle()
    assert not pair.acceptor.unusable
    pair.initiator.write(stream_id, granted)
    send_all(pair)
    assert len(pair.acceptor.read[stream_id]) == granted + SMALL_LIMITS.stream_window_bytes
    pair.settle()
    assert len(pair.acceptor.read[stream_id]) == 2 * granted


def test_a_new_streams_credit_follows_the_limits_of_now() -> None:
    session = Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=ROOMY)
    pair = Pair()
    pair.initiator.session = session
    session.streams.limits = SMALL_LIMITS
    pair.connect()
    stream_id = session.open_stream(b"t")
    pair.settle()
    pair.acceptor.write(stream_id, ROOMY.stream_window_bytes)
    sent = 0
    while (message := pair.acceptor.session.next_message(pair.now)) is not None:
        sent += sum(len(frame.payload) for frame in decode_message(message) if isinstance(frame, Data))
    assert sent == SMALL_LIMITS.stream_window_bytes
