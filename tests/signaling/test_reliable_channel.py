"""The numbers inside the envelopes: whatever is lost with its keys, each message is taken once and in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProtocolError
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.reliable_channel import ReliableChannel


def _exchange(sender: ReliableChannel, receiver: ReliableChannel) -> list[bytes]:
    taken = [receiver.handle_body(body)[0] for body in sender.bodies()]
    for body in receiver.bodies():
        sender.handle_body(body)
    return [message for message in taken if message is not None]


@given(st.lists(st.sampled_from(["add", "deliver", "lose", "lose answers", "new keys"]), max_size=60))
def test_each_message_is_taken_once_and_in_order_whatever_new_keys_lose(steps: list[str]) -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    added: list[bytes] = []
    taken: list[bytes | None] = []
    for step in [*steps, "new keys", "deliver"]:
        match step:
            case "add":
                added.append(b"%d" % len(added))
                sender.add(added[-1])
            case "deliver":
                taken += [message for body in sender.bodies() if (message := receiver.handle_body(body)[0])]
                for body in receiver.bodies():
                    sender.handle_body(body)
            case "lose":
                sender.bodies()
            case "lose answers":
                taken += [message for body in sender.bodies() if (message := receiver.handle_body(body)[0])]
                receiver.bodies()
            case _:
                sender.begin_again()
                receiver.begin_again()
        assert taken == added[: len(taken)]
    assert taken == added


def test_a_gap_asks_for_new_keys_until_they_come() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    sender.add(b"1")
    sender.bodies()
    sender.add(b"2")
    (second,) = sender.bodies()
    assert receiver.handle_body(second) == (None, False)
    assert receiver.has_gap
    (answer,) = receiver.bodies()
    assert sender.handle_body(answer) == (None, True)
    sender.begin_again()
    receiver.begin_again()
    assert _exchange(sender, receiver) == [b"1", b"2"]
    assert not receiver.has_gap


def test_what_the_bound_drops_is_not_waited_for() -> None:
    sender, receiver = ReliableChannel(), ReliableChannel()
    for number in range(MAX_WAITING_MESSAGES + 3):
        sender.add(b"%d" % number)
    assert sender.dropped == 3
    assert _exchange(sender, receiver) == [b"%d" % number for number in range(3, MAX_WAITING_MESSAGES + 3)]
    assert not receiver.has_gap
    assert sender.bodies() == []


def test_new_keys_always_say_something() -> None:
    reliable = ReliableChannel()
    assert reliable.bodies() == []
    reliable.begin_again()
    assert len(reliable.bodies()) == 1


@given(st.binary(max_size=40))
def test_a_body_of_garbage_is_a_protocol_error_or_taken(garbage: bytes) -> None:
    try:
        message, _ = ReliableChannel().handle_body(garbage)
    except ProtocolError:
        return
    assert message is None or garbage.endswith(message)


def test_an_acknowledgement_of_what_was_never_sent_is_a_protocol_error() -> None:
    peer = ReliableChannel()
    other = ReliableChannel()
    other.add(b"x")
    for body in other.bodies():
        peer.handle_body(body)
    (ack,) = peer.bodies()
    with pytest.raises(ProtocolError):
        ReliableChannel().handle_body(ack)
