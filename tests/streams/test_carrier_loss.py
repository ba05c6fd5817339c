"""Connections whose carrier is lost under them lose no byte."""

from __future__ import annotations

import asyncio
import sys

import pytest

from support.processes import running_tunnel
from support.recorder import TIMEOUT
from support.targets import connected, echo, positions, serving

CONNECTIONS = 100
ROUNDS = 6
ROUND_BYTES = 40_000


async def test_a_hundred_connections_echo_through_three_lost_carriers() -> None:
    """Each round begins for all connections at once; in the middle rounds the carrier is killed while bytes flow."""
    gates = [asyncio.Event() for _ in range(ROUNDS)]
    under_way = [asyncio.Semaphore(0) for _ in range(ROUNDS)]

    async def converse(port: int, number: int) -> None:
        data = positions(number, ROUNDS * ROUND_BYTES)
        async with connected(port) as (reader, writer):
            for round_number in range(ROUNDS):
                await gates[round_number].wait()
                part = data[round_number * ROUND_BYTES :][:ROUND_BYTES]
                writer.write(part)
                assert await reader.readexactly(1000) == part[:1000]
                under_way[round_number].release()
                assert await reader.readexactly(len(part) - 1000) == part[1000:]
            writer.write_eof()
            assert await reader.read() == b""

    async with serving(echo) as target, running_tunnel(target) as tunnel, asyncio.TaskGroup() as group:
        conversations = [group.create_task(converse(tunnel.port(), number)) for number in range(CONNECTIONS)]
        sides = [tunnel.client.program, tunnel.gateway, tunnel.client.program]
        for round_number in range(ROUNDS):
            gates[round_number].set()
            for _ in range(CONNECTIONS // 3):
                await under_way[round_number].acquire()
            if 1 <= round_number <= 3:
                await tunnel.break_carrier(sides[round_number - 1])
        await asyncio.gather(*conversations)
        lost = [line for line in tunnel.client.program.log if line.get("after") == "reconnecting"]
        assert len(lost) == 3


async def test_a_connection_opened_during_an_outage_is_served_after_it() -> None:
    async with serving(echo) as target, running_tunnel(target) as tunnel:
        client = tunnel.client.program
        since = client.mark
        client.write("kill\n")
        await client.logs("tube-state", since=since, after="reconnecting")
        async with connected(tunnel.port()) as (reader, writer):
            writer.write(b"hello")
            writer.write_eof()
            assert await reader.read() == b"hello"


async def test_a_requested_rebuild_loses_nothing() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        for number, side in enumerate([tunnel.client.program, tunnel.gateway] * 2):
            data = positions(number, 2_000_000)
            writer.write(data)
            assert await reader.readexactly(1000) == data[:1000]
            await tunnel.break_carrier(side, "rebuild")
            assert await reader.readexactly(len(data) - 1000) == data[1000:]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel drops packets on request")
async def test_half_closed_connections_live_through_a_path_that_swallows_everything() -> None:
    """Nothing says that the path is dead; both directions stop, and the ends find out for themselves."""
    questions: list[bytes] = []

    async def answer_at_the_end(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        questions.append(await reader.read())
        writer.write(positions(2, 3_000_000))
        await writer.drain()

    async with (
        serving(answer_at_the_end) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        writer.write(positions(1, 3_000_000))
        writer.write_eof()
        marks = [(program, program.mark) for program in (tunnel.client.program, tunnel.gateway)]
        await asyncio.gather(*(program.inject("blackhole") for program, _ in marks))
        assert await reader.read() == positions(2, 3_000_000)
        assert questions == [positions(1, 3_000_000)]
        for program, since in marks:
            await program.recovers(since=since)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux' kernel drops packets on request")
async def test_a_path_that_dies_while_credit_holds_the_sender_back_is_noticed_when_the_reader_reads_on() -> None:
    """Nothing is unacknowledged then: only the grant of new credit can find out, and nothing answers a grant."""
    data = positions(3, 60_000_000)  # more than the sockets' buffers of both legs ever take
    is_held_back = asyncio.Event()

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for start in range(0, len(data), 100_000):
            writer.write(data[start : start + 100_000])
            draining = asyncio.ensure_future(writer.drain())
            _, waiting = await asyncio.wait({draining}, timeout=1)
            if waiting:
                is_held_back.set()
            await draining
        writer.write_eof()
        await reader.read()

    async with (
        serving(flood) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, _),
    ):
        first = await reader.readexactly(1000)
        await is_held_back.wait()
        ends = (tunnel.client.program, tunnel.gateway)
        await asyncio.gather(*(program.inject("blackhole") for program in ends))
        async with asyncio.timeout(TIMEOUT):  # without the grant it is noticed after 30 s
            assert first + await reader.read() == data
