"""The rendezvous server, spoken to by raw WebSockets and plain HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from perdure.errors import ListenError
from perdure.signaling.frames import (
    Acked,
    Deliver,
    Got,
    Join,
    Joined,
    Presence,
    RefusalCode,
    Refused,
    Role,
    Send,
    decode_server_frame,
    encode_frame,
)
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from perdure.signaling.frames import ClientFrame, ServerFrame

ROOM = "1" * 32
GATEWAY, CLIENT, OTHER = "a" * 32, "b" * 32, "c" * 32


class Peer:
    """A raw WebSocket that speaks frames."""

    def __init__(self, websocket: ClientConnection) -> None:
        self.websocket = websocket

    async def send(self, frame: ClientFrame) -> None:
        await self.websocket.send(encode_frame(frame))

    async def receive(self) -> ServerFrame:
        async with asyncio.timeout(TIMEOUT):
            return decode_server_frame(await self.websocket.recv())

    async def refusal(self) -> RefusalCode:
        """The code of the refusal that ends the connection."""
        while True:
            frame = await self.receive()
            if isinstance(frame, Refused):
                async with asyncio.timeout(TIMEOUT):
                    with pytest.raises(ConnectionClosed):
                        await self.websocket.recv()
                return frame.code


class Peers(contextlib.AsyncExitStack):
    """Opens raw peers of one server, and closes them."""

    def __init__(self, server: RendezvousServer) -> None:
        super().__init__()
        self.url = f"ws://127.0.0.1:{server.port}/v1"

    async def open(self) -> Peer:
        return Peer(await self.enter_async_context(connect(self.url, proxy=None, max_size=None, close_timeout=0.2)))

    async def join(self, role: Role, peer_id: str, *, room: str = ROOM) -> Peer:
        peer = await self.open()
        await peer.send(Join(room, role, peer_id))
        assert await peer.receive() == Joined()
        return peer


async def _http(port: int, request: str) -> tuple[str, str]:
    """The status line and the body of a plain request."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head.split("\r\n")[0], body


async def test_a_message_is_relayed_and_its_acknowledgement_comes_back_from_the_receiver() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        gateway = await peers.join(Role.GATEWAY, GATEWAY)
        client = await peers.join(Role.CLIENT, CLIENT)
        assert await gateway.receive() == Presence(CLIENT, Role.CLIENT, True)
        assert await client.receive() == Presence(GATEWAY, Role.GATEWAY, True)
        await client.send(Send("", 1, b"hello"))
        assert await gateway.receive() == Deliver(CLIENT, 1, b"hello")
        await gateway.send(Send(CLIENT, 1, b"back"))
        assert await client.receive() == Deliver(GATEWAY, 1, b"back")
        await gateway.send(Got(CLIENT, 1))
        assert await client.receive() == Acked(GATEWAY, 1)


async def test_what_is_sent_to_an_absent_gateway_waits_for_it() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        client = await peers.join(Role.CLIENT, CLIENT)
        for seq in (1, 2):
            await client.send(Send("", seq, b"early"))
        gateway = await peers.join(Role.GATEWAY, GATEWAY)
        assert await gateway.receive() == Presence(CLIENT, Role.CLIENT, True)
        assert [await gateway.receive() for _ in range(2)] == [Deliver(CLIENT, seq, b"early") for seq in (1, 2)]


async def test_what_an_absent_client_did_not_get_waits_for_it_although_it_was_delivered() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        gateway = await peers.join(Role.GATEWAY, GATEWAY)
        client = await peers.join(Role.CLIENT, CLIENT)
        await client.receive()
        await gateway.receive()
        await gateway.send(Send(CLIENT, 1, b"got"))
        await gateway.send(Send(CLIENT, 2, b"not got"))
        assert await client.receive() == Deliver(GATEWAY, 1, b"got")
        await client.send(Got(GATEWAY, 1))
        assert await gateway.receive() == Acked(CLIENT, 1)
        await client.websocket.close()
        assert await gateway.receive() == Presence(CLIENT, Role.CLIENT, False)
        await gateway.send(Send(CLIENT, 3, b"while away"))
        again = await peers.join(Role.CLIENT, CLIENT)
        assert await again.receive() == Presence(GATEWAY, Role.GATEWAY, True)
        assert await again.receive() == Deliver(GATEWAY, 2, b"not got")
        assert await again.receive() == Deliver(GATEWAY, 3, b"while away")


async def test_a_full_mailbox_drops_its_oldest_and_counts() -> None:
    limits = RendezvousLimits(max_queued_messages=3)
    async with RendezvousServer(limits) as server, Peers(server) as peers:
        client = await peers.join(Role.CLIENT, CLIENT)
        for seq in range(1, 6):
            await client.send(Send("", seq, b"x"))
        gateway = await peers.join(Role.GATEWAY, GATEWAY)
        await gateway.receive()
        assert [await gateway.receive() for _ in range(3)] == [Deliver(CLIENT, seq, b"x") for seq in (3, 4, 5)]
        _, metrics = await _http(server.port, "GET /metrics")
        assert "perdure_rendezvous_dropped_messages_total 2.0" in metrics


async def test_all_mailboxes_together_are_bounded() -> None:
    limits = RendezvousLimits(max_total_queued_bytes=200_000)
    async with RendezvousServer(limits) as server, Peers(server) as peers:
        for room in "23456":
            client = await peers.join(Role.CLIENT, CLIENT, room=room * 32)
            await client.send(Send("", 1, b"x" * 60_000))
            await client.send(Send("", 2, b"x" * 60_000))
        gateway = await peers.join(Role.GATEWAY, GATEWAY, room="2" * 32)
        assert isinstance(await gateway.receive(), Presence)
        assert await gateway.receive() == Deliver(CLIENT, 1, b"x" * 60_000)
        _, metrics = await _http(server.port, "GET /metrics")
        assert "perdure_rendezvous_queued_bytes 180000.0" in metrics


async def test_another_gateway_replaces_the_first() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        old = await peers.join(Role.GATEWAY, GATEWAY)
        client = await peers.join(Role.CLIENT, CLIENT)
        assert await client.receive() == Presence(GATEWAY, Role.GATEWAY, True)
        new = await peers.join(Role.GATEWAY, OTHER)
        assert await old.refusal() is RefusalCode.REPLACED
        assert await client.receive() == Presence(GATEWAY, Role.GATEWAY, False)
        assert await client.receive() == Presence(OTHER, Role.GATEWAY, True)
        await client.send(Send("", 1, b"x"))
        assert await new.receive() == Presence(CLIENT, Role.CLIENT, True)
        assert await new.receive() == Deliver(CLIENT, 1, b"x")


async def test_a_peer_that_rejoins_takes_its_own_place_silently() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        old = await peers.join(Role.GATEWAY, GATEWAY)
        new = await peers.join(Role.GATEWAY, GATEWAY)
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionClosed):
                await old.websocket.recv()
        client = await peers.join(Role.CLIENT, CLIENT)
        assert await client.receive() == Presence(GATEWAY, Role.GATEWAY, True)
        assert await new.receive() == Presence(CLIENT, Role.CLIENT, True)


async def test_rooms_do_not_hear_each_other() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        here = await peers.join(Role.GATEWAY, GATEWAY)
        await peers.join(Role.CLIENT, OTHER, room="2" * 32)
        await peers.join(Role.CLIENT, CLIENT)
        assert await here.receive() == Presence(CLIENT, Role.CLIENT, True)


async def test_rooms_are_limited_and_an_empty_room_makes_place_at_once() -> None:
    async with RendezvousServer(RendezvousLimits(max_rooms=1)) as server, Peers(server) as peers:
        first = await peers.join(Role.CLIENT, CLIENT)
        second = await peers.open()
        await second.send(Join("2" * 32, Role.CLIENT, OTHER))
        assert await second.refusal() is RefusalCode.TOO_MANY_ROOMS
        await first.websocket.close()
        await peers.join(Role.CLIENT, OTHER, room="2" * 32)


async def test_a_room_with_mail_lingers_and_then_goes() -> None:
    limits = RendezvousLimits(max_rooms=1, linger_timeout=0.02)
    async with RendezvousServer(limits) as server, Peers(server) as peers:
        first = await peers.join(Role.CLIENT, CLIENT)
        await first.send(Send("", 1, b"x"))
        await first.websocket.close()
        async with asyncio.timeout(TIMEOUT):
            while "perdure_rendezvous_rooms 0.0" not in (await _http(server.port, "GET /metrics"))[1]:
                pass
        _, metrics = await _http(server.port, "GET /metrics")
        assert "perdure_rendezvous_queued_bytes 0.0" in metrics


async def test_clients_of_a_room_are_limited() -> None:
    async with RendezvousServer(RendezvousLimits(max_clients_per_room=1)) as server, Peers(server) as peers:
        await peers.join(Role.CLIENT, CLIENT)
        other = await peers.open()
        await other.send(Join(ROOM, Role.CLIENT, OTHER))
        assert await other.refusal() is RefusalCode.TOO_MANY_CLIENTS
        await peers.join(Role.CLIENT, CLIENT)


async def test_connections_are_limited() -> None:
    async with RendezvousServer(RendezvousLimits(max_connections=1)) as server, Peers(server) as peers:
        await peers.join(Role.CLIENT, CLIENT)
        with pytest.raises(InvalidStatus, match="503"):
            await peers.open()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("garbage", RefusalCode.BAD_FRAME),
        ("[" * 10_000, RefusalCode.BAD_FRAME),
        (b"binary", RefusalCode.BAD_FRAME),
        (encode_frame(Got(CLIENT, 1)), RefusalCode.BAD_FRAME),
        (encode_frame(Join("not a room", Role.CLIENT, CLIENT)), RefusalCode.BAD_ROOM),
    ],
)
async def test_a_first_frame_that_is_no_join_is_refused(text: str | bytes, code: RefusalCode) -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        peer = await peers.open()
        await peer.websocket.send(text)
        assert await peer.refusal() is code


@pytest.mark.parametrize(
    ("role", "frame", "code"),
    [
        (Role.CLIENT, Join(ROOM, Role.CLIENT, CLIENT), RefusalCode.BAD_FRAME),
        (Role.CLIENT, Send(OTHER, 1, b"to a client"), RefusalCode.BAD_FRAME),
        (Role.GATEWAY, Send("", 1, b"to itself"), RefusalCode.BAD_FRAME),
        (Role.CLIENT, Send("", 1, b"x" * 65_537), RefusalCode.MESSAGE_TOO_LARGE),
    ],
)
async def test_a_frame_that_may_not_be_is_refused(role: Role, frame: ClientFrame, code: RefusalCode) -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        peer = await peers.join(role, CLIENT)
        await peer.send(frame)
        assert await peer.refusal() is code


async def test_a_far_too_long_frame_ends_the_connection() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        peer = await peers.join(Role.CLIENT, CLIENT)
        await peer.websocket.send("x" * 1_000_000)
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionClosed, match="1009"):
                await peer.websocket.recv()


async def test_a_peer_that_sends_too_fast_is_refused() -> None:
    limits = RendezvousLimits(frames_per_second=1, frame_burst=10)
    async with RendezvousServer(limits) as server, Peers(server) as peers:
        peer = await peers.join(Role.CLIENT, CLIENT)
        for seq in range(1, 12):
            await peer.send(Send("", seq, b"x"))
        assert await peer.refusal() is RefusalCode.RATE


async def test_a_connection_that_does_not_join_is_closed() -> None:
    async with RendezvousServer(RendezvousLimits(join_timeout=0.05)) as server, Peers(server) as peers:
        peer = await peers.open()
        assert await peer.refusal() is RefusalCode.NOT_JOINED


async def test_a_slow_receiver_is_cut_off_and_blocks_nobody() -> None:
    limits = RendezvousLimits(max_outgoing_bytes=500_000, frame_burst=10_000)
    async with RendezvousServer(limits) as server, Peers(server) as peers:
        gateway = await peers.join(Role.GATEWAY, GATEWAY)
        slow = await peers.join(Role.CLIENT, CLIENT)
        quick = await peers.join(Role.CLIENT, OTHER)
        slow.websocket.transport.pause_reading()
        assert await quick.receive() == Presence(GATEWAY, Role.GATEWAY, True)
        for seq in range(1, 400):
            await gateway.send(Send(CLIENT, seq, b"x" * 60_000))
            if seq % 100 == 0:
                await gateway.send(Send(OTHER, seq, b"quick"))
                assert await quick.receive() == Deliver(GATEWAY, seq, b"quick")
        frames: list[ServerFrame] = []
        while Presence(CLIENT, Role.CLIENT, False) not in frames:
            frames.append(await gateway.receive())
        _, metrics = await _http(server.port, "GET /metrics")
        assert 'perdure_rendezvous_closed_total{reason="slow"} 1.0' in metrics
        slow.websocket.transport.abort()


async def test_health_metrics_and_nothing_else_over_http() -> None:
    async with RendezvousServer() as server, Peers(server) as peers:
        await peers.join(Role.GATEWAY, GATEWAY)
        assert await _http(server.port, "GET /livez") == ("HTTP/1.1 200 OK", "ok")
        assert await _http(server.port, "HEAD /livez") == ("HTTP/1.1 200 OK", "")
        status, body = await _http(server.port, "GET /metrics")
        assert status == "HTTP/1.1 200 OK"
        assert 'perdure_rendezvous_peers{role="gateway"} 1.0' in body
        assert (await _http(server.port, "GET /"))[0] == "HTTP/1.1 404 Not Found"
        assert (await _http(server.port, "POST /livez"))[0].split()[1] in {"400", "405"}
        assert (await _http(server.port, "GET /v1"))[0] == "HTTP/1.1 426 Upgrade Required"


async def test_a_port_in_use_names_the_address() -> None:
    async with RendezvousServer() as server:
        other = RendezvousServer(port=server.port)
        with pytest.raises(ListenError, match=f"127.0.0.1:{server.port}.*in use") as caught:
            await other.start()
        assert caught.value.address == f"127.0.0.1:{server.port}"


async def test_closing_twice_is_fine_and_a_closed_server_has_no_port() -> None:
    server = RendezvousServer()
    await server.start()
    with pytest.raises(RuntimeError, match="started already"):
        await server.start()
    await server.close()
    await server.close()
    with pytest.raises(RuntimeError, match="not started"):
        _ = server.port


@pytest.mark.parametrize("limits", [{"max_rooms": 0}, {"frames_per_second": -1.0}, {"max_queued_bytes": 1000}])
def test_limits_that_cannot_be_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above zero|at least one message"):
        RendezvousLimits(**limits)  # type: ignore[arg-type]
