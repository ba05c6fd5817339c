"""The ports on this machine's loopback by which the engine reaches a TURN server over TLS: what others can do there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import urlsplit

from perdure import IceServer
from perdure.turn.pool import ServerAddress, Trouble
from perdure.turn.tls_bridge import MAX_CONNECTIONS, TlsBridge
from support.certificates import certificate
from support.recorder import TIMEOUT
from support.targets import echo

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


def failed(address: ServerAddress, code: int, why: tuple[str, Trouble]) -> NoReturn:
    raise AssertionError(f"{address} {code} {why}")


@contextlib.asynccontextmanager
async def bridge(folder: Path) -> AsyncIterator[tuple[str, int]]:
    """Host and port of one that leads to a server that says over TLS what it hears."""
    for_server, for_client = certificate(folder)
    server = await asyncio.start_server(echo, "127.0.0.1", 0, ssl=for_server)
    port = server.sockets[0].getsockname()[1]
    one = IceServer(f"turns:127.0.0.1:{port}", "me", "secret")
    made = TlsBridge(one, ServerAddress("127.0.0.1", port, "tls"), for_client, failed)
    there = urlsplit(made.engine_url.replace("turn:", "turn://"))
    assert there.hostname is not None
    assert there.port is not None
    async with server, asyncio.timeout(TIMEOUT):
        yield there.hostname, there.port
        made.close()


async def says(to: tuple[asyncio.StreamReader, asyncio.StreamWriter], text: bytes) -> bytes:
    """What comes back; nothing where the connection was closed."""
    reader, writer = to
    with contextlib.suppress(OSError):
        writer.write(text)
        return await reader.read(100)
    return b""


async def test_who_connects_to_it_reaches_the_turn_server_and_is_given_no_password(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (host, port):
        assert host == "127.0.0.1"
        stranger = await asyncio.open_connection(host, port)
        assert await says(stranger, b"hello") == b"hello"
        stranger[1].close()


async def test_it_has_so_many_connections_at_a_time_and_closes_one_more_at_once(tmp_path: Path) -> None:
    async with bridge(tmp_path) as (host, port):
        taken = [await asyncio.open_connection(host, port) for _ in range(MAX_CONNECTIONS)]
        assert [await says(one, b"1") for one in taken] == [b"1"] * MAX_CONNECTIONS
        another = await asyncio.open_connection(host, port)
        assert await says(another, b"2") == b""
        for _, writer in (*taken, another):
            writer.close()
