"""Tunnels on uvloop, whose transports are not asyncio's."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import pytest

from perdure import ListenError
from support.certificates import certificate
from support.targets import CONVERSATION_TIMEOUT, echo, reset, serving
from support.tunnels import tunnel_to

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from perdure import Tunnel
    from support.targets import Handler

    Use = Callable[[Tunnel, str, int], Awaitable[None]]

uvloop = pytest.importorskip("uvloop", reason="there is none for Windows")


def on_uvloop(use: Use, target: Handler = echo, *, server_context: ssl.SSLContext | None = None) -> None:
    """Run `use` with a tunnel and the address of `target` beside its gateway."""

    async def main() -> None:
        assert type(asyncio.get_running_loop()).__module__ == "uvloop"
        async with serving(target, ssl=server_context) as address:
            host, _, port = address.partition(":")
            async with tunnel_to(None, allow=[address]) as (tunnel, _), asyncio.timeout(CONVERSATION_TIMEOUT):
                await use(tunnel, host, int(port))

    uvloop.run(main())


def test_a_stream_and_a_local_port_lead_to_a_target() -> None:
    async def use(tunnel: Tunnel, host: str, port: int) -> None:
        async with await tunnel.listen("127.0.0.1", 0, to=(host, port)) as server:
            for address in (host, port), server.sockets[0].getsockname():
                via = tunnel if address == (host, port) else asyncio
                reader, writer = await via.open_connection(*address)
                writer.write(bytes(1_000_000))
                writer.write_eof()
                assert await reader.read() == bytes(1_000_000)
                writer.close()
            with pytest.raises(ListenError):
                await tunnel.listen(*server.sockets[0].getsockname(), to=(host, port))

    on_uvloop(use)


def test_an_answer_in_front_of_a_reset_arrives_whole() -> None:
    async def hasty(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(bytes(60_000))
        await writer.drain()
        writer.close()  # with unread bytes: the kernel sends RST behind what was written

    async def use(tunnel: Tunnel, host: str, port: int) -> None:
        async with await tunnel.listen("127.0.0.1", 0, to=(host, port)) as server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(bytes(100_000))
            received = 0
            try:
                while data := await reader.read(65536):
                    received += len(data)
            except ConnectionResetError:
                pass
            assert received == 60_000
            writer.close()

    on_uvloop(use, hasty)


def test_a_reset_is_a_reset() -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        reset(writer)

    async def use(tunnel: Tunnel, host: str, port: int) -> None:
        reader, writer = await tunnel.open_connection(host, port)
        writer.write(b"x")
        with pytest.raises(ConnectionResetError):
            await reader.read()
        writer.close()

    on_uvloop(use, broken)


def test_tls_is_between_the_program_and_the_target(tmp_path: Path) -> None:
    server_context, client_context = certificate(tmp_path)

    async def question(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.readline())

    async def use(tunnel: Tunnel, host: str, port: int) -> None:
        reader, writer = await tunnel.open_connection(host, port, ssl=client_context, server_hostname="target.test")
        writer.write(b"secret\n")
        assert await reader.readline() == b"heard secret\n"
        writer.close()

    on_uvloop(use, question, server_context=server_context)


def test_start_tls_works_on_both_ends_writers(tmp_path: Path) -> None:
    server_context, client_context = certificate(tmp_path)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await writer.start_tls(server_context)
        writer.write(b"heard " + await reader.readline())
        await writer.drain()

    async def main() -> None:
        async with tunnel_to(handler) as (tunnel, _), asyncio.timeout(CONVERSATION_TIMEOUT):
            reader, writer = await tunnel.open_connection("upgrade", 1)
            await writer.start_tls(client_context, server_hostname="target.test")
            writer.write(b"sealed\n")
            assert await reader.readline() == b"heard sealed\n"
            writer.close()

    uvloop.run(main())
