"""A gateway's last word to a client, whose acknowledgement must not get lost on the gateway's side."""

from __future__ import annotations

import os

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import DataKeys, EnvelopeType, Knock, KnockingClient
from perdure.signaling.messages import Bye
from perdure.signaling.reliable_channel import Body, encode_body
from support.hostile_rendezvous import HostileRendezvous
from support.signaling import KEY, Sessions, eventually, ticket_at, tickets, within

CLIENT = "c" * 32
"""The peer id of a client that is played by hand."""


async def test_a_last_word_is_acknowledged_though_its_client_has_knocked_for_the_session_again() -> None:
    rendezvous, store, session_id = HostileRendezvous(), tickets(), os.urandom(16)
    ticket = ticket_at(store, 1)

    async def knocked(number: int) -> DataKeys:
        knock, ephemeral = Knock(session_id, ticket.ticket_id, number), X25519PrivateKey.generate()
        own = KnockingClient(KEY, ticket.gateway, ticket.secret, knock, ephemeral=ephemeral)
        await rendezvous.deliver(rendezvous.gateway, own.envelope, sender=CLIENT)
        await eventually(lambda: len(rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)) == number)
        answer = own.open(rendezvous.envelopes(rendezvous.gateway, EnvelopeType.WELCOME)[-1])
        assert isinstance(answer, tuple)
        return answer[1]

    async with Sessions(store, 1, open_socket=rendezvous.open) as sessions:
        await within(sessions.signaling.wait_ready())
        keys = await knocked(1)
        await rendezvous.deliver(rendezvous.gateway, keys.seal(b"{}"), sender=CLIENT)
        session = await sessions.first()
        session.channel.send(Bye("the ticket was revoked"))
        session.channel.close()
        await knocked(2)
        await rendezvous.deliver(rendezvous.gateway, keys.seal(encode_body(Body(ack=1))), sender=CLIENT)
        assert not sessions.signaling.refused
        await within(sessions.signaling.close(flush_timeout=1e6))
