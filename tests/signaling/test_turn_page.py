"""TURN credentials at a rendezvous, over plain HTTP."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from perdure.signaling.server import RendezvousServer
from perdure.signaling.turn_page import ANSWER_BURST, REFUSAL_BURST, TurnPage
from perdure.turn import IceServersEndpoint, SharedSecret
from perdure.turn.shared_secret import make_credentials
from support.raw_peers import http
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from pathlib import Path

URLS = ("turn:turn.example:3478", "turn:turn.example:3478?transport=tcp")


def page(now: float = 0.0) -> TurnPage:
    return TurnPage(SharedSecret("north", URLS, lifetime=300), "token", now=now)


async def asked(port: int, authorization: str = "", method: str = "GET") -> tuple[int, str]:
    header = f"\r\nAuthorization: {authorization}" if authorization else ""
    async with asyncio.timeout(TIMEOUT):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{method} /v1/turn HTTP/1.1\r\nHost: x{header}\r\n\r\n".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert "north" not in head + body
    assert "cache-control: no-store" in head.lower()
    return int(head.split()[1]), body


async def test_who_has_the_token_gets_credentials_and_nobody_else() -> None:
    async with RendezvousServer(turn_page=page(asyncio.get_running_loop().time())) as server:
        for wrong in ("", "Bearer wrong", "Basic token", "Bearer", "token"):
            status, body = await asked(server.port, wrong)
            assert status == 401
            assert "uris" not in body
        status, body = await asked(server.port, "bearer token")
        said = json.loads(body)
        assert status == 200
        assert said.keys() == {"username", "password", "ttl", "uris"}
        assert (said["ttl"], said["uris"]) == (300, list(URLS))
        expiry, _, user = said["username"].partition(":")
        assert said["password"] == make_credentials(b"north", user, int(expiry)).password
        again = json.loads((await asked(server.port, "Bearer token"))[1])
        assert again["username"].partition(":")[2] != user
        assert await asked(server.port, "Bearer token", "HEAD") == (200, "")


async def test_perdure_reads_what_its_rendezvous_says(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("token\n")
    async with RendezvousServer(turn_page=page(asyncio.get_running_loop().time())) as server:
        url = f"http://127.0.0.1:{server.port}/v1/turn"
        issued = await IceServersEndpoint(url, token_file=tmp_path / "token").ice_servers()
    assert [server.url for server in issued.servers] == list(URLS)
    assert issued.lifetime == 300


async def test_a_rendezvous_without_a_secret_has_no_such_page() -> None:
    async with RendezvousServer() as server:
        assert (await http(server.port, "GET /v1/turn"))[0] == "HTTP/1.1 404 Not Found"


def test_guessing_is_slowed_down_and_holds_up_nobody_who_knows_the_token() -> None:
    turn = page()
    statuses = [turn.answer(f"Bearer {guess}", 0.0).status for guess in range(REFUSAL_BURST + 5)]
    assert statuses == [401] * REFUSAL_BURST + [429] * 5
    assert turn.answer("Bearer token", 0.0).status == 200
    assert turn.answer("Bearer guess", 1.0).status == 401


def test_credentials_are_issued_no_faster_than_ten_a_second() -> None:
    turn = page()
    statuses = [turn.answer("Bearer token", 0.0).status for _ in range(ANSWER_BURST + 1)]
    assert statuses == [200] * ANSWER_BURST + [429]
    assert [turn.answer("Bearer token", 0.5).status for _ in range(6)] == [200] * 5 + [429]
