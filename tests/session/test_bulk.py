"""Bulk beside a keystroke: how much goes out before the peer has answered."""

from __future__ import annotations

import pytest

from perdure.config import ResourceLimits
from perdure.session.outbox import ACK_DELAY, BULK_ACK_BYTES, BULK_ACK_DELAY
from perdure.session.queue_limit import LEAST_BYTES
from support.session_pair import Pair

ROUND_TRIP = 0.1
HELD = 8_000_000


@pytest.fixture
def pair() -> Pair:
    """With a stream 1 that always has more to send than goes out, on a path that was measured."""
    pair = Pair(ResourceLimits())
    pair.connect()
    pair.settle()
    for _ in range(2):
        pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(1, HELD)
    for _ in range(20):
        flow(pair)
    return pair


def flow(pair: Pair, messages: int = 10) -> None:
    """So many go out, and half of what was under way is read and acknowledged a round trip later."""
    pair.send(pair.initiator, messages)
    pair.advance(ROUND_TRIP)
    pair.deliver(pair.acceptor, len(pair.acceptor.inboxes[pair.generation]) // 2)
    pair.acceptor.consume(1)
    pair.advance(ACK_DELAY)
    pair.send(pair.acceptor)
    pair.deliver(pair.initiator)


def under_way(pair: Pair) -> int:
    return pair.initiator.session.streams.under_way_bytes


def allowed(pair: Pair) -> int:
    limit = pair.initiator.session.traffic.queue_limit
    assert limit is not None
    return limit.allowed_bytes


def test_no_more_is_under_way_than_is_allowed(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    assert LEAST_BYTES <= under_way(pair) <= allowed(pair) + 1024
    assert pair.send(pair.initiator, 64) == 0
    held = len(pair.initiator.session.streams.get(1).buffer)  # type: ignore[union-attr]
    assert held > under_way(pair)


def test_a_keystroke_goes_out_beyond_it(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    pair.initiator.write(3, 5)
    assert pair.send(pair.initiator, 64) == 1
    pair.deliver(pair.acceptor, 64)
    assert len(pair.acceptor.read[3]) == 5


def test_what_follows_a_keystroke_waits_with_the_bulk(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    pair.initiator.write(3, 50_000)
    assert pair.send(pair.initiator, 64) == 1
    assert under_way(pair) <= allowed(pair) + 2 * 1024


def test_all_goes_through(pair: Pair) -> None:
    pair.settle()
    assert len(pair.acceptor.read[1]) == HELD
    assert under_way(pair) == 0


def test_what_is_not_bulk_says_nothing_of_the_path(pair: Pair) -> None:
    before = allowed(pair)
    for _ in range(60):
        pair.settle()
        pair.initiator.write(3, 2_000)
        pair.settle()
    assert allowed(pair) >= before


def test_a_keystroke_alone_sets_no_limit() -> None:
    pair = Pair()
    pair.connect()
    pair.settle()
    pair.initiator.session.open_stream(b"t")
    for _ in range(20):
        pair.initiator.write(1, 5)
        pair.settle()
    assert pair.initiator.session.traffic.queue_limit is None


def test_an_ack_waits_for_company_while_data_waits_for_the_limit(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    pair.acceptor.write(1, 5)
    pair.send(pair.acceptor, 64)
    pair.deliver(pair.initiator, 64)
    assert pair.initiator.session.next_message(pair.now) is None
    pair.advance(ACK_DELAY)
    assert pair.initiator.session.next_message(pair.now) is not None


def test_many_streams_together_send_little_beyond_it(pair: Pair) -> None:
    others = [pair.initiator.session.open_stream(b"t") for _ in range(100)]
    pair.settle()
    pair.initiator.write(1, HELD)
    for _ in range(5):
        flow(pair)
    pair.send(pair.initiator, 64)
    for stream_id in others:
        pair.initiator.write(stream_id, 5_000)
    pair.send(pair.initiator, 64)
    assert under_way(pair) <= 1.25 * allowed(pair)


def test_a_new_carrier_is_measured_anew(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    pair.connect()
    pair.exchange(1)
    assert pair.initiator.session.traffic.queue_limit is None
    pair.settle()
    assert len(pair.acceptor.read[1]) == HELD


def test_a_stream_that_is_dropped_is_not_under_way(pair: Pair) -> None:
    pair.send(pair.initiator, 64)
    pair.initiator.abort_stream(1)
    assert under_way(pair) == 0
    pair.initiator.write(3, 50_000)
    assert pair.send(pair.initiator, 64) > 1


@pytest.mark.parametrize(("count", "delay"), [(BULK_ACK_BYTES - 1, ACK_DELAY), (BULK_ACK_BYTES, BULK_ACK_DELAY)])
def test_bulk_is_acknowledged_sooner(count: int, delay: float) -> None:
    pair = Pair()
    pair.connect()
    pair.settle()
    pair.initiator.session.open_stream(b"t")
    pair.settle()
    pair.initiator.write(1, count)
    pair.send(pair.initiator, 64)
    pair.deliver(pair.acceptor, 64)
    assert pair.acceptor.session.next_deadline() == pytest.approx(pair.now + delay)
