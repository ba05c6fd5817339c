"""Targets that a gateway may not dial, or cannot: the client's program sees a reset at once, never a hang."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import pytest

from support.processes import running_client, running_gateway, running_rendezvous, running_tunnel
from support.targets import connected, echo, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def silent() -> Iterator[tuple[str, socket.socket]]:
    """A listener that never accepts: any connection stays in its queue, to be counted."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield f"127.0.0.1:{listener.getsockname()[1]}", listener


def has_been_dialled(listener: socket.socket) -> bool:
    try:
        listener.accept()[0].close()
    except BlockingIOError:
        return False
    return True


async def ask(port: int) -> None:
    async with connected(port) as (reader, writer):
        writer.write(b"is anybody there?")
        await reader.read()


async def see_reset(port: int) -> None:
    """Connect, and be reset: after a word, or so soon that connecting itself sees it."""
    with pytest.raises(ConnectionResetError):
        await ask(port)


async def test_a_target_that_is_not_allowed_is_refused_by_name_and_not_dialled(
    silent: tuple[str, socket.socket],
) -> None:
    forbidden, listener = silent
    async with serving(echo) as allowed, running_tunnel(allowed, forbidden, allow=(allowed,)) as tunnel:
        await see_reset(tunnel.port(1))
        client, gateway = tunnel.client.program, tunnel.gateway
        await gateway.logs("stream-refused", level="WARNING", target=forbidden, why="it is not in --allow")
        why = "the gateway refuses it: it is not in its allow list"
        await client.logs("stream-ended", level="WARNING", target=forbidden, why=why)
        assert not has_been_dialled(listener)
        async with connected(tunnel.port(0)) as (reader, writer):
            writer.write(b"the others go on")
            assert await reader.readexactly(16) == b"the others go on"


async def test_a_name_that_comes_to_an_address_which_is_not_allowed_is_not_dialled(
    silent: tuple[str, socket.socket],
) -> None:
    target, listener = silent
    other = target.replace("127.0.0.1", "localhost")
    async with running_tunnel(other, allow=(target.replace("127.0.0.1", "127.0.0.2"),)) as tunnel:
        await see_reset(tunnel.port())
        await tunnel.gateway.logs("stream-refused", target=other, why="it is not in --allow")
        assert not has_been_dialled(listener)


async def test_a_name_that_comes_to_an_address_which_is_allowed_is_dialled() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(
            target.replace("127.0.0.1", "localhost"), allow=(target.replace("127.0.0.1", "127.0.0.0/8"),)
        ) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        writer.write(b"here")
        assert await reader.readexactly(4) == b"here"


async def test_with_exit_on_fail_a_target_that_is_not_allowed_ends_the_client_with_5(
    silent: tuple[str, socket.socket],
) -> None:
    forbidden, listener = silent
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, allow=("127.0.0.1:1",)) as (_, ticket),
        running_client(ticket, forbidden, options=["--exit-on-fail"]) as client,
    ):
        await see_reset(client.port())
        assert await client.program.ended() == 5
        expected = f"perdure: {forbidden}: the gateway refuses it: it is not in its allow list"
        assert client.program.stderr.seen[-1] == expected
        assert not has_been_dialled(listener)


async def test_a_target_that_refuses_is_a_reset_and_named_at_both_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"127.0.0.1:{listener.getsockname()[1]}"
    async with running_tunnel(target) as tunnel:
        await see_reset(tunnel.port())
        await tunnel.gateway.logs("target-failed", target=target, why="refused")
        await tunnel.client.program.logs("stream-ended", target=target, why="the target refused the connection")


async def test_a_target_whose_name_is_unknown_is_a_reset_and_named_at_both_ends() -> None:
    target = "no-such-host.invalid:80"
    async with running_tunnel(target) as tunnel:
        await see_reset(tunnel.port())
        await tunnel.gateway.logs("target-failed", target=target, why="unreachable")
        await tunnel.client.program.logs("stream-ended", target=target, why="the gateway cannot reach or resolve it")


async def test_a_target_that_never_answers_is_given_up_and_holds_up_nobody_meanwhile() -> None:
    """A full queue of connections: the kernel drops every further SYN."""
    with socket.socket() as full, socket.socket() as first, socket.socket() as second, socket.socket() as third:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for filler in (first, second, third):
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        target = f"127.0.0.1:{full.getsockname()[1]}"
        async with serving(echo) as other, running_tunnel(target, other) as tunnel:
            async with connected(tunnel.port(0)) as (reader, _):
                reading = asyncio.ensure_future(reader.read())
                async with connected(tunnel.port(1)) as (other_reader, other_writer):
                    other_writer.write(b"meanwhile")
                    assert await other_reader.readexactly(9) == b"meanwhile"
                assert not reading.done()
                with pytest.raises(ConnectionResetError):
                    await reading
            await tunnel.gateway.logs("target-failed", target=target, why="timed out")
            why = "the target did not answer in time"
            await tunnel.client.program.logs("stream-ended", target=target, why=why)
