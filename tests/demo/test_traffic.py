"""Position-coded traffic shows every way in which bytes can go wrong."""

from __future__ import annotations

import asyncio
import socket
import struct

from hypothesis import given
from hypothesis import strategies as st

from perdure.demo.run import Fault, Report
from perdure.demo.traffic import Direction, run_side
from perdure.lab.position import coded


@given(st.integers(0, 7), st.integers(0, 10_000), st.lists(st.integers(1, 200), max_size=20))
def test_the_pieces_of_a_stream_join_whatever_their_sizes(stream: int, start: int, sizes: list[int]) -> None:
    whole = coded(stream, start, sum(sizes))
    offset, pieces = start, b""
    for size in sizes:
        pieces += coded(stream, offset, size)
        offset += size
    assert pieces == whole


def test_a_lost_a_doubled_a_foreign_and_a_changed_byte_are_all_noticed() -> None:
    good = coded(1, 0, 1000)
    for wrong in (
        good[:500] + good[501:] + good[:1],
        good[:500] + good[499:999],
        coded(2, 0, 1000),
        good[:500] + bytes([good[500] ^ 1]) + good[501:],
    ):
        direction = Direction(1, sent_bytes=1000)
        direction.arrived(wrong)
        assert direction.wrong_bytes > 0
    clean = Direction(1, sent_bytes=1000)
    clean.arrived(good[:300])
    assert clean.lost_or_wrong_bytes == 700
    clean.arrived(good[300:])
    assert clean.lost_or_wrong_bytes == 0


async def test_a_dropped_connection_does_not_count_as_a_proper_end() -> None:
    there, back = Direction(0), Direction(1)
    stop = asyncio.Event()

    async def drop(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        tcp = writer.get_extra_info("socket")
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await asyncio.gather(
        run_side(reader, writer, there, back, bytes_per_second=1_000_000, stop=stop), return_exceptions=True
    )
    server.close()
    assert not back.ended


def test_a_report_is_clean_only_if_nothing_at_all_went_wrong() -> None:
    def report(**changes: object) -> Report:
        good: dict[str, object] = {"connections": 4, "connections_kept": 4, "bytes_sent": 10, "bytes_received": 10}
        return Report(**(good | changes))  # type: ignore[arg-type]

    assert report().is_clean
    assert report(faults=[Fault("f", 1.0, 0.1, recovered=True)]).is_clean
    assert not report(faults=[Fault("f", 1.0, 9.0, recovered=False)]).is_clean
    assert not report(bytes_lost_or_wrong=1).is_clean
    assert not report(connections_kept=3).is_clean
    assert not report(bytes_sent=0).is_clean
