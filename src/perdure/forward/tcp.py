"""TCP at both ends of a stream: listening at the client, dialling at the gateway, and the pipe that joins them.

The pipe shows a program what a plain TCP connection would have: bytes, half-close in either direction, and resets.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from perdure.errors import ListenError
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.forward.target import Forward, Target
    from perdure.tube import Link

DIAL_TIMEOUT = 10.0
"""Seconds to reach a target: Linux's first four SYNs (at 0, 1, 3 and 7 s) fit in."""

WRITE_HIGH_BYTES = 256 * 1024
"""Bytes that may wait for a slow TCP reader before the stream's credit stops growing."""

_REST_BYTES = 256 * 1024
"""Read at a time of what a broken connection still holds; in all no more than its kernel buffer."""

_LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends RST instead of FIN."""


class StreamPipe(asyncio.Protocol):
    """Joins one TCP connection and one stream of a tube.

    Args:
        on_reset: told the code when the stream, not the TCP connection, was reset.
    """

    def __init__(self, streams: Link, on_reset: Callable[[ResetCode], None] | None = None) -> None:
        self._streams = streams
        self._on_reset = on_reset
        self._stream_id = 0
        self._transport: asyncio.Transport | None = None
        self._early: list[memoryview] = []
        self._finished_early = False
        self._ended = False
        self._tcp_ended = False
        self._stream_ended = False
        self._writing_paused = False
        self._unconsumed = 0

    def join(self, stream_id: int) -> None:
        """Name the stream; before the TCP connection is made."""
        self._stream_id = stream_id

    # TCP.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        if self._ended:
            _reset_tcp(self._transport)
            return
        early, self._early = self._early, []
        for data in early:
            self.stream_data(data)
        if self._finished_early:
            self._write_eof()

    def data_received(self, data: bytes) -> None:
        if not self._streams.write(self._stream_id, data) and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._tcp_ended = True
        self._streams.finish(self._stream_id)
        self._close_if_ended()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        if not (self._tcp_ended and self._stream_ended) and not self._ended:
            if exc is not None:
                self._read_the_rest()
            # Behind the tube's next turn to send: a reset overtakes whatever has not been sent by then.
            asyncio.get_running_loop().call_soon(self._streams.reset, self._stream_id, ResetCode.ABORTED)
        else:
            self._consumed()
        self._transport = None
        self._ended = True

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._consumed()

    # The stream.

    def stream_accepted(self) -> None:
        """Nothing to do: TCP's handshake with the program is over already."""

    def stream_data(self, data: memoryview) -> None:
        if self._transport is None:
            self._early.append(data)
            return
        self._transport.write(data)
        self._unconsumed += len(data)
        if not self._writing_paused:
            self._consumed()

    def stream_finished(self) -> None:
        self._stream_ended = True
        if self._transport is None:
            self._finished_early = True
        else:
            self._write_eof()

    def stream_reset(self, code: ResetCode) -> None:
        if self._ended:
            return
        self._ended = True
        if self._on_reset is not None:
            self._on_reset(code)
        if self._transport is not None:
            _reset_tcp(self._transport)

    def stream_writable(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def _read_the_rest(self) -> None:
        """Take what came before a reset that a write has met first: asyncio reads no more then.

        So a server's last word arrives that refuses an upload and closes without reading it.
        """
        tcp = self._transport.get_extra_info("socket") if self._transport is not None else None
        if tcp is None or self._tcp_ended:
            return
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(tcp.fileno())) as rest:
            rest.setblocking(False)
            while data := rest.recv(_REST_BYTES):
                self._streams.write(self._stream_id, data)

    def _write_eof(self) -> None:
        if self._transport is not None:
            with contextlib.suppress(OSError):
                self._transport.write_eof()
        self._close_if_ended()

    def _close_if_ended(self) -> None:
        if self._tcp_ended and self._stream_ended and self._transport is not None:
            self._transport.close()

    def _consumed(self) -> None:
        if self._unconsumed:
            count, self._unconsumed = self._unconsumed, 0
            self._streams.consume(self._stream_id, count)


class RefusedConnection(asyncio.Protocol):
    """A local connection that cannot be carried: the program sees a reset at once, not a hang."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        _reset_tcp(cast(asyncio.Transport, transport))


def _reset_tcp(transport: asyncio.Transport) -> None:
    """Close with RST, which a program can tell from a proper end."""
    tcp = transport.get_extra_info("socket")
    if tcp is not None:
        with contextlib.suppress(OSError):
            tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
    transport.abort()


async def listen(forward: Forward, accept: Callable[[], asyncio.Protocol]) -> asyncio.Server:
    """Listen for `forward`; `accept` makes the protocol of each connection. One port, also on several addresses.

    Raises:
        ListenError: the address is in use, is not this machine's, or needs privileges.
    """
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(accept, forward.bind or None, forward.port, reuse_address=True)
        port: int = server.sockets[0].getsockname()[1]
        if any(listening.getsockname()[1] != port for listening in server.sockets):
            # Port 0 and two addresses (IPv4, IPv6): the system picked two ports.
            server.close()
            server = await loop.create_server(accept, forward.bind or None, port, reuse_address=True)
        return server
    except OSError as error:
        address = f"{f'[{forward.bind}]' if ':' in forward.bind else forward.bind or '*'}:{forward.port}"
        if isinstance(error, socket.gaierror):
            why = error.strerror or str(error)
        else:
            # asyncio's own text repeats the address as a Python tuple.
            why = os.strerror(error.errno) if error.errno else str(error)
        if isinstance(error, PermissionError):
            why += "; ports below 1024 need privileges"
        raise ListenError(f"cannot listen on {address}: {why}", address=address) from error


async def dial(target: Target, pipe: StreamPipe) -> ResetCode | None:
    """Connect `pipe` to `target`. `None`: it is connected; otherwise why not.

    Cancelling this dials no further.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            await loop.create_connection(lambda: pipe, target.host, target.port, happy_eyeballs_delay=0.25)
    except TimeoutError:
        return ResetCode.TIMED_OUT
    except ConnectionRefusedError:
        return ResetCode.REFUSED
    except (OSError, UnicodeError) as error:
        # With several addresses asyncio joins different errors into one text.
        return ResetCode.REFUSED if f"[Errno {errno.ECONNREFUSED}]" in str(error) else ResetCode.UNREACHABLE
    return None
