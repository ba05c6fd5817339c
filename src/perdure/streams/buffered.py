"""Bytes on their way to a protocol: those that wait for it, and those that go into a buffer of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

MOST_AT_ONCE_BYTES = 64 * 1024
"""Of what waited, to a protocol that may pause again, or take a part of it: as long as the longest message."""


def fill_once(protocol: asyncio.BufferedProtocol, data: memoryview) -> int:
    """Hand over as much of `data` as one buffer takes; how many bytes that is.

    Raises:
        RuntimeError: the buffer is empty; and whatever the protocol raises.
    """
    buffer = memoryview(protocol.get_buffer(len(data)))
    if not len(buffer):
        raise RuntimeError("get_buffer() returned an empty buffer")
    count = min(len(buffer), len(data))
    buffer[:count] = data[:count]
    protocol.buffer_updated(count)
    return count


def fill(protocol: asyncio.BufferedProtocol, data: memoryview) -> None:
    """Hand over all of `data`. Raises as `fill_once`."""
    while data:
        data = data[fill_once(protocol, data) :]


class Unread:
    """What came for a protocol that has paused, or has not begun. Bytes that came one by one are handed over as one."""

    __slots__ = ("_data", "_in_hands")

    def __init__(self, data: memoryview) -> None:
        self._data = bytearray(data)
        self._in_hands = 0

    def __len__(self) -> int:
        """Bytes that the protocol has not got, and is not being given."""
        return len(self._data) - self._in_hands

    def add(self, data: memoryview) -> None:
        self._data += data

    def hand_over(self, give: Callable[[memoryview], int]) -> None:
        """Offer the next bytes to `give`, which says how many it took."""
        data = bytes(memoryview(self._data)[:MOST_AT_ONCE_BYTES])
        self._in_hands = len(data)
        try:
            count = give(memoryview(data))
        finally:
            self._in_hands = 0
        del self._data[:count]
