"""Two ends over a real rendezvous on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
from random import Random

import pytest

from perdure.errors import NotAuthorisedError
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.gateway_peer import HAS_ENDED, GatewaySignaling
from perdure.signaling.messages import Answer, Bye, Candidate, Offer
from perdure.signaling.server import RendezvousServer
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.ticket import Ticket
from support.signaling import SECRET, Listener, Sessions, eventually, gateway_and_client, within


def _ticket(port: int, *, expires_at: int = 0) -> Ticket:
    return Ticket(f"ws://127.0.0.1:{port}", SECRET, expires_at)


async def test_messages_go_both_ways_in_order() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, heard):
        offers = [Offer(number, "v=0") for number in range(1, 51)]
        for offer in offers:
            client.send(offer)
        session = await sessions.first()
        await session.listener.until(lambda messages: messages == offers)
        session.channel.send(Answer(1, "v=0 é"))
        session.channel.send(Candidate(1, "candidate:1", "0", 0))
        await heard.until(lambda messages: messages == [Answer(1, "v=0 é"), Candidate(1, "candidate:1", "0", 0)])
        assert not client.refused
        assert not sessions.signaling.refused


async def test_a_session_is_announced_with_its_id_before_anything_is_sent() -> None:
    session_id = os.urandom(16)
    async with (
        RendezvousServer() as server,
        gateway_and_client(_ticket(server.port), session_id=session_id) as (sessions, client, _),
    ):
        session = await sessions.first()
        assert session.session_id == session_id
        await within(client.wait_available())
        await eventually(lambda: session.channel.available)


async def test_what_comes_before_a_listener_is_attached_is_delivered_first() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, heard):
        session = await sessions.first()
        late = await sessions.open_without_listener(_ticket(server.port), [Offer(1, "a"), Offer(2, "b")])
        listener = Listener()
        late.attach(listener)
        assert listener.messages == [Offer(1, "a"), Offer(2, "b")]
        assert session.listener.messages == heard.messages == []
        assert client.available


async def test_a_rendezvous_that_restarts_loses_and_repeats_nothing() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    async with gateway_and_client(_ticket(port)) as (sessions, client, heard):
        session = await sessions.first()
        sent: list[Offer] = []
        answered: list[Answer] = []
        for number in range(1, 25):
            sent.append(Offer(number, "v=0"))
            client.send(sent[-1])
            answered.append(Answer(number, "v=0"))
            session.channel.send(answered[-1])
            if number % 8 == 4:
                await server.close()
            if number % 8 == 0:
                server = RendezvousServer(port=port)
                await server.start()
            if number % 8 == 2:
                await within(client.wait_available())
        await session.listener.until(lambda messages: len(messages) >= len(sent))
        await heard.until(lambda messages: len(messages) >= len(answered))
        assert session.listener.messages == sent
        assert heard.messages == answered
        assert heard.restarts == 0
    await server.close()


async def test_a_lost_path_is_told_and_comes_back() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, heard):
        session = await sessions.first()
        await within(client.wait_available())
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: heard.availability[-2:] == [False, True])
        client.send(Offer(1, "x"))
        await session.listener.until(lambda messages: messages == [Offer(1, "x")])
        sessions.signaling.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: heard.availability[-4:] == [False, True, False, True])
        await eventually(lambda: session.channel.available)
        session.channel.send(Answer(1, "y"))
        await heard.until(lambda messages: messages == [Answer(1, "y")])
        assert heard.restarts == session.listener.restarts == 0


async def test_a_restarted_gateway_drops_the_queue_and_is_told_once() -> None:
    async with RendezvousServer() as server:
        ticket = _ticket(server.port)
        async with gateway_and_client(ticket) as (sessions, client, heard):
            await (await sessions.first()).listener.until(lambda messages: messages == [])
            await within(client.wait_available())
            await sessions.signaling.close()
            await eventually(lambda: client.status.state is SignalingState.WAITING_FOR_GATEWAY)
            client.send(Offer(1, "for the old process"))
            async with Sessions(ticket) as newer:
                await eventually(lambda: heard.restarts == 1)
                client.send(Offer(2, "for the new process"))
                session = await newer.first()
                await session.listener.until(lambda messages: messages == [Offer(2, "for the new process")])
                assert heard.restarts == 1


async def test_a_session_that_the_gateway_closed_is_a_restart_to_its_client_and_begins_no_more() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, heard):
        session = await sessions.first()
        session.channel.send(Answer(1, "x"))
        await heard.until(lambda messages: len(messages) == 1)
        session.channel.close()
        session.channel.close()
        assert sessions.signaling.session_count == 0
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: heard.restarts == 1)
        await heard.until(lambda messages: messages[-1] == Bye(HAS_ENDED))
        assert len(sessions.opened) == 1
        assert sessions.signaling.session_count == 0


async def test_a_client_whose_session_ended_before_it_heard_anything_is_told() -> None:
    async with RendezvousServer() as server, Sessions(_ticket(server.port)) as sessions:
        session_id = os.urandom(16)
        async with ClientSignaling(_ticket(server.port), session_id) as client:
            session = await sessions.first()
            session.channel.close()
            await within(client.wait_closed())
        heard = Listener()
        async with ClientSignaling(_ticket(server.port), session_id) as client:
            client.attach(heard)
            await heard.until(lambda messages: messages == [Bye(HAS_ENDED)])
        assert len(sessions.opened) == 1


async def test_a_client_whose_session_is_refused_is_told_at_once() -> None:
    async with RendezvousServer() as server:
        ticket = _ticket(server.port)
        heard = Listener()
        async with (
            GatewaySignaling(ticket, on_session=lambda session_id, channel: channel.close()) as gateway,
            ClientSignaling(ticket, os.urandom(16)) as client,
        ):
            client.attach(heard)
            client.send(Offer(1, "x"))
            client.send(Candidate(1, "candidate", "0", 0))
            await heard.until(lambda messages: messages == [Bye(HAS_ENDED)])
            assert gateway.refused.total() == 0


async def test_a_last_word_arrives_although_the_channel_closes_at_once() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        client.send(Bye("done"))
        await within(client.wait_closed())
        client.send(Bye("never"))
        await session.listener.until(lambda messages: messages == [Bye("done")])
        await eventually(lambda: not session.channel.available)


async def test_an_expired_ticket_is_a_final_error() -> None:
    async with RendezvousServer() as server:
        ticket = _ticket(server.port, expires_at=1000)
        async with Sessions(ticket, now=lambda: 1000.0), ClientSignaling(ticket, os.urandom(16)) as client:
            with pytest.raises(NotAuthorisedError, match="expired"):
                await within(client.wait_available())
            assert client.status.state is SignalingState.FAILED
            assert isinstance(client.error, NotAuthorisedError)


async def test_a_client_that_edits_the_expiry_never_meets_the_gateway() -> None:
    async with (
        RendezvousServer() as server,
        Sessions(_ticket(server.port, expires_at=1000), now=lambda: 1.0) as sessions,
        ClientSignaling(_ticket(server.port, expires_at=2000), os.urandom(16)) as client,
    ):
        await within(sessions.signaling.wait_ready())
        await eventually(lambda: client.status.state is SignalingState.WAITING_FOR_GATEWAY)
        assert sessions.signaling.session_count == 0
        assert not client.available


async def test_a_gateway_whose_sessions_are_all_in_use_has_no_room_for_another() -> None:
    async with RendezvousServer() as server:
        ticket = _ticket(server.port)
        async with Sessions(ticket, max_sessions=1) as sessions, ClientSignaling(ticket, os.urandom(16)):
            await sessions.first()
            async with ClientSignaling(ticket, os.urandom(16)) as second:
                await eventually(lambda: "no room" in second.status.reason)
                assert not second.available
                assert sessions.signaling.session_count == 1


async def test_a_client_says_what_it_waits_for() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    await server.close()
    statuses: list[SignalingStatus] = []
    ticket = _ticket(port)
    async with ClientSignaling(ticket, os.urandom(16), on_status=statuses.append, random=Random(1)) as client:
        refused = f"waiting for the rendezvous at ws://127.0.0.1:{port}/v1: connection refused"
        await eventually(lambda: str(client.status) == refused)
        async with RendezvousServer(port=port):
            await eventually(lambda: str(client.status) == "waiting for the gateway")
            async with Sessions(ticket):
                await within(client.wait_available())
                assert client.status.state is SignalingState.READY


async def test_a_replaced_gateway_fails_for_good() -> None:
    async with RendezvousServer() as server:
        ticket = _ticket(server.port)
        async with Sessions(ticket) as older:
            await within(older.signaling.wait_ready())
            async with Sessions(ticket) as newer:
                await within(newer.signaling.wait_ready())
                await eventually(lambda: older.signaling.status.state is SignalingState.FAILED)
                assert "replaced" in str(older.signaling.error)
                assert newer.signaling.status.state is SignalingState.READY


async def test_a_message_too_long_for_the_peer_is_refused_at_once() -> None:
    async with RendezvousServer() as server, gateway_and_client(_ticket(server.port)) as (_, client, _):
        with pytest.raises(ValueError, match="over 16384"):
            client.send(Offer(1, "x" * 16385))
        with pytest.raises(ValueError, match="at most"):
            client.send(Offer(1, "\x01" * 16384))


async def test_closing_before_the_rendezvous_is_there_leaves_nothing_behind() -> None:
    client = ClientSignaling(_ticket(9), os.urandom(16))
    client.start()
    client.close()
    await within(client.wait_closed())
    await within(client.wait_closed())
    gateway = GatewaySignaling(_ticket(9), on_session=lambda _id, _channel: None)
    gateway.start()
    await gateway.close()
    await gateway.close()
    assert {task for task in asyncio.all_tasks() if "rendezvous" in task.get_name()} == set()
