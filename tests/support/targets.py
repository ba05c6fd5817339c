"""TCP servers that a gateway dials in tests, and what a test needs to talk to them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import shutil
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path
    from ssl import SSLContext

    Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

CHUNK_BYTES = 65536

CONVERSATION_TIMEOUT = 40.0
"""Seconds that a test may spend on one connection; far above what any needs, so that a hang is a failure."""


@asynccontextmanager
async def serving(handler: Handler, *, ssl: SSLContext | None = None, path: Path | None = None) -> AsyncIterator[str]:
    """A server on a free port, or on the unix socket at `path`, whose connections `handler` owns; its `HOST:PORT` or
    path. What a handler asserts is raised."""
    tasks: set[asyncio.Task[None]] = set()
    errors: list[Exception] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handler(reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        except (OSError, asyncio.IncompleteReadError):
            pass  # The other end went first, as some tests want it to.
        except Exception as error:
            errors.append(error)
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    if path is None:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=ssl)
        where = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    else:
        server, where = await asyncio.start_unix_server(handle, path), str(path)
    try:
        yield where
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if errors:
        raise errors[0]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Send back whatever comes, then the end."""
    while data := await reader.read(CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a local port, which must do its work within `CONVERSATION_TIMEOUT`."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(CONVERSATION_TIMEOUT):
            yield reader, writer
    finally:
        writer.transport.abort()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST."""
    tcp: socket.socket = writer.get_extra_info("socket")
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def positions(seed: int, length: int) -> bytes:
    """`length` bytes in which each 8 name their stream and their place: a loss, a swap or a repetition shows."""
    whole = b"".join(struct.pack(">HIH", seed, place, ~seed & 0xFFFF) for place in range(length // 8 + 1))
    return whole[:length]


def random_bytes(length: int) -> tuple[bytes, str]:
    """Bytes that do not repeat, and their SHA-256."""
    data = os.urandom(length)
    return data, hashlib.sha256(data).hexdigest()


def tool(name: str) -> str:
    """The path of an external program. Without it the test is skipped, but fails in CI."""
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if path is None:
        message = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path
