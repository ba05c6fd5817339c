"""Links to a rendezvous whose owner records what it hears, and a rendezvous that keeps to a script."""

from __future__ import annotations

import contextlib
from random import Random
from typing import TYPE_CHECKING

from websockets.asyncio.server import ServerConnection, serve

from perdure.signaling.frames import Challenge, Join, RefusalCode, Role, encode_frame
from perdure.signaling.gateway_proof import gateway_join
from perdure.signaling.websocket import RendezvousLink
from support.raw_peers import KEY, ROOM
from support.signaling import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from perdure.errors import RendezvousError

GATEWAY_ID, CLIENT_ID = "a" * 32, "b" * 32

CHALLENGE = Challenge(b"\x09" + bytes(31), bytes(16))


class Owner:
    """A `LinkListener` that records."""

    def __init__(self) -> None:
        self.openings = 0
        self.ups = 0
        self.downs: list[str] = []
        self.failures: list[RendezvousError] = []
        self.received: list[bytes] = []
        self.presence: list[tuple[str, bool]] = []
        self.on_opening: Callable[[], None] = lambda: None

    def link_opening(self) -> None:
        self.openings += 1
        self.on_opening()

    def link_up(self, peers: Sequence[str]) -> None:
        self.ups += 1
        self.presence.extend((peer_id, True) for peer_id in peers)

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        self.downs.append(reason)

    def link_failed(self, error: RendezvousError) -> None:
        self.failures.append(error)

    def link_received(self, sender: str, body: bytes) -> None:
        self.received.append(body)

    has_live_tubes = False

    def link_presence(self, peer_id: str, present: bool) -> None:
        self.presence.append((peer_id, present))


def new_link(
    port: int,
    owner: Owner,
    role: Role = Role.CLIENT,
    *,
    room: str = ROOM,
    key: X25519PrivateKey = KEY,
    interfaces: Sequence[str] = (),
    host: str = "127.0.0.1",
) -> RendezvousLink:
    """A link that is not started: a client of `room`, or the gateway with `key`."""

    def join(challenge: Challenge) -> Join:
        if role is Role.GATEWAY:
            return gateway_join(key, GATEWAY_ID, "home", challenge)
        return Join(room, role, CLIENT_ID)

    return RendezvousLink(
        f"ws://{host}:{port}", join=join, listener=owner, random=Random(7), interfaces=lambda: interfaces
    )


@contextlib.asynccontextmanager
async def linked(
    port: int,
    role: Role = Role.CLIENT,
    *,
    room: str = ROOM,
    key: X25519PrivateKey = KEY,
    interfaces: Sequence[str] = (),
) -> AsyncIterator[tuple[RendezvousLink, Owner]]:
    """A link that is started, and closed at the end."""
    owner = Owner()
    link = new_link(port, owner, role, room=room, key=key, interfaces=interfaces)
    link.start()
    try:
        yield link, owner
    finally:
        await within(link.close())


@contextlib.asynccontextmanager
async def scripted(script: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[int]:
    """A rendezvous that challenges, reads a join, and runs `script`, for each connection; yields its port."""

    async def run(websocket: ServerConnection) -> None:
        await websocket.send(encode_frame(CHALLENGE))
        await websocket.recv()
        await script(websocket)

    async with serve(run, "127.0.0.1", 0, close_timeout=0.2) as server:
        yield next(iter(server.sockets)).getsockname()[1]
