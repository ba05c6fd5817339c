"""Peers of a rendezvous that speak frames over WebSockets of their own, and plain HTTP beside them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from perdure.signaling.frames import (
    PATH,
    Challenge,
    Join,
    Joined,
    RefusalCode,
    Refused,
    Role,
    decode_server_frame,
    encode_frame,
)
from perdure.signaling.gateway_proof import gateway_join, room_id
from perdure.signaling.noise import public_bytes
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from perdure.signaling.frames import ClientFrame, ServerFrame


def key(number: int) -> X25519PrivateKey:
    """A gateway's, one for each number from 1 to 255."""
    return X25519PrivateKey.from_private_bytes(bytes([number]) * 32)


def room_of(gateway: X25519PrivateKey) -> str:
    """The room of the gateway with this key."""
    return room_id(public_bytes(gateway))


KEY, OTHER_KEY = key(1), key(2)
ROOM, OTHER_ROOM = room_of(KEY), room_of(OTHER_KEY)


class Peer:
    """A raw WebSocket that speaks frames. `challenge` is what the rendezvous began with."""

    def __init__(self, websocket: ClientConnection, challenge: Challenge) -> None:
        self.websocket = websocket
        self.challenge = challenge

    async def send(self, frame: ClientFrame) -> None:
        await self.websocket.send(encode_frame(frame))

    async def receive(self) -> ServerFrame:
        async with asyncio.timeout(TIMEOUT):
            return decode_server_frame(await self.websocket.recv())

    async def refused(self) -> Refused:
        """The refusal that ends the connection; what comes before it is passed over."""
        while True:
            frame = await self.receive()
            if isinstance(frame, Refused):
                await self.ended()
                return frame

    async def refusal(self) -> RefusalCode:
        """Its code."""
        return (await self.refused()).code

    async def ended(self) -> None:
        """Wait until the rendezvous has closed the connection; it says nothing before."""
        async with asyncio.timeout(TIMEOUT):
            with pytest.raises(ConnectionClosed):
                await self.websocket.recv()


class Peers(contextlib.AsyncExitStack):
    """Opens raw peers of the rendezvous on `port`, and closes them."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._url = f"ws://127.0.0.1:{port}{PATH}"

    async def open(self) -> Peer:
        """Connected and challenged; not joined."""
        connection = connect(self._url, proxy=None, max_size=None, close_timeout=0.2)
        websocket = await self.enter_async_context(connection)
        async with asyncio.timeout(TIMEOUT):
            challenge = decode_server_frame(await websocket.recv())
        assert isinstance(challenge, Challenge), "the first frame is the rendezvous' challenge"
        return Peer(websocket, challenge)

    async def client(self, peer_id: str, *, room: str = ROOM, peers: tuple[str, ...] = ()) -> Peer:
        """A client that has joined; `peers` are there already."""
        peer = await self.open()
        await peer.send(Join(room, Role.CLIENT, peer_id))
        assert await peer.receive() == Joined(peers)
        return peer

    async def asking_gateway(self, peer_id: str, *, key: X25519PrivateKey = KEY, name: str = "") -> Peer:
        """A gateway that asks to join."""
        peer = await self.open()
        await peer.send(gateway_join(key, peer_id, name, peer.challenge))
        return peer

    async def gateway(
        self, peer_id: str, *, key: X25519PrivateKey = KEY, name: str = "", peers: tuple[str, ...] = ()
    ) -> Peer:
        """A gateway that has joined; `peers` are there already."""
        peer = await self.asking_gateway(peer_id, key=key, name=name)
        assert await peer.receive() == Joined(peers)
        return peer


async def http(port: int, request: str) -> tuple[str, str]:
    """The status line and the body of a plain request."""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{request} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = (await reader.read()).decode()
        writer.close()
        await writer.wait_closed()
    head, _, body = answer.partition("\r\n\r\n")
    return head.split("\r\n")[0], body


async def metrics(port: int) -> list[str]:
    """The lines of `/metrics`."""
    _, body = await http(port, "GET /metrics")
    return body.splitlines()
