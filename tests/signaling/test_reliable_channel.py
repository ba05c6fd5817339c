"""The numbers of a session's messages: whatever is lost with keys and connections, each is taken once and in order."""

from __future__ import annotations

from itertools import chain

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.messages import Answer, Bye, Candidate, ChannelMessage, IceServers, Offer, RTCIceServer
from perdure.signaling.reliable_channel import (
    ACK_DELAY,
    MAX_OWED_ACKS,
    RESEND_AFTER,
    RESEND_AFTER_AT_MOST,
    RESENT_AT_ONCE,
    WINDOW,
    Body,
    ReliableChannel,
    decode_body,
    encode_body,
)


def candidate(number: int) -> Candidate:
    return Candidate(1, f"candidate:{number}", "0", 0)


def exchange(sender: ReliableChannel, receiver: ReliableChannel, now: float) -> list[ChannelMessage]:
    """All that `sender` has to say now, and what `receiver` acknowledges."""
    taken = [receiver.handle_body(body, now) for body in sender.bodies(now)]
    for body in receiver.bodies(now + ACK_DELAY):
        sender.handle_body(body, now + ACK_DELAY)
    return [message for message in taken if message is not None]


@given(st.lists(st.sampled_from(["add", "deliver", "lose", "lose answers", "again", "later"]), max_size=80))
def test_each_message_is_taken_once_and_in_order_whatever_is_lost(steps: list[str]) -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    added: list[ChannelMessage] = []
    taken: list[ChannelMessage] = []
    now = 0.0
    for step in [*steps, "again", "deliver", "deliver", "deliver"]:
        match step:
            case "add":
                added.append(candidate(len(added)))
                sender.add(added[-1])
            case "deliver":
                taken += exchange(sender, receiver, now)
            case "lose":
                sender.bodies(now)
            case "lose answers":
                taken += [message for body in sender.bodies(now) if (message := receiver.handle_body(body, now))]
                receiver.bodies(now + ACK_DELAY)
            case "later":
                now += RESEND_AFTER_AT_MOST
            case _:
                sender.send_again(now)
        assert taken == added[: len(taken)]
    assert taken == added
    assert sender.is_settled


def test_what_is_not_acknowledged_is_sent_again_ever_more_rarely() -> None:
    channel = ReliableChannel()
    channel.add(Offer(1, "v=0"))
    sent_at = []
    now = 0.0
    for _ in range(7):
        assert channel.bodies(now) == [Body(1, 1, 0, Offer(1, "v=0"))]
        assert channel.bodies(now) == []
        sent_at.append(now)
        now = channel.next_deadline
    assert sent_at == [0, 1, 3, 7, 15, 25, 35]
    assert channel.resent == 6


def test_who_acknowledges_nothing_gets_a_few_messages_again_each_time_however_many_wait() -> None:
    channel = ReliableChannel()
    for number in range(MAX_WAITING_MESSAGES // 2):
        channel.add(Offer(1, f"v={number}" + "x" * 16000))
    assert len(channel.bodies(0.0)) == WINDOW
    for _ in range(20):
        again = channel.bodies(channel.next_deadline)
        assert [body.seq for body in again] == list(range(1, RESENT_AT_ONCE + 1))
        channel.add(Offer(1, "v=late"))
        channel.owe_ack(0.0)
        assert [body.seq for body in channel.bodies(0.0)] == [0], "an acknowledgement goes all the same"


def test_what_a_lost_window_needs_goes_out_with_each_acknowledgement() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    messages = [candidate(number) for number in range(WINDOW)]
    for message in messages:
        sender.add(message)
    sender.bodies(0.0)
    now, taken = sender.next_deadline, [exchange(sender, receiver, sender.next_deadline)]
    while not sender.is_settled:
        now += ACK_DELAY
        taken.append(exchange(sender, receiver, now))
    assert [len(each) for each in taken] == [8, 16, 8]
    assert list(chain.from_iterable(taken)) == messages


def test_where_only_the_acknowledgements_were_lost_nothing_goes_a_third_time() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    for number in range(WINDOW):
        sender.add(candidate(number))
    for body in sender.bodies(0.0):
        receiver.handle_body(body, 0.0)
    receiver.bodies(ACK_DELAY)
    exchange(sender, receiver, sender.next_deadline)
    assert sender.is_settled
    assert sender.bodies(2.0) == []


def test_a_peer_that_can_be_reached_again_gets_all_at_once() -> None:
    sender = ReliableChannel()
    for number in range(WINDOW):
        sender.add(candidate(number))
    sender.bodies(0.0)
    sender.bodies(sender.next_deadline)
    sender.send_again(2.0)
    assert len(sender.bodies(2.0)) == WINDOW


def test_progress_begins_the_waits_anew() -> None:
    channel = ReliableChannel()
    for number in range(2):
        channel.add(candidate(number))
    channel.bodies(0.0)
    channel.bodies(RESEND_AFTER)
    channel.handle_body(Body(ack=1), 1.5)
    assert channel.next_deadline == 1.5 + RESEND_AFTER
    assert channel.resent == 0


def test_at_most_a_window_is_under_way_and_acknowledgements_move_it() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    for number in range(2 * WINDOW):
        sender.add(candidate(number))
    assert len(exchange(sender, receiver, 0.0)) == WINDOW
    assert len(exchange(sender, receiver, 0.1)) == WINDOW
    assert sender.is_settled


def test_an_acknowledgement_waits_for_a_message_to_ride_on() -> None:
    channel = ReliableChannel()
    channel.handle_body(Body(1, 1, 0, Offer(1, "v=0")), 0.0)
    assert channel.bodies(0.0) == []
    channel.add(Answer(1, "v=0"))
    assert channel.bodies(ACK_DELAY / 2) == [Body(1, 1, 1, Answer(1, "v=0"))]
    assert channel.bodies(ACK_DELAY) == []


def test_it_goes_alone_after_a_moment_or_after_many_messages() -> None:
    channel = ReliableChannel()
    channel.handle_body(Body(1, 1, 0, candidate(1)), 0.0)
    assert channel.next_deadline == ACK_DELAY
    assert channel.bodies(ACK_DELAY) == [Body(ack=1)]
    for number in range(2, MAX_OWED_ACKS + 2):
        assert channel.bodies(1.0) == []
        channel.handle_body(Body(number, 1, 0, candidate(number)), 1.0)
    assert channel.bodies(1.0) == [Body(ack=MAX_OWED_ACKS + 1)]


def test_a_repeated_message_is_acknowledged_once_more_and_not_taken() -> None:
    channel = ReliableChannel()
    body = Body(1, 1, 0, Offer(1, "v=0"))
    assert channel.handle_body(body, 0.0) == body.message
    channel.bodies(ACK_DELAY)
    assert channel.handle_body(body, 1.0) is None
    assert channel.bodies(1.0 + ACK_DELAY) == [Body(ack=1)]


def test_a_gap_is_told_at_once_and_filled_at_once_but_not_again_and_again() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    for number in range(4):
        sender.add(candidate(number))
    _, *others = sender.bodies(0.0)
    told = []
    for body in others:
        assert receiver.handle_body(body, 0.0) is None
        told += receiver.bodies(0.0)
    assert told == [Body(missing=True)] * 3
    for body in told:
        sender.handle_body(body, 0.0)
    again = sender.bodies(0.0)
    assert [receiver.handle_body(body, 0.0) for body in again] == [candidate(number) for number in range(4)]
    assert sender.bodies(0.0) == []


def test_beyond_the_bound_the_oldest_goes_and_the_receiver_does_not_wait_for_it() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    sender.add(candidate(0))
    sender.bodies(0.0)
    for number in range(1, MAX_WAITING_MESSAGES + 1):
        sender.add(candidate(number))
    assert sender.dropped == 1
    sender.send_again(0.0)
    assert exchange(sender, receiver, 0.0)[0] == candidate(1)


def test_a_newer_description_drops_what_it_makes_worthless_unless_that_is_under_way() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    sender.add(Offer(1, "v=0"))
    sender.bodies(0.0)
    for message in (candidate(1), Offer(2, "v=0"), Candidate(2, "candidate:2"), Bye("x"), Offer(3, "v=0")):
        sender.add(message)
    sender.send_again(0.0)
    assert exchange(sender, receiver, 0.0) == [Offer(1, "v=0"), Bye("x"), Offer(3, "v=0")]


def test_of_ice_servers_that_wait_the_last_ones_go_and_descriptions_do_not_drop_them() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    older, newer = (IceServers((RTCIceServer(url),)) for url in ("stun:older", "stun:newer"))
    for message in (older, candidate(1), newer, Offer(2, "v=0")):
        sender.add(message)
    assert exchange(sender, receiver, 0.0) == [newer, Offer(2, "v=0")]


def test_a_message_of_an_unknown_type_is_acknowledged_and_what_is_behind_it_is_taken() -> None:
    receiver = ReliableChannel()
    for text in ('{"seq":1,"first":1,"message":{"type":"later","more":[]}}', '{"seq":1,"message":{"type":"later"}}'):
        assert receiver.handle_body(decode_body(text), 0.0) is None
    assert receiver.bodies(ACK_DELAY) == [Body(ack=1)]
    assert receiver.handle_body(Body(2, 2, 0, candidate(2)), 0.0) == candidate(2)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"seq":-1}',
        b'{"seq":1}',
        b'{"message":{"type":"bye","reason":"x"}}',
        b'{"seq":1,"first":2,"message":{"type":"bye","reason":"x"}}',
        b'{"ack":9007199254740992}',
        b'{"seq":1,"message":{"type":"offer","generation":0,"sdp":"v=0"}}',
        b'{"seq":1,"message":{"type":1}}',
    ],
)
def test_a_body_that_cannot_be_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_body(body)


def test_an_acknowledgement_of_what_was_never_sent_is_refused() -> None:
    channel = ReliableChannel()
    channel.add(candidate(1))
    channel.bodies(0.0)
    with pytest.raises(ProtocolError):
        channel.handle_body(Body(ack=2), 0.0)


@given(st.builds(Body, st.just(7), st.integers(1, 7), st.integers(0, 2**53 - 1), st.just(Offer(3, "v=0", 1, "why"))))
def test_a_body_is_read_as_it_was_written(body: Body) -> None:
    assert decode_body(encode_body(body)) == body


def test_unknown_fields_are_ignored_and_names_are_those_of_the_w3c() -> None:
    text = (
        b'{"seq":1,"first":1,"new":[1],"message":{"type":"candidate","generation":2,"candidate":"candidate:1",'
        b'"sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"x"}}'
    )
    assert decode_body(text).message == Candidate(2, "candidate:1", "0", 0)
