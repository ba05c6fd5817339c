"""A rendezvous in memory that keeps all envelopes, holds back those it likes, and delivers what it likes to whom."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from perdure.signaling.frames import ServerFrame


@dataclass(frozen=True, slots=True)
class Recorded:
    """An envelope that a peer sent."""

    sender: str
    receiver: str
    kind: EnvelopeType
    envelope: bytes


class EvilRendezvous:
    """One room. It relays faithfully, but for the envelopes that `holds` picks."""

    def __init__(self) -> None:
        self.recording: list[Recorded] = []
        self.holds: Callable[[Recorded], bool] = lambda recorded: False
        self.held: list[Recorded] = []
        self.gateway = ""
        """The peer id of the gateway of now."""
        self._ends: dict[str, EvilSocket] = {}

    async def open(self) -> EvilSocket:
        """A peer's connection: an `OpenSocket`."""
        return EvilSocket(self)

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

    def joined(self, join: Join, end: EvilSocket) -> None:
        self._ends[join.peer_id] = end
        if join.role is Role.GATEWAY:
            older, self.gateway = self.gateway, join.peer_id
            clients = [peer_id for peer_id in self._ends if peer_id not in {older, self.gateway}]
            end.push(Joined(tuple(clients)))
            for client in clients:
                self._ends[client].push(Presence(self.gateway, True))
        elif self.gateway in self._ends:
            end.push(Joined((self.gateway,)))
            self._ends[self.gateway].push(Presence(join.peer_id, True))
        else:
            end.push(Joined())

    def left(self, peer_id: str) -> None:
        self._ends.pop(peer_id, None)
        if peer_id == self.gateway:
            for end in self._ends.values():
                end.push(Presence(peer_id, False))

    def sent(self, sender: str, send: Send) -> None:
        receiver = send.to or self.gateway
        recorded = Recorded(sender, receiver, read_type(send.body), send.body)
        self.recording.append(recorded)
        if self.holds(recorded):
            self.held.append(recorded)
        elif receiver in self._ends:
            self._ends[receiver].push(Deliver(sender, send.body))


class EvilSocket:
    """A peer's end of its connection: a `Socket`."""

    def __init__(self, rendezvous: EvilRendezvous) -> None:
        self.local_address = ("192.0.2.1", 1)
        self._rendezvous = rendezvous
        self._peer_id = ""
        self._incoming: deque[ServerFrame] = deque([Challenge(b"\x09" + bytes(31), bytes(16))])
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
    def transport(self) -> EvilSocket:
        return self

    def abort(self) -> None:
        if not self._is_aborted:
            self._is_aborted = True
            self._news.set()
            self._all_read.set()
            self._rendezvous.left(self._peer_id)

    async def send(self, message: str) -> None:
        match decode_client_frame(message):
            case Join() as join:
                self._peer_id = join.peer_id
                self._rendezvous.joined(join, self)
            case Send() as send:
                self._rendezvous.sent(self._peer_id, send)

    async def recv(self) -> str:
        while not self._incoming:
            if self._is_aborted:
                raise ConnectionResetError("reset")
            self._all_read.set()
            self._news.clear()
            await self._news.wait()
        return encode_frame(self._incoming.popleft())

    async def wait_closed(self) -> None:
        pass
