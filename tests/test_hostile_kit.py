"""Every kind of the hostile peer, for a moment, against a gateway in this process, with an honest tube beside it."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING

import pytest

import perdure
from perdure.wire import MAX_STREAMS
from perdure_lab.hostile.attacks import ATTACKS, Kind, Script, Targets
from perdure_lab.hostile.client import HostileClient
from support.recorder import TIMEOUT
from support.signaling import eventually
from support.tunnels import echo, rendezvous

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

TARGETS = Targets(b"sink:1", b"source:1", b"forbidden:1")

ROUNDS = 10
"""Round trips of the honest stream beside an attack that goes on."""

BLOCK = bytes(range(256)) * 4


@pytest.fixture
async def gateway() -> AsyncIterator[perdure.Gateway]:
    async with (
        rendezvous() as url,
        perdure.serve(url, allow=["sink:1", "source:1", "echo:1"], handler=_serve, loopback=True) as gateway,
    ):
        yield gateway


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    match writer.get_extra_info("target")[0]:
        case "sink":
            while await reader.read(65536):
                pass
        case "source":
            while True:
                writer.write(BLOCK)
                await writer.drain()
        case _:
            await echo(reader, writer)


async def _echoes(tunnel: perdure.Tunnel, rounds: int) -> bytes:
    """What a stream of `tunnel` gets back, a block for each that it sends."""
    reader, writer = await tunnel.open_connection("echo", 1)
    got = b""
    for _ in range(rounds):
        writer.write(BLOCK)
        got += await reader.readexactly(len(BLOCK))
    writer.close()
    return got


def _has_begun(client: HostileClient, kind: Kind) -> bool:
    cost = client.cost
    match kind:
        case Kind.BUSY | Kind.CARRIERS | Kind.SESSIONS:
            return cost.carriers > 0
        case Kind.OFFERS:
            return cost.offers > 0
        case _:
            return cost.messages > 0


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.value)
async def test_an_honest_tube_loses_nothing_beside_a_hostile_one_and_another_still_comes(
    kind: Kind, gateway: perdure.Gateway
) -> None:
    client = HostileClient(gateway.ticket, kind, TARGETS, Random(1))
    async with asyncio.timeout(4 * TIMEOUT), perdure.connect(gateway.ticket, loopback=True) as honest:
        assert await _echoes(honest, 1) == BLOCK
        attacking = asyncio.create_task(client.run())
        try:
            await eventually(lambda: _has_begun(client, kind) or attacking.done(), seconds=TIMEOUT)
            assert await _echoes(honest, ROUNDS) == BLOCK * ROUNDS
            assert not attacking.done()
            for manager in gateway.tubes:
                metrics = manager.metrics
                assert metrics.streams <= MAX_STREAMS
                assert metrics.bytes_buffered <= 2 * gateway.tubes.limits.session_buffer_bytes
            async with perdure.connect(gateway.ticket, loopback=True) as another:
                assert await _echoes(another, 1) == BLOCK
        finally:
            attacking.cancel()
            with suppress(asyncio.CancelledError):
                await attacking
        assert honest.state.is_up


async def test_nothing_is_left_of_carriers_that_were_cut() -> None:
    before = len(os.listdir("/proc/self/fd"))
    async with (
        rendezvous() as url,
        perdure.serve(url, allow=["sink:1"], handler=_serve, loopback=True) as gateway,
    ):
        client = HostileClient(gateway.ticket, Kind.GARBAGE, TARGETS, Random(1))
        attacking = asyncio.create_task(client.run())
        try:
            await eventually(lambda: client.cost.carriers > 5 or attacking.done(), seconds=TIMEOUT)
            assert not attacking.done()
        finally:
            attacking.cancel()
            with suppress(asyncio.CancelledError):
                await attacking
        await eventually(lambda: not len(gateway.tubes), seconds=TIMEOUT)
    await eventually(lambda: len(asyncio.all_tasks()) == 1, seconds=TIMEOUT)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before + 3, seconds=TIMEOUT)


def test_each_kind_that_speaks_says_something_at_once() -> None:
    for kind, attack in ATTACKS.items():
        script = Script(TARGETS, Random(1))
        script.hello, script.greeting = b"hello", b"greeting"
        script.carrier_begun(b"greeting")
        assert next(attack(script)).data, kind
