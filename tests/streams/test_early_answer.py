"""A server that answers early, and closes with unread input, makes its kernel send RST behind the whole answer.

Found by trying public bug reports: the reset overtook what was accepted and not yet sent.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from support.recorder import TIMEOUT
from support.tunnels import tunnel_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWER = b"HTTP/1.1 413 Content Too Large\r\n\r\n" + b"a" * 60_000


@pytest.fixture
async def hasty_server() -> AsyncIterator[int]:
    """Reads the first bytes of a request, answers, and closes; its port."""

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.recv(1000)
            connection.sendall(ANSWER)

    listening = socket.create_server(("127.0.0.1", 0))
    loop = asyncio.get_running_loop()
    listening.setblocking(False)

    async def accept() -> None:
        while True:
            connection, _ = await loop.sock_accept(listening)
            connection.setblocking(True)
            await asyncio.to_thread(serve, connection)

    accepting = asyncio.ensure_future(accept())
    yield listening.getsockname()[1]
    accepting.cancel()
    await asyncio.gather(accepting, return_exceptions=True)
    listening.close()


def talk(port: int) -> bytes:
    """As a plain client does: send a large body, read until the end or the reset."""
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as client:
        try:
            client.sendall(b"POST / HTTP/1.1\r\n\r\n" + b"b" * 20_000)
            while data := client.recv(4096):
                answer += data
        except ConnectionError:
            pass
    return answer


async def test_the_whole_answer_arrives_through_a_forwarded_port(hasty_server: int) -> None:
    async with tunnel_to(None, allow=[f"127.0.0.1:{hasty_server}"]) as (tunnel, _):
        server = await tunnel.listen("127.0.0.1", 0, to=("127.0.0.1", hasty_server))
        port = server.sockets[0].getsockname()[1]
        for _ in range(10):
            assert await asyncio.to_thread(talk, port) == ANSWER


async def test_the_whole_answer_arrives_through_open_connection(hasty_server: int) -> None:
    async with tunnel_to(None, allow=[f"127.0.0.1:{hasty_server}"]) as (tunnel, _):
        for _ in range(10):
            reader, writer = await tunnel.open_connection("127.0.0.1", hasty_server)
            writer.write(b"POST / HTTP/1.1\r\n\r\n" + b"b" * 20_000)
            async with asyncio.timeout(TIMEOUT):
                assert await reader.readexactly(len(ANSWER)) == ANSWER
            writer.close()


async def test_a_slow_reader_gets_it_all_before_the_reset(hasty_server: int) -> None:
    """More than the local socket's buffers hold would wait in the tunnel; here the reader only begins late."""
    async with tunnel_to(None, allow=[f"127.0.0.1:{hasty_server}"]) as (tunnel, _):
        server = await tunnel.listen("127.0.0.1", 0, to=("127.0.0.1", hasty_server))
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        with client:
            await loop.sock_connect(client, server.sockets[0].getsockname())
            await loop.sock_sendall(client, b"POST / HTTP/1.1\r\n\r\n" + b"b" * 20_000)
            answer = b""
            async with asyncio.timeout(TIMEOUT):
                while len(answer) < len(ANSWER):
                    await asyncio.sleep(0.001)
                    data = await loop.sock_recv(client, 1000)
                    assert data, f"the end after {len(answer)} bytes"
                    answer += data
        assert answer == ANSWER
