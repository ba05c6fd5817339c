"""The first of several addresses that answers (RFC 8305), on each event loop: uvloop tries one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType, SocketFactoryType

HAPPY_EYEBALLS_DELAY = 0.25
"""Seconds until the next address is tried beside the one before (RFC 8305 §5)."""


async def connected_socket(where: Sequence[AddrInfoType], make: SocketFactoryType | None = None) -> socket.socket:
    """A socket that is connected to the first address of `where` that answers; both families take turns.

    Args:
        where: as `getaddrinfo` returns them.
        make: makes a socket for one of them.

    Raises:
        OSError: none answers.
    """
    return await start_connection(where, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY, interleave=1, socket_factory=make)
