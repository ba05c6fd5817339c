"""The link: it comes back by itself, and what was sent arrives once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from random import Random
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosedError
from websockets.frames import Close

from perdure.errors import RendezvousError
from perdure.signaling.frames import (
    GATEWAY,
    Acked,
    Deliver,
    Joined,
    RefusalCode,
    Refused,
    Role,
    Send,
    decode_client_frame,
    encode_frame,
)
from perdure.signaling.outbox import MAX_UNACKED_MESSAGES
from perdure.signaling.reasons import describe_failure
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from perdure.signaling.websocket import RendezvousLink
from support.signaling import eventually, within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from perdure.signaling.frames import ClientFrame

ROOM = "1" * 32
GATEWAY_ID, CLIENT_ID = "a" * 32, "b" * 32


class Owner:
    """A `LinkListener` that records."""

    def __init__(self) -> None:
        self.ups = 0
        self.downs: list[str] = []
        self.failures: list[RendezvousError] = []
        self.received: list[bytes] = []
        self.presence: list[tuple[str, bool]] = []

    def link_opening(self) -> None:
        pass

    def link_up(self) -> None:
        self.ups += 1

    def link_down(self, reason: str) -> None:
        self.downs.append(reason)

    def link_failed(self, error: RendezvousError) -> None:
        self.failures.append(error)

    def link_received(self, sender: str, body: bytes) -> None:
        self.received.append(body)

    has_live_tubes = False

    def link_presence(self, peer_id: str, role: Role, present: bool) -> None:
        self.presence.append((peer_id, present))


@contextlib.asynccontextmanager
async def _link(
    port: int, role: Role = Role.CLIENT, *, room: str = ROOM, peer_id: str = ""
) -> AsyncIterator[tuple[RendezvousLink, Owner]]:
    owner = Owner()
    peer_id = peer_id or (CLIENT_ID if role is Role.CLIENT else GATEWAY_ID)
    link = RendezvousLink(
        f"ws://127.0.0.1:{port}", room=room, role=role, peer_id=peer_id, listener=owner, random=Random(7)
    )
    link.start()
    try:
        yield link, owner
    finally:
        await within(link.close())


@contextlib.asynccontextmanager
async def _scripted(script: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[int]:
    """A rendezvous that runs `script` for each connection; yields its port."""

    async def run(websocket: ServerConnection) -> None:
        await websocket.recv()
        await script(websocket)

    async with serve(run, "127.0.0.1", 0, close_timeout=0.2) as server:
        yield next(iter(server.sockets)).getsockname()[1]


async def test_what_is_sent_before_the_rendezvous_is_there_arrives_in_order() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    await server.close()
    async with _link(port) as (client, owner), _link(port, Role.GATEWAY) as (_, gateway):
        bodies = [b"%d" % number for number in range(20)]
        for body in bodies:
            client.send(GATEWAY, body)
        await eventually(lambda: "connection refused" in owner.downs)
        async with RendezvousServer(port=port):
            await eventually(lambda: len(gateway.received) >= len(bodies))
            assert gateway.received == bodies


async def test_a_server_killed_and_started_again_delivers_each_message_once() -> None:
    server = RendezvousServer()
    await server.start()
    port = server.port
    async with _link(port) as (client, _), _link(port, Role.GATEWAY) as (gateway, owner):
        await eventually(lambda: client.is_up and gateway.is_up)
        bodies = [b"%d" % number for number in range(40)]
        for number, body in enumerate(bodies):
            client.send(GATEWAY, body)
            if number % 10 == 5:
                # asyncio forgets a connection that comes just as a server closes: neither end would hear of it.
                await eventually(lambda: client.is_up and gateway.is_up)
                await server.close()
                server = RendezvousServer(port=port)
                await server.start()
        await eventually(lambda: len(owner.received) >= len(bodies))
        assert owner.received == bodies
    await server.close()


async def test_an_unacknowledged_message_is_sent_again_and_an_acknowledged_one_is_not() -> None:
    connections: list[list[ClientFrame]] = []

    async def acknowledge_the_first(websocket: ServerConnection) -> None:
        frames: list[ClientFrame] = []
        connections.append(frames)
        await websocket.send(encode_frame(Joined()))
        while len(frames) < 2:
            frames.append(decode_client_frame(await websocket.recv()))
        await websocket.send(encode_frame(Acked(GATEWAY_ID, 1)))

    async with _scripted(acknowledge_the_first) as port, _link(port) as (link, _):
        for body in (b"1", b"2", b"3"):
            link.send(GATEWAY, body)
        await eventually(lambda: len(connections) >= 2 and len(connections[1]) == 2)
        assert connections[0] == [Send("", 1, b"1"), Send("", 2, b"2")]
        assert connections[1] == [Send("", 2, b"2"), Send("", 3, b"3")]


async def test_a_message_delivered_twice_is_heard_once_and_acknowledged_twice() -> None:
    answers: list[ClientFrame] = []

    async def deliver_twice(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Joined()))
        for seq in (1, 2, 1, 2, 3):
            await websocket.send(encode_frame(Deliver(GATEWAY_ID, seq, b"%d" % seq)))
        while True:
            answers.append(decode_client_frame(await websocket.recv()))

    async with _scripted(deliver_twice) as port, _link(port) as (_, owner):
        await eventually(lambda: len(answers) == 5)
        assert owner.received == [b"1", b"2", b"3"]


async def test_what_is_forgotten_is_not_sent_again() -> None:
    heard: list[ClientFrame] = []

    async def listen(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Joined()))
        heard.append(decode_client_frame(await websocket.recv()))

    async with _scripted(listen) as port, _link(port) as (link, _):
        link.send(GATEWAY, b"old")
        link.forget(GATEWAY)
        link.send(GATEWAY, b"new")
        await eventually(lambda: bool(heard))
        assert heard[0] == Send("", 2, b"new")


async def test_more_than_the_bound_drops_the_oldest_and_counts() -> None:
    async with _link(9) as (link, _):
        for _number in range(MAX_UNACKED_MESSAGES + 5):
            link.send(GATEWAY, b"x")
        assert link.dropped == 5
        with pytest.raises(ValueError, match="a body has 1 to"):
            link.send(GATEWAY, b"x" * 65536)


async def test_many_messages_at_once_stay_below_the_rate_of_the_rendezvous() -> None:
    limits = RendezvousLimits()
    async with (
        RendezvousServer(limits) as server,
        _link(server.port, Role.GATEWAY) as (_, gateway),
        _link(server.port) as (client, owner),
    ):
        for _number in range(limits.frame_burst + 20):
            client.send(GATEWAY, b"x")
        await eventually(lambda: len(gateway.received) == limits.frame_burst + 20)
        assert owner.downs == gateway.downs == []


async def test_a_network_that_moved_makes_a_new_connection_at_once() -> None:
    async with RendezvousServer() as server, _link(server.port) as (link, owner):
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
    async with RendezvousServer() as server, path, _link(path.sockets[0].getsockname()[1]) as (link, owner):
        await eventually(lambda: link.is_up)
        is_moving = True
        link.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: owner.ups == 2)
        assert owner.downs == [""]
        assert await within(asyncio.gather(*(_ended(writer) for writer in held))) == [True, True]


async def test_after_a_change_a_rendezvous_that_refuses_is_heard_at_once() -> None:
    server = RendezvousServer()
    await server.start()
    async with _link(server.port) as (link, owner):
        await eventually(lambda: link.is_up)
        await server.close()
        link.network_moved(local_address_lost=True, slept_seconds=0.0)
        await eventually(lambda: "connection refused" in owner.downs)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("rendezvous")]


async def test_a_replaced_gateway_does_not_come_back() -> None:
    async with RendezvousServer() as server, _link(server.port, Role.GATEWAY) as (link, owner):
        await eventually(lambda: link.is_up)
        async with _link(server.port, Role.GATEWAY, peer_id="c" * 32) as (newer, newer_owner):
            await eventually(lambda: len(owner.failures) == 1)
            assert "replaced" in str(owner.failures[0])
            assert owner.failures[0].url == link.url == f"ws://127.0.0.1:{server.port}/v1"
            assert newer.is_up
            assert newer_owner.failures == []


async def test_a_bad_room_is_final() -> None:
    async with RendezvousServer() as server, _link(server.port, room="elsewhere") as (link, owner):
        await eventually(lambda: len(owner.failures) == 1)
        assert "bad-room" in str(owner.failures[0])
        assert not link.is_up


async def test_much_that_waits_is_sent_without_losing_the_connection() -> None:
    async with RendezvousServer() as server, _link(server.port, Role.GATEWAY) as (gateway, taken):
        await eventually(lambda: gateway.is_up)
        async with _link(server.port) as (link, owner):
            for number in range(70):
                link.send(GATEWAY, b"%40000d" % number)
            await eventually(lambda: len(taken.received) == 70)
            assert owner.downs == []


async def test_no_refusal_ends_a_link_that_tubes_live_by() -> None:
    codes = [RefusalCode.REPLACED, RefusalCode.BAD_ROOM, RefusalCode.BAD_FRAME, RefusalCode.MESSAGE_TOO_LARGE]

    async def refuse_in_turn(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Joined()))
        await websocket.send(encode_frame(Refused(codes[0], "for \x1b[31mgood")))
        await websocket.wait_closed()

    async with _scripted(refuse_in_turn) as port, _link(port) as (link, owner):
        owner.has_live_tubes = True
        while codes:
            told = f"{codes[0].value}: for ?[31mgood"
            await eventually(lambda told=told: owner.downs[-1:] == [told])  # type: ignore[misc]
            codes.pop(0)
            if codes:
                link.network_moved(local_address_lost=True, slept_seconds=0.0)  # without the wait for the next attempt
        assert owner.failures == []


async def test_a_full_rendezvous_is_tried_again_until_there_is_room() -> None:
    async with RendezvousServer(RendezvousLimits(max_rooms=1)) as server, _link(server.port) as (first, _):
        await eventually(lambda: first.is_up)
        async with _link(server.port, room="2" * 32) as (second, owner):
            await eventually(lambda: len(owner.downs) >= 2)
            await within(first.close())
            await eventually(lambda: second.is_up)
            assert {reason.split(":")[0] for reason in owner.downs} == {"too-many-rooms"}


@pytest.mark.parametrize("text", ["garbage", encode_frame(Send("", 1, b"x")), b"binary"])
async def test_garbage_from_the_rendezvous_is_a_reason_to_try_again(text: str | bytes) -> None:
    async def answer(websocket: ServerConnection) -> None:
        await websocket.send(text)
        await websocket.wait_closed()

    async with _scripted(answer) as port, _link(port) as (_, owner):
        await eventually(lambda: owner.downs[:2] == ["it does not answer as a perdure rendezvous"] * 2)


async def test_each_failure_has_a_reason_for_a_person() -> None:
    async def refuse(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Refused(RefusalCode.RATE, "slow down")))
        await websocket.wait_closed()

    async with _scripted(refuse) as port, _link(port) as (_, owner):
        await eventually(lambda: owner.downs[:1] == ["rate: slow down"])
    other = await asyncio.start_server(_speak_http_404, "127.0.0.1", 0)
    async with other, _link(other.sockets[0].getsockname()[1]) as (_, owner):
        await eventually(lambda: owner.downs[:1] == ["HTTP 404"])
    async with RendezvousServer() as server, _link(server.port) as (link, owner):
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
        async with _link(silent.getsockname()[1]) as (link, owner):
            await asyncio.sleep(0)
            await within(link.close())
            await within(link.close())
            assert owner.ups == 0
    async with RendezvousServer() as server, _link(server.port) as (link, _):
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

    async with RendezvousServer() as server, _link(server.port) as (client, _):
        owner = Clumsy()
        gateway = RendezvousLink(
            f"ws://127.0.0.1:{server.port}",
            room=ROOM,
            role=Role.GATEWAY,
            peer_id=GATEWAY_ID,
            listener=owner,
            random=Random(7),
        )
        gateway.start()
        with pytest.raises(RuntimeError, match="once"):
            gateway.start()
        client.send(GATEWAY, b"1")
        client.send(GATEWAY, b"2")
        await eventually(lambda: owner.received == [b"1", b"2"])
        assert gateway.is_up
        assert "clumsy" in caplog.text
        await within(gateway.close())
