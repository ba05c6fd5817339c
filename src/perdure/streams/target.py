"""Targets and forwards in ssh's spelling."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.wire import MAX_TARGET_BYTES

DEFAULT_BIND = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Target:
    """A host and a TCP port, as the gateway is to dial it."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def encode(self) -> bytes:
        """What an OPEN frame carries."""
        return str(self).encode()


@dataclass(frozen=True, slots=True)
class Forward:
    """`-L [BIND:]PORT:HOST:HOSTPORT`: listen here, come out there. Port 0: any free one."""

    bind: str
    port: int
    target: Target

    def __str__(self) -> str:
        return f"{Target(self.bind or '*', self.port)} -> {self.target}"


def parse_target(text: str) -> Target:
    """`HOST:PORT` or `[IPV6]:PORT`. Raises `ValueError` with what is wrong."""
    parts = split_at_colons(text)
    if len(parts) != 2:
        raise ValueError(f"a target looks like HOST:PORT or [IPV6]:PORT, not {text!r}")
    return _target(parts[0], parts[1], text)


def check_target(host: object, port: object) -> Target:
    """A program's own `host` and `port`.

    Raises:
        TypeError: `host` is no text, or `port` no whole number.
        ValueError: `host` cannot be one, or `port` is not from 1 to 65535.
    """
    host, port = _check_types(host, port)
    if not 1 <= port <= 65535:
        raise ValueError(f"port is from 1 to 65535, not {port}")
    return _target(host, str(port), f"{host}:{port}")


def check_bind(host: object, port: object) -> None:
    """Whether a program may listen there, as far as one can tell before.

    Raises:
        TypeError: `host` is no text, or `port` no whole number.
        ValueError: `port` is not from 0 to 65535.
    """
    if not 0 <= _check_types(host, port)[1] <= 65535:
        raise ValueError(f"a port to listen on is from 0 to 65535, not {port}")


def parse_forward(text: str) -> Forward:
    """ssh's `-L`: `PORT:HOST:HOSTPORT` or `BIND:PORT:HOST:HOSTPORT`; IPv6 addresses stand in brackets.

    `*` or an empty BIND listens on every address, as ssh does. Raises `ValueError` with what is wrong.
    """
    parts = split_at_colons(text)
    if len(parts) == 3:
        parts = [DEFAULT_BIND, *parts]
    if len(parts) != 4:
        raise ValueError(f"a forward looks like [BIND:]PORT:HOST:HOSTPORT, not {text!r}")
    bind, port, host, host_port = parts
    if bind in {"", "*"}:
        bind = ""
    else:
        check_host(bind, text)
    return Forward(bind, _port(port, text, lowest=0), _target(host, host_port, text))


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


def _target(host: str, port: str, text: str) -> Target:
    check_host(host, text)
    target = Target(host, _port(port, text, lowest=1))
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


def _port(port: str, text: str, *, lowest: int) -> int:
    if not (port.isascii() and port.isdigit()) or len(port) > 5 or not lowest <= int(port) <= 65535:
        raise ValueError(f"{port[:20]!r} in {text[:80]!r} is not a port from {lowest} to 65535")
    return int(port)
