"""A gateway in a flood of knocks: of a rendezvous that repeats them, of strangers, and of who holds a ticket."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import DataKeys, EnvelopeRefusal, EnvelopeType, Knock, KnockingClient
from perdure.signaling.knock_queue import KNOCKS_AT_ONCE, KNOCKS_PER_SECOND
from perdure.signaling.messages import Offer
from perdure.signaling.reliable_channel import Body, encode_body
from support.hostile_rendezvous import HostileRendezvous
from support.signaling import Listener, Sessions, client_of, eventually, ticket_at, tickets, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.ticket import Ticket

HOLDERS_KEY = X25519PrivateKey.from_private_bytes(b"e" * 32)

FLOOD = 3000
"""Frames: far more than a gateway answers in the time that they take."""


class Flooded(contextlib.AsyncExitStack):
    """A gateway at a rendezvous that delivers what the test says."""

    def __init__(self) -> None:
        super().__init__()
        self.evil = HostileRendezvous()
        self.store = tickets()
        self.ticket: Ticket = ticket_at(self.store, 1)
        self.sessions = Sessions(self.store, 1, open_socket=self.evil.open)

    async def __aenter__(self) -> Flooded:
        await super().__aenter__()
        await self.enter_async_context(self.sessions)
        await within(self.sessions.signaling.wait_ready())
        return self

    def knocking(self) -> KnockingClient:
        """With a session of its own, who holds a ticket."""
        knock, ephemeral = Knock(os.urandom(16), self.ticket.ticket_id, 1), X25519PrivateKey.generate()
        return KnockingClient(HOLDERS_KEY, self.ticket.gateway, self.ticket.secret, knock, ephemeral=ephemeral)

    def new_knock(self) -> bytes:
        """Of such a one."""
        return self.knocking().envelope

    async def keys_of(self, sender: str) -> DataKeys:
        """Of a new session of who holds a ticket, and is under this peer id."""
        knocking, count = self.knocking(), len(self.sent(self.evil.gateway, EnvelopeType.WELCOME))
        await self.evil.deliver(self.evil.gateway, knocking.envelope, sender=sender)
        await eventually(lambda: len(self.sent(self.evil.gateway, EnvelopeType.WELCOME)) > count)
        answer = knocking.open(self.sent(self.evil.gateway, EnvelopeType.WELCOME)[-1])
        assert isinstance(answer, tuple)
        return answer[1]

    def sent(self, peer_id: str, kind: EnvelopeType) -> list[bytes]:
        return [each.envelope for each in self.evil.recording if (each.sender, each.kind) == (peer_id, kind)]

    @contextlib.asynccontextmanager
    async def flood(self, knocks: list[bytes], senders: list[str]) -> AsyncIterator[None]:
        """`knocks` come to the gateway again and again, from these peer ids, for as long as this lasts."""

        async def pour() -> None:
            number = 0
            while True:
                knock, sender = knocks[number % len(knocks)], senders[number % len(senders)]
                await self.evil.deliver(self.evil.gateway, knock, sender=sender)
                number += 1

        pouring = asyncio.create_task(pour())
        try:
            yield
        finally:
            pouring.cancel()
            await asyncio.wait({pouring})


async def test_repeated_knocks_take_nothing_of_the_time_that_others_knocks_have() -> None:
    async with Flooded() as flooded:
        refused = flooded.sessions.signaling.refused
        async with client_of(flooded.ticket, open_socket=flooded.evil.open) as client:
            await within(client.wait_available())
            (recorded,) = (each for each in flooded.evil.recording if each.kind is EnvelopeType.KNOCK)
            for _ in range(FLOOD):
                await flooded.evil.deliver(flooded.evil.gateway, recorded.envelope, sender=recorded.sender)
            assert refused == {EnvelopeRefusal.REPLAYED: FLOOD}
            edited = recorded.envelope[:-1] + bytes([recorded.envelope[-1] ^ 1])
            await flooded.evil.deliver(flooded.evil.gateway, edited, sender=recorded.sender)
            assert refused == {EnvelopeRefusal.REPLAYED: FLOOD + 1}
        async with client_of(flooded.ticket, open_socket=flooded.evil.open) as client:
            await within(client.wait_available())
        assert len(flooded.sent(flooded.evil.gateway, EnvelopeType.WELCOME)) == 2


async def test_a_refused_knock_is_not_answered_a_second_time() -> None:
    async with Flooded() as flooded:
        knock = flooded.new_knock()
        flooded.store.revoke("default", now=0.0)
        for _ in range(10):
            await flooded.evil.deliver(flooded.evil.gateway, knock, sender="e" * 32)
            await eventually(lambda: len(flooded.sent(flooded.evil.gateway, EnvelopeType.REFUSAL)) == 1)
        assert flooded.sessions.signaling.refused == {EnvelopeRefusal.REPLAYED: 9}


async def test_in_a_flood_of_a_holders_knocks_from_all_places_of_a_room_a_new_client_and_an_old_one_are_served() -> (
    None
):
    async with Flooded() as flooded:
        senders = [f"{number:032x}" for number in range(62)]
        old = await flooded.enter_async_context(client_of(flooded.ticket, open_socket=flooded.evil.open))
        await within(old.wait_available())
        session = await flooded.sessions.first()
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        async with flooded.flood([flooded.new_knock() for _ in range(FLOOD)], senders):
            await eventually(lambda: flooded.sessions.signaling.refused[EnvelopeRefusal.CROWDED] > 100)
            new = await flooded.enter_async_context(client_of(flooded.ticket, open_socket=flooded.evil.open))
            new.attach(Listener())
            await within(new.wait_available())
            old.send(Offer(1, "in the flood"))
            await session.listener.until(lambda messages: messages == [Offer(1, "in the flood")])
        answers = len(flooded.sent(flooded.evil.gateway, EnvelopeType.WELCOME))
        assert answers <= 2 + KNOCKS_AT_ONCE + KNOCKS_PER_SECOND * (loop.time() - began_at)


async def test_in_a_flood_of_what_opens_nothing_a_new_client_is_served() -> None:
    async with Flooded() as flooded:
        forged = [b"\x21" + os.urandom(180) for _ in range(FLOOD)]
        async with flooded.flood(forged, [f"{number:032x}" for number in range(63)]):
            await eventually(lambda: flooded.sessions.signaling.refused[EnvelopeRefusal.CROWDED] > 100)
            async with client_of(flooded.ticket, open_socket=flooded.evil.open) as client:
                await within(client.wait_available())
        assert flooded.sent(flooded.evil.gateway, EnvelopeType.WELCOME)


async def test_holders_whose_every_frame_is_answered_at_once_keep_out_no_new_client() -> None:
    async with Flooded() as flooded:
        greedy = {sender: await flooded.keys_of(sender) for sender in ("a" * 32, "b" * 32)}
        behind_a_gap = encode_body(Body(seq=3, first=1, message=Offer(1, "")))
        for _ in range(FLOOD):
            for sender, keys in greedy.items():
                await flooded.evil.deliver(flooded.evil.gateway, keys.seal(behind_a_gap), sender=sender)
        async with client_of(flooded.ticket, open_socket=flooded.evil.open) as client:
            await within(client.wait_available())
            client.send(Offer(1, "of a new client"))
            await eventually(lambda: len(flooded.sessions.opened) == 3)
            await flooded.sessions.opened[2].listener.until(lambda messages: bool(messages))
