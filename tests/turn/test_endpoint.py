"""ICE servers from an HTTP endpoint: a real one on loopback, which says what the test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from typing import TYPE_CHECKING, Any

import pytest

from perdure import IceServer, PerdureError
from perdure.turn.endpoint import MAX_ANSWER_BYTES, IceServersEndpoint
from support.certificates import certificate
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TURN = IceServer("turn:turn.example:3478", "ada", "key")
BODY = json.dumps({"username": "ada", "password": "key", "ttl": 60, "uris": [TURN.url]}).encode()


def ok(body: bytes = BODY, head: bytes = b"") -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s" % (len(body), head, body)


class Service:
    """Answers each request with `answer`, and keeps what it was asked; it closes only where `closes`."""

    def __init__(self, answer: bytes, *, closes: bool = True) -> None:
        self.answer = answer
        self.closes = closes
        self.requests: list[str] = []
        self.served = asyncio.Semaphore(0)
        self.port = 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.requests.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(self.answer)
            await writer.drain()
            if not self.closes:
                await reader.read()
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        self.served.release()

    @contextlib.asynccontextmanager
    async def running(self, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Its URL."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        async with server:
            self.port = server.sockets[0].getsockname()[1]
            yield f"{'https' if context else 'http'}://127.0.0.1:{self.port}/turn"
            for _ in self.requests:
                async with asyncio.timeout(TIMEOUT):
                    await self.served.acquire()


async def fetched(url: str, **options: Any) -> tuple[tuple[IceServer, ...], float | None]:
    async with asyncio.timeout(TIMEOUT):
        issued = await IceServersEndpoint(url, **options).ice_servers()
    return issued.servers, issued.lifetime


async def test_the_token_of_the_file_is_sent_and_read_anew_each_time(tmp_path: Path) -> None:
    service, token = Service(ok()), tmp_path / "token"
    async with service.running() as url:
        asked = IceServersEndpoint(f"{url}?service=turn", token_file=token)
        for text in ("first\n", "second"):
            token.write_text(text)
            assert (await asked.ice_servers()).servers == (TURN,)
    assert [
        f"Authorization: Bearer {word}" in request
        for word, request in zip(("first", "second"), service.requests, strict=True)
    ]
    assert service.requests[0].startswith("GET /turn?service=turn HTTP/1.1\r\n")
    assert f"Host: 127.0.0.1:{service.port}\r\n" in service.requests[0]


@pytest.mark.parametrize(
    "answer",
    [
        ok(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    ],
    ids=["length", "chunks", "until its end"],
)
async def test_an_answer_is_read_however_it_is_framed(answer: bytes) -> None:
    async with Service(answer).running() as url:
        assert await fetched(url) == ((TURN,), 60)


async def test_an_answer_of_known_length_is_read_though_the_service_keeps_the_connection() -> None:
    async with Service(ok(), closes=False).running() as url:
        assert await fetched(url) == ((TURN,), 60)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", "refuses the token"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/\r\n\r\n", "302, a redirect"),
        (b"HTTP/1.1 503 Later\r\n\r\nkey", "answers 503"),
        (b"SSH-2.0-key\r\n", "no HTTP"),
        (b"", "no HTTP"),
        (ok()[:-5], "not all of it"),
        (ok(b"key"), "no JSON that names"),
        (ok(b"[" * MAX_ANSWER_BYTES), "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: key\r\n" * 20_000, "more than 65536 bytes"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: key\r\n" * 200 + b"\r\n", "no HTTP"),
    ],
    ids=["401", "redirect", "503", "ssh", "nothing", "cut", "no json", "long", "long head", "many headers"],
)
async def test_what_is_no_answer_is_an_error_that_names_the_endpoint_and_repeats_nothing(
    answer: bytes, why: str
) -> None:
    async with Service(answer).running() as url:
        with pytest.raises(PerdureError, match=why) as refused:
            await fetched(f"{url}?key=1")
        assert f"{url} " in str(refused.value)
        assert "key" not in str(refused.value)


async def test_a_service_that_does_not_answer_is_given_up() -> None:
    async with Service(b"HTTP/1.1 200 OK\r\n", closes=False).running() as url:
        with pytest.raises(PerdureError, match=r"did not answer within 0\.2 s"):
            await fetched(url, timeout=0.2)


async def test_a_service_that_is_not_there_is_named() -> None:
    async with Service(b"").running() as url:
        pass
    with pytest.raises(PerdureError, match=f"{url} cannot be asked"):
        await fetched(url)


async def test_a_certificate_must_be_trusted_and_a_file_can_say_which_is(tmp_path: Path) -> None:
    context, _ = certificate(tmp_path)
    async with Service(ok()).running(context) as url:
        with pytest.raises(PerdureError, match="its certificate is not trusted"):
            await fetched(url)
        assert await fetched(url, ca_file=tmp_path / "server.pem") == ((TURN,), 60)


def test_a_service_is_asked_on_uvloop_too(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop", reason="there is none for Windows")
    context, _ = certificate(tmp_path)

    async def ask(context: ssl.SSLContext | None) -> None:
        async with Service(ok()).running(context) as url:
            assert await fetched(url, ca_file=tmp_path / "server.pem") == ((TURN,), 60)

    for each in (None, context):
        uvloop.run(ask(each))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://turn.example/turn", "use https"),
        ("https://ada:key@turn.example/", "without a login"),
        ("https:///turn", "without a login"),
        ("https://turn.example:x/", "looks like"),
        ("ftp://turn.example/", "not ftp"),
        ("https://turn.example/ \r\nX: key", "white space"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        IceServersEndpoint(url)
    assert "key" not in str(refused.value)


@pytest.mark.parametrize(("content", "why"), [(None, "cannot be read"), ("a b", "one token"), ("", "one token")])
async def test_a_file_without_a_token_is_told(content: str | None, why: str, tmp_path: Path) -> None:
    token = tmp_path / "token"
    if content is not None:
        token.write_text(content)
    async with Service(ok()).running() as url:
        with pytest.raises(PerdureError, match=f"the token file {token} .*{why}"):
            await fetched(url, token_file=token)


def test_a_file_without_certificates_is_told(tmp_path: Path) -> None:
    wrong = tmp_path / "ca.pem"
    wrong.write_text("none")
    for path, why in ((wrong, "no certificates"), (tmp_path / "no", "No such file")):
        with pytest.raises(ValueError, match=why):
            IceServersEndpoint("https://turn.example/", ca_file=path)
