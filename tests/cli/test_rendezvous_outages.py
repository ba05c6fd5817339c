"""A rendezvous that is down at the start, goes away, comes back, or is fed garbage."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from support.processes import (
    output_of,
    running_client,
    running_gateway,
    running_rendezvous,
    running_tunnel,
    starting_client,
)
from support.targets import connected, echo, positions, serving
from support.tickets import ticket_for


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


async def test_both_ends_wait_for_a_rendezvous_that_is_down_and_work_once_it_is_up() -> None:
    port = free_port()
    url = f"ws://127.0.0.1:{port}"
    async with (
        serving(echo) as target,
        running_gateway(url) as (gateway, ticket),
        starting_client(ticket, target) as client,
    ):
        expected = f"waiting for the rendezvous at {url}/v2: connection refused"
        await gateway.logs("signaling", level="WARNING", status=expected)
        await client.program.logs("signaling", level="WARNING", status=expected)
        assert "ready" not in client.program.stdout.seen
        async with running_rendezvous(port=port):
            await client.program.says("ready")
            async with connected(client.port()) as (reader, writer):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"


@pytest.mark.parametrize("verb", ["serve", "connect"])
async def test_with_exit_on_fail_a_rendezvous_that_is_down_ends_it_with_3(verb: str) -> None:
    url = f"ws://127.0.0.1:{free_port()}"
    if verb == "serve":
        arguments = ["serve", "--rendezvous", url, "--allow", "127.0.0.1:9"]
    else:
        arguments = ["connect", ticket_for(url, bytes(32)).encode(), "-L", "0:127.0.0.1:9"]
    program = await output_of(*arguments, "--exit-on-fail")
    assert program.process.returncode == 3
    expected = f"perdure: the rendezvous at {url}/v2 is unreachable: connection refused"
    assert program.stderr.seen[-1] == expected


async def test_a_ticket_of_another_gateway_finds_none_and_with_exit_on_fail_the_client_ends_with_4() -> None:
    """To the rendezvous it is another room: as where `perdure serve` does not run."""
    async with running_rendezvous() as (_, url), running_gateway(url):
        wrong = ticket_for(url, bytes(32)).encode()
        async with starting_client(wrong, "127.0.0.1:9", options=["--exit-on-fail"]) as client:
            await client.program.logs("signaling", status="waiting for the gateway")
            assert await client.program.ended() == 4
    assert "ready" not in client.program.stdout.seen
    expected = f"perdure: no gateway serves this ticket at {url}/v2 (waited 10 s; is `perdure serve` running?)"
    assert client.program.stderr.seen[-1] == expected


async def test_something_that_is_no_rendezvous_is_called_so() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"SSH-2.0-hello\r\n")

    async with serving(answer) as address:
        program = await output_of(
            "connect", ticket_for(f"ws://{address}", bytes(32)).encode(), "-L", "0:127.0.0.1:9", "--exit-on-fail"
        )
    assert program.process.returncode == 3
    assert "it does not answer as a perdure rendezvous" in program.stderr.seen[-1]


async def test_an_open_connection_goes_on_without_the_rendezvous_and_a_returned_one_heals_the_next_loss() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        await tunnel.rendezvous.kill()
        for program in (tunnel.client.program, tunnel.gateway):
            await program.warns("waiting for the rendezvous")
        data = positions(1, 1_000_000)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data

        # The carrier is lost while nobody can signal: bytes are kept, and no attempt is spent.
        await tunnel.client.program.inject("kill")
        await tunnel.client.program.logs("tube-state", after="reconnecting")
        writer.write(b"kept")
        since = tunnel.client.program.mark
        async with running_rendezvous(port=int(tunnel.url.rpartition(":")[2])):
            await tunnel.client.program.logs("tube-state", since=since, after="connected")
            assert await reader.readexactly(4) == b"kept"
            await tunnel.break_carrier(tunnel.gateway)
            writer.write(b"healed")
            assert await reader.readexactly(6) == b"healed"


async def test_garbage_at_the_rendezvous_does_not_disturb_a_tunnel() -> None:
    upgrade = (
        b"GET /v2 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    garbage = [
        os.urandom(100_000),
        b"\r\n" * 50_000,
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /metrics HTTP/1.1\r\nContent-Length: 999999999\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\n" + b"X: y\r\n" * 10_000,
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(500),
        upgrade + os.urandom(100_000),
        upgrade + b"\x81\xfe\xff\xff" + os.urandom(70_000),
        upgrade + b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xff" + os.urandom(1000),
        upgrade,
        b"",
    ]

    async def throw(port: int, data: bytes) -> None:
        async with connected(port) as (_, writer):
            writer.write(data)
            try:
                async with asyncio.timeout(1):
                    await writer.drain()
            except (ConnectionError, TimeoutError):
                return

    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        await asyncio.gather(*(throw(int(tunnel.url.rpartition(":")[2]), data) for data in garbage * 5))
        await tunnel.break_carrier(tunnel.client.program)
        await tunnel.break_carrier(tunnel.gateway)
        writer.write(b"undisturbed")
        assert await reader.readexactly(11) == b"undisturbed"
        assert tunnel.rendezvous.is_running
        async with running_client(tunnel.ticket, target) as late, connected(late.port()) as (late_reader, late_writer):
            late_writer.write(b"also new ones")
            assert await late_reader.readexactly(13) == b"also new ones"
