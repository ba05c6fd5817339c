"""Lines out of a pipe: one that is too long does not keep the next ones from being read."""

from __future__ import annotations

import asyncio
import sys

import pytest

from perdure_lab.lab.children import Child, LogLine
from perdure_lab.lab.lines import next_line

LIMIT = 8


async def lines(*written: bytes) -> list[bytes]:
    """All that are read, where each piece is written when the one before it has been looked at."""
    reader = asyncio.StreamReader(limit=LIMIT)

    async def write() -> None:
        for piece in written:
            reader.feed_data(piece)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        reader.feed_eof()

    writing = asyncio.ensure_future(write())
    found = []
    async with asyncio.timeout(10):
        while line := await next_line(reader):
            found.append(line)
        await writing
    return found


@pytest.mark.parametrize("length", [LIMIT + 1, 2 * LIMIT, 100])
async def test_a_line_over_the_limit_is_skipped_and_the_next_one_read(length: int) -> None:
    long = b"x" * length
    assert await lines(b"one\n" + long + b"\ntwo\n") == [b"one\n", b"two\n"]
    assert await lines(b"one\n", long, b"\ntwo\n", b"three\n") == [b"one\n", b"two\n", b"three\n"]
    assert await lines(b"one\n", long, b"yyy", long + b"\n", b"two\n") == [b"one\n", b"two\n"]
    assert await lines(long + b"\n" + long + b"\n\n") == [b"\n"]


async def test_at_the_end_a_line_may_lack_its_end_but_not_be_a_stump() -> None:
    assert await lines(b"one\ntw") == [b"one\n", b"tw"]
    assert await lines(b"one\n", b"x" * 100, b"tw") == [b"one\n"]


TALKS = """
import sys
sys.stderr.buffer.write(b"x" * 3_000_000 + b'\\n{"event": "\\xff"}\\n{"event": "after"}\\nlast words\\n')
"""


async def test_a_program_is_heard_after_lines_that_are_too_long_or_not_utf_8() -> None:
    heard: list[LogLine] = []
    ended = asyncio.Event()
    child = Child("talker", None, [sys.executable, "-c", TALKS], on_log=heard.append, on_end=lambda text: ended.set())
    async with asyncio.timeout(30):
        await child.start()
        await ended.wait()
        await child.stop()
    assert heard == [{"event": "after"}]
    assert child.last_words == '{"event": "\N{REPLACEMENT CHARACTER}"} | last words'
