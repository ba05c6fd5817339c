"""What a gateway may dial: the targets that it allows, and the addresses that a name may resolve to. Pure.

1. A target is allowed where an entry of the list names it: by its host's name, its address, or a network that holds the
   address. A name is resolved once; the addresses that it has are judged, and those that pass are dialled.
2. `deny` wins over `allow`.
3. Special addresses (`addresses.is_special`), of which one is each cloud's metadata service, need an entry that names
   that very address.
4. An IPv6 address that a translator or a tunnel sends on to an IPv4 one needs an entry that holds it, and what is said
   of the IPv4 one must not stand against it. What only some systems read as an address (`0x7f.1`, `127.1`,
   `2130706433`) is no host.
5. A unix socket needs an entry that is its path.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from perdure.addresses import inner_address, is_special, literal, unmapped
from perdure.streams.target import UnixSocket, check_host, split_at_colons, unix_socket

if TYPE_CHECKING:
    from perdure.addresses import Address
    from perdure.streams.target import AnyTarget, Target

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_PORT = 65535
EVERY_PORT = ((1, MAX_PORT),)


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry: a host by its name, or a network, and ranges of ports; or a unix socket's path, without ports."""

    host: str | Network
    ports: tuple[tuple[int, int], ...]

    def __str__(self) -> str:
        host = str(self.host)
        if host.startswith("/"):
            return host
        if not isinstance(self.host, str) and self.host.prefixlen == self.host.max_prefixlen:
            host = str(self.host.network_address)
        ports = ",".join(f"{low}" if low == high else f"{low}-{high}" for low, high in self.ports)
        return f"{f'[{host}]' if ':' in host else host}:{'*' if self.ports == EVERY_PORT else ports}"

    def has_port(self, port: int) -> bool:
        return any(low <= port <= high for low, high in self.ports)

    def names(self, name: str, port: int) -> bool:
        """Whether it is this host name's."""
        return self.host == name and self.has_port(port)

    def holds(self, address: Address, port: int) -> bool:
        """Whether it is a network with `address` in it."""
        return not isinstance(self.host, str) and address in self.host and self.has_port(port)

    def is_only(self, address: Address, port: int) -> bool:
        """Whether it names `address`, and no other."""
        return not isinstance(self.host, str) and self.host.num_addresses == 1 and self.holds(address, port)


@dataclass(frozen=True, slots=True)
class AllowList:
    """What a gateway may dial, and what it may not though it is allowed."""

    entries: tuple[Rule, ...] = ()
    denied: tuple[Rule, ...] = ()

    def __str__(self) -> str:
        shown = ", ".join(sorted(map(str, self.entries)))
        return f"{shown}; not {', '.join(sorted(map(str, self.denied)))}" if self.denied else shown

    def names(self, target: AnyTarget) -> bool:
        """Whether `target` is allowed as it is, for one that is not resolved here. Without entries, every host is."""
        if isinstance(target, UnixSocket):
            return self._has_path(target)
        if (address := literal(target.host)) is not None and self.entries:
            return self.permits(target, address)
        if self._denies(target):
            return False
        if not self.entries:
            return True
        name = host_name(target.host)
        return name is not None and any(rule.names(name, target.port) for rule in self.entries)

    def may_be_allowed(self, target: AnyTarget) -> bool:
        """Whether to resolve `target`: an entry names it, or could hold an address of it. A unix socket is allowed."""
        if isinstance(target, UnixSocket):
            return self._has_path(target)
        if (address := literal(target.host)) is not None:
            return self.permits(target, address)
        name = host_name(target.host)
        if name is None or self._denies(target):
            return False
        return any(
            rule.names(name, target.port) or (not isinstance(rule.host, str) and rule.has_port(target.port))
            for rule in self.entries
        )

    def permits(self, target: Target, address: Address) -> bool:
        """Whether `target`, which resolves to `address`, may be dialled there."""
        port, address = target.port, unmapped(address)
        reached = _reached(address)
        if self._denies(target) or any(rule.holds(each, port) for rule in self.denied for each in reached):
            return False
        if any(map(is_special, reached)):
            return any(rule.is_only(address, port) for rule in self.entries)
        name = None if literal(target.host) is not None else host_name(target.host)
        is_named = name is not None and any(rule.names(name, port) for rule in self.entries)
        return is_named or any(rule.holds(address, port) for rule in self.entries)

    def _has_path(self, target: UnixSocket) -> bool:
        is_denied = any(rule.host == target.path for rule in self.denied)
        return any(rule.host == target.path for rule in self.entries) and not is_denied

    def _denies(self, target: Target) -> bool:
        """Whether an entry of `deny` names `target` as it is; one that is no host could be any that is denied."""
        port = target.port
        if (address := literal(target.host)) is not None:
            return any(rule.holds(each, port) for rule in self.denied for each in _reached(address))
        if (name := host_name(target.host)) is not None:
            return any(rule.names(name, port) for rule in self.denied)
        return any(rule.has_port(port) for rule in self.denied)


def _reached(address: Address) -> list[Address]:
    """`address`, and the IPv4 address that packets to it are sent on to, where there is one."""
    return [each for each in (address, inner_address(address)) if each is not None]


NOTHING = AllowList((Rule(ipaddress.ip_network("0.0.0.0/32"), ()),))
"""Allows no target at all."""


def parse_allow(texts: Iterable[str], deny: Iterable[str] = ()) -> AllowList:
    """Each `HOST:PORTS`: a name, an address or a network, and `22`, `80,443`, `8000-8100` or `*`; or a unix socket's
    path.

    Raises:
        TypeError: they are no list, or one of them is no text.
        ValueError: what is wrong with which of them.
    """
    return AllowList(_rules(texts, "allow"), _rules(deny, "deny"))


def host_name(host: str) -> str | None:
    """`host` as names are compared: lower case, in ASCII (IDNA), without the dot at its end. `None`: it is no name."""
    try:
        name = host.encode("idna").decode().lower().removesuffix(".") if not host.isascii() else host.lower()
    except UnicodeError:
        return None
    name = name.removesuffix(".")
    labels = name.split(".")
    if not all(labels) or any(len(label) > 63 for label in labels) or len(name) > 253:
        return None
    last = labels[-1]
    if last.isdigit() or (last.startswith("0x") and all(digit in "0123456789abcdef" for digit in last[2:])):
        return None  # an address, as some systems read it
    if not all(character.isalnum() or character in "-_" for character in "".join(labels)):
        return None
    return name


def _rules(texts: Iterable[str], name: str) -> tuple[Rule, ...]:
    if isinstance(texts, str) or not isinstance(texts, Iterable):
        raise TypeError(f'{name} is a list, ["HOST:PORTS"], and not {type(texts).__name__}')
    texts = tuple(texts)
    for text in texts:
        if not isinstance(text, str):
            raise TypeError(f'{name} is a list of texts, ["HOST:PORTS"]; one of its entries is {type(text).__name__}')
    return tuple(dict.fromkeys(map(_rule, texts)))


def _rule(text: str) -> Rule:
    if (path := text.strip()).startswith("/"):
        return Rule(unix_socket(path).path, ())
    parts = split_at_colons(text)
    if len(parts) != 2:
        raise ValueError(f"an entry looks like HOST:PORTS, [IPV6]:PORTS, 10.0.0.0/8:PORTS or /PATH, not {text!r}")
    host, ports = parts
    return Rule(_host(host, text), _ports(ports, text))


def _host(host: str, text: str) -> str | Network:
    if "/" in host:
        try:
            network = ipaddress.ip_network(host, strict=False)
        except ValueError as error:
            raise ValueError(f"{host!r} in {text!r} is no network: {error}") from None
        if (begin := ipaddress.ip_interface(host).ip) != network.network_address:
            raise ValueError(f"{host!r} in {text!r} is no network: did you mean {network}, or {begin} alone?")
        if network.version == 6 and network.network_address.ipv4_mapped is not None:
            raise ValueError(f"{host!r} in {text!r} is a network of IPv4 addresses; write it as such: 10.0.0.0/8")
        return network
    check_host(host, text)
    if (address := literal(host)) is not None:
        return ipaddress.ip_network(address)
    if (name := host_name(host)) is None:
        raise ValueError(f"{host!r} in {text!r} is no host name, address or network")
    return name


def _ports(ports: str, text: str) -> tuple[tuple[int, int], ...]:
    if ports == "*":
        return EVERY_PORT
    return tuple(_range(part, text) for part in ports.split(","))


def _range(part: str, text: str) -> tuple[int, int]:
    low, dash, high = part.partition("-")
    numbers: Sequence[str] = (low, high) if dash else (low, low)
    if not all(each.isascii() and each.isdigit() and len(each) <= 5 and 1 <= int(each) <= MAX_PORT for each in numbers):
        raise ValueError(f"{part[:20]!r} in {text[:80]!r} is neither a port from 1 to {MAX_PORT} nor a range of them")
    if int(numbers[0]) > int(numbers[1]):
        raise ValueError(f"the range {part!r} in {text!r} ends before it begins")
    return int(numbers[0]), int(numbers[1])
