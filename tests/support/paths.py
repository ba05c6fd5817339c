"""TCP paths to a server, as a network makes them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Path:
    """A TCP path to a server, as a network makes it: it carries, swallows, or breaks."""

    def __init__(self, port: int) -> None:
        self.port = port
        """Of the server."""
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()

    def swallow(self) -> None:
        """Carry nothing any more on the connections of now; neither end is told."""
        self._swallowing |= self._open

    def cut(self) -> None:
        """Break the connections of now, with what is on its way."""
        for writer in self._open:
            writer.transport.abort()

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port of its near end."""
        async with asyncio.TaskGroup() as group:

            def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._open.add(writer)
                group.create_task(self._serve(reader, writer))

            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            try:
                yield server.sockets[0].getsockname()[1]
            finally:
                server.close()
                self.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        self._open.add(far_writer)
        await asyncio.gather(self._carry(reader, far_writer), self._carry(far_reader, writer))

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if writer not in self._swallowing:
                    writer.write(data)
        writer.transport.abort()
        self._open.discard(writer)
        self._swallowing.discard(writer)
