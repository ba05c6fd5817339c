"""ICE servers from an HTTP endpoint: one GET with a bearer token, and JSON as `answer` reads it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import io
import re
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from perdure.addresses import literal
from perdure.errors import PerdureError, ProtocolError
from perdure.private_files import expanded
from perdure.turn.answer import read_answer
from perdure.turn.dialling import open_connection
from perdure.turn.provider import IssuedIceServers
from perdure.turn.secret_files import read_token
from perdure.urls import without_login

REQUEST_TIMEOUT = 10.0
"""Seconds for all of it: connecting, TLS, and the whole answer. A service that needs longer is tried again."""

MAX_ANSWER_BYTES = 64 * 1024
"""Head and body: eight servers with tokens of 300 bytes are 5 KiB."""

RENDEZVOUS_PATH = "/v1/turn"
"""Of the page of a perdure rendezvous, which has it only where it knows the secret."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d{1,9}) *\r\n", re.IGNORECASE)


class IceServersEndpoint:
    """Asks `url` each time. Redirects are not followed: the token would go to another host.

    Args:
        url: https://…; http:// only at this machine's loopback, as the answer holds passwords.
        token_file: holds the bearer token; read anew each time, so that it may be replaced.
        ca_file: certificates (PEM) that are trusted beside the system's.
        timeout: seconds for all of it.
        now: Unix seconds.

    Raises:
        ValueError: the URL cannot be used, or the file of certificates.
    """

    def __init__(
        self,
        url: str,
        *,
        token_file: Path | str | None = None,
        ca_file: Path | str | None = None,
        timeout: float = REQUEST_TIMEOUT,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._parts = check_endpoint_url(url)
        self.url = url
        self._token_file = None if token_file is None else expanded(token_file)
        self._timeout = timeout
        self._now = now
        self._context = client_context(ca_file) if self._parts.scheme == "https" else None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._shown}>"

    async def ice_servers(self) -> IssuedIceServers:
        try:
            async with asyncio.timeout(self._timeout):
                status, body = await self._get()
        except TimeoutError:
            raise PerdureError(f"{self._shown} did not answer within {self._timeout:g} s") from None
        except ssl.SSLCertVerificationError as error:
            why = f"its certificate is not trusted: {error.verify_message}"
            raise PerdureError(f"{self._shown} cannot be asked: {why}") from error
        except OSError as error:
            raise PerdureError(f"{self._shown} cannot be asked: {error.strerror or error}") from error
        if status in (401, 403):
            raise PerdureError(f"{self._shown} refuses the token ({status}); is the token file right?")
        if status != 200:
            raise PerdureError(f"{self._shown} answers {status}{self._why(status)}")
        try:
            return read_answer(body, now=self._now())
        except ProtocolError as error:
            raise PerdureError(f"{self._shown} cannot be used: {error}") from error

    @property
    def _shown(self) -> str:
        """The URL without its query, which may hold a key."""
        return without_login(self.url.partition("?")[0])

    async def _get(self) -> tuple[int, bytes]:
        """Raises OSError where it fails, ProtocolError where what comes is no HTTP."""
        parts = self._parts
        port = parts.port or (443 if parts.scheme == "https" else 80)
        request = self._request()
        reader, writer = await open_connection(parts.hostname, port, ssl=self._context, limit=MAX_ANSWER_BYTES)
        try:
            writer.write(request)
            answer = await self._read(reader)
        finally:
            writer.transport.abort()  # all is read, or worthless
            with contextlib.suppress(OSError):
                await writer.wait_closed()
        return self._parsed(answer)

    def _request(self) -> bytes:
        parts = self._parts
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Accept: application/json",
            "User-Agent: perdure",
            "Connection: close",
        ]
        if self._token_file is not None:
            lines.append(f"Authorization: Bearer {read_token(self._token_file)}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()

    def _why(self, status: int) -> str:
        if status == 404 and self._parts.path == RENDEZVOUS_PATH:
            return "; is this a perdure rendezvous with --turn-secret-file?"
        return ", a redirect" if 300 <= status < 400 else ""

    async def _read(self, reader: asyncio.StreamReader) -> bytes:
        """Up to its end, or as much as its head announces."""
        answer, wanted = b"", MAX_ANSWER_BYTES + 1
        while len(answer) < wanted and (read := await reader.read(MAX_ANSWER_BYTES)):
            answer += read
            head, end, _ = answer.partition(b"\r\n\r\n")
            if end and (length := _LENGTH.search(head + b"\r\n")):
                wanted = min(MAX_ANSWER_BYTES + 1, len(head) + len(end) + int(length[1]))
        if len(answer) > MAX_ANSWER_BYTES:
            raise PerdureError(f"{self._shown} answers more than {MAX_ANSWER_BYTES} bytes")
        return answer

    def _parsed(self, answer: bytes) -> tuple[int, bytes]:
        response = http.client.HTTPResponse(_Answer(answer))  # type: ignore[arg-type]  # it reads, and asks no more
        try:
            response.begin()
            return response.status, response.read()
        except (http.client.HTTPException, ValueError) as error:
            raise PerdureError(f"{self._shown} answers no HTTP, or not all of it ({type(error).__name__})") from None


class _Answer:
    """All bytes of an answer, in a socket's place."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def check_endpoint_url(url: str) -> SplitResult:
    """Raises `ValueError` unless it is https://, or http:// at this machine's loopback. It is not repeated where it may
    hold a password."""
    form = "https://HOST/PATH, or http://127.0.0.1:PORT/PATH"
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError(f"a URL that names ICE servers looks like {form}") from None
    if "@" in parts.netloc or not url.isascii() or not url.isprintable() or " " in url or not parts.hostname:
        raise ValueError(f"a URL that names ICE servers looks like {form}, without a login and white space")
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        raise ValueError(f"{parts.hostname} is another machine: use https, as the answer holds passwords")
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"a URL that names ICE servers looks like {form}, not {parts.scheme}:")
    return parts


def _is_loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" or (address is not None and address.is_loopback)


def client_context(ca_file: Path | str | None) -> ssl.SSLContext:
    """Trusts the system's roots, and the certificates in `ca_file`. Raises `ValueError` where that cannot be used."""
    context = ssl.create_default_context()
    if ca_file is not None:
        path = expanded(ca_file)
        try:
            context.load_verify_locations(path)
        except (ssl.SSLError, OSError) as error:
            why = "it holds no certificates in PEM" if isinstance(error, ssl.SSLError) else error.strerror
            raise ValueError(f"the certificates in {path} cannot be used: {why}") from None
    return context
