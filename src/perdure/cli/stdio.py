"""Standard input and output as one connection of a tunnel: `perdure connect -W`, for ssh's `ProxyCommand`.

Two threads read and write them, since asyncio would make both non-blocking, for the shell and whoever else has them
too, and can watch no file. They end with the process: a read of a terminal cannot be broken off.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Coroutine
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from perdure.errors import PeerError, PerdureError
from perdure.streams.target import UnixSocket

if TYPE_CHECKING:
    from perdure.client import Tunnel
    from perdure.streams.target import AnyTarget

STDIN, STDOUT = 0, 1

PIECE_BYTES = 64 * 1024
"""Linux: what a pipe holds."""

T = TypeVar("T")


async def join_stdio(tunnel: Tunnel, target: AnyTarget) -> None:
    """Carry standard input to `target`, and what it says to standard output, until both have ended. On a terminal the
    target's end is enough.

    Raises:
        PerdureError: the target cannot be had, or broke the connection off; or what ended the tunnel.
    """
    try:
        async with tunnel:
            await _join(tunnel, target)
    except OSError as error:
        if isinstance(error, PerdureError):
            raise
        raise PeerError(error.strerror or str(error), reason=type(error).__name__) from error


async def _join(tunnel: Tunnel, target: AnyTarget) -> None:
    if isinstance(target, UnixSocket):
        reader, writer = await tunnel.open_unix_connection(target.path)
    else:
        reader, writer = await tunnel.open_connection(target.host, target.port)
    loop = asyncio.get_running_loop()

    def in_loop(call: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    def send() -> None:
        while data := os.read(STDIN, PIECE_BYTES):
            in_loop(_write(writer, data))
        loop.call_soon_threadsafe(writer.write_eof)

    def receive() -> None:
        while data := in_loop(reader.read(PIECE_BYTES)):
            left = memoryview(data)
            while left:
                left = left[os.write(STDOUT, left) :]
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)  # who reads it sees its end; a free number would be reused

    sending, receiving = _in_thread(send, loop), _in_thread(receive, loop)
    try:
        await (receiving if os.isatty(STDIN) else asyncio.gather(receiving, sending))
    except BrokenPipeError:  # nobody reads standard output any more: the connection ends
        writer.transport.abort()
    finally:
        writer.close()


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def _in_thread(work: Callable[[], None], loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
    future = loop.create_future()
    future.add_done_callback(lambda done: done.cancelled() or done.exception())  # the other's may be told instead

    def settle(error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def run() -> None:
        error = None
        try:
            work()
        except Exception as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, error)

    Thread(target=run, daemon=True).start()
    return future
