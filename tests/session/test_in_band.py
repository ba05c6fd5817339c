"""Signaling that travels on the session's own carrier: when it goes, in which order, and with what it is lost."""

from __future__ import annotations

import pytest

from perdure.config import ResourceLimits
from perdure.session import CarrierUnusable, Session, SignalReceived
from perdure.session.handshake import ownership_proof
from perdure.session.outbox import ACK_DELAY, MAX_REPLIES
from perdure.wire import (
    MAX_SIGNAL_BYTES,
    MIN_MESSAGE_BYTES,
    Data,
    Parameters,
    Ping,
    Resume,
    Signal,
    decode_message,
    encode_frame,
)
from support.session_pair import BINDING, KEY, SESSION_ID, Pair, say


def pair() -> Pair:
    joined = Pair()
    joined.connect()
    joined.settle()
    return joined


def test_it_comes_whole_and_in_order() -> None:
    ends = pair()
    said = [b"an offer", b"a candidate", bytes(MAX_SIGNAL_BYTES), b"another"]
    for body in said:
        assert ends.initiator.session.signal(body)
    ends.settle()
    assert ends.acceptor.signals == said


def test_it_does_not_wait_for_the_bytes_of_streams() -> None:
    ends = pair()
    stream_id = ends.initiator.session.open_stream(b"t")
    ends.initiator.write(stream_id, 60_000)
    ends.send(ends.initiator)
    ends.initiator.session.signal(b"an offer")
    message = ends.initiator.session.next_message(ends.now)
    assert message is not None
    frames = list(decode_message(message))
    assert frames[0] == Signal(b"an offer")
    assert any(isinstance(frame, Data) for frame in frames)


def test_it_asks_for_a_sign_of_life_as_nothing_else_answers_it() -> None:
    ends = pair()
    session = ends.initiator.session
    session.signal(b"an offer")
    ends.send(ends.initiator)
    assert [type(frame) for frame in decode_message(ends.acceptor.inbox[-1])] == [Signal, Ping]
    assert session.awaiting_since() == ends.now
    assert not session.awaits_only_ping, "a dead path is noticed as fast as under traffic"
    ends.settle()
    assert session.awaiting_since() is None


def test_data_in_an_earlier_message_does_not_save_its_sign_of_life() -> None:
    ends = Pair()
    ends.connect(20_000)
    stream_id = ends.initiator.session.open_stream(b"t")
    ends.settle()
    while ends.initiator.session.message_bytes < 20_000:
        ends.initiator.write(stream_id, 1)
        ends.exchange(1)
        ends.advance(ACK_DELAY)
        ends.exchange(1)
    ends.settle()
    for _ in range(2):
        assert ends.initiator.session.signal(bytes(MAX_SIGNAL_BYTES - 8))
    ends.initiator.write(stream_id, 1)
    ends.send(ends.initiator, 2)
    messages = [[type(frame) for frame in decode_message(message)] for message in ends.acceptor.inbox]
    assert messages == [[Signal, Data], [Signal, Ping]]


def test_it_is_lost_with_its_carrier() -> None:
    ends = pair()
    ends.initiator.session.signal(b"an offer")
    ends.connect()
    ends.settle()
    assert ends.acceptor.signals == []
    ends.initiator.session.signal(b"another offer")
    ends.settle()
    assert ends.acceptor.signals == [b"another offer"]


def test_without_a_carrier_it_goes_nowhere() -> None:
    ends = Pair()
    assert not ends.initiator.session.signal(b"an offer")
    ends.connect()
    assert not ends.initiator.session.signal(b"an offer"), "the peer has not proved itself"


def test_it_is_read_on_a_carrier_that_was_left_too() -> None:
    ends = pair()
    ends.acceptor.session.signal(b"a late candidate")
    ends.send(ends.acceptor)
    ends.begin_spare()
    ends.open_spare(ends.initiator)
    ends.open_spare(ends.acceptor)
    ends.deliver(ends.initiator, generation=2)
    assert (ends.initiator.current, ends.initiator.old) == (2, 1)
    ends.deliver(ends.initiator, generation=1)
    assert ends.initiator.signals == [b"a late candidate"]


@pytest.mark.parametrize(("carriers", "goes"), [(1, False), (2, True), (3, True)])
def test_a_peer_that_has_one_carrier_at_a_time_is_told_nothing(carriers: int, goes: bool) -> None:
    assert resumed(Parameters(carriers=carriers)).signal(b"an offer") is goes


def test_one_that_is_longer_than_the_messages_of_the_peer_goes_another_way() -> None:
    session = resumed(Parameters(max_message_bytes=2048, carriers=2))
    assert not session.signal(bytes(2048))
    assert session.signal(bytes(2040))
    message = session.next_message(0.0)
    assert message is not None
    assert len(message) <= 2048


def test_one_that_is_longer_than_the_messages_of_the_next_carrier_is_lost_and_holds_nothing_up() -> None:
    ends = pair()
    assert ends.acceptor.session.signal(bytes(8 * 1024))
    assert ends.acceptor.session.signal(b"a candidate")
    ends.begin_spare()
    ends.open_spare(ends.initiator)
    ends.acceptor.session.spare_opened(2, BINDING, MIN_MESSAGE_BYTES)
    ends.acceptor.spare_is_open = True
    ends.deliver(ends.acceptor, generation=2)
    assert ends.acceptor.current == 2
    message = ends.acceptor.session.next_message(ends.now)
    assert message is not None
    assert encode_frame(Signal(b"a candidate")) in message


def test_what_waits_is_bounded() -> None:
    session = resumed(Parameters(carriers=2))
    assert [session.signal(b"") for _ in range(MAX_REPLIES + 1)].count(True) <= MAX_REPLIES
    assert not session.signal(b"")


def test_it_is_refused_before_the_peer_has_proved_itself() -> None:
    ends = Pair()
    ends.connect()
    say(ends, ends.acceptor, Signal(b"an offer"))
    assert ends.acceptor.signals == []
    assert ends.acceptor.unusable == ["Signal before RESUME"]


def test_one_that_is_too_long_costs_the_carrier() -> None:
    ends = pair()
    message = encode_frame(Signal(b"kept")) + encode_frame(Signal(bytes(MAX_SIGNAL_BYTES + 1)))
    events = ends.acceptor.session.receive(ends.generation, message, ends.now)
    assert events[0] == SignalReceived(ends.generation, b"kept")
    assert isinstance(events[1], CarrierUnusable)


def resumed(parameters: Parameters) -> Session:
    """An initiator's session whose peer says this of itself."""
    session = Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=ResourceLimits())
    session.carrier_opened(1, BINDING)
    proof = ownership_proof(KEY, SESSION_ID, 1, BINDING, by_initiator=False)
    session.receive(1, encode_frame(Resume(SESSION_ID, 1, proof, (), parameters)), 0.0)
    session.next_message(0.0)
    return session
