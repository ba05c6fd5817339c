"""What a connection has read, handed on in portions: the frames of one peer do not hold up the event loop.

A turn of the loop hands on `BYTES_A_TURN`, and ends early when these held `FRAMES_A_TURN` frames. While something
waits, or whoever takes the messages wants no more of them, the transport does not read: the peer waits in TCP.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES_A_TURN = 32 * 1024
"""asyncio reads 256 KiB at once. With 1,000 turns a second, this is 32 MB/s."""

FRAMES_A_TURN = 64
"""A short frame costs some 15 µs to read and to answer: 1 ms. As many as a link's window holds, twice."""

PIECE_BYTES = 512
"""Handed on before the frames are counted: at most 256 of the shortest."""


class ReadTurns:
    """Stands between a transport and what parses its bytes.

    Args:
        transport: paused and resumed.
        parse: takes bytes; returns how many frames ended in them.
    """

    def __init__(self, transport: asyncio.Transport, parse: Callable[[bytes], int]) -> None:
        self._transport = transport
        self._parse = parse
        self._waiting = bytearray()
        """At most what the transport read at once."""
        self._is_wanted = True
        self._is_held = False
        """Whether the transport was told to pause."""
        self._is_over = False
        self._turn: asyncio.Handle | None = None

    def add(self, data: bytes) -> None:
        """The transport has read `data`."""
        if self._is_over:
            return
        if self._is_wanted and not self._waiting and len(data) <= PIECE_BYTES:
            self._parse(data)  # as nearly always
            return
        self._waiting += data
        if self._turn is None:
            self._run()

    def pause(self) -> None:
        """Hand on nothing more for now."""
        self._is_wanted = False
        self._settle()

    def resume(self) -> None:
        """Go on."""
        self._is_wanted = True
        self._settle()

    def end(self) -> None:
        """The connection has ended, and what waits is of no use. Twice is fine."""
        self._is_over = True
        self._waiting.clear()
        if self._turn is not None:
            self._turn.cancel()

    def _run(self) -> None:
        self._turn = None
        count = frames = 0
        while self._waiting and self._is_wanted and count < BYTES_A_TURN and frames < FRAMES_A_TURN:
            piece = bytes(self._waiting[:PIECE_BYTES])
            del self._waiting[:PIECE_BYTES]
            count += len(piece)
            frames += self._parse(piece)
        self._settle()

    def _settle(self) -> None:
        if self._is_over or self._transport.is_closing():
            return
        is_held = bool(self._waiting) or not self._is_wanted
        if is_held and not self._is_held:
            self._transport.pause_reading()
        elif self._is_held and not is_held:
            self._transport.resume_reading()
        self._is_held = is_held
        if self._waiting and self._is_wanted and self._turn is None:
            self._turn = asyncio.get_running_loop().call_soon(self._run)
