"""Two ends over a real rendezvous on 127.0.0.1."""

from __future__ import annotations

import asyncio
import os
import time
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest

from perdure.errors import NotAuthorisedError, TicketError
from perdure.signaling.frames import Join, Role
from perdure.signaling.gateway_peer import HAS_ENDED, GatewaySignaling
from perdure.signaling.gateway_proof import room_id
from perdure.signaling.messages import Answer, Bye, Candidate, IceServers, Offer, RTCIceServer
from perdure.signaling.noise import public_bytes
from perdure.signaling.server import RendezvousServer
from perdure.signaling.status import SignalingState, SignalingStatus
from perdure.signaling.websocket import RendezvousLink
from perdure.ticket import Ticket
from support.hostile_rendezvous import hostile_server
from support.paths import Path
from support.signaling import (
    KEY,
    Listener,
    Sessions,
    client_of,
    eventually,
    gateway_and_client,
    ticket_at,
    tickets,
    within,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


async def test_messages_go_both_ways_in_order() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, heard):
        offers = [Offer(1, f"v={number}") for number in range(1, 51)]
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
    session_id, store = os.urandom(16), tickets()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port) as sessions,
        client_of(ticket_at(store, server.port), session_id) as client,
    ):
        session = await sessions.first()
        assert session.session_id == session_id
        assert session.holder.ticket == "default"
        assert session.holder.client_key == public_bytes(KEY)
        await within(client.wait_available())
        await eventually(lambda: session.channel.available)


async def test_what_comes_before_a_listener_is_attached_is_delivered_first() -> None:
    store = tickets()
    async with RendezvousServer() as server, gateway_and_client(server.port, store) as (sessions, client, heard):
        session = await sessions.first()
        late = await sessions.open_without_listener(ticket_at(store, server.port), [Offer(1, "a"), Offer(1, "b")])
        listener = Listener()
        late.attach(listener)
        assert listener.messages == [Offer(1, "a"), Offer(1, "b")]
        assert session.listener.messages == heard.messages == []
        assert client.available


async def test_a_rendezvous_that_restarts_loses_and_repeats_nothing() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    async with gateway_and_client(port) as (sessions, client, heard):
        session = await sessions.first()
        sent: list[Offer] = []
        answered: list[Answer] = []
        for number in range(1, 25):
            sent.append(Offer(1, f"v={number}"))
            client.send(sent[-1])
            answered.append(Answer(1, f"v={number}"))
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
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, heard):
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
        store = tickets()
        async with gateway_and_client(server.port, store) as (sessions, client, heard):
            await (await sessions.first()).listener.until(lambda messages: messages == [])
            await within(client.wait_available())
            await sessions.signaling.close()
            await eventually(lambda: client.status.state is SignalingState.WAITING_FOR_GATEWAY)
            client.send(Offer(1, "for the old process"))
            async with Sessions(store, server.port) as newer:
                await eventually(lambda: heard.restarts == 1)
                client.send(Offer(2, "for the new process"))
                session = await newer.first()
                await session.listener.until(lambda messages: messages == [Offer(2, "for the new process")])
                assert heard.restarts == 1


async def test_a_session_that_the_gateway_closed_is_a_restart_to_its_client_and_begins_no_more() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, heard):
        session = await sessions.first()
        session.channel.send(Answer(1, "x"))
        await heard.until(lambda messages: len(messages) == 1)
        session.channel.close()
        session.channel.close()
        assert sessions.signaling.session_count == 0
        client.send(Offer(1, "for a session that is gone"))
        await eventually(lambda: heard.restarts == 1)
        await heard.until(lambda messages: messages[-1] == Bye(HAS_ENDED))
        assert len(sessions.opened) == 1
        assert sessions.signaling.session_count == 0


async def test_a_client_whose_session_ended_before_it_heard_anything_is_told() -> None:
    store, session_id = tickets(), os.urandom(16)
    async with RendezvousServer() as server, Sessions(store, server.port) as sessions:
        async with client_of(ticket_at(store, server.port), session_id) as client:
            session = await sessions.first()
            session.channel.close()
            await within(client.wait_closed())
        heard = Listener()
        async with client_of(ticket_at(store, server.port), session_id) as client:
            client.attach(heard)
            await heard.until(lambda messages: messages == [Bye(HAS_ENDED)])
        assert len(sessions.opened) == 1


async def test_a_client_whose_session_is_refused_is_told_at_once() -> None:
    async with RendezvousServer() as server:
        store, heard = tickets(), Listener()
        ticket = ticket_at(store, server.port)
        async with (
            GatewaySignaling(
                ticket.rendezvous_url, store, on_session=lambda session_id, channel, holder: channel.close()
            ) as gateway,
            client_of(ticket) as client,
        ):
            client.attach(heard)
            client.send(Offer(1, "x"))
            client.send(Candidate(1, "candidate", "0", 0))
            await heard.until(lambda messages: messages == [Bye(HAS_ENDED)])
            assert gateway.refused.total() == 0


async def test_a_last_word_arrives_although_the_channel_closes_at_once() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, _):
        session = await sessions.first()
        await within(client.wait_available())
        client.send(Bye("done"))
        await within(client.wait_closed())
        client.send(Bye("never"))
        await session.listener.until(lambda messages: messages == [Bye("done")])
        await eventually(lambda: not session.channel.available)


async def test_an_expired_ticket_is_a_final_error_with_both_clocks() -> None:
    store = tickets(expires_at=1000)
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port, now=lambda: 1001.0),
        client_of(ticket_at(store, server.port), now=lambda: 400.0) as client,
    ):
        with pytest.raises(NotAuthorisedError, match=r"00:16:40.* gateway's .*00:16:41.* this machine's .*00:06:40"):
            await within(client.wait_available())
        assert client.status.state is SignalingState.FAILED
        assert isinstance(client.error, NotAuthorisedError)


async def test_a_client_that_edits_the_expiry_gains_nothing() -> None:
    store = tickets(expires_at=1000)
    async with RendezvousServer() as server, Sessions(store, server.port, now=lambda: 1001.0) as sessions:
        edited = replace(ticket_at(store, server.port), expires_at=0)
        async with client_of(edited) as client:
            with pytest.raises(NotAuthorisedError, match="expired"):
                await within(client.wait_available())
        assert sessions.opened == []


async def test_a_session_outlives_its_tickets_expiry_but_not_its_revocation() -> None:
    now, store = 1.0, tickets(expires_at=1000)
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port, now=lambda: now) as sessions,
        client_of(ticket_at(store, server.port)) as client,
    ):
        session = await sessions.first()
        now = 2000.0
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        client.send(Offer(1, "x"))
        await session.listener.until(lambda messages: messages == [Offer(1, "x")])
        store.revoke("default", now=now)
        await sessions.signaling.close()
        async with Sessions(store, server.port, now=lambda: now):
            await eventually(lambda: isinstance(client.error, NotAuthorisedError))
            assert "revoked" in str(client.error)


async def test_a_ticket_that_is_revoked_between_the_answer_and_the_proof_begins_no_session() -> None:
    store, heard = tickets(), Listener()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port) as sessions,
        client_of(
            ticket_at(store, server.port), on_ice_servers=lambda _: store.revoke("default", now=time.time())
        ) as client,
    ):
        client.attach(heard)
        await heard.until(lambda messages: messages == [Bye(HAS_ENDED)])
        assert sessions.opened == []


STUN, TURN = RTCIceServer("stun:a"), RTCIceServer("turn:a", "me", "secret")


async def test_a_gateways_new_ice_servers_reach_the_clients_that_are_there_and_those_that_come() -> None:
    store, told, told_later = tickets(), Mock(), Mock()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port, ice_servers=[STUN]) as sessions,
        client_of(ticket_at(store, server.port), on_ice_servers=told) as client,
    ):
        session = await sessions.first()
        sessions.signaling.set_ice_servers([STUN, TURN])
        session.channel.send(Bye("behind it"))
        heard = Listener()
        client.attach(heard)
        await heard.until(lambda messages: messages == [Bye("behind it")])
        assert [call.args[0] for call in told.mock_calls] == [(STUN,), (STUN, TURN)]
        async with client_of(ticket_at(store, server.port), on_ice_servers=told_later) as later:
            await within(later.wait_available())
        told_later.assert_called_once_with((STUN, TURN))


async def test_a_client_that_is_away_hears_the_last_ice_servers_when_it_is_back() -> None:
    store, told = tickets(), Mock()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port) as sessions,
        client_of(ticket_at(store, server.port), on_ice_servers=told) as client,
    ):
        await sessions.first()
        await within(client.wait_available())
        client.network_moved(local_address_lost=True, slept_seconds=0.0)
        for _ in range(3):
            sessions.signaling.set_ice_servers([STUN])
        sessions.signaling.set_ice_servers([TURN])
        await eventually(lambda: told.mock_calls[-1].args[0] == (TURN,))


async def test_ice_servers_that_change_between_a_welcome_and_the_clients_proof_are_told_behind_it() -> None:
    told: list[Sequence[RTCIceServer]] = []

    def renewed_before_the_proof(servers: Sequence[RTCIceServer]) -> None:
        told.append(servers)
        if servers == (STUN,):
            sessions.signaling.set_ice_servers([TURN])

    store = tickets()
    async with (
        RendezvousServer() as server,
        Sessions(store, server.port, ice_servers=[STUN]) as sessions,
        client_of(ticket_at(store, server.port), on_ice_servers=renewed_before_the_proof),
    ):
        await eventually(lambda: told == [(STUN,), (TURN,)])


async def test_a_gateway_goes_on_with_a_client_that_tells_it_ice_servers() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (sessions, client, _):
        client.send(IceServers((TURN,)))  # type: ignore[arg-type]  # only a gateway says so
        client.send(Offer(1, "x"))
        session = await sessions.first()
        await session.listener.until(lambda messages: messages == [Offer(1, "x")])
        assert not sessions.signaling.refused


async def test_ice_servers_that_a_client_would_not_read_are_refused_and_those_of_before_stay() -> None:
    store, told = tickets(), Mock()
    async with RendezvousServer() as server, Sessions(store, server.port, ice_servers=[STUN]) as sessions:
        with pytest.raises(ValueError, match="17 ICE servers"):
            sessions.signaling.set_ice_servers([TURN] * 17)
        async with client_of(ticket_at(store, server.port), on_ice_servers=told) as client:
            await within(client.wait_available())
        told.assert_called_once_with((STUN,))


async def test_whoever_has_a_ticket_of_another_gateway_or_a_made_up_one_is_told() -> None:
    store = tickets()
    async with RendezvousServer() as server, Sessions(store, server.port) as sessions:
        made_up = replace(ticket_at(store, server.port), secret=bytes(32))
        async with client_of(made_up) as client:
            with pytest.raises(NotAuthorisedError, match="does not know this ticket"):
                await within(client.wait_available())
        assert sessions.opened == []


async def test_a_ticket_whose_gateway_key_is_none_is_told() -> None:
    listener = Listener()
    async with hostile_server() as (_, port):
        ticket = Ticket(f"ws://127.0.0.1:{port}", bytes(32), bytes(32))
        poser = RendezvousLink(
            ticket.rendezvous_url,
            join=lambda challenge: Join(room_id(bytes(32)), Role.GATEWAY, "9" * 32),
            listener=Mock(has_live_tubes=False),
            random=Random(1),
        )
        poser.start()
        async with client_of(ticket) as client:
            client.attach(listener)
            with pytest.raises(TicketError, match="cannot be one"):
                await within(client.wait_available())
        await poser.close()


async def test_a_gateway_whose_sessions_are_all_in_use_has_no_room_for_another() -> None:
    async with RendezvousServer() as server:
        store = tickets()
        ticket = ticket_at(store, server.port)
        async with Sessions(store, server.port, max_sessions=1) as sessions, client_of(ticket):
            await sessions.first()
            async with client_of(ticket) as second:
                await eventually(lambda: "no room" in second.status.reason)
                assert not second.available
                assert sessions.signaling.session_count == 1


async def test_a_client_says_what_it_waits_for() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    await server.close()
    statuses: list[SignalingStatus] = []
    store = tickets()
    async with client_of(ticket_at(store, port), on_status=statuses.append, random=Random(1)) as client:
        refused = f"waiting for the rendezvous at ws://127.0.0.1:{port}/v2: connection refused"
        await eventually(lambda: str(client.status) == refused)
        async with RendezvousServer(port=port):
            await eventually(lambda: str(client.status) == "waiting for the gateway")
            async with Sessions(store, port):
                await within(client.wait_available())
                assert client.status.state is SignalingState.READY


async def test_a_second_gateway_with_the_key_is_told_who_the_first_is_and_takes_its_place_once_that_is_gone() -> None:
    store = tickets()
    async with RendezvousServer() as server, Sessions(store, server.port, name="attic") as older:
        await within(older.signaling.wait_ready())
        async with Sessions(store, server.port, name="cellar") as newer:
            await eventually(
                lambda: "another gateway (attic) serves with the same key" in newer.signaling.status.reason
            )
            assert older.signaling.status.state is SignalingState.READY
            await older.signaling.close()
            await within(newer.signaling.wait_ready())


async def test_a_restarted_gateway_takes_the_place_of_one_that_does_not_answer_any_more() -> None:
    store = tickets()
    async with RendezvousServer() as server:
        path = Path(server.port)
        async with path.open() as port, Sessions(store, port) as older:
            await within(older.signaling.wait_ready())
            path.swallow()
            async with Sessions(store, server.port) as newer:
                await within(newer.signaling.wait_ready())


async def test_a_message_too_long_for_the_peer_is_refused_at_once() -> None:
    async with RendezvousServer() as server, gateway_and_client(server.port) as (_, client, _):
        with pytest.raises(ValueError, match="over 16384"):
            client.send(Offer(1, "x" * 16385))
        with pytest.raises(ValueError, match="at most"):
            client.send(Offer(1, "\x01" * 16384))


async def test_closing_before_the_rendezvous_is_there_leaves_nothing_behind() -> None:
    client = client_of(ticket_at(tickets(), 9))
    client.start()
    client.close()
    await within(client.wait_closed())
    await within(client.wait_closed())
    gateway = GatewaySignaling("ws://127.0.0.1:9", tickets(), on_session=lambda _id, _channel, _holder: None)
    gateway.start()
    await gateway.close()
    await gateway.close()
    assert {task for task in asyncio.all_tasks() if "rendezvous" in task.get_name()} == set()
