"""Lines out of a pipe whose other end may write one that is too long: that one is skipped, and the pipe read on."""

from __future__ import annotations

import asyncio


async def next_line(reader: asyncio.StreamReader) -> bytes:
    """With its end, which the last line of all may lack; empty: the pipe has ended.

    A line longer than the reader's limit is skipped. Cancelling it loses no other.
    """
    skipping = False
    while True:
        try:
            line = await reader.readuntil(b"\n")
        except asyncio.LimitOverrunError as error:
            await reader.readexactly(error.consumed)  # which is there already
            skipping = True
        except asyncio.IncompleteReadError as error:
            return b"" if skipping else error.partial
        else:
            if not skipping:
                return line
            skipping = False
