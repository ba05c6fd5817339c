"""Position-coded traffic shows every way in which bytes can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure_lab.lab.position import coded
from perdure_lab.lab.traffic import Flow, Traffic

Relay = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@given(st.integers(0, 7), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=20))
def test_the_pieces_of_a_stream_join_whatever_their_sizes(stream: int, start: int, sizes: list[int]) -> None:
    whole = coded(stream, start, sum(sizes))
    offset, pieces = start, b""
    for size in sizes:
        pieces += coded(stream, offset, size)
        offset += size
    assert pieces == whole


GOOD = coded(1, 0, 1000)


@pytest.mark.parametrize(
    "wrong",
    [
        GOOD[:500] + GOOD[501:] + GOOD[:1],
        GOOD[:500] + GOOD[499:999],
        coded(2, 0, 1000),
        GOOD[:500] + bytes([GOOD[500] ^ 1]) + GOOD[501:],
    ],
    ids=["lost", "doubled", "foreign", "changed"],
)
def test_a_byte_that_is_not_the_right_one_is_noticed(wrong: bytes) -> None:
    flow = Flow(1, "up")
    flow.arrived(wrong, 0.0)
    assert flow.wrong_bytes > 0


def test_pieces_that_arrive_whole_are_right() -> None:
    flow = Flow(1, "up")
    flow.arrived(GOOD[:300], 0.0)
    flow.arrived(GOOD[300:], 0.0)
    assert (flow.received_bytes, flow.wrong_bytes) == (1000, 0)


def test_a_gap_counts_once_and_also_while_it_is_open() -> None:
    flow = Flow(1, "up")
    flow.arrived(GOOD[:8], 0.25)
    flow.arrived(GOOD[8:16], 0.75)
    assert flow.take_gap(0.8) == 0.5
    assert flow.take_gap(0.875) == 0.125
    flow.ended = True
    assert flow.take_gap(9.0) == 0.0


async def test_what_flows_through_a_healthy_path_is_all_there_and_every_connection_ends_properly() -> None:
    async with through(straight) as traffic:
        await until(lambda: traffic.received_bytes > 50_000)
        await traffic.finish()
    assert traffic.kept == traffic.connections == 2
    assert traffic.lost_bytes == traffic.wrong_bytes == 0
    assert traffic.sent_bytes == traffic.received_bytes


async def test_a_dropped_connection_is_not_kept() -> None:
    async with through(dropped_after(1_000)) as traffic:
        await until(lambda: traffic.received_bytes > 0)
        await traffic.finish()
    assert traffic.kept == 0


async def test_a_tunnel_that_ends_elsewhere_at_first_is_tried_again_after_a_pause_and_each_attempt_is_closed() -> None:
    begun_at: list[float] = []
    ended = 0

    def elsewhere(port: int) -> Relay:
        relay = straight(port)

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal ended
            if begun_at and monotonic() > begun_at[0] + 0.25:
                await relay(reader, writer)
                return
            begun_at.append(monotonic())
            writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
            with contextlib.suppress(ConnectionError):
                while await reader.read(100):
                    pass
            ended += 1
            writer.close()

        return accept

    async with through(elsewhere) as traffic:
        await until(lambda: traffic.received_bytes > 0)
        await until(lambda: ended == len(begun_at))
        await traffic.finish()
    assert len(begun_at) <= 3
    assert traffic.kept == 2


async def test_an_attempt_that_is_given_up_is_closed() -> None:
    greeted, ended = asyncio.Event(), asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        greeted.set()
        with contextlib.suppress(ConnectionError):
            await reader.read()
        ended.set()
        writer.close()

    traffic = Traffic(connections=1, rate=200_000, seconds=1)
    async with asyncio.timeout(10), await asyncio.start_server(accept, "127.0.0.1", 0) as silent:
        begun = asyncio.ensure_future(traffic.begin(None, silent.sockets[0].getsockname()[1]))
        await greeted.wait()
        begun.cancel()
        await ended.wait()
    assert begun.cancelled()


@contextlib.asynccontextmanager
async def through(relayed: Callable[[int], Relay]) -> AsyncIterator[Traffic]:
    """Traffic through a relay instead of a tunnel; `relayed` makes it for the target's port."""
    traffic = Traffic(connections=2, rate=200_000, seconds=1)
    await traffic.listen(None)
    accept = relayed(traffic.target_port)
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as relay:
        await traffic.begin(None, relay.sockets[0].getsockname()[1])
        yield traffic


def straight(port: int) -> Relay:
    return dropped_after(1 << 62)(port)


def dropped_after(most: int) -> Callable[[int], Relay]:
    """It passes on so many bytes, and then resets the connection to its client."""

    def relayed(port: int) -> Relay:
        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            further_reader, further_writer = await asyncio.open_connection("127.0.0.1", port)

            async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
                left = most
                while left > 0 and (data := await source.read(4096)):
                    left -= len(data)
                    sink.write(data)
                if left > 0:
                    sink.write_eof()
                    return
                tcp = writer.get_extra_info("socket")
                tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()

            with contextlib.suppress(OSError):
                await asyncio.gather(pump(reader, further_writer), pump(further_reader, writer))
            for each in (writer, further_writer):
                each.close()

        return accept

    return relayed


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(1000):
        if reached():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not come to that within 10 s")
