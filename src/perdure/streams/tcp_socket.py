"""What asyncio does not do for a TCP connection: a reset behind its bytes, and the bytes in front of a reset."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import struct
import sys
from collections.abc import Iterator

KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_PROBES = 20, 10, 4
"""Seconds of silence, seconds between two probes, and how many stay unanswered: a peer whose cable was cut is lost
after 60. Where bytes are under way to it the system's own patience counts, a quarter of an hour on Linux: with
TCP_USER_TIMEOUT, which would cut that short, Linux also gives up a reader that is there and takes nothing."""

_REST_BYTES = 256 * 1024
"""Read at a time of what a broken connection still holds; in all no more than its kernel buffer."""

_LOOPBACK = {"127.0.0.1", "::1"}
"""Where a connection needs no probe: the usual ones, which are compared faster than parsed."""

_KEEPALIVE_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE", KEEPALIVE_IDLE),  # macOS' word for it
        ("TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
        ("TCP_KEEPCNT", KEEPALIVE_PROBES),
    )
    if hasattr(socket, name)
]

_LINGER_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER on, 0 s: closing sends RST instead of FIN, and drops what was not acknowledged."""

_SIOCOUTQ = 0x5411
"""Linux (sockios.h): the bytes of a TCP socket that its peer has not acknowledged."""

FIRST_LOOK_DELAY = 0.001
LONGEST_LOOK_DELAY = 0.1
"""Seconds between two looks at the socket; each look doubles the wait. The kernel reports an empty queue only to a
`close` that waits for it, and that would block."""

STUCK_TIMEOUT = 30.0
"""Seconds in which a reader takes nothing, after which it is reset all the same: it holds a descriptor and a buffer."""


def keep_alive(transport: asyncio.Transport) -> None:
    """Notice when the peer has vanished; one on this machine cannot."""
    peer, tcp = transport.get_extra_info("peername"), transport.get_extra_info("socket")
    if tcp is None or not isinstance(peer, tuple) or peer[0] in _LOOPBACK:
        return
    with contextlib.suppress(OSError, ValueError):  # closed meanwhile: uvloop's raises ValueError
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_OPTIONS:
            tcp.setsockopt(socket.IPPROTO_TCP, name, value)


def reset_tcp(transport: asyncio.Transport) -> None:
    """End a TCP connection by RST, which a program can tell from a proper end, once its reader has what was written."""
    tcp = transport.get_extra_info("socket")
    if tcp is None:
        transport.abort()
        return
    transport.pause_reading()
    _Reset(transport, tcp).look()


class _Reset:
    """Waits until nothing is under way to the reader."""

    def __init__(self, transport: asyncio.Transport, tcp: socket.socket) -> None:
        self._transport = transport
        self._socket = tcp
        self._loop = asyncio.get_running_loop()
        self._delay = FIRST_LOOK_DELAY
        self._left = -1
        self._stuck_for = 0.0

    def look(self) -> None:
        left = self._transport.get_write_buffer_size() + _unacknowledged_bytes(self._socket)
        self._stuck_for = self._stuck_for + self._delay if left == self._left else 0.0
        self._left = left
        if left == 0 or self._stuck_for >= STUCK_TIMEOUT:
            with contextlib.suppress(OSError, ValueError):  # closed meanwhile: uvloop's raises ValueError
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self._transport.abort()
        else:
            self._loop.call_later(self._delay, self.look)
            self._delay = min(2 * self._delay, LONGEST_LOOK_DELAY)


def _unacknowledged_bytes(tcp: socket.socket) -> int:
    """Of what the kernel has; 0 where the system does not tell."""
    if sys.platform != "linux":
        return 0
    import fcntl

    count = array.array("i", [0])
    try:
        fcntl.ioctl(tcp.fileno(), _SIOCOUTQ, count)
    except (OSError, ValueError):  # closed
        return 0
    return count[0]


def read_the_rest(transport: asyncio.Transport) -> Iterator[bytes]:
    """What came before a reset that a write has met first: asyncio reads no more then.

    So a server's last word arrives that refuses an upload and closes without reading it.
    """
    tcp = transport.get_extra_info("socket")
    if tcp is None:
        return
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(tcp.fileno())) as rest:
        rest.setblocking(False)
        while data := rest.recv(_REST_BYTES):
            yield data
