"""Connections of the system at both ends of a tube: those that local programs make, and targets that are dialled."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, cast

from perdure.happy_eyeballs import connected_socket
from perdure.streams.descriptors import Share, descriptor_limit
from perdure.streams.relay import Relay
from perdure.streams.target import UnixSocket
from perdure.streams.tcp_socket import keep_alive, reset_tcp
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.addresses import Address
    from perdure.streams.transport import StreamTransport

DIAL_TIMEOUT = 10.0
"""Seconds to reach a target: Linux's first four SYNs (at 0, 1, 3 and 7 s) fit in."""

WRITE_HIGH_BYTES = 256 * 1024
"""Bytes that may wait for a slow TCP reader before the stream's credit stops growing."""

SMALL_PIECE_BYTES = 4 * 1024
MAX_PIECES = 64
"""So many small writes may wait for a slow TCP reader: asyncio keeps each as an object, and from Python 3.12 on looks
at all of them with each write. Longer ones reach `WRITE_HIGH_BYTES` before they are as many."""

FLUSH_TIMEOUT = 1.0
"""Seconds that TCP connections have to take what was written to them, when all that feeds them has ended."""


MAX_ADDRESSES = 8
"""Of a name, that are dialled: each attempt holds a descriptor."""


class TcpConnections:
    """The TCP connections of a registry's tubes.

    Args:
        most: so many at a time; `None`: half of the descriptors that this process may have now.
    """

    def __init__(self, most: int | None = None) -> None:
        limit = descriptor_limit()
        self.places = Share(limit // 2 if most is None and limit is not None else most)
        self._open: set[asyncio.Transport] = set()
        self._gone = asyncio.Event()

    def add(self, transport: asyncio.Transport) -> None:
        self._open.add(transport)

    def discard(self, transport: asyncio.Transport) -> None:
        self._open.discard(transport)
        self._gone.set()

    async def close(self) -> None:
        """Wait until each has got what was written to it and is closed, `FLUSH_TIMEOUT` at most; then break it off."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_TIMEOUT):
                while self._open:
                    self._gone.clear()
                    await self._gone.wait()
        for transport in list(self._open):
            transport.abort()


class TcpRelay(Relay):
    """The TCP side of a relay."""

    __slots__ = ("_connections", "_has_place", "_owner", "_pieces")

    def __init__(self, connections: TcpConnections, owner: str) -> None:
        """`owner` has taken a place for it."""
        super().__init__()
        self._connections = connections
        self._owner = owner
        self._has_place = True
        self._pieces = 0
        """Small ones that were written since somebody looked whether they wait."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        tcp = cast(asyncio.Transport, transport)
        tcp.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        keep_alive(tcp)
        self._connections.add(tcp)
        super().connection_made(transport)

    def take(self, data: bytes) -> None:
        super().take(data)
        self._pieces += len(data) < SMALL_PIECE_BYTES
        if self._pieces >= MAX_PIECES and self.transport is not None:
            self._pieces = 0
            if self.transport.get_write_buffer_size():
                self.transport.set_write_buffer_limits(high=0)  # `pause_writing` comes at once

    def resume_writing(self) -> None:
        self._pieces = 0
        if self.transport is not None:
            self.transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        super().resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        super().connection_lost(error)
        if self.transport is not None:
            self._connections.discard(self.transport)
        self.leave()

    def leave(self) -> None:
        """Give its place back, where there is no connection (any more)."""
        if self._has_place:
            self._has_place = False
            self._connections.places.give_back(self._owner)


class RefusedConnection(asyncio.Protocol):
    """A local connection that cannot be carried: the program sees a reset at once, not a hang."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        reset_tcp(cast(asyncio.Transport, transport))


def join(stream: StreamTransport, local: TcpRelay, on_lost: Callable[[Exception | None], None]) -> None:
    """Carry a local TCP connection, whose protocol `local` becomes, by `stream`; `on_lost` hears of the stream's
    end."""
    remote = Relay(on_lost)
    local.join(remote)
    stream.start(remote)


FindAddresses = Callable[["StreamTransport"], Awaitable[Sequence["Address"]]]
"""Where a stream's host may be dialled; nowhere: it is not allowed. A unix socket is where it is."""


async def dial(stream: StreamTransport, connections: TcpConnections, find: FindAddresses) -> ResetCode | None:
    """Connect to the target of `stream` and join both, which accepts or refuses the stream; `None`, or why not.

    A stream that ends meanwhile ends the dialling. Cancelling this dials no further.
    """
    task = asyncio.current_task()
    assert task is not None
    owner: str = stream.get_extra_info("tube_id")
    if not connections.places.take(owner):
        stream.refuse(ResetCode.LIMIT)
        return ResetCode.LIMIT
    stream_side = _Dialling(task)
    local = TcpRelay(connections, owner)
    local.join(stream_side)
    stream.pause_reading()
    stream.start(stream_side)
    code: ResetCode | None = None
    try:
        async with asyncio.timeout(DIAL_TIMEOUT):
            target = stream.target
            if isinstance(target, UnixSocket):
                await asyncio.get_running_loop().create_unix_connection(lambda: local, target.path)
            elif addresses := await find(stream):
                await _connect(local, addresses, target.port, connections.places, owner)
            else:
                code = ResetCode.NOT_ALLOWED
    except asyncio.CancelledError:
        if not stream_side.has_ended or task.uncancel():
            stream.abort()
            raise
    except TimeoutError:
        code = ResetCode.TIMED_OUT
    except ConnectionRefusedError:
        code = ResetCode.REFUSED
    except Exception as error:
        code = _code_of(error)
    finally:
        stream_side.dialling = None
        if local.transport is None:
            local.leave()
    if stream_side.has_ended:
        return None
    if code is None:
        stream.accept()
    else:
        stream.refuse(code)
    return code


def _code_of(error: Exception) -> ResetCode:
    """Of several addresses the errors are joined into one text."""
    text = str(error)
    if f"[Errno {errno.ECONNREFUSED}]" in text:
        return ResetCode.REFUSED
    if any(f"[Errno {number}]" in text for number in (errno.EMFILE, errno.ENFILE)):
        return ResetCode.LIMIT
    return ResetCode.UNREACHABLE


async def _connect(protocol: Relay, addresses: Sequence[Address], port: int, places: Share, owner: str) -> None:
    """To the first of `addresses` that answers (RFC 8305). `owner` has a place for one attempt at a time."""
    taken = 0
    while taken < min(len(addresses), MAX_ADDRESSES) - 1 and places.take(owner):
        taken += 1
    try:
        await _connect_to(protocol, _mixed(addresses)[: taken + 1], port)
    finally:
        for _ in range(taken):
            places.give_back(owner)


def _mixed(addresses: Sequence[Address]) -> list[Address]:
    """Both families in turn, as the first ones could all be of one that does not work here."""
    first = [address for address in addresses if address.version == addresses[0].version]
    second = [address for address in addresses if address.version != addresses[0].version]
    return [address for pair in zip_longest(first, second) for address in pair if address is not None]


async def _connect_to(protocol: Relay, addresses: Sequence[Address], port: int) -> None:
    loop = asyncio.get_running_loop()
    if len(addresses) == 1:  # the usual case, which needs no race
        await loop.create_connection(lambda: protocol, str(addresses[0]), port)
        return
    where: list[Any] = [
        (socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port, 0, 0))
        if address.version == 6
        else (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))
        for address in addresses
    ]
    found = await connected_socket(where)
    try:
        await loop.create_connection(lambda: protocol, sock=found)
    except BaseException:
        if protocol.transport is None:
            found.close()
        else:  # the socket is its transport's, and may have been written to
            reset_tcp(protocol.transport)
        raise


class _Dialling(Relay):
    """The stream's side while its target is dialled: where the stream ends, nobody needs the connection any more."""

    __slots__ = ("dialling", "has_ended")

    def __init__(self, dialling: asyncio.Task[object]) -> None:
        super().__init__()
        self.dialling: asyncio.Task[object] | None = dialling
        self.has_ended = False

    def connection_lost(self, error: Exception | None) -> None:
        self.has_ended = True
        if self.dialling is not None:
            self.dialling.cancel()
        super().connection_lost(error)
