"""Unix sockets at either end of a forward."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from streams.test_curl import curl
from support.processes import running, running_gateway, running_rendezvous
from support.targets import echo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.processes import Program

TIMEOUT = 60.0


@pytest.fixture
async def ticket(tmp_path: Path) -> AsyncIterator[str]:
    """Of a gateway that allows every port of 127.0.0.1, and two unix sockets."""
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, allow=("127.0.0.1:*", str(tmp_path / "target"), str(tmp_path / "absent"))) as (_, ticket),
    ):
        yield ticket


@asynccontextmanager
async def client(ticket: str, *forwards: str) -> AsyncIterator[Program]:
    options = [word for forward in forwards for word in ("-L", forward)]
    async with (
        asyncio.timeout(TIMEOUT),
        running("connect", ticket, *options, "--loopback", "--json-logs", "--faults") as program,
    ):
        await program.says("ready")
        yield program


async def echoes(path: Path) -> None:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(b"hello")
    writer.write_eof()
    assert await reader.read() == b"hello"
    writer.close()
    await writer.wait_closed()


async def test_a_unix_socket_leads_to_one_at_the_other_end_and_goes_with_the_client(
    tmp_path: Path, ticket: str
) -> None:
    local, target = tmp_path / "local", tmp_path / "target"
    async with serving(echo, path=target), client(ticket, f"{local}:{target}") as program:
        assert program.stdout.seen[0] == f"listening {local} -> {target}"
        assert stat.S_IMODE(local.stat().st_mode) == 0o600
        await echoes(local)
        await program.inject("kill")
        await echoes(local)
    assert not local.exists()


async def test_a_port_leads_to_a_unix_socket_and_a_unix_socket_to_a_port(tmp_path: Path, ticket: str) -> None:
    local, target = tmp_path / "local", tmp_path / "target"
    async with (
        serving(echo, path=target),
        serving(echo) as port,
        client(ticket, f"127.0.0.1:0:{target}", f"{local}:{port}") as program,
    ):
        await echoes(local)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", int(program.stdout.seen[0].partition(" -> ")[0].rpartition(":")[2])
        )
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"hello"
        writer.close()


async def test_curl_talks_http_over_a_unix_socket(tmp_path: Path, ticket: str) -> None:
    async def http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
        await writer.drain()

    local, target = tmp_path / "local", tmp_path / "target"
    async with (
        serving(http, path=target),
        client(ticket, f"{local}:{target}"),
        curl("--unix-socket", str(local), "http://any/") as process,
    ):
        assert await process.communicate() == (b"hello", b"")


async def test_a_unix_socket_that_is_absent_or_not_allowed_is_refused(tmp_path: Path, ticket: str) -> None:
    forwards = [f"{tmp_path / name}-local:{tmp_path / name}" for name in ("absent", "forbidden")]
    async with serving(echo, path=tmp_path / "forbidden"), client(ticket, *forwards) as program:
        for name, why in (("absent", "cannot reach"), ("forbidden", "not in its allow list")):
            reader, writer = await asyncio.open_unix_connection(f"{tmp_path / name}-local")
            assert await reader.read() == b""  # a unix socket has no reset but behind bytes that nobody has read
            writer.close()
            assert why in str((await program.logs("stream-ended", target=str(tmp_path / name)))["why"])


async def test_what_a_killed_client_has_left_is_replaced_and_what_is_in_use_is_not(tmp_path: Path, ticket: str) -> None:
    local = tmp_path / "local"
    async with serving(echo) as target:
        async with client(ticket, f"{local}:{target}") as program:
            async with running("connect", ticket, "-L", f"{local}:{target}", "--loopback") as second:
                assert await second.ended() == 6
                assert f"cannot listen on {local}: {os.strerror(98)}" in second.stderr.text
            await echoes(local)
            await program.stop(signal.SIGKILL)
        assert local.exists()
        async with client(ticket, f"{local}:{target}"):
            await echoes(local)
        local.write_text("a file of somebody's")
        async with running("connect", ticket, "-L", f"{local}:{target}", "--loopback") as third:
            assert await third.ended() == 6
        assert local.read_text() == "a file of somebody's"


async def test_a_path_that_cannot_be_made_is_told(tmp_path: Path, ticket: str) -> None:
    async with running("connect", ticket, "-L", f"{tmp_path}/none/local:127.0.0.1:9", "--loopback") as program:
        assert await program.ended() == 6
        assert "No such file or directory" in program.stderr.text
