"""A rendezvous that does with envelopes what it likes: drops, alters, repeats, reflects, reorders, misdirects them."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from perdure.signaling.envelope import EnvelopeType, read_type
from perdure.signaling.frames import Deliver, Join, Joined, Presence, Role, Send, decode_client_frame, encode_frame
from support.links import CHALLENGE
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure.signaling.frames import ServerFrame


@dataclass(frozen=True, slots=True)
class Recorded:
    """An envelope that a peer sent."""

    sender: str
    role: Role
    """The sender's."""
    receiver: str
    kind: EnvelopeType
    envelope: bytes


Tamper = Callable[[Recorded], list[bytes]]
"""What the receiver gets in place of an envelope."""


def faithfully(recorded: Recorded) -> list[bytes]:
    return [recorded.envelope]


class HostileRendezvous:
    """One room, in memory. `tamper` turns each envelope into those that are delivered in its place."""

    def __init__(self) -> None:
        self.tamper: Tamper = faithfully
        self.recording: list[Recorded] = []
        """Every envelope that was sent."""
        self.gateway = ""
        """The peer id of the gateway of now."""
        self._ends: dict[str, HostileSocket] = {}

    @property
    def clients(self) -> list[str]:
        """The clients' peer ids, in the order of their coming."""
        return [peer_id for peer_id, end in self._ends.items() if end.role is Role.CLIENT]

    def envelopes(self, sender: str, kind: EnvelopeType) -> list[bytes]:
        """What `sender` has sent of `kind`."""
        return [each.envelope for each in self.recording if (each.sender, each.kind) == (sender, kind)]

    async def open(self, interface: str | None = None) -> HostileSocket:
        """A peer's connection: an `OpenSocket`."""
        return HostileSocket(self)

    async def deliver(self, to: str, envelope: bytes, *, sender: str) -> None:
        """Deliver `envelope` to the peer `to`, as if from `sender`, and wait until it has been read."""
        end = self._ends[to]
        end.push(Deliver(sender, envelope))
        await end.has_read()

    async def say_present(self, to: str, peer_id: str, present: bool = True) -> None:
        """Tell the peer `to` that `peer_id` is there, or not, whether it is true or not."""
        end = self._ends[to]
        end.push(Presence(peer_id, present))
        await end.has_read()

    def joined(self, end: HostileSocket) -> None:
        self._ends[end.peer_id] = end
        if end.role is Role.GATEWAY:
            self.gateway = end.peer_id
            end.push(Joined(tuple(self.clients)))
            for client in self.clients:
                self._ends[client].push(Presence(self.gateway, True))
        elif self.gateway in self._ends:
            end.push(Joined((self.gateway,)))
            self._ends[self.gateway].push(Presence(end.peer_id, True))
        else:
            end.push(Joined())

    def left(self, end: HostileSocket) -> None:
        if self._ends.get(end.peer_id) is end:
            del self._ends[end.peer_id]
            if end.peer_id == self.gateway:
                for client in self.clients:
                    self._ends[client].push(Presence(end.peer_id, False))

    def sent(self, end: HostileSocket, send: Send) -> None:
        receiver = send.to or self.gateway
        recorded = Recorded(end.peer_id, end.role, receiver, read_type(send.body), send.body)
        self.recording.append(recorded)
        for envelope in self.tamper(recorded):
            if receiver in self._ends:
                self._ends[receiver].push(Deliver(end.peer_id, envelope))


class HostileSocket:
    """A peer's end of its connection: a `Socket`."""

    def __init__(self, rendezvous: HostileRendezvous) -> None:
        self.local_address = ("192.0.2.1", 1)
        self.peer_id = ""
        self.role = Role.CLIENT
        self._rendezvous = rendezvous
        self._incoming: deque[ServerFrame] = deque([CHALLENGE])
        self._news = asyncio.Event()
        self._all_read = asyncio.Event()
        self._is_aborted = False

    def push(self, frame: ServerFrame) -> None:
        self._incoming.append(frame)
        self._all_read.clear()
        self._news.set()

    async def has_read(self) -> None:
        """Wait until the peer has taken all that came, and asks for more."""
        async with asyncio.timeout(TIMEOUT):
            await self._all_read.wait()

    @property
    def transport(self) -> HostileSocket:
        return self

    def abort(self) -> None:
        if not self._is_aborted:
            self._is_aborted = True
            self._news.set()
            self._all_read.set()
            self._rendezvous.left(self)

    async def send(self, message: str) -> None:
        match decode_client_frame(message):
            case Join() as join:
                self.peer_id, self.role = join.peer_id, join.role
                self._rendezvous.joined(self)
            case Send() as send:
                self._rendezvous.sent(self, send)

    async def recv(self, decode: Literal[False] = False) -> bytes:
        while not self._incoming:
            if self._is_aborted:
                raise ConnectionResetError("reset")
            self._all_read.set()
            self._news.clear()
            await self._news.wait()
        return encode_frame(self._incoming.popleft()).encode()

    latency = 0.0

    async def ping(self) -> asyncio.Future[float]:
        return asyncio.get_running_loop().create_future()

    async def wait_closed(self) -> None:
        pass


@contextlib.asynccontextmanager
async def hostile_server() -> AsyncIterator[tuple[HostileRendezvous, int]]:
    """A hostile rendezvous behind real sockets, and its port."""
    rendezvous = HostileRendezvous()

    async def serve_one(websocket: ServerConnection) -> None:
        end = await rendezvous.open()
        writing = asyncio.ensure_future(_write(end, websocket))
        with contextlib.suppress(ConnectionClosed):
            async for text in websocket:
                assert isinstance(text, str)
                await end.send(text)
        end.abort()
        await writing

    async with serve(serve_one, "127.0.0.1", 0, close_timeout=0.2) as server:
        yield rendezvous, next(iter(server.sockets)).getsockname()[1]


async def _write(end: HostileSocket, websocket: ServerConnection) -> None:
    with contextlib.suppress(ConnectionResetError, ConnectionClosed):
        while True:
            await websocket.send(await end.recv(), text=True)
