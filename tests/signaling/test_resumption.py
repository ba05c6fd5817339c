"""Signaling that goes on with the keys of before: nothing is lost or doubled, and a session that is gone is noticed."""

from __future__ import annotations

import asyncio
import contextlib
from random import Random
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.server import serve

from perdure.signaling.envelope import EnvelopeType
from perdure.signaling.frames import RefusalCode, Refused, encode_frame
from perdure.signaling.messages import Answer, Bye, Offer
from perdure.signaling.reliable_channel import RESEND_AFTER
from perdure.signaling.server import RendezvousServer
from perdure.signaling.status import SignalingState
from support.hostile_rendezvous import hostile_server
from support.links import CHALLENGE
from support.paths import Path
from support.signaling import (
    Listener,
    Opened,
    Sessions,
    client_of,
    eventually,
    gateway_and_client,
    ticket_at,
    tickets,
    within,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from websockets.asyncio.server import ServerConnection

    from perdure.signaling.client_peer import ClientSignaling
    from perdure.ticket_store import TicketStore

SOON = RESEND_AFTER + 1.0
"""Seconds within which a session that is gone is noticed on a busy machine."""


class Speaking(Listener):
    """Says something each time that the link is lost."""

    def __init__(self, client: ClientSignaling, message: Offer) -> None:
        super().__init__()
        self._client = client
        self._message = message

    def signaling_available(self, available: bool) -> None:
        super().signaling_available(available)
        if not available:
            self._client.send(self._message)


@contextlib.asynccontextmanager
async def _resumable(
    port: int, store: TicketStore | None = None
) -> AsyncIterator[tuple[Sessions, Opened, ClientSignaling, Listener]]:
    """A gateway and a client that have spoken under their keys."""
    async with gateway_and_client(port, store) as (sessions, client, heard):
        session = await sessions.first()
        session.channel.send(Answer(1, "spoken"))
        await heard.until(lambda messages: len(messages) == 1)
        heard.messages.clear()
        heard.availability.clear()
        yield sessions, session, client, heard


async def test_what_is_said_while_the_link_is_down_crosses_behind_the_join_without_a_knock() -> None:
    async with hostile_server() as (rendezvous, port), _resumable(port) as (_, session, client, _):
        client.attach(speaking := Speaking(client, Offer(1, "moved")))
        (me,) = rendezvous.clients
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await session.listener.until(lambda messages: messages == [Offer(1, "moved")])
        await asyncio.sleep(SOON)
        assert len(rendezvous.envelopes(me, EnvelopeType.KNOCK)) == 1
        assert speaking.availability == [False, True]


async def test_what_waits_for_a_link_crosses_once() -> None:
    long = [Offer(1, f"{number}" * 1000) for number in (1, 2)]
    async with hostile_server() as (rendezvous, port), _resumable(port) as (_, session, client, _):
        (me,) = rendezvous.clients
        client.attach(Speaking(client, long[0]))
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await session.listener.until(lambda messages: messages == long[:1])
        await eventually(lambda: client.status.state is SignalingState.READY)
        client.send(long[1])  # behind all that goes out as the link comes back
        await session.listener.until(lambda messages: messages == long)
        assert [len(each) > 1000 for each in rendezvous.envelopes(me, EnvelopeType.DATA)].count(True) == 2


async def test_a_session_that_the_gateway_forgot_is_noticed_by_who_says_something() -> None:
    async with RendezvousServer() as server, _resumable(server.port) as (_, session, client, heard):
        session.channel.close()
        client.send(Offer(1, "for a session that is gone"))
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: heard.restarts == 1)


async def test_a_last_word_waits_for_a_client_that_is_away() -> None:
    async with RendezvousServer() as server:
        path = Path(server.port)
        async with path.open() as port:
            store = tickets()
            heard = Listener()
            async with Sessions(store, server.port) as sessions, client_of(ticket_at(store, port)) as client:
                client.attach(heard)
                session = await sessions.first()
                session.channel.send(Answer(1, "spoken"))
                await heard.until(lambda messages: len(messages) == 1)
                path.swallow()
                session.channel.send(Bye("it was idle for too long"))
                session.channel.close()
                client.network_moved(local_address_lost=True, slept_seconds=0.0)
                await heard.until(lambda messages: messages[-1] == Bye("it was idle for too long"))


async def test_another_gateway_process_is_a_restart_though_messages_went_behind_the_join() -> None:
    store = tickets()
    async with RendezvousServer() as server, _resumable(server.port, store) as (sessions, _, client, heard):
        await sessions.signaling.close(flush_timeout=0.0)
        await eventually(lambda: client.status.state is SignalingState.WAITING_FOR_GATEWAY)
        async with Sessions(store, server.port) as newer:
            client.network_moved(local_address_lost=True, slept_seconds=0.0)
            client.send(Offer(1, "for the old one"))
            await eventually(lambda: heard.restarts == 1)
            client.send(Offer(2, "for the new one"))
            session = await newer.first()
            await session.listener.until(lambda messages: messages == [Offer(2, "for the new one")])
            assert heard.restarts == 1


async def test_a_rendezvous_that_refuses_the_join_is_not_taken_for_a_way_again_and_again() -> None:
    async def refuse(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(CHALLENGE))
        await websocket.recv()
        await websocket.send(encode_frame(Refused(RefusalCode.TOO_MANY_CLIENTS, "the room is full")))

    async with RendezvousServer() as server, await serve(refuse, "127.0.0.1", 0) as refusing:
        path = Path(server.port)
        async with path.open() as port, _resumable(port) as (_, session, client, heard):
            path.port = refusing.sockets[0].getsockname()[1]
            path.cut()
            client.send(Offer(1, "x"))
            await eventually(lambda: "too-many-clients" in client.status.reason)
            await asyncio.sleep(2.0)
            assert heard.availability == [False, True, False]
            path.port = server.port
            await session.listener.until(lambda messages: messages == [Offer(1, "x")])


async def test_a_reconnect_during_a_knock_agrees_keys_once_more() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, heard):
        for number in range(1, 6):
            await eventually(lambda: client.status.state is not SignalingState.UNREACHABLE)
            client.send(Offer(1, f"v={number}"))
            client.network_moved(local_address_lost=True, slept_seconds=0.0)
        session = await sessions.first()
        await within(client.wait_available())
        await session.listener.until(lambda messages: len(messages) == 5)
        assert session.listener.messages == [Offer(1, f"v={number}") for number in range(1, 6)]
        assert heard.restarts == 0


@pytest.mark.parametrize("seed", range(6))
async def test_whatever_happens_to_the_paths_each_message_arrives_once_and_in_order(seed: int) -> None:
    random = Random(seed)
    sent: list[Offer] = []
    answered: list[Answer] = []
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(RendezvousServer())
        near, far = Path(server.port), Path(server.port)
        near_port, far_port = [await stack.enter_async_context(path.open()) for path in (near, far)]
        store = tickets()
        sessions = await stack.enter_async_context(Sessions(store, far_port))
        client = client_of(ticket_at(store, near_port), random=Random(seed))
        await stack.enter_async_context(client)
        heard = Listener()
        client.attach(heard)
        session = await sessions.first()
        for number in range(1, 61):
            sent.append(Offer(1, f"v={number}"))
            client.send(sent[-1])
            answered.append(Answer(1, f"v={number}"))
            session.channel.send(answered[-1])
            match random.randrange(12):
                case 0:
                    near.swallow()
                    await asyncio.sleep(random.random() * 0.05)
                    client.network_moved(local_address_lost=True, slept_seconds=0.0)
                case 1:
                    far.swallow()
                    await asyncio.sleep(random.random() * 0.05)
                    sessions.signaling.network_moved(local_address_lost=True, slept_seconds=0.0)
                case 2:
                    near.cut()
                case 3:
                    far.cut()
                case 4:
                    client.network_moved(local_address_lost=True, slept_seconds=0.0)
                    sessions.signaling.network_moved(local_address_lost=True, slept_seconds=0.0)
                case 5:
                    near.port = far.port = (await stack.enter_async_context(RendezvousServer())).port
                    near.cut()
                    far.cut()
                case _:
                    pass
            await asyncio.sleep(random.random() * 0.02)
        await eventually(lambda: len(session.listener.messages) >= 60 and len(heard.messages) >= 60)
        assert session.listener.messages == sent
        assert heard.messages == answered
        assert heard.restarts == session.listener.restarts == 0
        assert len(sessions.opened) == 1
