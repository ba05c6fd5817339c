"""`perdure connect -D`: real curl, and clients that misbehave, at a SOCKS5 proxy."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from streams.test_curl import curl, http_server
from support.processes import running, running_gateway, running_rendezvous
from support.targets import connected, echo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from support.processes import Program

TIMEOUT = 60.0

GREETING, WELCOME = b"\x05\x01\x00", b"\x05\x00"
SUCCEEDED = b"\x05\x00\x00\x01" + bytes(6)
REFUSED = b"\x05\x05\x00\x01" + bytes(6)
NOT_ALLOWED = b"\x05\x02\x00\x01" + bytes(6)


class Proxy:
    """A client with a SOCKS5 proxy, and what it belongs to."""

    def __init__(self, client: Program, gateway: Program, port: int) -> None:
        self.client = client
        self.gateway = gateway
        self.port = port


@asynccontextmanager
async def proxy(*options: str, allow: Sequence[str] = ("127.0.0.1:*", "localhost:*")) -> AsyncIterator[Proxy]:
    async with (
        asyncio.timeout(TIMEOUT),
        running_rendezvous() as (_, url),
        running_gateway(url, allow=allow) as (gateway, ticket),
        running("connect", ticket, "-D", "0", "--loopback", "--json-logs", "--faults", *options) as client,
    ):
        line = await client.says("listening localhost:")
        assert line.endswith(" (SOCKS5)")
        await client.says("ready")
        yield Proxy(client, gateway, int(line.removesuffix(" (SOCKS5)").rpartition(":")[2]))


def request_for(target: str) -> bytes:
    """A CONNECT to `HOST:PORT`, the host as a name."""
    host, _, port = target.rpartition(":")
    return bytes([5, 1, 0, 3, len(host)]) + host.encode() + int(port).to_bytes(2, "big")


async def test_curl_gets_a_file_by_a_name_that_only_the_gateway_resolves(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello, world\n")
    async with http_server(tmp_path) as server, proxy() as socks:
        url = f"http://localhost:{server.rpartition(':')[2]}/hello.txt"
        for way in ("--socks5-hostname", "--socks5"):
            async with curl(way, f"127.0.0.1:{socks.port}", url) as process:
                assert await process.communicate() == (b"hello, world\n", b"")


async def test_curl_is_told_why_it_gets_nothing() -> None:
    async with proxy() as socks:
        for target, code in (("127.0.0.1:9", b"(5)"), ("192.0.2.1:80", b"(2)")):
            async with curl("--socks5-hostname", f"127.0.0.1:{socks.port}", f"http://{target}/") as process:
                _, err = await process.communicate()
                assert process.returncode == 97
                assert code in err


async def test_only_a_program_that_knows_the_login_is_served(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello, world\n")
    login = tmp_path / "login"
    login.write_text("me:my:word\n")
    login.chmod(0o600)
    async with http_server(tmp_path) as server, proxy("--socks-login", str(login)) as socks:
        url = f"http://{server}/hello.txt"
        for user, code in (("me:my:word@", 0), ("me:wrong@", 97), ("", 97)):
            async with curl("-x", f"socks5h://{user}127.0.0.1:{socks.port}", url) as process:
                await process.communicate()
                assert process.returncode == code
        assert "my:word" not in socks.client.said


async def test_what_comes_with_the_request_reaches_the_target_behind_the_reply() -> None:
    async with serving(echo) as target, proxy() as socks, connected(socks.port) as (reader, writer):
        writer.write(GREETING + request_for(target) + b"early")
        assert await reader.readexactly(12) == WELCOME + SUCCEEDED
        assert await reader.readexactly(5) == b"early"
        writer.write(b"late")
        writer.write_eof()
        assert await reader.read() == b"late"


async def test_a_connection_through_the_proxy_outlives_its_carrier() -> None:
    async with serving(echo) as target, proxy() as socks, connected(socks.port) as (reader, writer):
        writer.write(GREETING + request_for(target))
        assert await reader.readexactly(12) == WELCOME + SUCCEEDED
        for side in (socks.client, socks.gateway):
            since = socks.client.mark
            await side.inject("kill")
            writer.write(b"still here")
            assert await reader.readexactly(10) == b"still here"
            await socks.client.recovers(since=since)


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", b"HTTP/1.0 501"),
        (b"\x04\x01\x00\x50\x7f\x00\x00\x01\x00", b"\x00\x5b"),
        (GREETING + b"\x05\x02\x00\x01" + bytes(6), WELCOME + b"\x05\x07"),
        (GREETING + b"\x05\x01\x00\x03\x01 \x00\x50", WELCOME + b"\x05\x04"),
        (b"\xff" * 1000, b""),
    ],
)
async def test_a_client_that_speaks_something_else_is_told_and_harms_nobody(said: bytes, answer: bytes) -> None:
    async with serving(echo) as target, proxy() as socks:
        async with connected(socks.port) as (reader, writer):
            writer.write(said)
            assert (await reader.read()).startswith(answer)
        await socks.client.logs("connection-refused", level="WARNING")
        async with connected(socks.port) as (reader, writer):
            writer.write(GREETING + request_for(target))
            assert await reader.readexactly(12) == WELCOME + SUCCEEDED


async def test_a_program_that_gives_up_while_the_target_is_dialled_is_not_connected_to_it() -> None:
    dialled = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        dialled.set()
        assert await reader.read() == b""

    async with serving(take) as target, proxy() as socks:
        await socks.gateway.stop()  # so that the stream is not accepted
        async with connected(socks.port) as (_, writer):
            writer.write(GREETING + request_for(target))
        async with connected(socks.port) as (reader, writer):
            writer.write(GREETING + request_for(target))
            await reader.readexactly(2)
    assert not dialled.is_set()
