"""Whether the program at the other end of a local connection is still there: Linux tells, by sock_diag(7).

A program that ends, or gives up, closes its connection: that looks like a half-close, until something is written to it.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct
import sys

from perdure.netmon.rtnetlink import NLM_F_REQUEST, NLMSG_ERROR

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
"""linux/netlink.h, linux/sock_diag.h."""

_HEADER = struct.Struct("=IHHII")
_PORTS_AND_ADDRESSES = struct.Struct("!HH16s16s")
_REQUEST = struct.Struct("=BBBxI")
_EVERY_STATE = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_ANSWER_INODE = struct.Struct("=I")
_INODE_AT = _HEADER.size + 4 + 48 + 4 * 4
"""Of `inet_diag_msg`: four bytes, the socket's identity, then expires, rqueue, wqueue and uid stand before it."""

_ERROR = struct.Struct("=i")

_ANSWER_BYTES = 4096


def has_gone(own: tuple[str, int], program: tuple[str, int]) -> bool:
    """Whether nobody holds the end `program` of a connection any more whose other end is `own` (addresses and ports).

    False where that cannot be known: the program is on another machine, or the system does not tell.
    """
    if sys.platform != "linux" or not _is_this_machine(own[0], program[0]):
        return False
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as netlink:
            netlink.setblocking(False)  # the kernel answers within the call that asks
            netlink.send(_question(program, own))
            return _says_gone(netlink.recv(_ANSWER_BYTES))
    except OSError:
        return False


def _is_this_machine(own: str, program: str) -> bool:
    return own == program or (ipaddress.ip_address(own).is_loopback and ipaddress.ip_address(program).is_loopback)


def _question(source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    addresses = [ipaddress.ip_address(host).packed for host in (source[0], destination[0])]
    family = socket.AF_INET6 if len(addresses[0]) == 16 else socket.AF_INET
    identity = _PORTS_AND_ADDRESSES.pack(source[1], destination[1], *(each.ljust(16, b"\0") for each in addresses))
    request = _REQUEST.pack(family, socket.IPPROTO_TCP, 0, _EVERY_STATE) + identity + bytes(4) + _NO_COOKIE
    return _HEADER.pack(_HEADER.size + len(request), _SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + request


def _says_gone(answer: bytes) -> bool:
    """There is no such socket, or no process has it: the kernel finishes the connection by itself."""
    kind: int = _HEADER.unpack_from(answer)[1]
    if kind == NLMSG_ERROR:
        number: int = _ERROR.unpack_from(answer, _HEADER.size)[0]
        return number == -errno.ENOENT
    inode: int = _ANSWER_INODE.unpack_from(answer, _INODE_AT)[0]
    return inode == 0
