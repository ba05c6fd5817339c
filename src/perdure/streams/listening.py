"""Local addresses that are listened on: TCP ports, of which one may stand for both families, and unix sockets."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Sequence

from perdure.addresses import host_port
from perdure.errors import ListenError

LOCALHOST = "localhost"
"""127.0.0.1 and ::1, whatever the system's resolver makes of it: some files of hosts name 127.0.0.1 alone."""

PORT_TRIES = 5
"""To find a free port that is free at each address."""

PRIVATE_UMASK = 0o177
"""A unix socket is its user's alone: mode 0600, as ssh makes them."""

Accept = Callable[[], asyncio.Protocol]
"""Makes the protocol of a connection that has come."""


async def listen(host: str, port: int, accept: Accept) -> asyncio.Server:
    """Listen on `host` (`localhost`: both loopback addresses; empty: every one) and `port` (0: any free one).

    Raises:
        ListenError: the address is in use, is not this machine's, or needs privileges.
    """
    hosts = _loopback_addresses() if host == LOCALHOST else host or None
    try:
        if port == 0:
            return await _on_free_port(accept, hosts)
        return await asyncio.get_running_loop().create_server(accept, hosts, port, reuse_address=True)
    except (OSError, UnicodeError) as error:  # the latter of a name with an empty or long part
        why = _why(error) if isinstance(error, OSError) else "it is no host name or address"
        if isinstance(error, PermissionError):
            why += "; ports below 1024 need privileges"
        address = host_port(host or "*", port)
        raise ListenError(f"cannot listen on {address}: {why}", address=address) from error


async def listen_unix(path: str, accept: Accept) -> UnixServer:
    """Listen on a unix socket that is made at `path`, for this user alone; one that nobody listens on is replaced.

    Raises:
        ListenError: somebody listens on it, it is a file of another kind, or it cannot be made.
    """
    listening = socket.socket(socket.AF_UNIX)
    try:
        _remove_what_is_left(path)
        umask = os.umask(PRIVATE_UMASK)
        try:
            listening.bind(path)
        finally:
            os.umask(umask)
        return UnixServer(await asyncio.get_running_loop().create_unix_server(accept, sock=listening), path)
    except OSError as error:
        listening.close()
        raise ListenError(f"cannot listen on {path}: {_why(error)}", address=path) from error


class UnixServer(asyncio.AbstractServer):
    """A server whose unix socket goes with it."""

    def __init__(self, server: asyncio.Server, path: str) -> None:
        self._server = server
        self._path = path
        self._file = _identity(path)

    @property
    def sockets(self) -> Sequence[socket.socket]:
        """As those of `asyncio.Server`."""
        return self._server.sockets

    def close(self) -> None:
        if self._file is not None and self._file == _identity(self._path):
            with contextlib.suppress(OSError):
                os.unlink(self._path)
        self._file = None
        self._server.close()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._server.get_loop()

    def is_serving(self) -> bool:
        return self._server.is_serving()

    async def start_serving(self) -> None:
        await self._server.start_serving()

    async def serve_forever(self) -> None:
        await self._server.serve_forever()

    async def wait_closed(self) -> None:
        await self._server.wait_closed()


async def _on_free_port(accept: Accept, hosts: str | Sequence[str] | None) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    for _ in range(PORT_TRIES):
        server = await loop.create_server(accept, hosts, 0, reuse_address=True)
        ports = {listening.getsockname()[1] for listening in server.sockets}
        if len(ports) == 1:
            return server
        server.close()  # two addresses, and the system picked two ports
        with contextlib.suppress(OSError):
            return await loop.create_server(accept, hosts, ports.pop(), reuse_address=True)
    raise OSError(errno.EADDRINUSE, "no port was found that is free at each address")


def _loopback_addresses() -> list[str]:
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as ipv6:
        ipv6.bind(("::1", 0))
        return ["127.0.0.1", "::1"]
    return ["127.0.0.1"]


def _remove_what_is_left(path: str) -> None:
    """A socket that a process has left behind which was killed."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        with socket.socket(socket.AF_UNIX) as trial:
            trial.setblocking(False)
            try:
                trial.connect(path)
            except ConnectionRefusedError:
                os.unlink(path)
            except BlockingIOError:  # its queue is full: somebody listens
                pass


def _identity(path: str) -> tuple[int, int] | None:
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        return found.st_dev, found.st_ino
    return None


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return error.strerror or str(error)
    return os.strerror(error.errno) if error.errno else str(error)  # asyncio's own text repeats the address as a tuple
