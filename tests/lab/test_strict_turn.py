"""The strict TURN server: coturn behind a proxy that refuses expired credentials. The engine is its client."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from perdure import IceServer
from perdure.turn.shared_secret import make_credentials
from perdure_lab.lab.strict_turn import StrictTurn, StunMessage, read_stun
from support.gathering import gathering
from support.signaling import eventually
from support.turn_server import coturn, free_port

if TYPE_CHECKING:
    from pathlib import Path

SECRET = ("--use-auth-secret", "--static-auth-secret", "north")


def server(port: int, expires_at: float) -> IceServer:
    made = make_credentials(b"north", "ada", int(expires_at))
    return IceServer(f"turn:127.0.0.1:{port}", made.username, made.password)


async def test_credentials_that_last_are_passed_on_and_refreshed_often(tmp_path: Path) -> None:
    port = free_port()
    async with coturn(tmp_path, port, *SECRET):
        strict = StrictTurn(port, b"north", longest_lifetime=4)
        async with strict.running() as strict_port:
            good = server(strict_port, time.time() + 60)
            with gathering([good]) as ends:
                await eventually(lambda: bool(ends.gatherer.relayed))
                await eventually(lambda: strict.accepted["Refresh"] >= 2)
                assert ends.failures == []
            assert strict.usernames == [good.username]
            assert not strict.refused


async def test_credentials_that_have_expired_are_refused_though_the_allocation_lives(tmp_path: Path) -> None:
    port = free_port()
    async with coturn(tmp_path, port, *SECRET):
        strict = StrictTurn(port, b"north", longest_lifetime=4)
        async with strict.running() as strict_port:
            with gathering([server(strict_port, time.time() + 3)]) as ends:
                await eventually(lambda: bool(ends.gatherer.relayed))
                await eventually(lambda: strict.refused["Refresh"] > 0)
            with gathering([server(strict_port, time.time() - 5)]) as ends:
                await eventually(lambda: bool(ends.failures))
                assert "refuses the credentials (400)" in ends.sentences[0]


async def test_a_server_that_swallows_gives_no_answer(tmp_path: Path) -> None:
    strict = StrictTurn(free_port(), b"north", longest_lifetime=4)
    strict.swallows = True
    async with strict.running() as strict_port:
        with gathering([server(strict_port, time.time() + 60)]) as ends:
            await eventually(lambda: bool(ends.failures))
            assert "gives no answer" in ends.sentences[0]


def test_a_message_is_read_as_it_is_written() -> None:
    message = StunMessage(3, b"t" * 12, [(6, b"1:ada"), (0x14, b"realm")])
    encoded = message.encode(b"key", fingerprint=True)
    again = read_stun(encoded)
    assert again is not None
    assert again.attributes[:2] == message.attributes
    assert again.encode(b"key", fingerprint=True) == encoded
    assert read_stun(b"\x40\0\0\4data") is None
    assert read_stun(encoded[:-1]) is None
