"""How much of what a connection has read one turn of the event loop takes."""

from __future__ import annotations

import asyncio
from typing import cast

from perdure.signaling.read_turns import BYTES_A_TURN, FRAMES_A_TURN, PIECE_BYTES, ReadTurns


class Transport:
    """Says whether it was paused."""

    def __init__(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        assert not self.is_paused
        self.is_paused = True

    def resume_reading(self) -> None:
        assert self.is_paused
        self.is_paused = False


class Parser:
    """Takes frames of `frame_bytes` each."""

    def __init__(self, frame_bytes: int) -> None:
        self._frame_bytes = frame_bytes
        self.data = b""
        self.transport = Transport()
        self.reads = ReadTurns(cast(asyncio.Transport, self.transport), self._parse)

    @property
    def frames(self) -> int:
        return len(self.data) // self._frame_bytes

    def _parse(self, data: bytes) -> int:
        before = self.frames
        self.data += data
        return self.frames - before


async def test_short_frames_that_came_at_once_are_taken_over_many_turns_while_nothing_is_read() -> None:
    parser = Parser(2)
    read = bytes(range(256)) * 1024
    parser.reads.add(read)
    while parser.data != read:
        assert parser.transport.is_paused
        before = parser.frames
        await asyncio.sleep(0)
        assert 0 < parser.frames - before < FRAMES_A_TURN + PIECE_BYTES // 2
    assert not parser.transport.is_paused


async def test_a_long_message_is_taken_in_few_turns() -> None:
    parser = Parser(1_000_000)
    parser.reads.add(bytes(88 * 1024))
    turns = 1
    while parser.transport.is_paused:
        await asyncio.sleep(0)
        turns += 1
    assert turns == 88 * 1024 / BYTES_A_TURN + 0.25


async def test_what_has_come_waits_while_nobody_wants_it() -> None:
    parser = Parser(100)
    parser.reads.pause()
    parser.reads.add(b"a" * 10)
    for _ in range(3):
        await asyncio.sleep(0)
    assert parser.data == b""
    assert parser.transport.is_paused
    parser.reads.resume()
    parser.reads.add(b"b" * 10)  # in its order
    await asyncio.sleep(0)
    assert parser.data == b"a" * 10 + b"b" * 10
    assert not parser.transport.is_paused


async def test_of_a_connection_that_has_ended_nothing_more_is_taken() -> None:
    parser = Parser(2)
    parser.reads.add(bytes(100_000))
    parser.reads.end()
    taken = parser.data
    parser.reads.add(bytes(100))
    for _ in range(3):
        await asyncio.sleep(0)
    assert parser.data == taken
