"""One client's connections leave descriptors for the others, for carriers and for signaling."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from perdure.streams.descriptors import Share
from support.processes import (
    Program,
    running_client,
    running_gateway,
    running_python,
    running_rendezvous,
    starting_client,
)
from support.recorder import TIMEOUT
from support.targets import echo, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

LIMIT = 256
"""The soft limit of macOS."""

LIMITED = """
import os, resource, runpy, sys
limit, held = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
kept = [os.open(os.devnull, os.O_RDONLY) for _ in range(held)]
sys.argv[1:3] = []
runpy.run_module("perdure", run_name="__main__")
"""
"""perdure with so many descriptors, of which some are held."""


@asynccontextmanager
async def limited_gateway(url: str, target: str, *, held: int = 0) -> AsyncIterator[tuple[Program, str]]:
    options = ["--rendezvous", url, "--allow", target, "--loopback", "--json-logs", "--faults", "--print-ticket"]
    async with running_python("-c", LIMITED, str(LIMIT), str(held), "serve", *options) as program:
        yield program, await program.says("perdure2-")


class Connections:
    """What programs have open at local ports."""

    def __init__(self) -> None:
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self, port: int) -> bool:
        """One more; whether what it says is echoed. Else it was reset."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            self._writers.append(writer)
            writer.write(b"hello")
            async with asyncio.timeout(TIMEOUT):
                return await reader.readexactly(5) == b"hello"
        except (ConnectionError, asyncio.IncompleteReadError):
            return False

    async def open_many(self, port: int, count: int) -> int:
        """How many of `count` were echoed."""
        return sum(await asyncio.gather(*(self.open(port) for _ in range(count))))

    def close(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    found = Connections()
    yield found
    found.close()


@pytest.fixture
async def others() -> AsyncIterator[Connections]:
    found = Connections()
    yield found
    found.close()


async def retried(attempt: Callable[[], Awaitable[bool]]) -> None:
    """Until it works: each attempt goes to the other end and back."""
    for _ in range(1000):
        if await attempt():
            return
    pytest.fail("it never worked")


async def test_a_greedy_client_leaves_descriptors_for_others_and_for_carriers(
    connections: Connections, others: Connections
) -> None:
    # Found by attack: one client took them all, and no other tunnel came back from a change of its network.
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(serving(echo))
        _, url = await stack.enter_async_context(running_rendezvous())
        gateway, ticket = await stack.enter_async_context(limited_gateway(url, target))
        honest = await stack.enter_async_context(running_client(ticket, target))
        greedy = await stack.enter_async_context(running_client(ticket, target))
        assert await connections.open_many(greedy.port(), LIMIT) == LIMIT // 4, "half of the half for connections"
        await gateway.logs("target-failed", why="limit")
        await greedy.program.logs("stream-ended", why="the gateway carries as many streams as it may")

        assert await others.open_many(honest.port(), LIMIT // 16) == LIMIT // 16
        for program in (gateway, honest.program):  # both clients' carriers are built anew, and then one
            mark = honest.program.mark
            await program.inject("kill")
            await honest.program.recovers(since=mark)
        async with running_client(ticket, target) as newcomer:
            assert await others.open(newcomer.port())

        connections.close()
        await retried(lambda: others.open(greedy.port()))
        assert not [line for line in gateway.log if line["level"] == "ERROR"]


async def test_a_gateway_without_descriptors_takes_no_tube() -> None:
    async with (
        serving(echo) as target,
        running_rendezvous() as (_, url),
        limited_gateway(url, target, held=LIMIT * 3 // 4) as (gateway, ticket),
        starting_client(ticket, target) as client,
    ):
        await client.program.logs(
            "signaling", status="waiting for the gateway's answer: it has no room for another session; trying again"
        )
        assert not [line for line in gateway.log if line["level"] == "ERROR"]


async def test_local_programs_leave_a_client_descriptors_for_its_carrier(
    connections: Connections, others: Connections
) -> None:
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(serving(echo))
        _, url = await stack.enter_async_context(running_rendezvous())
        _, ticket = await stack.enter_async_context(running_gateway(url))
        options = ["connect", ticket, "-L", f"0:{target}", "--loopback", "--json-logs", "--faults"]
        client = await stack.enter_async_context(running_python("-c", LIMITED, str(LIMIT), "0", *options))
        port = int((await client.says("listening ")).partition(" -> ")[0].rpartition(":")[2])
        await client.says("ready")
        assert await connections.open_many(port, LIMIT) == LIMIT // 4
        mark = client.mark
        await client.inject("kill")
        await client.recovers(since=mark)
        connections.close()
        await retried(lambda: others.open(port))


@pytest.mark.parametrize(("most", "shares"), [(128, [64, 32, 16, 8, 4, 2, 1, 1]), (2, [1, 1]), (1, [1]), (0, [])])
def test_each_owner_leaves_as_much_as_it_has(most: int, shares: list[int]) -> None:
    share = Share(most)
    taken = []
    for owner in map(str, range(len(shares) + 1)):
        count = 0
        while share.take(owner):
            count += 1
        taken.append(count)
    assert taken == [*shares, 0]
    for number, count in enumerate(shares):
        for _ in range(count):
            share.give_back(str(number))
    assert share.take("last") == (most > 0)


def test_without_a_limit_everybody_has_a_place() -> None:
    share = Share(None)
    assert all(share.take("one") for _ in range(10_000))
