"""Bytes for a protocol that brings its own buffer."""

from __future__ import annotations

import asyncio


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
