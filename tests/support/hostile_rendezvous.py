"""A rendezvous that does with envelopes what it likes: drops, alters, repeats, reflects, reorders, misdirects them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from perdure.signaling.envelope import EnvelopeType, read_type
from perdure.signaling.frames import (
    Challenge,
    Deliver,
    Join,
    Joined,
    Presence,
    Role,
    Send,
    decode_client_frame,
    encode_frame,
)

if TYPE_CHECKING:
    from types import TracebackType

Tamper = Callable[[Role, EnvelopeType, bytes], list[bytes]]
"""What is delivered in place of an envelope of a sender."""


class HostileRendezvous:
    """Serves one room. `tamper` turns each envelope of a sender into those that are delivered in its place."""

    def __init__(self) -> None:
        self.tamper: Tamper = lambda _sender, _kind, envelope: [envelope]
        self.seen: list[tuple[str, EnvelopeType, bytes]] = []
        """Every envelope: the sender's peer id, its type, its bytes."""
        self._sockets: dict[str, ServerConnection] = {}
        self._gateway = ""
        self._server: Server | None = None

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = next(iter(self._server.sockets)).getsockname()[1]
        return port

    @property
    def gateway(self) -> str:
        """The gateway's peer id."""
        return self._gateway

    @property
    def clients(self) -> list[str]:
        """The clients' peer ids, in the order of their coming."""
        return [peer_id for peer_id in self._sockets if peer_id != self._gateway]

    def envelopes(self, sender: str, kind: EnvelopeType) -> list[bytes]:
        """What `sender` has sent of `kind`."""
        return [envelope for peer_id, its_kind, envelope in self.seen if (peer_id, its_kind) == (sender, kind)]

    async def inject(self, to: str, envelope: bytes, *, sender: str) -> None:
        """Deliver `envelope` to the peer `to`, as if from `sender`."""
        with contextlib.suppress(ConnectionClosed):
            if to in self._sockets:
                await self._sockets[to].send(encode_frame(Deliver(sender, envelope)))

    async def __aenter__(self) -> Self:
        self._server = await serve(self._serve, "127.0.0.1", 0, close_timeout=0.2)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(Challenge(b"\x09" + bytes(31), bytes(16))))
        join = decode_client_frame(await websocket.recv())
        assert isinstance(join, Join)
        self._sockets[join.peer_id] = websocket
        try:
            with contextlib.suppress(ConnectionClosed):
                await self._relay(websocket, join)
        finally:
            if self._sockets.get(join.peer_id) is websocket:
                del self._sockets[join.peer_id]

    async def _relay(self, websocket: ServerConnection, join: Join) -> None:
        if join.role is Role.GATEWAY:
            self._gateway = join.peer_id
            await websocket.send(encode_frame(Joined(tuple(self.clients))))
            for client in self.clients:
                await self._sockets[client].send(encode_frame(Presence(self._gateway, True)))
        elif self._gateway in self._sockets:
            await websocket.send(encode_frame(Joined((self._gateway,))))
            await self._sockets[self._gateway].send(encode_frame(Presence(join.peer_id, True)))
        else:
            await websocket.send(encode_frame(Joined()))
        async for text in websocket:
            frame = decode_client_frame(text)
            if isinstance(frame, Send):
                receiver = frame.to or self._gateway
                kind = read_type(frame.body)
                self.seen.append((join.peer_id, kind, frame.body))
                for envelope in self.tamper(join.role, kind, frame.body):
                    await self.inject(receiver, envelope, sender=join.peer_id)
