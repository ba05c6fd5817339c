"""One session's channel: what it sends of its own accord. Time is a simulation's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from perdure.signaling.channel import ACK_DELAY, MAX_OWED_ACKS, SealedChannel
from perdure.signaling.envelope import DataKeys
from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.ticket import Ticket
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.world import World
from support.signaling import SECRET, Listener

if TYPE_CHECKING:
    from perdure.signaling.messages import Message

TICKET = Ticket("ws://127.0.0.1:1", SECRET)
ANSWER, OFFER = Answer(1, "v=0"), Offer(1, "v=0", 0, "")
CANDIDATES = [Candidate(1, f"candidate:{place}", "0", 0) for place in range(3)]


class End:
    """One end's channel, and what it sends, which nobody carries. It has just agreed on keys, and has said so."""

    def __init__(self, world: World, *, initiator: bool) -> None:
        self.sent: list[bytes] = []
        self.channel = SealedChannel(transmit=self.sent.append, on_close=lambda: None)
        self.keys = DataKeys(TICKET, b"s" * 16, b"c" * 16, b"g" * 16, initiator=initiator)
        self.channel.peer_reachable(self.keys)
        self.listener = Listener()
        self.channel.attach(self.listener)
        self.sent.clear()
        self._loop = Machine(world, "client" if initiator else "gateway", _raise).loop

    def send_to(self, other: End, *messages: Message) -> None:
        for message in messages:
            self.channel.send(message)
        self.carry_to(other)

    def carry_to(self, other: End) -> None:
        while self.sent:
            other._loop.run(other.channel.handle_envelope, self.sent.pop(0))


def _raise(machine: Machine, error: BaseException) -> None:
    raise error


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.fixture
def client(world: World) -> End:
    return End(world, initiator=True)


@pytest.fixture
def gateway(world: World) -> End:
    return End(world, initiator=False)


def test_one_acknowledgement_is_enough_for_messages_that_come_together(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER, *CANDIDATES)
    assert not gateway.sent
    world.run(ACK_DELAY)
    assert len(gateway.sent) == 1
    gateway.carry_to(client)
    assert client.channel.acked_seq == 1 + len(CANDIDATES)


def test_an_acknowledgement_rides_on_the_answer(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    gateway.channel.send(ANSWER)
    world.run(1.0)
    assert len(gateway.sent) == 1
    gateway.carry_to(client)
    assert client.channel.acked_seq == 1


def test_an_acknowledgement_alone_is_not_acknowledged(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    world.run(1.0)
    gateway.carry_to(client)
    world.run(2.0)
    assert not client.sent


def test_of_a_long_burst_no_message_is_given_up(client: End, gateway: End) -> None:
    for _ in range(10 * MAX_OWED_ACKS):
        client.send_to(gateway, CANDIDATES[0])
        gateway.carry_to(client)
    assert client.channel.acked_seq == 10 * MAX_OWED_ACKS


def test_an_acknowledgement_that_was_owed_when_the_way_closed_goes_out_when_it_opens(
    world: World, client: End, gateway: End
) -> None:
    client.send_to(gateway, OFFER)
    gateway.channel.peer_unreachable()
    world.run(1.0)
    assert not gateway.sent
    gateway.channel.peer_reachable(gateway.keys)
    gateway.carry_to(client)
    assert client.channel.acked_seq == 1


def test_a_gap_is_told_at_once(client: End, gateway: End) -> None:
    client.channel.send(OFFER)
    client.sent.clear()
    client.send_to(gateway, CANDIDATES[0])
    (told,) = gateway.sent
    assert client.channel.handle_envelope(told), "it does not ask for new keys"


def test_what_was_lost_while_the_peer_was_away_is_sent_again_in_order(client: End, gateway: End) -> None:
    gateway.channel.send(ANSWER)
    gateway.channel.send(CANDIDATES[0])
    gateway.sent.clear()
    gateway.channel.peer_unreachable()
    gateway.channel.peer_returned(gateway.keys)
    gateway.carry_to(client)
    assert client.listener.messages == [ANSWER, CANDIDATES[0]]


def test_a_closed_channel_acknowledges_nothing_any_more(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    gateway.channel.close()
    world.run(1.0)
    assert not gateway.sent
