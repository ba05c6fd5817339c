"""Forwards in ssh's spelling: where to listen, and where connections come out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from perdure.addresses import host_port
from perdure.streams.target import (
    AnyTarget,
    check_host,
    check_socket_path,
    port_of,
    split_at_colons,
    tcp_target,
    unix_socket,
)

DEFAULT_BIND = "localhost"
"""127.0.0.1 and ::1, as ssh has it."""


@dataclass(frozen=True, slots=True)
class ListenPort:
    """A local TCP port. An empty host: every address; port 0: any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return host_port(self.host or "*", self.port)


@dataclass(frozen=True, slots=True)
class ListenPath:
    """A local unix socket, which is made."""

    path: str

    def __str__(self) -> str:
        return self.path


Listen: TypeAlias = ListenPort | ListenPath


@dataclass(frozen=True, slots=True)
class Forward:
    """`-L LISTEN:TARGET`: listen here, come out there."""

    listen: Listen
    target: AnyTarget

    def __str__(self) -> str:
        return f"{self.listen} -> {self.target}"


def parse_forward(text: str) -> Forward:
    """ssh's `-L`: `[BIND:]PORT:HOST:HOSTPORT`, with a unix socket's path in the place of either end; IPv6 addresses
    stand in brackets.

    `*` or an empty BIND listens on every address, as ssh does. Raises `ValueError` with what is wrong.
    """
    parts = split_at_colons(text)
    remote = parts[-1:] if "/" in parts[-1] else parts[-2:]
    local = parts[: -len(remote)]
    if not 1 <= len(local) <= 2 or ("/" in local[0] and len(local) != 1):
        why = "[BIND:]PORT:HOST:HOSTPORT, where the path of a unix socket may stand for BIND:PORT and for HOST:HOSTPORT"
        raise ValueError(f"a forward looks like {why}, not {text!r}")
    target = unix_socket(remote[0]) if len(remote) == 1 else tcp_target(remote[0], remote[1], text)
    return Forward(_listen(local, text), target)


def parse_proxy(text: str) -> ListenPort:
    """ssh's `-D`: `[BIND:]PORT`. Raises `ValueError` with what is wrong."""
    parts = split_at_colons(text)
    if len(parts) > 2:
        raise ValueError(f"a proxy's port looks like [BIND:]PORT, not {text!r}")
    return _listen_port(parts, text)


def _listen(parts: list[str], text: str) -> Listen:
    if "/" not in parts[0]:
        return _listen_port(parts, text)
    check_socket_path(parts[0])
    return ListenPath(parts[0])


def _listen_port(parts: list[str], text: str) -> ListenPort:
    bind, port = parts if len(parts) == 2 else (DEFAULT_BIND, parts[0])
    if bind == "*":
        bind = ""
    if bind:
        check_host(bind, text)
    return ListenPort(bind, port_of(port, text, lowest=0))
