"""TURN credentials by the command line: made by a gateway, or handed out by the rendezvous."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import perdure
from support.processes import running, running_gateway, running_rendezvous
from support.targets import echo, serving
from support.turn_server import coturn, free_port

if TYPE_CHECKING:
    from pathlib import Path


def private(path: Path, text: str) -> str:
    path.touch(mode=0o600)
    path.write_text(text)
    return str(path)


async def reached(ticket: str, target: str) -> str | None:
    """By which TURN server a client, which has nothing else, reaches the gateway's target."""
    host, _, port = target.rpartition(":")
    async with perdure.connect(ticket, loopback=True, relay_only=True) as tunnel:
        reader, writer = await tunnel.open_connection(host, int(port))
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        writer.close()
        assert tunnel.path is not None
        return tunnel.path.relay_url


async def test_a_gateway_makes_credentials_and_tells_its_clients(tmp_path: Path) -> None:
    port = free_port()
    url, secret = f"turn:127.0.0.1:{port}", private(tmp_path / "secret", "north\n")
    async with (
        coturn(tmp_path, port, "--use-auth-secret", "--static-auth-secret", "north"),
        serving(echo) as target,
        running_rendezvous() as (_, rendezvous),
        running_gateway(rendezvous, "--turn-secret-file", secret, "--turn-url", url) as (gateway, ticket),
    ):
        await gateway.logs("ice-servers", count=1, clients=0, expires_in=3600)
        assert await reached(ticket, target) == url
        assert "north" not in gateway.said


async def test_a_gateway_and_a_client_that_are_told_so_use_nothing_but_turn_servers(tmp_path: Path) -> None:
    port, local = free_port(), free_port()
    url, secret = f"turn:127.0.0.1:{port}", private(tmp_path / "secret", "north\n")
    relays = ("--turn-secret-file", secret, "--turn-url", url)
    async with (
        coturn(tmp_path, port, "--use-auth-secret", "--static-auth-secret", "north"),
        serving(echo) as target,
        running_rendezvous() as (_, rendezvous),
        running_gateway(rendezvous, *relays, "--relay-only") as (_, ticket),
    ):
        options = ("-L", f"{local}:{target}", "--loopback", "--relay-only", "--json-logs")
        async with running("connect", f"@{private(tmp_path / 'ticket', ticket)}", *options) as client:
            await client.logs("tube-state", after="connected")
        provider = perdure.SharedSecret("south", [url])
        other = perdure.serve(rendezvous, handler=echo, loopback=True, relay_only=True, ice_server_provider=provider)
        async with other as gateway:
            with pytest.raises(
                perdure.PeerError, match=r"\(waited 3 s\); turn:127\S+ refuses the credentials \(401\); is UDP allowed"
            ):
                await perdure.connect(gateway.ticket, loopback=True, timeout=3).__aenter__()


async def test_the_rendezvous_hands_credentials_to_a_gateway_that_has_the_token(tmp_path: Path) -> None:
    port = free_port()
    url = f"turn:127.0.0.1:{port}"
    secret, token = private(tmp_path / "secret", "north\n"), private(tmp_path / "token", "the-token\n")
    options = ("--turn-secret-file", secret, "--turn-url", url, "--turn-ttl", "60", "--turn-token-file", token)
    async with (
        coturn(tmp_path, port, "--use-auth-secret", "--static-auth-secret", "north"),
        serving(echo) as target,
        running_rendezvous(*options) as (program, rendezvous),
    ):
        page = f"{rendezvous.replace('ws:', 'http:')}/v1/turn"
        asks = ("--ice-servers-url", page, "--ice-servers-token-file", token)
        async with running_gateway(rendezvous, *asks) as (gateway, ticket):
            assert await reached(ticket, target) == url
            assert not any(word in program.said + gateway.said for word in ("north", "the-token"))


async def test_a_gateway_whose_service_has_no_credentials_says_so_and_serves_without(tmp_path: Path) -> None:
    token = private(tmp_path / "token", "the-token\n")
    async with running_rendezvous() as (_, rendezvous):
        page = f"{rendezvous.replace('ws:', 'http:')}/v1/turn"
        asks = ("--ice-servers-url", page, "--ice-servers-token-file", token)
        async with running_gateway(rendezvous, *asks) as (gateway, _ticket):
            why = f"{page} answers 404; is this a perdure rendezvous with --turn-secret-file?"
            await gateway.logs("turn-credentials-failed", why=why)


async def test_a_client_that_may_use_only_turn_servers_and_knows_none_is_told_so() -> None:
    async with running_rendezvous() as (_, rendezvous), running_gateway(rendezvous) as (_gateway, ticket):
        with pytest.raises(perdure.PeerError) as caught:
            await perdure.connect(ticket, loopback=True, relay_only=True, timeout=1).__aenter__()
        assert str(caught.value).endswith("(waited 1 s); relay_only is set and no TURN server is known")


async def test_a_secret_that_others_can_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("north")
    (tmp_path / "secret").chmod(0o644)
    options = ("--turn-secret-file", str(tmp_path / "secret"), "--turn-url", "turn:127.0.0.1:3478")
    async with running_rendezvous() as (_, rendezvous), running_gateway(rendezvous, *options) as (gateway, _ticket):
        await gateway.warns(f"chmod 600 {tmp_path / 'secret'}")
