"""A path to a server on loopback that can fall silent: its connections stay, and nothing passes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class SilentPath:
    """Relays TCP connections to `port`."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        """Taken so far."""
        self._port = port
        self._passes = asyncio.Event()
        self._passes.set()
        self._is_open_to_new = True
        self._tasks: set[asyncio.Task[None]] = set()

    def fall_silent(self, *, to_new: bool = False) -> None:
        """Nothing passes on the connections that there are, nor, with `to_new`, on later ones."""
        self._passes.clear()
        self._is_open_to_new = not to_new

    def heal(self) -> None:
        """All passes, also what has waited."""
        self._passes.set()

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._relay(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passes_always = self._is_open_to_new and not self._passes.is_set()
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(far_writer)
            await asyncio.gather(
                self._carry(reader, far_writer, passes_always), self._carry(far_reader, writer, passes_always)
            )
        except OSError:
            return
        finally:
            for each in writers:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, passes_always: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await self._may_pass(passes_always)
                writer.write(data)
        await self._may_pass(passes_always)
        writer.transport.abort()

    async def _may_pass(self, passes_always: bool) -> None:
        if not passes_always:
            await self._passes.wait()


@contextlib.asynccontextmanager
async def silent_path(port: int) -> AsyncIterator[tuple[SilentPath, int]]:
    """A path, and the port where it begins."""
    path = SilentPath(port)
    async with await asyncio.start_server(path.take, "127.0.0.1", 0) as server:
        try:
            yield path, server.sockets[0].getsockname()[1]
        finally:
            await path.close()
            await asyncio.sleep(0)
