"""A rendezvous, a gateway and a tunnel through it, all in one process on the real engine."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import perdure
from perdure.signaling.server import RendezvousServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def rendezvous() -> AsyncIterator[str]:
    """Its URL."""
    async with RendezvousServer(host="127.0.0.1", port=0) as server:
        yield f"ws://127.0.0.1:{server.port}"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A handler that sends back what comes, no faster than it is taken."""
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def tunnel_to(
    handler: perdure.StreamHandler | None = echo, **options: object
) -> AsyncIterator[tuple[perdure.Tunnel, perdure.Gateway]]:
    """Connected. `options`: of `serve`."""
    async with (
        rendezvous() as url,
        perdure.serve(url, handler=handler, loopback=True, **options) as gateway,  # type: ignore[arg-type]
        perdure.connect(gateway.ticket, loopback=True) as tunnel,
    ):
        yield tunnel, gateway
