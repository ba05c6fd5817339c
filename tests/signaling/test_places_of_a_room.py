"""Who holds a ticket cannot take a room's places from others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.signaling.envelope import EnvelopeType, Knock, KnockingClient, read_type
from perdure.signaling.frames import Deliver, Join, RefusalCode, Role, Send
from perdure.signaling.gateway_proof import room_id
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from support.raw_peers import Peer, Peers
from support.signaling import Sessions, client_of, ticket_at, tickets, within

if TYPE_CHECKING:
    from perdure.ticket import Ticket

HOLDERS_KEY = X25519PrivateKey.from_private_bytes(b"e" * 32)

PLACES = 4


async def heard(peer: Peer, kind: EnvelopeType) -> bytes:
    """The next envelope of this kind."""
    while True:
        frame = await peer.receive()
        if isinstance(frame, Deliver) and read_type(frame.body) is kind:
            return frame.body


async def proved(peers: Peers, ticket: Ticket, session_id: bytes, *, number: int) -> Peer:
    """The holder under another peer id, as the client of a session, as far as the gateway sees."""
    peer = await peers.open()
    await peer.send(Join(room_id(ticket.gateway), Role.CLIENT, os.urandom(16).hex()))
    knock = Knock(session_id, ticket.ticket_id, number)
    own = KnockingClient(HOLDERS_KEY, ticket.gateway, ticket.secret, knock, ephemeral=X25519PrivateKey.generate())
    await peer.send(Send("", own.envelope))
    answer = own.open(await heard(peer, EnvelopeType.WELCOME))
    assert isinstance(answer, tuple)
    await peer.send(Send("", answer[1].seal(b"{}")))
    await heard(peer, EnvelopeType.DATA)
    return peer


async def test_a_session_that_comes_from_ever_other_peer_ids_has_one_place() -> None:
    store, session_id = tickets(), os.urandom(16)
    async with (
        RendezvousServer(RendezvousLimits(max_strangers_per_room=PLACES)) as server,
        Sessions(store, server.port) as sessions,
        Peers(server.port) as peers,
    ):
        await within(sessions.signaling.wait_ready())
        ticket = ticket_at(store, server.port)
        holders = [await proved(peers, ticket, session_id, number=number) for number in range(1, PLACES + 2)]
        async with client_of(ticket) as first, client_of(ticket) as second:
            await within(first.wait_available())
            await within(second.wait_available())
            assert await holders[0].refusal() is RefusalCode.TOO_MANY_CLIENTS
        assert len(sessions.opened) == 3


async def test_the_sessions_of_one_holder_take_no_place_from_others() -> None:
    store = tickets()
    async with (
        RendezvousServer(RendezvousLimits(max_strangers_per_room=PLACES)) as server,
        Sessions(store, server.port) as sessions,
        Peers(server.port) as peers,
    ):
        await within(sessions.signaling.wait_ready())
        ticket = ticket_at(store, server.port)
        for _ in range(3 * PLACES):
            await proved(peers, ticket, os.urandom(16), number=1)
        async with client_of(ticket) as honest:
            await within(honest.wait_available())
        assert len(sessions.opened) == 3 * PLACES + 1


async def test_what_a_gateway_before_has_vouched_for_another_one_does_not() -> None:
    store = tickets()
    async with (
        RendezvousServer(RendezvousLimits(max_strangers_per_room=PLACES)) as server,
        Peers(server.port) as peers,
    ):
        ticket = ticket_at(store, server.port)
        async with Sessions(store, server.port) as older:
            await within(older.signaling.wait_ready())
            for _ in range(PLACES):
                await proved(peers, ticket, os.urandom(16), number=1)
        async with Sessions(store, server.port) as newer, client_of(ticket) as honest:
            await within(newer.signaling.wait_ready())
            await within(honest.wait_available())
