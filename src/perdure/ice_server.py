"""An ICE server: its URL, checked whole, and its credentials, which are never shown. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

_ICE_URL = re.compile(
    r"(?P<scheme>stun|turn)s?:"
    r"(?:(?P<host>[\w.-]+)|\[(?P<ipv6>[\w.:%-]+)\])(?::(?P<port>\d{1,5}))?"
    r"(?P<transport>\?transport=(?:udp|tcp))?",
    re.ASCII,
)
"""RFC 7064 §3.1, RFC 7065 §3.1."""

MAX_TURN_USERNAME_BYTES = 509
"""libwebrtc takes no longer one: RFC 8489 §14.3 has "fewer than 509 bytes"."""


@dataclass(frozen=True, slots=True)
class IceServer:
    """A STUN or TURN server: `stun:HOST[:PORT]`, `turn:HOST[:PORT][?transport=udp|tcp]` or `turns:…`."""

    url: str
    username: str | None = None
    credential: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if "@" in self.url:  # it would be shown
            raise ValueError("an ICE server's user name and password are arguments of their own, not in its url")
        found = _ICE_URL.fullmatch(self.url)
        if found is None or (found["scheme"] == "stun" and found["transport"]) or not _is_ipv6(found["ipv6"] or "::"):
            raise ValueError(
                f"an ICE server looks like stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT, not {self.url!r}"
            )
        if found["port"] is not None and not 0 < int(found["port"]) < 65536:
            raise ValueError(f"the ICE server {self.url!r} has a port that cannot be")
        if self.url.startswith("turn:") and found["port"] is not None and not _may_be_turn(int(found["port"])):
            ports = "53, 80, 443 and those from 1024 on"
            raise ValueError(f"the TURN server {self.url!r} has a port that WebRTC ignores: it takes {ports}")
        if self.username is not None and not self.username.isprintable():
            raise ValueError(f"the ICE server {self.url!r} has a user name that cannot be shown")
        if self.username is not None and len(self.username.encode()) > MAX_TURN_USERNAME_BYTES:
            raise ValueError(f"the ICE server {self.url!r} has a user name of over {MAX_TURN_USERNAME_BYTES} bytes")
        if self.credential is not None and not _is_unicode(self.credential):
            raise ValueError(f"the ICE server {self.url!r} has a password that is no UTF-8")
        if found["scheme"] == "turn" and (not self.username or not self.credential):
            raise ValueError(f"the TURN server {self.url!r} needs a user name and a password")


def _may_be_turn(port: int) -> bool:
    """libwebrtc (TurnPort::AllowedTurnPort); a TURN server over TLS is reached by perdure's own bridge."""
    return port in {53, 80, 443} or port >= 1024


def _is_unicode(text: str) -> bool:
    """Whether it has no half characters, as a command line that is no UTF-8 gives them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def host_of(server: IceServer) -> str:
    """The host that `server` is asked at, without the brackets of an IPv6 address."""
    found = _ICE_URL.fullmatch(server.url)
    assert found is not None, "it was checked when it was made"
    return found["host"] or found["ipv6"]


def parse_ice_server(text: str) -> IceServer:
    """`stun:HOST:PORT`, or `turn:USER:PASSWORD@HOST:PORT` (USER may hold colons, as coturn's REST names do).

    Raises:
        ValueError: it is neither. The message does not repeat the password.
    """
    scheme, _, rest = text.partition(":")
    login, at, host = rest.rpartition("@")
    if not at and scheme.startswith("turn"):
        raise ValueError(f"a TURN server needs a user name and a password: {scheme}:USER:PASSWORD@HOST:PORT")
    if not at:
        return IceServer(text)
    username, colon, password = login.rpartition(":")
    if not colon:
        raise ValueError(
            f"the ICE server at {host!r} has a user name but no password: {scheme}:USER:PASSWORD@HOST:PORT"
        )
    return IceServer(f"{scheme}:{host}", username, password)


def read_ice_servers(servers: Iterable[IceServer | str]) -> tuple[IceServer, ...]:
    """Those that a program names, also as texts.

    Raises:
        TypeError, ValueError: one is no ICE server. The message does not repeat a password.
    """
    if isinstance(servers, str) or not isinstance(servers, Iterable):
        raise TypeError(f'ICE servers are a list, ["stun:HOST:PORT"], and not {type(servers).__name__}')
    read = tuple(parse_ice_server(each) if isinstance(each, str) else each for each in servers)
    for each in read:
        if not isinstance(each, IceServer):
            raise TypeError(f'an ICE server is "stun:HOST:PORT", or an IceServer(url, …), not {type(each).__name__}')
    return read
