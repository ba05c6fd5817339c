"""The link: it comes back by itself, and tells its owner, who sends again what was lost."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from perdure.signaling.envelope import MAX_ENVELOPE_BYTES
from perdure.signaling.frames import (
    GATEWAY,
    Deliver,
    Joined,
    RefusalCode,
    Refused,
    Role,
    Send,
    encode_frame,
)
from perdure.signaling.outgoing import MAX_UNWRITTEN_BYTES, MAX_UNWRITTEN_FOR_ONE, MAX_UNWRITTEN_FRAMES
from perdure.signaling.reasons import describe_failure, is_silence
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from support.links import CHALLENGE, CLIENT_ID, GATEWAY_ID, Owner, linked, new_link, scripted
from support.raw_peers import OTHER_KEY
from support.signaling import eventually, within

if TYPE_CHECKING:
    pass


async def test_two_links_hear_of_each_other_and_carry_bodies_in_order() -> None:
    bodies = [b"%d" % number for number in range(20)]
    async with RendezvousServer() as server, linked(server.port, Role.GATEWAY) as (gateway, at_gateway):
        await eventually(lambda: gateway.is_up)
        async with linked(server.port) as (client, at_client):
            await eventually(lambda: at_client.presence == [(GATEWAY_ID, True)])
            await eventually(lambda: at_gateway.presence == [(CLIENT_ID, True)])
            for body in bodies:
                client.send(GATEWAY, body)
                gateway.send(CLIENT_ID, body, is_proved=True)
            await eventually(lambda: len(at_gateway.received) == len(at_client.received) == len(bodies))
            assert at_gateway.received == at_client.received == bodies
        await eventually(lambda: at_gateway.presence == [(CLIENT_ID, True), (CLIENT_ID, False)])


async def test_what_is_sent_without_a_connection_is_lost_and_the_owner_hears_when_to_send() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    await server.close()
    async with linked(port, Role.GATEWAY) as (gateway, at_gateway), linked(port) as (client, owner):
        client.send(GATEWAY, b"lost")
        await eventually(lambda: "connection refused" in owner.downs)
        assert owner.openings == 0
        async with RendezvousServer(port=port):
            await eventually(lambda: client.is_up and gateway.is_up)
            await eventually(lambda: (GATEWAY_ID, True) in owner.presence)
            client.send(GATEWAY, b"heard")
            await eventually(lambda: at_gateway.received == [b"heard"])


async def test_a_rendezvous_killed_and_started_again_is_joined_again_each_time() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    async with linked(port) as (client, owner), linked(port, Role.GATEWAY) as (gateway, at_gateway):
        for count in range(1, 5):
            await eventually(lambda: client.is_up and gateway.is_up and owner.presence[-1:] == [(GATEWAY_ID, True)])
            assert owner.ups >= count
            client.send(GATEWAY, b"%d" % count)
            await eventually(lambda count=count: len(at_gateway.received) == count)  # type: ignore[misc]
            owner.presence.clear()
            await server.close()
            await eventually(lambda: not client.is_up and not gateway.is_up)
            server = RendezvousServer(port=port)
            await server.start()
        assert at_gateway.received == [b"1", b"2", b"3", b"4"]
    await server.close()


@pytest.mark.parametrize(
    ("count", "body"),
    [
        (MAX_UNWRITTEN_FRAMES + 1, b"x"),
        (MAX_UNWRITTEN_BYTES // MAX_ENVELOPE_BYTES + 1, b"x" * MAX_ENVELOPE_BYTES),
    ],
)
async def test_a_connection_that_does_not_take_what_is_sent_is_given_up_for_another(count: int, body: bytes) -> None:
    async def take_nothing(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Joined()))
        websocket.transport.pause_reading()
        await websocket.wait_closed()

    async with scripted(take_nothing) as port, linked(port) as (link, owner):
        await eventually(lambda: owner.ups == 1)
        for _ in range(count - 1):
            link.send(GATEWAY, body)
        assert owner.downs == []
        link.send(GATEWAY, body)
        await eventually(lambda: owner.ups == 2)
        assert owner.downs == [""]


async def test_a_body_has_at_least_a_byte_and_at_most_an_envelopes() -> None:
    async with linked(9) as (link, _):
        link.send(GATEWAY, b"x" * MAX_ENVELOPE_BYTES)
        for body in b"", b"x" * (MAX_ENVELOPE_BYTES + 1):
            with pytest.raises(ValueError, match="a body has 1 to"):
                link.send(GATEWAY, body)


async def test_many_messages_at_once_stay_below_the_rate_of_the_rendezvous() -> None:
    limits = RendezvousLimits()
    async with (
        RendezvousServer(limits) as server,
        linked(server.port, Role.GATEWAY) as (_, gateway),
        linked(server.port) as (client, owner),
    ):
        await eventually(lambda: (GATEWAY_ID, True) in owner.presence)
        for _number in range(limits.frame_burst + 20):
            client.send(GATEWAY, b"x")
        await eventually(lambda: len(gateway.received) == limits.frame_burst + 20)
        assert owner.downs == gateway.downs == []


async def test_a_gateway_with_guests_says_more_and_stays_below_the_rate_of_the_rendezvous() -> None:
    limits = RendezvousLimits()
    frames = limits.frame_burst + 100
    async with (
        RendezvousServer(limits) as server,
        linked(server.port, Role.GATEWAY) as (gateway, owner),
        linked(server.port) as (_, client),
    ):
        await eventually(lambda: (CLIENT_ID, True) in owner.presence)
        gateway.vouch([CLIENT_ID, *(f"{number:032x}" for number in range(1000))])
        for number in range(frames):
            gateway.send(CLIENT_ID, b"x", is_proved=True)
            if number % (MAX_UNWRITTEN_FOR_ONE // 2) == 0:
                await eventually(lambda number=number: len(client.received) >= number)  # type: ignore[misc]
        await eventually(lambda: len(client.received) == frames)
        assert owner.downs == client.downs == []


async def test_a_network_that_moved_makes_a_new_connection_at_once() -> None:
    async with RendezvousServer() as server, linked(server.port) as (link, owner):
        for count in range(1, 4):
            await eventually(lambda count=count: owner.ups == count)  # type: ignore[misc]
            link.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: owner.ups == 4)
        assert owner.downs == [""] * 3


async def test_after_a_change_a_connection_whose_first_packets_are_lost_is_not_waited_for() -> None:
    held: list[asyncio.StreamWriter] = []

    async def hold_the_next_two(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if is_moving and len(held) < 2:
            held.append(writer)
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.gather(_carry(reader, far_writer), _carry(far_reader, writer))

    is_moving = False
    path = await asyncio.start_server(hold_the_next_two, "127.0.0.1", 0)
    async with RendezvousServer() as server, path, linked(path.sockets[0].getsockname()[1]) as (link, owner):
        await eventually(lambda: link.is_up)
        is_moving = True
        link.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: owner.ups == 2)
        assert owner.downs == [""]
        assert await within(asyncio.gather(*(_ended(writer) for writer in held))) == [True, True]


async def test_after_a_change_a_rendezvous_that_refuses_is_heard_at_once() -> None:
    server = RendezvousServer()
    await server.start()
    async with linked(server.port) as (link, owner):
        await eventually(lambda: link.is_up)
        await server.close()
        link.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: "connection refused" in owner.downs)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("rendezvous")]


@pytest.mark.parametrize("code", [code for code in RefusalCode if code.is_final])
async def test_a_refusal_that_trying_again_does_not_change_ends_a_link(code: RefusalCode) -> None:
    async def refuse(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Refused(code, "for good")))
        await websocket.wait_closed()

    async with scripted(refuse) as port, linked(port) as (link, owner):
        await eventually(lambda: len(owner.failures) == 1)
        assert f"({code.value}): for good" in str(owner.failures[0])
        assert owner.failures[0].url == link.url == f"ws://127.0.0.1:{port}/v2"
        assert owner.ups == 0


async def test_a_bad_room_is_final() -> None:
    async with RendezvousServer() as server, linked(server.port, room="elsewhere") as (link, owner):
        await eventually(lambda: len(owner.failures) == 1)
        assert "bad-room" in str(owner.failures[0])
        assert not link.is_up


async def test_much_that_waits_is_sent_without_losing_the_connection() -> None:
    async with RendezvousServer() as server, linked(server.port, Role.GATEWAY) as (gateway, owner):
        await eventually(lambda: gateway.is_up)
        async with linked(server.port) as (_, taken):
            await eventually(lambda: owner.presence == [(CLIENT_ID, True)])
            for number in range(60):
                gateway.send(CLIENT_ID, b"%40000d" % number)
            await eventually(lambda: len(taken.received) == 60)
            assert owner.downs == taken.downs == []


async def test_no_refusal_ends_a_link_that_tubes_live_by() -> None:
    codes = [RefusalCode.BAD_PROOF, RefusalCode.BAD_ROOM, RefusalCode.BAD_FRAME, RefusalCode.MESSAGE_TOO_LARGE]

    async def refuse_in_turn(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Joined()))
        await websocket.send(encode_frame(Refused(codes[0], "for \x1b[31mgood")))
        await websocket.wait_closed()

    async with scripted(refuse_in_turn) as port, linked(port) as (link, owner):
        owner.has_live_tubes = True
        while codes:
            told = f"{codes[0].value}: for ?[31mgood"
            await eventually(lambda told=told: owner.downs[-1:] == [told])  # type: ignore[misc]
            codes.pop(0)
            if codes:
                link.network_moved(local_address_lost=True, slept_seconds=0.0)  # without the wait for the next attempt
        assert owner.failures == []


async def test_a_full_rendezvous_is_tried_again_until_there_is_room() -> None:
    async with (
        RendezvousServer(RendezvousLimits(max_rooms=1)) as server,
        linked(server.port, Role.GATEWAY) as (first, _),
    ):
        await eventually(lambda: first.is_up)
        async with linked(server.port, Role.GATEWAY, key=OTHER_KEY) as (second, owner):
            await eventually(lambda: len(owner.downs) >= 2)
            await within(first.close())
            await eventually(lambda: second.is_up)
            assert {reason.split(":")[0] for reason in owner.downs} == {"too-many-rooms"}


@pytest.mark.parametrize("text", ["garbage", encode_frame(Send("", b"x")), encode_frame(CHALLENGE), b"\xff\xfe"])
async def test_garbage_from_the_rendezvous_is_a_reason_to_try_again(text: str | bytes) -> None:
    async def answer(websocket: ServerConnection) -> None:
        await websocket.send(text, text=True)
        await websocket.wait_closed()

    async with scripted(answer) as port, linked(port) as (_, owner):
        await eventually(lambda: owner.downs[:2] == ["it does not answer as a perdure rendezvous"] * 2)


@pytest.mark.parametrize("text", ["garbage", encode_frame(Joined()), encode_frame(Deliver(GATEWAY_ID, b"x"))])
@pytest.mark.parametrize("role", list(Role))
async def test_a_rendezvous_that_does_not_begin_with_a_challenge_is_none(text: str, role: Role) -> None:
    async def begin_with(websocket: ServerConnection) -> None:
        await websocket.send(text)
        await websocket.wait_closed()

    async with (
        serve(begin_with, "127.0.0.1", 0, close_timeout=0.2) as server,
        linked(next(iter(server.sockets)).getsockname()[1], role) as (_, owner),
    ):
        await eventually(lambda: owner.downs[:2] == ["it does not answer as a perdure rendezvous"] * 2)
        assert owner.openings == 0


async def test_each_failure_has_a_reason_for_a_person() -> None:
    async def refuse(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Refused(RefusalCode.RATE, "slow down")))
        await websocket.wait_closed()

    async with scripted(refuse) as port, linked(port) as (_, owner):
        await eventually(lambda: owner.downs[:1] == ["rate: slow down"])
    other = await asyncio.start_server(_speak_http_404, "127.0.0.1", 0)
    async with other, linked(other.sockets[0].getsockname()[1]) as (_, owner):
        await eventually(lambda: owner.downs[:1] == ["HTTP 404"])
    async with RendezvousServer() as server, linked(server.port) as (link, owner):
        await eventually(lambda: link.is_up)
        await server.close()
        await eventually(lambda: owner.downs[:1] == ["the rendezvous is shutting down"])


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), "name not known"),
        (ConnectionRefusedError(111, "Connect call failed"), "connection refused"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 111] x"), "connection refused"),
        (OSError(101, "Network is unreachable"), "network unreachable"),
        (TimeoutError(), "no answer"),
        (EOFError(), "it does not answer as a perdure rendezvous"),
        (ConnectionClosedError(None, None), "connection lost"),
        (ConnectionClosedError(None, Close(1011, "keepalive ping timeout")), "no answer to pings"),
    ],
)
def test_a_failure_is_told_in_a_few_words(error: Exception, reason: str) -> None:
    assert describe_failure(error) == reason


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.transport.abort()


async def _ended(writer: asyncio.StreamWriter) -> bool:
    """Wait until the other end has closed the connection of `writer`, and close this one."""
    while not writer.transport.is_closing():
        await asyncio.sleep(0.002)
        writer.write(b".")
    return True


async def _speak_http_404(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()
    writer.close()


async def test_closing_while_connecting_or_connected_leaves_no_task() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with linked(silent.getsockname()[1]) as (link, owner):
            await asyncio.sleep(0)
            await within(link.close())
            await within(link.close())
            assert owner.ups == 0
    async with RendezvousServer() as server, linked(server.port) as (link, _):
        await eventually(lambda: link.is_up)
        closing = asyncio.create_task(link.close())
        await within(asyncio.gather(closing, link.close()))
        assert not link.is_up
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("rendezvous link")]


async def test_an_owner_that_raises_does_not_end_the_link(caplog: pytest.LogCaptureFixture) -> None:
    class Clumsy(Owner):
        def link_received(self, sender: str, body: bytes) -> None:
            super().link_received(sender, body)
            raise RuntimeError("clumsy")

    async with RendezvousServer() as server, linked(server.port) as (client, _):
        owner = Clumsy()
        gateway = new_link(server.port, owner, Role.GATEWAY)
        gateway.start()
        with pytest.raises(RuntimeError, match="once"):
            gateway.start()
        await eventually(lambda: client.is_up and gateway.is_up)
        client.send(GATEWAY, b"1")
        client.send(GATEWAY, b"2")
        await eventually(lambda: owner.received == [b"1", b"2"])
        assert gateway.is_up
        assert "clumsy" in caplog.text
        await within(gateway.close())


@pytest.mark.parametrize(
    ("error", "silence"),
    [
        (TimeoutError(), True),
        (ConnectionClosedError(None, Close(1011, "keepalive ping timeout")), True),
        (ConnectionClosedError(None, None), False),
        (ConnectionRefusedError(111, "refused"), False),
        (socket.gaierror(-2, "Name or service not known"), False),
    ],
)
def test_silence_is_told_from_what_somebody_says(error: Exception, silence: bool) -> None:
    assert is_silence(error) is silence
