"""A link keeps what it sent until the receiver has it."""

from __future__ import annotations

from perdure.signaling.frames import GATEWAY, Got
from perdure.signaling.outbox import MAX_UNACKED_BYTES, MAX_UNWRITTEN_FRAMES, Outbox

PEER, OTHER = "a" * 32, "b" * 32


def test_a_message_is_kept_until_its_receiver_acknowledges_it() -> None:
    outbox = Outbox()
    seq = outbox.add(PEER, b"x")
    outbox.acknowledged(OTHER, seq)
    outbox.acknowledged(PEER, seq + 1)
    assert not outbox.is_empty
    outbox.acknowledged(PEER, seq)
    assert outbox.is_empty


def test_any_peer_may_acknowledge_a_message_to_the_gateway() -> None:
    outbox = Outbox()
    outbox.acknowledged(PEER, outbox.add(GATEWAY, b"x"))
    assert outbox.is_empty


async def test_waiting_for_the_last_acknowledgement_of_nothing_ends_at_once() -> None:
    await Outbox().emptied()


def test_more_bytes_than_the_bound_drop_the_oldest_messages() -> None:
    outbox = Outbox()
    for _ in range(3):
        outbox.add(PEER, bytes(MAX_UNACKED_BYTES // 2))
    assert outbox.dropped == 1


def test_a_connection_that_takes_nothing_is_stuck_and_a_new_one_is_not() -> None:
    outbox = Outbox()
    for seq in range(MAX_UNWRITTEN_FRAMES):
        outbox.write(Got(PEER, seq + 1))
    assert not outbox.is_stuck
    outbox.write(Got(PEER, MAX_UNWRITTEN_FRAMES + 1))
    assert outbox.is_stuck
    outbox.begin_again()
    assert not outbox.is_stuck
