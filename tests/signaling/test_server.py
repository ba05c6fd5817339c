"""The rendezvous server, spoken to by raw WebSockets and plain HTTP."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed

from perdure.errors import ListenError
from perdure.signaling.frames import Deliver, Join, Joined, Presence, RefusalCode, Role, Send, Vouch, encode_frame
from perdure.signaling.server import RendezvousLimits, RendezvousServer
from support.raw_peers import KEY, OTHER_KEY, OTHER_ROOM, ROOM, Peers, http, metrics, room_of
from support.raw_peers import key as key_of
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from perdure.signaling.frames import ClientFrame, ServerFrame

GATEWAY, CLIENT, OTHER = "a" * 32, "b" * 32, "c" * 32

UPGRADE = (
    b"GET /v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def test_the_rendezvous_speaks_first_and_challenges_each_connection_anew() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        first, second = [(await peers.open()).challenge for _ in range(2)]
        assert first.key == second.key
        assert first.nonce != second.nonce


async def test_a_message_is_relayed_in_both_directions() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        client = await peers.client(CLIENT, peers=(GATEWAY,))
        assert await gateway.receive() == Presence(CLIENT, True)
        await client.send(Send("", b"hello"))
        await client.send(Send(GATEWAY, b"by name"))
        assert [await gateway.receive() for _ in range(2)] == [Deliver(CLIENT, b"hello"), Deliver(CLIENT, b"by name")]
        await gateway.send(Send(CLIENT, b"back"))
        assert await client.receive() == Deliver(GATEWAY, b"back")
        relayed = await metrics(server.port)
        assert "perdure_rendezvous_messages_total 3.0" in relayed
        assert "perdure_rendezvous_bytes_total 16.0" in relayed


async def test_what_is_sent_to_somebody_who_is_not_there_is_dropped_and_counted() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        client = await peers.client(CLIENT)
        await client.send(Send("", b"no gateway yet"))
        gateway = await peers.gateway(GATEWAY, peers=(CLIENT,))
        assert await client.receive() == Presence(GATEWAY, True)
        await gateway.send(Send(OTHER, b"to nobody"))
        await client.send(Send(OTHER, b"a client reaches the gateway only"))
        await client.send(Send("", b"now"))
        assert await gateway.receive() == Deliver(CLIENT, b"now")
        assert "perdure_rendezvous_dropped_messages_total 3.0" in await metrics(server.port)


async def test_both_ends_hear_when_the_other_goes_and_comes() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        client = await peers.client(CLIENT, peers=(GATEWAY,))
        await client.websocket.close()
        assert [await gateway.receive() for _ in range(2)] == [Presence(CLIENT, True), Presence(CLIENT, False)]
        again = await peers.client(CLIENT, peers=(GATEWAY,))
        await gateway.websocket.close()
        assert await again.receive() == Presence(GATEWAY, False)
        await peers.gateway(OTHER, peers=(CLIENT,))
        assert await again.receive() == Presence(OTHER, True)


@pytest.mark.parametrize("role", list(Role))
async def test_a_peer_that_rejoins_takes_its_own_place_silently(role: Role) -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        join = peers.gateway if role is Role.GATEWAY else peers.client
        old = await join(GATEWAY)
        await join(GATEWAY)
        await old.ended()
        there = (await metrics(server.port)).count(f'perdure_rendezvous_peers{{role="{role.value}"}} 1.0')
        assert there == 1


async def test_rooms_do_not_hear_each_other() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        here = await peers.gateway(GATEWAY)
        await peers.client(OTHER, room=OTHER_ROOM)
        await peers.client(CLIENT, peers=(GATEWAY,))
        assert await here.receive() == Presence(CLIENT, True)


async def test_rooms_are_limited_and_a_gateway_that_goes_makes_place_at_once() -> None:
    async with RendezvousServer(RendezvousLimits(max_rooms=1)) as server, Peers(server.port) as peers:
        first = await peers.gateway(GATEWAY)
        second = await peers.asking_gateway(OTHER, key=OTHER_KEY)
        assert await second.refusal() is RefusalCode.TOO_MANY_ROOMS
        await first.websocket.close()
        await peers.gateway(OTHER, key=OTHER_KEY)


async def test_clients_who_wait_for_a_gateway_take_no_room_from_others() -> None:
    async with RendezvousServer(RendezvousLimits(max_rooms=1)) as server, Peers(server.port) as peers:
        for number in range(3, 6):
            await peers.client(CLIENT, room=room_of(key_of(number)))
        await peers.gateway(GATEWAY)


async def test_where_a_room_has_too_many_strangers_one_goes() -> None:
    async with RendezvousServer(RendezvousLimits(max_strangers_per_room=1)) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        vouched = await peers.client("1" * 32, peers=(GATEWAY,))
        await gateway.send(Vouch(("1" * 32,)))
        await gateway.send(Send("1" * 32, b"welcome"))
        assert await vouched.receive() == Deliver(GATEWAY, b"welcome")
        stranger = await peers.client("2" * 32, peers=(GATEWAY,))
        newer = await peers.client("3" * 32, peers=(GATEWAY,))
        assert await stranger.refusal() is RefusalCode.TOO_MANY_CLIENTS
        await gateway.send(Vouch(("1" * 32, "3" * 32)))
        await gateway.send(Send("3" * 32, b"welcome"))
        assert await newer.receive() == Deliver(GATEWAY, b"welcome")
        await peers.client(OTHER, peers=(GATEWAY,))
        await peers.client("1" * 32, peers=(GATEWAY,))


async def test_a_client_that_vouches_is_refused() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        client = await peers.client(CLIENT)
        await client.send(Vouch((CLIENT,)))
        assert await client.refusal() is RefusalCode.BAD_FRAME


async def test_where_all_connections_are_in_use_who_has_proved_no_more_is_refused() -> None:
    async with RendezvousServer(RendezvousLimits(max_connections=2)) as server, Peers(server.port) as peers:
        await peers.gateway(GATEWAY)
        await peers.client(CLIENT, peers=(GATEWAY,))
        stranger = await peers.open()
        await stranger.send(Join(ROOM, Role.CLIENT, OTHER))
        assert await stranger.refusal() is RefusalCode.TOO_MANY_CONNECTIONS
        again = await peers.client(CLIENT, peers=(GATEWAY,))  # in its own place
        await again.send(Send("", b"x"))
        assert "perdure_rendezvous_messages_total 1.0" in await metrics(server.port)


async def test_clients_of_rooms_that_nobody_has_give_way_to_a_gateway_and_its_clients() -> None:
    async with RendezvousServer(RendezvousLimits(max_connections=4)) as server, Peers(server.port) as peers:
        strangers = [await peers.client(f"{number:032x}", room=f"{number:032x}") for number in range(4)]
        gateway = await peers.gateway(GATEWAY)
        await strangers[0].ended()
        await peers.client(CLIENT, peers=(GATEWAY,))
        await strangers[1].ended()
        await gateway.send(Vouch((CLIENT,)))
        crowd = [await peers.client(f"{number:032x}", peers=(GATEWAY,)) for number in range(10, 12)]
        other = await peers.gateway(OTHER, key=OTHER_KEY)
        await crowd[0].ended()
        for peer in (gateway, other):
            await (await peer.websocket.ping())
        assert 'perdure_rendezvous_peers{role="client"} 2.0' in await metrics(server.port)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("garbage", RefusalCode.BAD_FRAME),
        ("[" * 10_000, RefusalCode.BAD_FRAME),
        (b"binary", RefusalCode.BAD_FRAME),
        (b'{"type":"join","room":"\xff","role":"client","peer_id":"' + b"b" * 32 + b'"}', RefusalCode.BAD_FRAME),
        (encode_frame(Send("", b"x")), RefusalCode.BAD_FRAME),
        (encode_frame(Join("not a room", Role.CLIENT, CLIENT)), RefusalCode.BAD_ROOM),
    ],
)
async def test_a_first_frame_that_is_no_join_is_refused(text: str | bytes, code: RefusalCode) -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        peer = await peers.open()
        await peer.websocket.send(text)
        assert await peer.refusal() is code


async def test_a_binary_message_with_a_frame_is_taken_like_a_text() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        peer = await peers.open()
        await peer.websocket.send(encode_frame(Join(ROOM, Role.CLIENT, CLIENT)).encode())
        assert await peer.receive() == Joined()


NO_UTF8, NO_OPCODE = b"\x81\x82\0\0\0\0\xff\xfe", b"\x83\x80\0\0\0\0"
"""A text message, and a WebSocket frame that breaks that protocol; masked with zeros."""


@pytest.mark.parametrize("data", [NO_UTF8, NO_UTF8 + NO_OPCODE, NO_OPCODE], ids=["alone", "as it closes", "no message"])
async def test_text_that_is_no_utf8_costs_its_connection_and_no_traceback(
    data: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with RendezvousServer() as server:
        async with asyncio.timeout(TIMEOUT):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(UPGRADE + data)
            await reader.read()
            writer.close()
            await writer.wait_closed()
        async with Peers(server.port) as peers:
            await peers.client(CLIENT)
    assert not [message for message in caplog.messages if message.startswith("connection-failed")]


@pytest.mark.parametrize(
    ("role", "frame", "code"),
    [
        (Role.CLIENT, Join(ROOM, Role.CLIENT, CLIENT), RefusalCode.BAD_FRAME),
        (Role.GATEWAY, Send("", b"to itself"), RefusalCode.BAD_FRAME),
        (Role.CLIENT, Send("", b"x" * 65_537), RefusalCode.MESSAGE_TOO_LARGE),
    ],
)
async def test_a_frame_that_may_not_be_is_refused(role: Role, frame: ClientFrame, code: RefusalCode) -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        peer = await (peers.gateway if role is Role.GATEWAY else peers.client)(CLIENT)
        await peer.send(frame)
        assert await peer.refusal() is code


async def test_a_far_too_long_frame_ends_the_connection() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        peer = await peers.client(CLIENT)
        await peer.websocket.send("x" * 1_000_000)
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionClosed, match="1009"):
                await peer.websocket.recv()


async def test_a_message_of_fragments_without_end_ends_the_connection() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        client = await peers.client(CLIENT)
        mask = bytes(4)
        first, further = b"\x01\x80" + mask, b"\x00\x80" + mask  # of no bytes, and none of them the last
        client.websocket.transport.write(first + further * 10_000)
        async with asyncio.timeout(TIMEOUT):
            await client.websocket.wait_closed()


async def test_a_peer_that_sends_too_fast_is_refused() -> None:
    limits = RendezvousLimits(frames_per_second=1, frame_burst=10)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        peer = await peers.client(CLIENT)
        for _ in range(11):
            await peer.send(Send("", b"x"))
        assert await peer.refusal() is RefusalCode.RATE


async def test_a_gateway_that_says_too_much_is_not_refused_but_read_no_faster() -> None:
    limits = RendezvousLimits(frames_per_second=0.4, frame_burst=10)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        client = await peers.client(CLIENT, peers=(GATEWAY,))
        for number in range(11):
            await gateway.send(Send(CLIENT, b"%d" % number))
        assert [await client.receive() for _ in range(10)] == [Deliver(GATEWAY, b"%d" % number) for number in range(10)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.receive()


async def test_a_gateway_is_read_faster_for_each_client_that_is_there_and_that_it_vouches_for() -> None:
    limits = RendezvousLimits(frames_per_second=0.2, frame_burst=10)  # alone, the last frame would take 25 s
    ids = [f"{number:032x}" for number in range(20)]
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        clients = [await peers.client(peer_id, peers=(GATEWAY,)) for peer_id in ids]
        await gateway.send(Vouch(tuple(ids)))
        for _ in range(14):
            await gateway.send(Send(ids[0], b"x"))
        for _ in range(14):
            assert await clients[0].receive() == Deliver(GATEWAY, b"x")


async def test_many_clients_together_do_not_have_a_slow_gateway_cut_off() -> None:
    limits = RendezvousLimits(max_outgoing_frames=64)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        clients = [await peers.client(f"{number:032x}", peers=(GATEWAY,)) for number in range(40)]
        for _ in clients:
            await gateway.receive()  # that it has come
        gateway.websocket.transport.pause_reading()
        for _ in range(20):
            for client in clients:
                await client.send(Send("", bytes(40_000)))
        await asyncio.sleep(0.3)
        gateway.websocket.transport.resume_reading()
        assert isinstance(await gateway.receive(), Deliver)


async def test_a_connection_that_does_not_join_is_closed() -> None:
    async with RendezvousServer(RendezvousLimits(join_timeout=0.05)) as server, Peers(server.port) as peers:
        peer = await peers.open()
        assert await peer.refusal() is RefusalCode.NOT_JOINED


async def test_a_slow_receiver_is_cut_off_and_blocks_nobody() -> None:
    limits = RendezvousLimits(max_outgoing_bytes=500_000, frame_burst=10_000)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        slow = await peers.client(CLIENT, peers=(GATEWAY,))
        quick = await peers.client(OTHER, peers=(GATEWAY,))
        slow.websocket.transport.pause_reading()
        for number in range(1, 400):
            await gateway.send(Send(CLIENT, b"x" * 60_000))
            if number % 100 == 0:
                await gateway.send(Send(OTHER, b"%d" % number))
                assert await quick.receive() == Deliver(GATEWAY, b"%d" % number)
        frames: list[ServerFrame] = []
        while Presence(CLIENT, False) not in frames:
            frames.append(await gateway.receive())
        assert 'perdure_rendezvous_closed_total{reason="slow"} 1.0' in await metrics(server.port)
        slow.websocket.transport.abort()


async def test_what_a_client_says_beyond_its_bytes_is_dropped_and_a_gateway_may_say_more() -> None:
    limits = RendezvousLimits(client_bytes_per_second=1e-6, client_byte_burst=100_000)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        client = await peers.client(CLIENT, peers=(GATEWAY,))
        assert await gateway.receive() == Presence(CLIENT, True)
        for letter in (b"a", b"b", b"c"):
            await client.send(Send("", letter * 50_000))
        await client.send(Send("", b"short"))
        assert await gateway.receive() == Deliver(CLIENT, b"a" * 50_000)
        assert await gateway.receive() == Deliver(CLIENT, b"short")
        for _ in range(3):
            await gateway.send(Send(CLIENT, b"d" * 50_000))
            assert await client.receive() == Deliver(GATEWAY, b"d" * 50_000)
        assert "perdure_rendezvous_dropped_messages_total 2.0" in await metrics(server.port)


async def test_a_client_that_says_more_than_its_gateway_takes_neither_has_it_cut_off_nor_shuts_out_others() -> None:
    limits = RendezvousLimits(max_outgoing_bytes=1_000_000, frame_burst=10_000)
    async with RendezvousServer(limits) as server, Peers(server.port) as peers:
        gateway = await peers.gateway(GATEWAY)
        greedy = await peers.client(CLIENT, peers=(GATEWAY,))
        modest = await peers.client(OTHER, peers=(GATEWAY,))
        assert [await gateway.receive(), await gateway.receive()] == [Presence(CLIENT, True), Presence(OTHER, True)]
        gateway.websocket.transport.pause_reading()
        for _ in range(400):
            await greedy.send(Send("", b"x" * 60_000))
        async with asyncio.timeout(TIMEOUT):
            await (await greedy.websocket.ping())  # all of it was read
        await modest.send(Send("", b"a modest word"))
        async with asyncio.timeout(TIMEOUT):
            await (await modest.websocket.ping())
        gateway.websocket.transport.resume_reading()
        while (frame := await gateway.receive()) != Deliver(OTHER, b"a modest word"):
            assert frame == Deliver(CLIENT, b"x" * 60_000)
        assert 'perdure_rendezvous_closed_total{reason="slow"} 0.0' in await metrics(server.port)


async def test_health_metrics_and_nothing_else_over_http() -> None:
    async with RendezvousServer() as server, Peers(server.port) as peers:
        await peers.gateway(GATEWAY, key=KEY)
        assert await http(server.port, "GET /livez") == ("HTTP/1.1 200 OK", "ok")
        assert await http(server.port, "HEAD /livez") == ("HTTP/1.1 200 OK", "")
        status, body = await http(server.port, "GET /metrics")
        assert status == "HTTP/1.1 200 OK"
        assert 'perdure_rendezvous_peers{role="gateway"} 1.0' in body
        assert (await http(server.port, "GET /"))[0] == "HTTP/1.1 404 Not Found"
        assert (await http(server.port, "POST /livez"))[0].split()[1] in {"400", "405"}
        assert (await http(server.port, "GET /v2"))[0] == "HTTP/1.1 426 Upgrade Required"
        assert (await http(server.port, "GET /v1"))[0] == "HTTP/1.1 404 Not Found"


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


@pytest.mark.parametrize(
    "limits", [{"max_rooms": 0}, {"frames_per_second": -1.0}, {"max_outgoing_bytes": 1000}, {"client_byte_burst": 1000}]
)
def test_limits_that_cannot_be_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"above zero|at least one message"):
        RendezvousLimits(**limits)  # type: ignore[arg-type]
