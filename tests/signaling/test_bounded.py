"""A peer of a WebSocket that pings, whether or not it reads; a rendezvous that sends its peers elsewhere."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
from random import Random
from typing import TYPE_CHECKING

import pytest
from websockets.asyncio.client import connect

from perdure.signaling.bounded import EMPTY_FRAMES_AT_ONCE
from perdure.signaling.frames import GATEWAY, PATH, Challenge, Join, Joined, RefusalCode, Role, Send, encode_frame
from perdure.signaling.server import RendezvousServer
from perdure.signaling.websocket import RendezvousLink
from support.raw_peers import metrics
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Sequence

MOST_BYTES = 64 * 1024 * 1024
"""What the kernel's buffers and ours hold together is far less."""

PING = bytes([0x89, 125]) + b"p" * 125
MASKED_PING = bytes([0x89, 0x80 | 125]) + bytes(4) + b"p" * 125
ACCEPT_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455 §1.3."""


MASK = 0x80
"""A client's frames have it, with four bytes that may be zero."""

EMPTY = {"pings": 0x89, "pongs": 0x8A, "fragments": 0x00}
"""The first byte of a frame without data."""

A_READ = 256 * 1024
"""Bytes that asyncio reads at once."""


async def flood(writer: asyncio.StreamWriter, frame: bytes) -> int:
    """`frame` again and again, until the other end breaks it off; the bytes that it took."""
    sent = 0
    chunk = frame * (A_READ // 4 // len(frame))
    with contextlib.suppress(ConnectionError):
        while sent < MOST_BYTES:
            writer.write(chunk)
            await writer.drain()
            sent += len(chunk)
    writer.transport.abort()
    return sent


async def read_all(reader: asyncio.StreamReader) -> int:
    """Until the other end breaks it off; how many bytes came."""
    count = 0
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(A_READ):
            count += len(data)
    return count


def upgrade() -> bytes:
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET {PATH} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    return (request + f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n").encode()


def text(content: str, *, fin: int = 0x80) -> bytes:
    """A client's short text frame."""
    assert len(content) < 126, "a length of one byte"
    return bytes([fin | 0x01, MASK | len(content)]) + bytes(4) + content.encode()


async def test_a_connection_that_pings_and_never_reads_is_cut_by_the_rendezvous() -> None:
    async with RendezvousServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(upgrade())
        async with asyncio.timeout(TIMEOUT):
            assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            assert await flood(writer, MASKED_PING) < MOST_BYTES


@pytest.mark.parametrize("kind", EMPTY)
async def test_a_connection_of_empty_frames_is_cut_by_the_rendezvous_though_it_reads(
    kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    frame = bytes([EMPTY[kind], MASK]) + bytes(4)
    async with RendezvousServer() as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(upgrade() + (text("", fin=0) if kind == "fragments" else b""))
        async with asyncio.timeout(TIMEOUT):
            answered, sent = await asyncio.gather(read_all(reader), flood(writer, frame))
    assert sent < MOST_BYTES
    assert "empty-frames-closed" in caplog.text
    assert answered < 2048, "a challenge, and two bytes for each of a few hundred pings"


async def test_a_peer_may_send_its_messages_in_fragments_of_some_size() -> None:
    join = Join("0" * 32, Role.CLIENT, "1" * 32)
    message = encode_frame(Send(GATEWAY, bytes(48 * 1024)))
    async with RendezvousServer() as server:
        async with connect(f"ws://127.0.0.1:{server.port}{PATH}", compression=None) as websocket:
            await websocket.send(encode_frame(join))
            for _ in range(EMPTY_FRAMES_AT_ONCE // 16):
                await websocket.send(message[begin : begin + 4096] for begin in range(0, len(message), 4096))
            await (await websocket.ping())
        assert "perdure_rendezvous_dropped_messages_total 16.0" in await metrics(server.port)


class Silent:
    """A link's owner that wants to know of nothing but its losses."""

    def __init__(self) -> None:
        self.down = asyncio.Event()
        self.reasons: list[str] = []

    def link_opening(self) -> None: ...

    def link_up(self, peers: Sequence[str]) -> None: ...

    def link_down(self, reason: str, refusal: RefusalCode | None) -> None:
        self.reasons.append(reason)
        self.down.set()

    def link_failed(self, error: Exception) -> None: ...

    def link_received(self, sender: str, body: bytes) -> None: ...

    has_live_tubes = False

    def link_presence(self, peer_id: str, present: bool) -> None: ...


def link(port: int, owner: Silent) -> RendezvousLink:
    join = Join("0" * 32, Role.CLIENT, "1" * 32)
    return RendezvousLink(f"ws://127.0.0.1:{port}", join=lambda challenge: join, listener=owner, random=Random(1))


@pytest.mark.parametrize("reads", [False, True])
async def test_a_rendezvous_that_pings_is_left_whether_or_not_it_reads(reads: bool) -> None:
    taken: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
        accept = base64.b64encode(hashlib.sha1(key.partition(b":")[2].strip() + ACCEPT_GUID).digest())
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        for frame in Challenge(b"\x09" + bytes(31), bytes(16)), Joined():
            said = encode_frame(frame).encode()
            assert len(said) < 126, "a length of one byte"
            writer.write(bytes([0x81, len(said)]) + said)
        if reads:
            sent, answered = await asyncio.gather(flood(writer, bytes([EMPTY["pings"], 0])), read_all(reader))
            assert answered < 4096, "a join, and six bytes for each of a few hundred pings"
        else:
            reader._transport.pause_reading()  # type: ignore[attr-defined]
            sent = await flood(writer, PING)
        if not taken.done():
            taken.set_result(sent)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    owner = Silent()
    async with server:
        peer = link(server.sockets[0].getsockname()[1], owner)
        peer.start()
        try:
            async with asyncio.timeout(TIMEOUT):
                assert await taken < MOST_BYTES
                await owner.down.wait()
        finally:
            await peer.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
async def test_a_rendezvous_sends_its_peers_nowhere(status: int) -> None:
    reached = asyncio.Event()

    async def elsewhere(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.close()

    other = await asyncio.start_server(elsewhere, "127.0.0.1", 0)
    target = f"ws://127.0.0.1:{other.sockets[0].getsockname()[1]}/"

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status} Elsewhere\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode())
        writer.close()

    server = await asyncio.start_server(redirect, "127.0.0.1", 0)
    owner = Silent()
    async with server, other:
        peer = link(server.sockets[0].getsockname()[1], owner)
        peer.start()
        try:
            async with asyncio.timeout(TIMEOUT):
                while len(owner.reasons) < 2:
                    owner.down.clear()
                    await owner.down.wait()
        finally:
            await peer.close()
    assert str(status) in owner.reasons[0]
    assert not reached.is_set()
