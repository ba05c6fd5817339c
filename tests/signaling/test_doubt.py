"""A tube suspects its path: the link to the rendezvous is asked, and where it is silent another joins in its place."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest

from perdure.signaling.application import ApplicationChannel
from perdure.signaling.channel import PeerChannel
from perdure.signaling.frames import GATEWAY, Joined, Role, encode_frame
from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.signaling.server import RendezvousServer
from perdure.signaling.status import SignalingState
from support.links import CLIENT_ID, GATEWAY_ID, Owner, linked, new_link, scripted
from support.signaling import (
    Application,
    Sessions,
    client_of,
    eventually,
    gateway_and_client,
    ticket_at,
    tickets,
    within,
)
from support.silent_path import silent_path

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

OFFER, ANSWER, CANDIDATE = Offer(1, "o"), Answer(1, "a"), Candidate(1, "c")

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a socket to an interface")


def told_of(owner: Owner, peer_id: str) -> list[bool]:
    return [present for told, present in owner.presence if told == peer_id]


async def test_a_link_that_answers_is_not_replaced() -> None:
    async with (
        RendezvousServer() as server,
        silent_path(server.port) as (path, port),
        linked(port) as (link, owner),
    ):
        await eventually(lambda: link.is_up)
        for _ in range(5):
            link.doubt()
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.4)  # beyond the time that the answers had
        assert path.connections == owner.ups == 1


@pytest.mark.parametrize("role", list(Role))
async def test_a_silent_link_is_replaced_beside_the_old_one_and_the_owner_sends_again(role: Role) -> None:
    other = Role.CLIENT if role is Role.GATEWAY else Role.GATEWAY
    own_id, other_id = (GATEWAY_ID, CLIENT_ID) if role is Role.GATEWAY else (CLIENT_ID, GATEWAY_ID)
    async with (
        RendezvousServer() as server,
        linked(server.port, other) as (_, at_other),
        silent_path(server.port) as (path, port),
        linked(port, role) as (link, owner),
    ):
        await eventually(lambda: told_of(owner, other_id) == told_of(at_other, own_id) == [True])
        path.fall_silent()
        link.send(other_id if role is Role.GATEWAY else GATEWAY, b"lost with its connection")
        owner.on_opening = lambda: link.send(other_id if role is Role.GATEWAY else GATEWAY, b"again")
        link.doubt()
        await eventually(lambda: at_other.received == [b"again"])
        assert (owner.openings, owner.ups, owner.downs) == (2, 2, [])
        assert link.is_up
        assert told_of(owner, other_id) == told_of(at_other, own_id) == [True, True]


async def test_many_doubts_while_one_is_looked_into_cost_nothing_more() -> None:
    async with (
        RendezvousServer() as server,
        silent_path(server.port) as (path, port),
        linked(port) as (link, owner),
    ):
        await eventually(lambda: link.is_up)
        path.fall_silent()
        while owner.ups == 1:
            link.doubt()
            await asyncio.sleep(0.005)
        assert path.connections <= 5  # the first, and the four of one attempt


async def test_a_link_that_is_late_and_answers_in_the_end_is_kept() -> None:
    async with (
        RendezvousServer() as server,
        linked(server.port, Role.GATEWAY) as (_, at_gateway),
        silent_path(server.port) as (path, port),
        linked(port) as (link, owner),
    ):
        await eventually(lambda: link.is_up)
        path.fall_silent(to_new=True)
        link.doubt()
        await eventually(lambda: path.connections == 3)
        path.heal()
        link.send(GATEWAY, b"on the old one")
        await eventually(lambda: at_gateway.received == [b"on the old one"])
        await asyncio.sleep(0.8)  # for the last one to be begun, if they were not given up
        assert (owner.ups, owner.downs) == (1, [])
        assert path.connections < 5


async def test_a_silent_link_that_cannot_be_replaced_is_used_on() -> None:
    async with (
        RendezvousServer() as server,
        linked(server.port, Role.GATEWAY) as (_, at_gateway),
        silent_path(server.port) as (path, port),
        linked(port) as (link, owner),
    ):
        await eventually(lambda: link.is_up)
        path.fall_silent(to_new=True)
        link.doubt()
        await eventually(lambda: path.connections == 5)  # the first, and the four of one attempt
        assert link.is_up
        link.send(GATEWAY, b"on the old one")
        path.heal()
        await eventually(lambda: at_gateway.received == [b"on the old one"])
        assert (owner.ups, owner.downs) == (1, [])


async def test_a_rendezvous_that_ends_the_old_connection_before_it_answers_the_join_is_waited_for() -> None:
    connections: list[ServerConnection] = []

    async def join(websocket: ServerConnection) -> None:
        connections.append(websocket)
        if len(connections) == 1:
            await websocket.send(encode_frame(Joined()))
            websocket.transport.pause_reading()  # pings too
        else:
            connections[0].transport.abort()
            await connections[0].wait_closed()
            await asyncio.sleep(0.05)
            await websocket.send(encode_frame(Joined((GATEWAY_ID,))))
        await websocket.wait_closed()

    async with scripted(join) as port, linked(port) as (link, owner):
        await eventually(lambda: link.is_up)
        link.doubt()
        await eventually(lambda: owner.ups == 2)
        assert (owner.downs, len(connections)) == ([], 2)


async def test_a_link_that_is_closed_while_it_is_doubted_leaves_no_task() -> None:
    async with RendezvousServer() as server, silent_path(server.port) as (path, port):
        for wait in 0.0, 0.3, 0.6:
            async with linked(port) as (link, _):
                await eventually(lambda: link.is_up)
                path.fall_silent(to_new=True)
                link.doubt()
                await asyncio.sleep(wait)
            path.heal()
        assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("rendezvous link")]


async def test_a_doubt_before_the_first_join_changes_nothing_where_there_is_one_way() -> None:
    async with RendezvousServer() as server, silent_path(server.port) as (path, port), linked(port) as (link, owner):
        link.doubt()
        await eventually(lambda: link.is_up)
        assert (path.connections, owner.downs) == (1, [])


async def test_a_resolver_that_died_with_the_path_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    async with RendezvousServer() as server, silent_path(server.port) as (path, port):
        owner = Owner()
        link = new_link(port, owner, host="localhost")
        link.start()
        await eventually(lambda: link.is_up)
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", hang)
        path.fall_silent()
        link.doubt()
        await eventually(lambda: owner.ups == 2)
        await link.close()


async def test_both_ends_of_a_session_can_doubt_the_rendezvous() -> None:
    async with (
        RendezvousServer() as server,
        silent_path(server.port) as (path, port),
        gateway_and_client(port) as (sessions, client, at_client),
    ):
        await within(client.wait_available())
        session = await sessions.first()
        session.channel.send(ANSWER)
        await at_client.until(lambda messages: messages == [ANSWER])
        path.fall_silent()
        client.send(OFFER)
        session.channel.send(CANDIDATE)
        client.doubt()
        session.channel.doubt()
        await session.listener.until(lambda messages: messages == [OFFER])
        await at_client.until(lambda messages: messages == [ANSWER, CANDIDATE])
        assert at_client.availability == [True]
        assert session.listener.availability == [True]


async def test_a_client_that_left_while_its_gateway_was_cut_off_is_known_to_be_gone() -> None:
    store = tickets()
    async with (
        RendezvousServer() as server,
        silent_path(server.port) as (path, port),
        Sessions(store, port) as sessions,
    ):
        async with client_of(ticket_at(store, server.port)) as client:
            await within(client.wait_available())
            session = await sessions.first()
            path.fall_silent()
        session.channel.doubt()
        await eventually(lambda: session.listener.availability == [True, False])
        assert sessions.signaling.status.state is SignalingState.READY


async def test_a_channel_that_is_closed_or_the_applications_own_has_nothing_to_doubt() -> None:
    doubts: list[None] = []
    channel = PeerChannel(transmit=lambda body: None, on_close=lambda: None, on_doubt=lambda: doubts.append(None))
    channel.doubt()
    channel.close()
    channel.doubt()
    assert len(doubts) == 1
    application = Application()
    own = ApplicationChannel(application)
    own.doubt()
    assert own.available
    assert application.messages == []


@on_linux
async def test_a_silent_link_is_dialled_by_each_interface_at_once() -> None:
    async with RendezvousServer() as server, silent_path(server.port) as (path, port):
        async with linked(port, interfaces=["lo", "not-there"]) as (link, owner):
            await eventually(lambda: link.is_up)
            assert path.connections == 1
            path.fall_silent(to_new=True)
            link.doubt()
            await eventually(lambda: path.connections == 9)  # four times as the routes lead, and four by lo
            path.heal()
        assert owner.downs == []
