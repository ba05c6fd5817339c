"""One session's channel: what it sends of its own accord. Time is a simulation's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from perdure.signaling.channel import PeerChannel
from perdure.signaling.messages import Answer, Bye, Candidate, IceServers, Offer, RTCIceServer
from perdure.signaling.reliable_channel import ACK_DELAY, MAX_OWED_ACKS, RESEND_AFTER, Body
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.world import World
from support.signaling import Listener, within

if TYPE_CHECKING:
    from perdure.signaling.messages import ChannelMessage

ANSWER, OFFER = Answer(1, "v=0"), Offer(1, "v=0", 0, "")
CANDIDATES = [Candidate(1, f"candidate:{place}", "0", 0) for place in range(3)]


class End:
    """One end's channel, and what it sends, which nobody carries. It can just be reached, and has said so."""

    def __init__(self, world: World, name: str) -> None:
        self.sent: list[Body] = []
        self.channel = PeerChannel(transmit=self.sent.append, on_close=lambda: None)
        self.listener = Listener()
        self.channel.attach(self.listener)
        self._loop = Machine(world, name, _raise).loop
        self._loop.run(self.channel.peer_reachable)
        self.sent.clear()

    def send(self, *messages: ChannelMessage) -> None:
        for message in messages:
            self._loop.run(self.channel.send, message)

    def send_to(self, other: End, *messages: ChannelMessage) -> None:
        self.send(*messages)
        self.carry_to(other)

    def carry_to(self, other: End) -> None:
        while self.sent:
            other._loop.run(other.channel.handle_body, self.sent.pop(0))

    def reachable(self, is_reachable: bool) -> None:
        self._loop.run(self.channel.peer_reachable if is_reachable else self.channel.peer_unreachable)


def _raise(machine: Machine, error: BaseException) -> None:
    raise error


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.fixture
def client(world: World) -> End:
    return End(world, "client")


@pytest.fixture
def gateway(world: World) -> End:
    return End(world, "gateway")


def test_one_acknowledgement_is_enough_for_messages_that_come_together(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER, *CANDIDATES)
    assert not gateway.sent
    world.run(ACK_DELAY)
    assert gateway.sent == [Body(ack=1 + len(CANDIDATES))]


def test_an_acknowledgement_rides_on_the_answer(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    gateway.send(ANSWER)
    world.run(RESEND_AFTER / 2)
    assert gateway.sent == [Body(1, 1, 1, ANSWER)]


def test_an_acknowledgement_alone_is_not_acknowledged(world: World, client: End, gateway: End) -> None:
    client.send_to(gateway, OFFER)
    world.run(ACK_DELAY)
    gateway.carry_to(client)
    world.run(60.0)
    assert not client.sent
    assert not gateway.sent


def test_of_a_long_burst_no_message_is_given_up(client: End, gateway: End) -> None:
    for _ in range(10 * MAX_OWED_ACKS):
        client.send_to(gateway, CANDIDATES[0])
        gateway.carry_to(client)
    assert len(gateway.listener.messages) == 10 * MAX_OWED_ACKS


def test_an_acknowledgement_that_was_owed_when_the_way_closed_goes_out_when_it_opens(
    world: World, client: End, gateway: End
) -> None:
    client.send_to(gateway, OFFER)
    gateway.reachable(False)
    world.run(1.0)
    assert not gateway.sent
    gateway.reachable(True)
    world.run(ACK_DELAY)
    assert gateway.sent == [Body(ack=1)]


def test_what_was_lost_on_the_way_is_sent_again_after_a_while(world: World, client: End, gateway: End) -> None:
    client.send(OFFER, CANDIDATES[0])
    client.sent.clear()
    world.run(RESEND_AFTER)
    client.carry_to(gateway)
    assert gateway.listener.messages == [OFFER, CANDIDATES[0]]


def test_what_was_lost_while_the_peer_was_away_is_sent_again_at_once_and_in_order(client: End, gateway: End) -> None:
    gateway.send(ANSWER, CANDIDATES[0])
    gateway.sent.clear()
    gateway.reachable(False)
    gateway.reachable(True)
    gateway.carry_to(client)
    assert client.listener.messages == [ANSWER, CANDIDATES[0]]


def test_while_the_peer_cannot_be_reached_nothing_is_sent(world: World, client: End) -> None:
    client.send(OFFER)
    client.reachable(False)
    client.sent.clear()
    world.run(60.0)
    assert not client.sent


def test_a_closed_channel_delivers_nothing_more_and_what_it_has_said_still_goes_out(
    world: World, client: End, gateway: End
) -> None:
    client.send(OFFER)
    client.sent.clear()
    client.channel.close()
    gateway.send_to(client, ANSWER)
    world.run(RESEND_AFTER)
    client.carry_to(gateway)
    assert gateway.listener.messages == [OFFER]
    assert client.listener.messages == []


@pytest.mark.parametrize("last", ["peer_unreachable", "end"])
async def test_who_waits_for_what_was_sent_waits_no_longer_than_the_peer_can_be_reached(last: str) -> None:
    channel = PeerChannel(transmit=lambda body: None, on_close=lambda: None)
    channel.peer_reachable()
    channel.send(OFFER)
    waiting = [asyncio.create_task(channel.settled(timeout)) for timeout in (1e6, 2e6)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    getattr(channel, last)()
    await within(asyncio.gather(*waiting))


async def test_who_waits_for_what_was_sent_hears_when_the_peer_has_it() -> None:
    channel = PeerChannel(transmit=lambda body: None, on_close=lambda: None)
    channel.peer_reachable()
    channel.send(OFFER)
    waiting = [asyncio.create_task(channel.settled(1e6)) for _ in range(2)]
    await asyncio.sleep(0)
    channel.send(CANDIDATES[0])
    channel.handle_body(Body(ack=1))
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    channel.handle_body(Body(ack=2))
    await within(asyncio.gather(*waiting))
    channel.end()


def test_an_end_whose_session_is_over_acknowledges_the_others_last_word_at_once_and_nothing_else(
    world: World, client: End, gateway: End
) -> None:
    gateway.channel.close()
    client.send_to(gateway, OFFER)
    world.run(ACK_DELAY)
    assert not [body for body in gateway.sent if body.ack]
    gateway.sent.clear()
    client.send(Bye("done"))
    world.run(2 * RESEND_AFTER)
    client.carry_to(gateway)
    assert [body.ack for body in gateway.sent][:1] == [2]
    assert gateway.listener.messages == []


def test_a_last_word_is_acknowledged_though_what_was_said_before_it_was_lost(client: End, gateway: End) -> None:
    gateway.channel.close()
    client.send(OFFER, *CANDIDATES)
    client.sent.clear()
    client.send_to(gateway, Bye("done"))
    assert gateway.sent == [Body(ack=5)]


def test_an_end_that_goes_on_takes_what_was_lost_before_a_last_word_first(
    world: World, client: End, gateway: End
) -> None:
    client.send(OFFER)
    client.sent.clear()
    client.send_to(gateway, Bye("done"))
    assert gateway.listener.messages == []
    gateway.carry_to(client)
    client.carry_to(gateway)
    assert gateway.listener.messages == [OFFER, Bye("done")]


async def test_who_has_heard_the_others_last_word_waits_for_no_acknowledgement() -> None:
    channel = PeerChannel(transmit=lambda body: None, on_close=lambda: None)
    channel.peer_reachable()
    channel.send(OFFER)
    waiting = asyncio.create_task(channel.settled(1e6))
    await asyncio.sleep(0)
    channel.handle_body(Body(1, 1, 0, Bye("done")))
    await within(waiting)
    channel.end()


def test_a_channel_that_is_ended_sends_nothing_more(world: World, client: End) -> None:
    client.send(OFFER)
    client.sent.clear()
    client.channel.end()
    world.run(60.0)
    assert not client.sent


def test_an_end_that_needs_no_ice_servers_acknowledges_them_and_its_tube_hears_nothing(
    world: World, client: End, gateway: End
) -> None:
    client.send_to(gateway, IceServers((RTCIceServer("stun:a"),)), OFFER)
    assert gateway.listener.messages == [OFFER]
    world.run(ACK_DELAY)
    assert [body.ack for body in gateway.sent] == [2]
