"""An end that is gone without a word, by SIGKILL."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from support.processes import running_client, running_gateway, running_rendezvous, running_tunnel
from support.recorder import TIMEOUT
from support.targets import connected, echo, serving

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_client_that_vanishes_does_not_disturb_the_others() -> None:
    client_is_gone = asyncio.Event()

    async def call_after(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Say something that nobody acknowledges any more."""
        writer.write(b"hello")
        await client_is_gone.wait()
        writer.write(b"are you still there?")
        await reader.read()

    async with (
        serving(echo) as target,
        serving(call_after) as calling,
        running_tunnel(calling, target) as tunnel,
        running_client(tunnel.ticket, target) as other,
        connected(other.port()) as (reader, writer),
    ):
        async with connected(tunnel.port(0)) as (lost_reader, _), connected(tunnel.port(1)) as (_, flooding):
            assert await lost_reader.readexactly(5) == b"hello"
            flooding.write(bytes(5_000_000))
            since = tunnel.gateway.mark
            await tunnel.client.program.kill()
            with contextlib.suppress(ConnectionResetError):
                assert await lost_reader.read() == b""
        client_is_gone.set()
        await tunnel.gateway.logs("tube-state", since=since, after="reconnecting")
        for number in range(20):
            writer.write(b"%3d" % number)
            assert await reader.readexactly(3) == b"%3d" % number
        since = tunnel.gateway.mark
        await other.program.inject("kill")
        await tunnel.gateway.recovers(since=since)
        async with running_client(tunnel.ticket, target) as new, connected(new.port()) as (new_reader, new_writer):
            new_writer.write(b"welcome")
            assert await new_reader.readexactly(7) == b"welcome"
        writer.write(b"undisturbed")
        assert await reader.readexactly(11) == b"undisturbed"


async def test_a_restarted_gateway_is_told_from_a_lost_carrier_and_new_connections_work_within_three_seconds(
    tmp_path: Path,
) -> None:
    async with (
        serving(echo) as target,
        running_rendezvous() as (_, url),
        running_gateway(url, state=tmp_path) as (gateway, ticket),
        running_client(ticket, target) as client,
        connected(client.port()) as (reader, writer),
    ):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        since = client.program.mark
        await gateway.kill()
        async with running_gateway(url, state=tmp_path) as (restarted, again):
            assert again == ticket
            async with asyncio.timeout(TIMEOUT):
                writer.write(b"are you still there?")
                with pytest.raises(ConnectionResetError):
                    await reader.read()
                await client.program.logs("tube-state", since=since, before="connecting", after="connected")
                async with connected(client.port()) as (new_reader, new_writer):
                    new_writer.write(b"hello again")
                    assert await new_reader.readexactly(11) == b"hello again"
            why = "the other end was restarted and does not know the session"
            await client.program.logs("tube-state", since=since, after="failed", reason=why)
            await client.program.logs("new-session", since=since, why=why)
            why = "the tube that carried it has ended"
            await client.program.logs("stream-ended", since=since, target=target, why=why)
            assert restarted.is_running


async def test_an_idle_client_learns_of_a_restarted_gateway_too(tmp_path: Path) -> None:
    async with (
        serving(echo) as target,
        running_rendezvous() as (_, url),
        running_gateway(url, state=tmp_path) as (gateway, ticket),
        running_client(ticket, target) as client,
    ):
        since = client.program.mark
        await gateway.kill()
        async with running_gateway(url, state=tmp_path):
            await client.program.logs("tube-state", since=since, before="connecting", after="connected")
            async with connected(client.port()) as (reader, writer):
                writer.write(b"hello")
                assert await reader.readexactly(5) == b"hello"


async def test_with_exit_on_fail_a_restarted_gateway_ends_the_client_with_4(tmp_path: Path) -> None:
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, state=tmp_path) as (gateway, ticket),
        running_client(ticket, "127.0.0.1:9", options=["--exit-on-fail"]) as client,
    ):
        await gateway.kill()
        async with running_gateway(url, state=tmp_path):
            assert await client.program.ended() == 4
            expected = "perdure: the tunnel ended: the other end was restarted and does not know the session"
            assert client.program.stderr.seen[-1] == expected
