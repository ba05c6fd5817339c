"""One session's channel: what it sends of its own accord."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from perdure.signaling.channel import ACK_DELAY, SealedChannel
from perdure.signaling.envelope import DataKeys, Side
from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.ticket import Ticket
from support.signaling import SECRET, Listener

if TYPE_CHECKING:
    from perdure.signaling.messages import Message

TICKET = Ticket("ws://127.0.0.1:1", SECRET)
ANSWER, OFFER = Answer(1, "v=0"), Offer(1, "v=0", 0, "")
CANDIDATES = [Candidate(1, f"candidate:{place}", "0", 0) for place in range(3)]
LATER = 3 * ACK_DELAY


class End:
    """One end's channel, and what it sends, which nobody carries. It has just agreed on keys, and has said so."""

    def __init__(self, side: Side) -> None:
        self.sent: list[bytes] = []
        self.channel = SealedChannel(transmit=self.sent.append, on_close=lambda: None)
        self.keys = DataKeys(TICKET, b"s" * 16, b"c" * 16, b"g" * 16, side=side)
        self.channel.open_way(self.keys)
        self.listener = Listener()
        self.channel.attach(self.listener)
        self.sent.clear()

    def send_to(self, other: End, *messages: Message) -> None:
        for message in messages:
            self.channel.send(message)
        self.carry_to(other)

    def carry_to(self, other: End) -> None:
        while self.sent:
            other.channel.handle_envelope(self.sent.pop(0))


@pytest.fixture
async def client() -> End:
    return End(Side.CLIENT)


@pytest.fixture
async def gateway() -> End:
    return End(Side.GATEWAY)


async def test_one_acknowledgement_is_enough_for_messages_that_come_together(client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER, *CANDIDATES)
    await asyncio.sleep(LATER)
    assert len(gateway.sent) == 1
    gateway.carry_to(client)
    assert client.channel.acked_seq == 1 + len(CANDIDATES)


async def test_an_acknowledgement_rides_on_the_answer(client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    gateway.channel.send(ANSWER)
    await asyncio.sleep(LATER)
    assert len(gateway.sent) == 1
    gateway.carry_to(client)
    assert client.channel.acked_seq == 1


async def test_a_gap_is_told_at_once(client: End, gateway: End) -> None:
    client.channel.send(OFFER)
    client.sent.clear()
    client.send_to(gateway, CANDIDATES[0])
    (told,) = gateway.sent
    assert client.channel.handle_envelope(told), "it does not ask for new keys"


async def test_what_was_lost_while_the_peer_was_away_is_sent_again_in_order(client: End, gateway: End) -> None:
    gateway.channel.send(ANSWER)
    gateway.channel.send(CANDIDATES[0])
    gateway.sent.clear()
    gateway.channel.close_way()
    gateway.channel.open_way_again(gateway.keys)
    gateway.carry_to(client)
    assert client.listener.messages == [ANSWER, CANDIDATES[0]]


async def test_a_closed_channel_acknowledges_nothing_any_more(client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    gateway.channel.close()
    await asyncio.sleep(LATER)
    assert not gateway.sent
