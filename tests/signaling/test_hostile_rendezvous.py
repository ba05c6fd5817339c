"""What a hostile rendezvous tries with the envelopes of two honest peers: refused, counted, nothing wrong delivered."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import EnvelopeRefusal, EnvelopeType, Knock, KnockingClient
from perdure.signaling.frames import Role
from perdure.signaling.messages import Answer, Offer
from support.hostile_rendezvous import Recorded, faithfully, hostile_server
from support.signaling import KEY, Listener, client_of, eventually, gateway_and_client, ticket_at, tickets, within

OFFERS = [Offer(1, f"v={number}") for number in range(1, 6)]

EVIL = "e" * 32
"""A peer id that nobody has."""


def with_a_flipped_bit(sent: Recorded) -> list[bytes]:
    return [sent.envelope[:-1] + bytes([sent.envelope[-1] ^ 1])]


async def test_an_altered_envelope_is_refused_and_not_delivered() -> None:
    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        rendezvous.tamper = with_a_flipped_bit
        client.send(OFFERS[0])
        await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.FORGED] == 1)
        assert session.listener.messages == []


async def test_an_altered_knock_opens_no_session() -> None:
    async with hostile_server() as (rendezvous, port):
        rendezvous.tamper = with_a_flipped_bit
        async with gateway_and_client(port) as (sessions, client, _):
            await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.FORGED] == 1)
            assert sessions.signaling.session_count == 0
            assert not client.available


async def test_a_repeated_envelope_is_delivered_once() -> None:
    async with hostile_server() as (rendezvous, port):
        rendezvous.tamper = lambda sent: [sent.envelope, sent.envelope]
        async with gateway_and_client(port) as (sessions, client, heard):
            session = await sessions.first()
            for offer in OFFERS:
                client.send(offer)
            session.channel.send(Answer(1, "v=0"))
            await session.listener.until(lambda messages: len(messages) >= len(OFFERS))
            await heard.until(lambda messages: messages == [Answer(1, "v=0")])
            await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.REPLAYED] >= len(OFFERS))
            assert session.listener.messages == OFFERS
            assert client.refused[EnvelopeRefusal.REPLAYED] >= 2


async def test_a_reflected_envelope_is_refused() -> None:
    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, heard):
        session = await sessions.first()
        await within(client.wait_available())
        client.send(OFFERS[0])
        await session.listener.until(lambda messages: messages == OFFERS[:1])
        (me,) = rendezvous.clients
        for kind in (EnvelopeType.DATA, EnvelopeType.KNOCK):
            await rendezvous.deliver(me, rendezvous.envelopes(me, kind)[-1], sender=rendezvous.gateway)
        await eventually(lambda: client.refused[EnvelopeRefusal.UNEXPECTED] == 1)
        assert client.refused[EnvelopeRefusal.FORGED] == 1
        welcome = rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)[-1]
        await rendezvous.deliver(rendezvous.gateway, welcome, sender=me)
        await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.UNEXPECTED] == 1)
        assert heard.messages == []


async def test_messages_in_another_order_are_delivered_in_theirs() -> None:
    held: list[bytes] = []

    def swap_first_two(sent: Recorded) -> list[bytes]:
        if sent.role is Role.GATEWAY or sent.kind is not EnvelopeType.DATA or len(held) == 2:
            return [sent.envelope]
        held.insert(0, sent.envelope)
        return list(held) if len(held) == 2 else []

    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        rendezvous.tamper = swap_first_two
        for offer in OFFERS:
            client.send(offer)
        await session.listener.until(lambda messages: len(messages) >= len(OFFERS))
        assert session.listener.messages == OFFERS
        assert sessions.signaling.refused[EnvelopeRefusal.REPLAYED] >= 1


async def test_a_message_that_was_taken_away_is_missed_and_sent_again() -> None:
    taken: list[bytes] = []

    def take_one(sent: Recorded) -> list[bytes]:
        if sent.role is Role.CLIENT or sent.kind is not EnvelopeType.DATA or taken:
            return [sent.envelope]
        taken.append(sent.envelope)
        return []

    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, heard):
        session = await sessions.first()
        await eventually(lambda: len(rendezvous.envelopes(rendezvous.gateway, EnvelopeType.DATA)) > 0)
        await within(client.wait_available())
        rendezvous.tamper = take_one
        answers = [Answer(1, f"v={number}") for number in range(1, 4)]
        for answer in answers:
            session.channel.send(answer)
        await heard.until(lambda messages: len(messages) >= len(answers))
        assert heard.messages == answers
        assert heard.restarts == 0


async def test_an_envelope_of_another_session_is_refused() -> None:
    store = tickets()
    async with hostile_server() as (rendezvous, port), gateway_and_client(port, store) as (sessions, client, _):
        listener = Listener()
        async with client_of(ticket_at(store, port)) as other:
            other.attach(listener)
            await within(client.wait_available())
            await within(other.wait_available())
            await eventually(lambda: len(sessions.opened) == 2)
            for session in sessions.opened:
                session.channel.send(Answer(1, session.session_id.hex()))
            await listener.until(lambda messages: len(messages) == 1)
            for envelope in rendezvous.envelopes(rendezvous.gateway, EnvelopeType.DATA):
                for peer in rendezvous.clients:
                    await rendezvous.deliver(peer, envelope, sender=rendezvous.gateway)
            await eventually(lambda: other.refused[EnvelopeRefusal.STALE] >= 1)
            await eventually(lambda: client.refused[EnvelopeRefusal.STALE] >= 1)
            assert len(listener.messages) == 1


async def test_a_replayed_knock_disturbs_nothing() -> None:
    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        (me,) = rendezvous.clients
        (knock,) = rendezvous.envelopes(me, EnvelopeType.KNOCK)
        client.send(OFFERS[0])
        await rendezvous.deliver(rendezvous.gateway, knock, sender=me)
        await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.REPLAYED] == 1)
        client.send(OFFERS[1])
        await session.listener.until(lambda messages: messages == OFFERS[:2])
        assert len(sessions.opened) == 1


async def test_a_knock_that_is_delivered_as_from_another_peer_moves_nothing_until_it_is_proved() -> None:
    store = tickets()
    async with (
        hostile_server() as (rendezvous, port),
        gateway_and_client(port, store) as (sessions, client, heard),
    ):
        session = await sessions.first()
        await within(client.wait_available())
        ticket = ticket_at(store, port)
        knock = Knock(session.session_id, ticket.ticket_id, 1000)
        own = KnockingClient(KEY, ticket.gateway, ticket.secret, knock, ephemeral=X25519PrivateKey.generate())
        await rendezvous.deliver(rendezvous.gateway, own.envelope, sender=EVIL)
        await eventually(lambda: len(rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)) == 2)
        client.send(OFFERS[0])
        session.channel.send(Answer(1, "v=0"))
        await session.listener.until(lambda messages: messages == OFFERS[:1])
        await heard.until(lambda messages: messages == [Answer(1, "v=0")])
        assert not sessions.signaling.refused
        (me,) = rendezvous.clients
        assert len(rendezvous.envelopes(me, EnvelopeType.KNOCK)) == 1


async def test_a_knock_replayed_to_a_restarted_gateway_gives_no_channel_and_revives_no_data() -> None:
    store = tickets()
    async with hostile_server() as (rendezvous, port):
        async with gateway_and_client(port, store) as (sessions, client, _):
            session = await sessions.first()
            client.send(OFFERS[0])
            await session.listener.until(lambda messages: messages == OFFERS[:1])
            (me,) = rendezvous.clients
        recorded = [each.envelope for each in rendezvous.recording if each.sender == me]
        async with gateway_and_client(port, store) as (newer, other, _):
            await within(other.wait_available())
            await newer.first()
            for envelope in recorded:
                await rendezvous.deliver(rendezvous.gateway, envelope, sender=me)
            data = len(recorded) - 1
            await eventually(lambda: newer.signaling.refused[EnvelopeRefusal.STALE] == data)
            assert len(newer.opened) == 1
            assert newer.signaling.session_count == 2


async def test_the_answer_to_an_earlier_knock_does_not_count() -> None:
    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        (me,) = rendezvous.clients
        (old,) = rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)
        await rendezvous.deliver(me, old, sender=rendezvous.gateway)
        await eventually(lambda: client.refused[EnvelopeRefusal.STALE] == 1)
        rendezvous.tamper = lambda sent: [old] if sent.role is Role.GATEWAY else [sent.envelope]
        client.send(OFFERS[0])  # of which the client never hears that it arrived, so that it knocks
        await eventually(lambda: len(rendezvous.envelopes(me, EnvelopeType.KNOCK)) == 2)
        await eventually(lambda: client.refused[EnvelopeRefusal.STALE] >= 3)
        rendezvous.tamper = faithfully
        client.send(OFFERS[1])
        await session.listener.until(lambda messages: messages == OFFERS[:2])


async def test_garbage_is_counted_as_malformed() -> None:
    async with hostile_server() as (rendezvous, port), gateway_and_client(port) as (sessions, client, _):
        await within(client.wait_available())
        (me,) = rendezvous.clients
        await rendezvous.deliver(me, b"garbage", sender=rendezvous.gateway)
        await rendezvous.deliver(rendezvous.gateway, b"\x02" * 100, sender=me)
        await eventually(lambda: client.refused[EnvelopeRefusal.MALFORMED] == 1)
        await eventually(lambda: sessions.signaling.refused[EnvelopeRefusal.MALFORMED] == 1)
