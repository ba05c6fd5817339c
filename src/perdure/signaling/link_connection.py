"""One connection of a link: it joins its room, then carries frames."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from websockets.exceptions import WebSocketException

from perdure.errors import ProtocolError
from perdure.signaling.frames import Challenge, Join, Joined, Refused, ServerFrame, decode_server_frame, encode_frame
from perdure.signaling.outgoing import Outgoing

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.socket import Socket

LOSSES = (OSError, EOFError, WebSocketException)
"""What a socket raises; it has ended then."""

DOUBT_TIMEOUT = 0.25
"""Seconds that the rendezvous has at least to answer a ping when its path is doubted. A busy machine is late by 0.1 s;
and 0.25 s is what a new connection waits for the first answer before it tries again (RFC 8305)."""

DOUBT_ROUND_TRIPS = 3
"""Usual round trips that it has: as a silent path of a tube is lost after three times its usual answer."""


FRAMES_A_TURN = 16
"""That are taken in one turn of the event loop: each costs some 30 µs, and a message that is opened 0.1 ms."""


class LinkConnection:
    """A WebSocket to the rendezvous, and what is to be written to it."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._join_sent_at = 0.0
        self._join_latency = 0.0
        self._asked_at: float | None = None
        self._received = 0
        self._writer: asyncio.Task[None] | None = None

    @property
    def local_address(self) -> str:
        address: str = self._socket.local_address[0]
        return address

    async def send_join(self, join: Callable[[Challenge], Join]) -> None:
        """Answer the rendezvous' challenge, which comes first.

        Raises:
            ProtocolError: something else came first.
        """
        frame = await self.receive()
        if not isinstance(frame, Challenge):
            raise ProtocolError("the rendezvous began with something else than its challenge")
        await self._socket.send(encode_frame(join(frame)))
        self._join_sent_at = asyncio.get_running_loop().time()

    async def join_answer(self) -> Joined | Refused:
        """
        Raises:
            ProtocolError: something else came.
        """
        frame = await self.receive()
        if not isinstance(frame, Joined | Refused):
            raise ProtocolError("the rendezvous answered a join with something else")
        self._join_latency = asyncio.get_running_loop().time() - self._join_sent_at
        return frame

    async def receive(self) -> ServerFrame:
        """The next frame. Raises `LOSSES`, or `ProtocolError` where it is none."""
        self._received += 1
        if self._received % FRAMES_A_TURN == 0:
            await asyncio.sleep(0)  # a rendezvous that always has a frame lets the loop go round
        return decode_server_frame(await self._socket.recv(decode=False))

    def begin_writing(self) -> Outgoing:
        """What takes the frames to be written, from now until `abort`."""
        outgoing = Outgoing()
        self._writer = asyncio.create_task(outgoing.write_to(self._socket), name="rendezvous link writer")
        return outgoing

    @property
    def patience(self) -> float:
        """Seconds for an answer to a ping, by which the path is not doubted any more."""
        return max(DOUBT_TIMEOUT, DOUBT_ROUND_TRIPS * (self._socket.latency or self._join_latency))

    def ask_delay(self, interval: float) -> float:
        """Seconds until the last ping of `answers_ping` is `interval` old."""
        if self._asked_at is None:
            return 0.0
        return max(0.0, self._asked_at + interval - asyncio.get_running_loop().time())

    async def answers_ping(self) -> bool:
        """Wait for the answer to a ping, or for the connection's end."""
        self._asked_at = asyncio.get_running_loop().time()
        try:
            await (await self._socket.ping())
        except LOSSES:
            return False
        return True

    def abort(self) -> None:
        """End it at once. Twice is fine."""
        # No close handshake: on a dead path it would wait, and the rendezvous sees the end either way.
        self._socket.transport.abort()
        if self._writer is not None:
            self._writer.cancel()

    async def wait_closed(self) -> None:
        """After `abort`."""
        if self._writer is not None:
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._socket.wait_closed()
