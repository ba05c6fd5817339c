"""What a stream leads to beside the other end, in ssh's spelling: a TCP port, or a unix socket."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TypeAlias

from perdure.addresses import host_port
from perdure.wire import MAX_TARGET_BYTES

MAX_SOCKET_PATH_BYTES = 107
"""Linux: `sun_path` has 108, with the zero at its end."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host and a TCP port, as the gateway is to dial it."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host, self.port)

    def encode(self) -> bytes:
        """What an OPEN frame carries."""
        return str(self).encode()

    @property
    def peername(self) -> tuple[str, int]:
        """As a socket to it says it."""
        return self.host, self.port


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """A unix socket at an absolute path of the machine that has it."""

    path: str

    def __str__(self) -> str:
        return self.path

    def encode(self) -> bytes:
        """What an OPEN frame carries. A path begins with `/`, which no host does."""
        return self.path.encode()

    @property
    def peername(self) -> str:
        """As a socket to it says it."""
        return self.path


AnyTarget: TypeAlias = Target | UnixSocket


def parse_target(text: str) -> AnyTarget:
    """`HOST:PORT`, `[IPV6]:PORT`, or a unix socket's absolute path. Raises `ValueError` with what is wrong."""
    if text.startswith("/"):
        return unix_socket(text)
    parts = split_at_colons(text)
    if len(parts) != 2:
        raise ValueError(f"a target looks like HOST:PORT, [IPV6]:PORT or /PATH/OF/A/SOCKET, not {text!r}")
    return tcp_target(parts[0], parts[1], text)


def check_target(host: object, port: object) -> Target:
    """A program's own `host` and `port`.

    Raises:
        TypeError: `host` is no text, or `port` no whole number.
        ValueError: `host` cannot be one, or `port` is not from 1 to 65535.
    """
    host, port = _check_types(host, port)
    if not 1 <= port <= 65535:
        raise ValueError(f"port is from 1 to 65535, not {port}")
    return tcp_target(host, str(port), f"{host}:{port}")


def check_bind(host: object, port: object) -> None:
    """Whether a program may listen there, as far as one can tell before.

    Raises:
        TypeError: `host` is no text, or `port` no whole number.
        ValueError: `port` is not from 0 to 65535.
    """
    if not 0 <= _check_types(host, port)[1] <= 65535:
        raise ValueError(f"a port to listen on is from 0 to 65535, not {port}")


def unix_socket(path: str) -> UnixSocket:
    """Raise `ValueError` unless `path` can be a target's: absolute, and spelled in the one way that can be compared."""
    if not path.startswith("/") or posixpath.normpath(path) != path or path.startswith("//"):
        raise ValueError(f"{path!r} is no absolute path without . and ..; a unix socket looks like /run/app.sock")
    check_socket_path(path)
    return UnixSocket(path)


def check_socket_path(path: str) -> None:
    """Raise `ValueError` unless a unix socket can have that path."""
    if not path.isprintable():
        raise ValueError(f"{path!r} is no path of a unix socket")
    if len(path.encode()) > MAX_SOCKET_PATH_BYTES:
        raise ValueError(f"{path[:40]!r}… is too long: a unix socket's path has at most {MAX_SOCKET_PATH_BYTES} bytes")


def split_at_colons(text: str) -> list[str]:
    """Split at colons outside brackets; the brackets go."""
    parts = [""]
    inside = closed = False
    for character in text.strip():
        if inside:
            if character == "]":
                inside, closed = False, True
            else:
                parts[-1] += character
        elif character == ":":
            parts.append("")
            closed = False
        elif character == "[" and not parts[-1] and not closed:
            inside = True
        elif character in "[]" or closed:
            raise ValueError(f"a bracket is out of place in {text!r}; they stand around an IPv6 address: [::1]:80")
        else:
            parts[-1] += character
    if inside:
        raise ValueError(f"a bracket is not closed in {text!r}")
    return parts


def tcp_target(host: str, port: str, text: str) -> Target:
    """Raise `ValueError` unless both can be one's."""
    check_host(host, text)
    target = Target(host, port_of(port, text, lowest=1))
    if len(target.encode()) > MAX_TARGET_BYTES:
        raise ValueError(f"the host in {text[:40]!r}… is longer than any host name")
    return target


def _check_types(host: object, port: object) -> tuple[str, int]:
    if not isinstance(host, str):
        raise TypeError(f"host is a text, not {type(host).__name__}")
    if not isinstance(port, int) or isinstance(port, bool):
        raise TypeError(f"port is a whole number, not {type(port).__name__}")
    return host, port


def check_host(host: str, text: str) -> None:
    """Raise `ValueError` unless `host` can be one. It is logged and shown, so it must not move a terminal's cursor."""
    if not host or not host.isprintable() or set(host) & set(" []"):
        raise ValueError(f"{host!r} in {text!r} is no host name or address")
    if host == "*":
        raise ValueError(f"{text!r} must name a host; * stands for every port of one host only")


def port_of(port: str, text: str, *, lowest: int) -> int:
    """Raise `ValueError` unless it is a port from `lowest` on."""
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not lowest <= int(port) <= 65535:
        if "@" in text:  # somebody's URL, and half of its password may stand in the port's place
            raise ValueError(f"a port is a number from {lowest} to 65535, without a user name or a password")
        raise ValueError(f"{port[:20]!r} in {text[:80]!r} is not a port from {lowest} to 65535")
    return int(port)
