"""A TURN server that holds clients to their credentials' end, made of coturn and a proxy before it.

coturn checks `EXPIRY:USER` when an allocation is made and never again, and refreshes for 600 s whatever it says; other
servers check each request (pion/turn answers 400). So a test on plain coturn proves nothing about credentials that are
renewed. The proxy passes UDP between clients and coturn, and

* answers 400 itself to each request whose user name has expired, or was revoked;
* shortens LIFETIME in coturn's answers, so that clients refresh their allocations often;
* keeps which user names it saw.

It knows the secret, and so can sign what it changes (RFC 8489 §14.5).
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import socket
import struct
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from perdure.turn.shared_secret import expiry_of, make_credentials

MAX_CLIENTS = 512
"""Addresses of clients: an engine has one for each local address and gathering. Beyond it the oldest goes."""

_COOKIE = 0x2112A442
_USERNAME, _INTEGRITY, _ERROR_CODE, _LIFETIME, _REALM, _FINGERPRINT = 0x0006, 0x0008, 0x0009, 0x000D, 0x0014, 0x8028
_FINGERPRINT_MASK = 0x5354554E
_ERROR, _SUCCESS = 0x0110, 0x0100
"""Added to a request's type (RFC 8489 §5)."""

METHODS = {0x0003: "Allocate", 0x0004: "Refresh", 0x0008: "CreatePermission", 0x0009: "ChannelBind"}
"""TURN's requests (RFC 8656 §17)."""


@dataclass(slots=True)
class StunMessage:
    """One as RFC 8489 §5 has it."""

    type: int
    transaction: bytes
    attributes: list[tuple[int, bytes]]

    def find(self, kind: int) -> bytes | None:
        return next((value for each, value in self.attributes if each == kind), None)

    def encode(self, key: bytes | None, *, fingerprint: bool = False) -> bytes:
        """With MESSAGE-INTEGRITY by `key`, and FINGERPRINT, in the place of those that it had."""
        kept = [each for each in self.attributes if each[0] not in (_INTEGRITY, _FINGERPRINT)]
        body = b"".join(_attribute(kind, value) for kind, value in kept)
        if key is not None:
            signed = self._head(len(body) + 24) + body
            body += _attribute(_INTEGRITY, hmac.digest(key, signed, hashlib.sha1))
        if fingerprint:
            checked = self._head(len(body) + 8) + body
            body += _attribute(_FINGERPRINT, struct.pack("!I", zlib.crc32(checked) ^ _FINGERPRINT_MASK))
        return self._head(len(body)) + body

    def _head(self, length: int) -> bytes:
        return struct.pack("!HHI", self.type, length, _COOKIE) + self.transaction


def read_stun(datagram: bytes) -> StunMessage | None:
    """`None`: it is no STUN message, as TURN's ChannelData is not."""
    if len(datagram) < 20 or datagram[0] >= 0x40:
        return None
    kind, length, cookie = struct.unpack_from("!HHI", datagram)
    if cookie != _COOKIE or len(datagram) != 20 + length:
        return None
    attributes, at = [], 20
    while at + 4 <= len(datagram):
        attribute, size = struct.unpack_from("!HH", datagram, at)
        attributes.append((attribute, datagram[at + 4 : at + 4 + size]))
        at += 4 + size + -size % 4
    return StunMessage(kind, datagram[8:20], attributes)


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


class StrictTurn(asyncio.DatagramProtocol):
    """The proxy, before the server on 127.0.0.1 at `upstream_port` which has `secret`.

    Args:
        longest_lifetime: seconds, of an allocation.
        now: Unix seconds.

    Attributes:
        usernames: those of requests that were passed on, each once, in the order of their first request.
        revoked: user names that are refused as if they had expired.
        accepted, refused: how many requests had a name that lasts, or another one, by method.
        swallows: whether nothing is passed on, in either direction.
        swallowed: addresses of clients whose requests were; a gathering has others than the one before.
    """

    def __init__(
        self, upstream_port: int, secret: bytes, *, longest_lifetime: int, now: Callable[[], float] = time.time
    ) -> None:
        self.usernames: list[str] = []
        self.revoked: set[str] = set()
        self.accepted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.swallows = False
        self.swallowed: set[tuple[str, int]] = set()
        self._upstream = ("127.0.0.1", upstream_port)
        self._secret = secret
        self._longest_lifetime = longest_lifetime
        self._now = now
        self._transport: asyncio.DatagramTransport | None = None
        self._clients: dict[tuple[str, int], _Client] = {}

    @contextlib.asynccontextmanager
    async def running(self, port: int = 0) -> AsyncIterator[int]:
        """On 127.0.0.1; the port."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", port))
        self._transport = transport
        try:
            yield transport.get_extra_info("sockname")[1]
        finally:
            transport.close()
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """Of a client."""
        if self.swallows:
            if len(self.swallowed) < MAX_CLIENTS:
                self.swallowed.add(addr)
            return
        message = read_stun(data)
        refusal = None if message is None else self._judged(message)
        if refusal is not None:
            self._answer(refusal, addr)
            return
        client = self._clients.get(addr)
        if client is None:
            if len(self._clients) >= MAX_CLIENTS:
                self._clients.pop(next(iter(self._clients))).close()
            client = self._clients[addr] = _Client(self._upstream, lambda answer: self._came_back(answer, addr))
        if message is not None and message.type in METHODS and (name := message.find(_USERNAME)) is not None:
            client.key = self._key(name.decode(), message.find(_REALM) or b"")
        client.send(data)

    def error_received(self, exc: Exception) -> None:
        """A client is gone: nothing to do."""

    def _judged(self, message: StunMessage) -> bytes | None:
        """The refusal of a request whose credentials are not taken any more; `None`: it is passed on."""
        method, name = METHODS.get(message.type), message.find(_USERNAME)
        if method is None or name is None:
            return None
        username = name.decode()
        expiry = expiry_of(username)
        if username not in self.revoked and (expiry is None or expiry > self._now()):
            self.accepted[method] += 1
            if username not in self.usernames:
                self.usernames.append(username)
            return None
        self.refused[method] += 1
        error = StunMessage(message.type | _ERROR, message.transaction, [(_ERROR_CODE, b"\0\0\4\0" + b"Bad Request")])
        return error.encode(self._key(username, message.find(_REALM) or b""))

    def _came_back(self, data: bytes, addr: tuple[str, int]) -> None:
        """From coturn."""
        client = self._clients.get(addr)
        if not self.swallows and client is not None:
            self._answer(self._shortened(data, client.key), addr)

    def _shortened(self, data: bytes, key: bytes | None) -> bytes:
        """With no longer lifetime of an allocation than may be."""
        message = read_stun(data)
        if message is None or key is None or message.type - _SUCCESS not in METHODS:
            return data
        lifetime = message.find(_LIFETIME)
        if lifetime is None or int.from_bytes(lifetime) <= self._longest_lifetime:
            return data
        short = (_LIFETIME, self._longest_lifetime.to_bytes(4))
        message.attributes = [short if each[0] == _LIFETIME else each for each in message.attributes]
        return message.encode(key, fingerprint=message.find(_FINGERPRINT) is not None)

    def _answer(self, data: bytes, client: tuple[str, int]) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.sendto(data, client)

    def _key(self, username: str, realm: bytes) -> bytes:
        """RFC 8489 §9.2.2."""
        password = make_credentials(self._secret, username.partition(":")[2], expiry_of(username) or 0).password
        return hashlib.md5(f"{username}:".encode() + realm + f":{password}".encode(), usedforsecurity=False).digest()


class _Client:
    """One client's socket towards coturn. `key`: of its last request."""

    def __init__(self, upstream: tuple[str, int], on_answer: Callable[[bytes], None]) -> None:
        self.key: bytes | None = None
        self._on_answer = on_answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(upstream)
        asyncio.get_running_loop().add_reader(self._socket, self._read)

    def send(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # coturn is gone, or the buffer is full: UDP
            self._socket.send(data)

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            for _ in range(64):  # then others' turn
                self._on_answer(self._socket.recv(65536))
