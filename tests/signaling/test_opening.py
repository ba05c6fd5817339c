"""What a link sends before its join is answered: after a change of the network that is a round trip less."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.signaling.frames import GATEWAY, Joined, Role, Send, decode_client_frame, encode_frame
from perdure.signaling.server import RendezvousServer
from support.links import Owner, linked, new_link, scripted
from support.signaling import eventually, within

if TYPE_CHECKING:
    from websockets.asyncio.server import ServerConnection

    from perdure.signaling.frames import ClientFrame
    from perdure.signaling.websocket import RendezvousLink


def started(port: int) -> tuple[Owner, RendezvousLink]:
    """A link that says b"early" at each opening."""
    owner = Owner()
    link = new_link(port, owner)
    owner.on_opening = lambda: link.send(GATEWAY, b"early")
    link.start()
    return owner, link


async def test_what_is_sent_at_the_opening_goes_out_though_the_join_is_never_answered() -> None:
    heard: list[ClientFrame] = []

    async def never_answer(websocket: ServerConnection) -> None:
        heard.append(decode_client_frame(await websocket.recv()))
        await websocket.wait_closed()

    async with scripted(never_answer) as port:
        owner, link = started(port)
        await eventually(lambda: heard == [Send("", b"early")])
        assert owner.ups == 0
        await within(link.close())


async def test_a_message_is_at_the_gateway_after_two_round_trips() -> None:
    """TCP, then HTTP with the challenge: of what the rendezvous says after that, this path carries nothing."""

    async def carry_one_answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", server.port)
        request = await reader.readuntil(b"\r\n\r\n")
        far_writer.write(request)
        opened = await far_reader.readuntil(b"\r\n\r\n")
        head = await far_reader.readexactly(2)
        challenge = await far_reader.readexactly(head[1])
        assert head[0] == 0x81, "a text frame"
        writer.write(opened + head + challenge)
        while data := await reader.read(65536):
            far_writer.write(data)
        far_writer.transport.abort()
        writer.transport.abort()

    path = await asyncio.start_server(carry_one_answer, "127.0.0.1", 0)
    async with RendezvousServer() as server, linked(server.port, Role.GATEWAY) as (gateway, at_gateway), path:
        await eventually(lambda: gateway.is_up)
        owner, link = started(path.sockets[0].getsockname()[1])
        await eventually(lambda: at_gateway.received == [b"early"])
        assert owner.ups == 0
        await within(link.close())


async def test_after_a_join_without_an_answer_the_next_one_is_waited_for() -> None:
    connections: list[list[ClientFrame]] = []

    async def answer_the_third(websocket: ServerConnection) -> None:
        frames: list[ClientFrame] = []
        connections.append(frames)
        if len(connections) == 1:
            frames.append(decode_client_frame(await websocket.recv()))
        elif len(connections) == 3:
            await websocket.send(encode_frame(Joined()))
            frames.append(decode_client_frame(await websocket.recv()))
            await websocket.wait_closed()
        # The first and the second are closed without an answer.

    async with scripted(answer_the_third) as port:
        owner, link = started(port)
        await eventually(lambda: len(connections) == 3 and len(connections[2]) == 1)
        assert connections == [[Send("", b"early")], [], [Send("", b"early")]]
        assert owner.openings == 2
        await within(link.close())
