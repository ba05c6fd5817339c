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
        self._gate = self._later_gate = _open_gate()
        """What those wait for that there are, and those that come later."""
        self._tasks: set[asyncio.Task[None]] = set()

    def fall_silent(self, *, to_new: bool = False) -> None:
        """Nothing passes on the connections that there are, nor, with `to_new`, on later ones."""
        self._gate.clear()
        self._later_gate = asyncio.Event() if to_new else _open_gate()

    def heal(self) -> None:
        """On the connections that there were before the silence all passes, also what has waited."""
        self._gate.set()

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
        gate = self._gate if self._gate.is_set() else self._later_gate
        writers = [writer]
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
            writers.append(far_writer)
            await asyncio.gather(self._carry(reader, far_writer, gate), self._carry(far_reader, writer, gate))
        except OSError:
            return
        finally:
            for each in writers:
                each.transport.abort()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                await gate.wait()
                writer.write(data)
        await gate.wait()
        writer.transport.abort()


def _open_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


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
