"""Signaling that goes on with the keys of before: nothing is lost or doubled, and a session that is gone is noticed."""

from __future__ import annotations

import asyncio
import contextlib
import os
from random import Random
from typing import TYPE_CHECKING

import pytest

from perdure.signaling.client_peer import RESUMPTION_TIMEOUT, ClientSignaling
from perdure.signaling.envelope import EnvelopeType
from perdure.signaling.gateway_peer import HAS_ENDED
from perdure.signaling.messages import Answer, Bye, Offer
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from perdure.signaling.status import SignalingState
from perdure.ticket import Ticket
from support.hostile_rendezvous import HostileRendezvous
from support.recorder import TIMEOUT
from support.signaling import SECRET, Listener, Opened, Sessions, eventually, gateway_and_client, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SOON = RESUMPTION_TIMEOUT + 1.0
"""Seconds within which a session that is gone is noticed on a busy machine."""


def _ticket(port: int) -> Ticket:
    return Ticket(f"ws://127.0.0.1:{port}", SECRET)


class Path:
    """A TCP path to a rendezvous, as a network makes it: it carries, swallows, or breaks."""

    def __init__(self, port: int) -> None:
        self.port = port
        """Of the rendezvous."""
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def swallow(self) -> None:
        """Carry nothing any more on the connections of now; neither end is told."""
        self._swallowing |= self._open

    def cut(self) -> None:
        """Break the connections of now, with what is on its way."""
        for writer in self._open:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port of its near end."""
        async with asyncio.TaskGroup() as group:

            def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._open.add(writer)
                group.create_task(self._serve(reader, writer))

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
                self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if writer not in self._swallowing:
                    writer.write(data)
        writer.transport.abort()
        self._open.discard(writer)
        self._swallowing.discard(writer)


@contextlib.asynccontextmanager
async def _resumable(ticket: Ticket) -> AsyncIterator[tuple[Sessions, Opened, ClientSignaling, Listener]]:
    """A gateway and a client that have spoken under their keys."""
    async with gateway_and_client(ticket) as (sessions, client, heard):
        session = await sessions.first()
        session.channel.send(Answer(1, "spoken"))
        await heard.until(lambda messages: len(messages) == 1)
        heard.messages.clear()
        heard.availability.clear()
        yield sessions, session, client, heard


async def test_what_is_said_while_the_link_is_down_crosses_behind_the_join_without_a_knock() -> None:
    class Speaking(Listener):
        def signaling_available(self, available: bool) -> None:
            super().signaling_available(available)
            if not available:
                client.send(Offer(1, "moved"))

    async with HostileRendezvous() as rendezvous, _resumable(_ticket(rendezvous.port)) as (_, session, client, _):
        client.attach(speaking := Speaking())
        (me,) = rendezvous.clients
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await session.listener.until(lambda messages: messages == [Offer(1, "moved")])
        await asyncio.sleep(SOON)
        assert len(rendezvous.envelopes(me, EnvelopeType.KNOCK)) == 1
        assert speaking.availability == [False, True]


async def test_mail_of_before_the_gateway_went_is_no_sign_that_it_is_there() -> None:
    async with RendezvousServer() as server, _resumable(_ticket(server.port)) as (sessions, session, client, heard):
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        session.channel.send(Answer(2, "waits at the rendezvous"))
        await sessions.signaling.close(flush_timeout=0.0)
        await heard.until(lambda messages: messages == [Answer(2, "waits at the rendezvous")])
        await eventually(lambda: not client.available)
        assert client.status.state is SignalingState.WAITING_FOR_GATEWAY
        await asyncio.sleep(SOON)
        assert not client.available


async def eventually_queued(server: RendezvousServer, is_queued: bool) -> None:
    """Wait until the rendezvous keeps something that is not acknowledged, or nothing."""
    async with asyncio.timeout(TIMEOUT):
        while ("perdure_rendezvous_queued_bytes 0.0" in await metrics(server)) is is_queued:
            pass


async def metrics(server: RendezvousServer) -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return text


async def test_mail_of_before_the_gateway_forgot_the_session_is_no_sign_that_it_knows_it() -> None:
    async with RendezvousServer() as server:
        path = Path(server.port)
        async with path.open() as port, Sessions(_ticket(server.port)) as sessions:
            client = ClientSignaling(_ticket(port), os.urandom(16))
            heard = Listener()
            client.attach(heard)
            # The ticket names the rendezvous by its URL, but the keys come from its secret alone.
            async with client:
                session = await sessions.first()
                session.channel.send(Answer(1, "spoken"))
                await heard.until(lambda messages: len(messages) == 1)
                await eventually_queued(server, False)
                path.swallow()
                session.channel.send(Answer(2, "waits at the rendezvous"))
                await eventually_queued(server, True)
                session.channel.close()
                client.network_moved(local_address_lost=True, slept_seconds=0.0)
                await eventually(lambda: heard.restarts == 1)
                assert [message for message in heard.messages if message != Bye(HAS_ENDED)] == [
                    Answer(1, "spoken"),
                    Answer(2, "waits at the rendezvous"),
                ]
                await heard.until(lambda messages: messages[-1] == Bye(HAS_ENDED))
                assert len(sessions.opened) == 1


@pytest.mark.parametrize("says", [True, False])
async def test_a_session_that_the_gateway_forgot_is_noticed_without_a_change_of_presence(says: bool) -> None:
    async with RendezvousServer() as server, _resumable(_ticket(server.port)) as (_, session, client, heard):
        session.channel.close()
        if says:
            client.send(Offer(1, "for a session that is gone"))
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: heard.restarts == 1)


async def test_another_gateway_process_is_a_restart_though_messages_went_behind_the_join() -> None:
    async with RendezvousServer() as server, _resumable(_ticket(server.port)) as (sessions, _, client, heard):
        await sessions.signaling.close(flush_timeout=0.0)
        await eventually(lambda: client.status.state is SignalingState.WAITING_FOR_GATEWAY)
        async with Sessions(_ticket(server.port)) as newer:
            client.network_moved(local_address_lost=True, slept_seconds=0.0)
            client.send(Offer(1, "for the old one"))
            await eventually(lambda: heard.restarts == 1)
            client.send(Offer(2, "for the new one"))
            session = await newer.first()
            await session.listener.until(lambda messages: messages == [Offer(2, "for the new one")])
            assert heard.restarts == 1


async def test_a_rendezvous_that_refuses_the_join_is_not_taken_for_a_way_again_and_again() -> None:
    full = RendezvousServer(RendezvousLimits(max_rooms=1))
    async with RendezvousServer() as server, full:
        path = Path(server.port)
        elsewhere = ClientSignaling(Ticket(f"ws://127.0.0.1:{full.port}", bytes(32)), os.urandom(16))
        async with elsewhere, path.open() as port, _resumable(_ticket(port)) as (_, session, client, heard):
            await eventually(lambda: elsewhere.status.state is SignalingState.WAITING_FOR_GATEWAY)
            path.port = full.port
            path.cut()
            client.send(Offer(1, "x"))
            await eventually(lambda: "too-many-rooms" in client.status.reason)
            await asyncio.sleep(2.0)
            assert heard.availability == [False, True, False]
            path.port = server.port
            await session.listener.until(lambda messages: messages == [Offer(1, "x")])


async def test_a_reconnect_during_a_knock_agrees_keys_once_more() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, heard):
        for number in range(1, 6):
            await eventually(lambda: client.status.state is not SignalingState.UNREACHABLE)
            client.send(Offer(number, "v=0"))
            client.network_moved(local_address_lost=True, slept_seconds=0.0)
        session = await sessions.first()
        await within(client.wait_available())
        await session.listener.until(lambda messages: len(messages) == 5)
        assert session.listener.messages == [Offer(number, "v=0") for number in range(1, 6)]
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
        sessions = await stack.enter_async_context(Sessions(_ticket(far_port)))
        client = ClientSignaling(_ticket(near_port), os.urandom(16), random=Random(seed))
        await stack.enter_async_context(client)
        heard = Listener()
        client.attach(heard)
        session = await sessions.first()
        for number in range(1, 61):
            sent.append(Offer(number, "v=0"))
            client.send(sent[-1])
            answered.append(Answer(number, "v=0"))
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
