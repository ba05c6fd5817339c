"""What a SOCKS5 client and a proxy say before a connection's bytes (RFC 1928; passwords: RFC 1929). Pure.

1. The client offers ways to log in, the proxy picks one; with a password, that follows.
2. The client names a target, and the proxy answers once it is connected, or says why it is not. Then come the bytes.
"""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Generator
from dataclasses import dataclass
from enum import IntEnum

from perdure.streams.target import Target, check_target
from perdure.wire import ResetCode

_VERSION = 5
_LOGIN_VERSION = 1
"""RFC 1929's own."""

_NO_LOGIN, _PASSWORD, _NO_ACCEPTABLE_METHOD = 0x00, 0x02, 0xFF
_CONNECT = 1

_SOCKS4_VERSION = 4
_SOCKS4_REJECTED = bytes([0, 91, 0, 0, 0, 0, 0, 0])

_HTTP_ANSWER = b"HTTP/1.0 501 This is a SOCKS5 proxy\r\nConnection: close\r\n\r\n"
"""To a program that was told that this is an HTTP proxy: a browser shows it."""


class _AddressKind(IntEnum):
    IPV4 = 1
    NAME = 3
    IPV6 = 4


class Socks5Reply(IntEnum):
    """RFC 1928, section 6."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    TTL_EXPIRED = 6
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8

    def encode(self) -> bytes:
        """The answer. Which address the gateway dials from is not told: 0.0.0.0:0, as most proxies answer."""
        return bytes([_VERSION, self, 0, _AddressKind.IPV4, 0, 0, 0, 0, 0, 0])


REPLIES = {
    ResetCode.NOT_ALLOWED: Socks5Reply.NOT_ALLOWED,
    ResetCode.REFUSED: Socks5Reply.CONNECTION_REFUSED,
    ResetCode.TIMED_OUT: Socks5Reply.TTL_EXPIRED,
    ResetCode.UNREACHABLE: Socks5Reply.HOST_UNREACHABLE,
    ResetCode.LIMIT: Socks5Reply.GENERAL_FAILURE,
    ResetCode.ABORTED: Socks5Reply.GENERAL_FAILURE,
    ResetCode.SESSION_LOST: Socks5Reply.NETWORK_UNREACHABLE,
}
"""What a client is told where its stream was refused. A time-out has no reply of its own; Tor's proxy uses this one."""


@dataclass(frozen=True, slots=True)
class ProxyLogin:
    """What a client must know; each from 1 to 255 bytes of UTF-8.

    Raises:
        ValueError: one is empty or too long.
    """

    user: str
    password: str

    def __post_init__(self) -> None:
        for name, text in (("user", self.user), ("password", self.password)):
            if not 1 <= len(text.encode()) <= 255:
                raise ValueError(f"a SOCKS5 {name} has from 1 to 255 bytes")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(user={self.user!r}, password=…)"

    def matches(self, user: bytes, password: bytes) -> bool:
        """In a time that says nothing about how much of it was right."""
        matches = hmac.compare_digest(user, self.user.encode())
        return hmac.compare_digest(password, self.password.encode()) and matches


class Socks5Error(Exception):
    """The client cannot be served: send it `answer`, and close."""

    def __init__(self, answer: bytes, why: str) -> None:
        super().__init__(why)
        self.answer = answer


class Socks5Handshake:
    """One connection's, up to its target.

    Args:
        login: what the client must know; `None`: anybody is served.
    """

    def __init__(self, login: ProxyLogin | None) -> None:
        self._login = login
        self._buffer = bytearray()
        self._wanted = 0
        self._answer = b""
        self._steps = self._run()
        self.target: Target | None = None
        """What the client asks for, once that is known."""
        self._advance()

    def receive(self, data: bytes) -> bytes:
        """Take what came; what to answer now. Behind the target, bytes are the connection's: `rest`.

        Raises:
            Socks5Error: it cannot be served.
        """
        self._buffer += data
        try:
            while self.target is None and len(self._buffer) >= self._wanted:
                self._advance()
        except Socks5Error as error:
            raise Socks5Error(self._answer + error.answer, str(error)) from None
        answer, self._answer = self._answer, b""
        return answer

    @property
    def rest(self) -> bytes:
        """What came behind the request."""
        return bytes(self._buffer)

    def _advance(self) -> None:
        taken = bytes(self._buffer[: self._wanted])
        del self._buffer[: self._wanted]
        try:
            self._wanted = self._steps.send(taken) if taken else next(self._steps)
        except StopIteration as end:
            self.target = end.value

    def _run(self) -> Generator[int, bytes, Target]:
        """Yields how many bytes it wants next, and is sent them."""
        version, count = yield 2
        if version != _VERSION:
            raise _no_socks5(version)
        methods = (yield count) if count else b""
        wanted = _NO_LOGIN if self._login is None else _PASSWORD
        if wanted not in methods:
            why = "it offers no password" if self._login is not None else "it insists on a way to log in"
            raise Socks5Error(bytes([_VERSION, _NO_ACCEPTABLE_METHOD]), why)
        self._answer += bytes([_VERSION, wanted])
        if self._login is not None:
            yield from self._check(self._login)
        return (yield from self._request())

    def _check(self, login: ProxyLogin) -> Generator[int, bytes, None]:
        version, length = yield 2
        user = (yield length) if length else b""
        (length,) = yield 1
        password = (yield length) if length else b""
        if version != _LOGIN_VERSION or not login.matches(user, password):
            raise Socks5Error(bytes([_LOGIN_VERSION, 1]), "the user or the password is wrong")
        self._answer += bytes([_LOGIN_VERSION, 0])

    def _request(self) -> Generator[int, bytes, Target]:
        version, command, _, kind = yield 4
        if version != _VERSION:
            raise Socks5Error(Socks5Reply.GENERAL_FAILURE.encode(), "its request is malformed")
        match kind:
            case _AddressKind.IPV4:
                host = str(ipaddress.IPv4Address((yield 4)))
            case _AddressKind.NAME:
                (length,) = yield 1
                host = ((yield length) if length else b"").decode("utf-8", "replace")
            case _AddressKind.IPV6:
                host = str(ipaddress.IPv6Address((yield 16)))
            case _:
                why = f"its address is of an unknown kind ({kind})"
                raise Socks5Error(Socks5Reply.ADDRESS_TYPE_NOT_SUPPORTED.encode(), why)
        port = int.from_bytes((yield 2), "big")
        if command != _CONNECT:
            why = f"it wants command {command}; CONNECT (1) is what there is"
            raise Socks5Error(Socks5Reply.COMMAND_NOT_SUPPORTED.encode(), why)
        try:
            return check_target(host, port)
        except ValueError as error:
            raise Socks5Error(Socks5Reply.HOST_UNREACHABLE.encode(), str(error)) from None


def _no_socks5(first: int) -> Socks5Error:
    if first == _SOCKS4_VERSION:
        return Socks5Error(_SOCKS4_REJECTED, "it speaks SOCKS4; this is SOCKS5")
    if chr(first).isalpha():
        return Socks5Error(_HTTP_ANSWER, "it speaks no SOCKS5, but HTTP perhaps")
    return Socks5Error(b"", "it speaks no SOCKS5")
