"""Where a UDP socket is bound, as a candidate says it and as the kernel does. Pure."""

from __future__ import annotations

import ipaddress
import struct
from typing import NamedTuple

SOCKADDR_BYTES = 28
"""The longest that is read, `sockaddr_in6` (linux/in6.h); `sockaddr_in` has 16."""

_AF_INET, _AF_INET6 = struct.pack("=H", 2), struct.pack("=H", 10)
"""Linux' (linux/socket.h), as they stand in both."""


class Endpoint(NamedTuple):
    address: str
    port: int

    @property
    def key(self) -> bytes:
        """What `key_of` gives of a socket that is bound here."""
        packed = ipaddress.ip_address(self.address).packed
        return (_AF_INET if len(packed) == 4 else _AF_INET6) + self.port.to_bytes(2) + packed


def key_of(name: bytes) -> bytes | None:
    """Family, port and address of what `getsockname(2)` wrote, `SOCKADDR_BYTES` long; `None`: it is of another family.

    Nothing is parsed: a process may have thousands of sockets, and few of them are sought.
    """
    family = name[:2]
    if family == _AF_INET:
        return name[:8]
    return name[:4] + name[8:24] if family == _AF_INET6 else None
