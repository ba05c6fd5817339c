"""Position-coded bytes: each eight of them say which stream and which position they belong to.

A byte lost, doubled, swapped or taken from another connection shows at once.
"""

from __future__ import annotations

import sys
from array import array

WORD_BYTES = 8
_STREAM_SHIFT = 40
"""A word is the stream's number above 40 bits of position: 8 TiB before a stream repeats itself."""


def coded(stream: int, offset: int, count: int) -> bytes:
    """The bytes of `stream` from `offset` on."""
    first = offset // WORD_BYTES
    words = (offset % WORD_BYTES + count + WORD_BYTES - 1) // WORD_BYTES
    base = (stream << _STREAM_SHIFT) + first
    block = array("Q", range(base, base + words))
    if sys.byteorder == "little":
        block.byteswap()
    return block.tobytes()[offset % WORD_BYTES :][:count]
