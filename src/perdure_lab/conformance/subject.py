"""perdure itself as the implementation under test: `python -m perdure_lab.conformance.subject`.

It is also an example of what COMMAND must be: an acceptor that echoes every stream, and speaks application signaling
over its standard input and output, a text a line.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import perdure

if TYPE_CHECKING:
    from perdure.application_links import SendText
    from perdure.transport.base import Transport

MAX_LINE_BYTES = 1024 * 1024
"""Longer than any text that the conformance peer writes."""


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def lines() -> AsyncIterator[bytes]:
    """Of standard input."""
    reader = asyncio.StreamReader(MAX_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async for line in reader:
        yield line


async def write_line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


async def serve(
    transport: Transport | perdure.TransportConfig, send: SendText, texts: AsyncIterator[str | bytes]
) -> None:
    """Echo streams until the tube, or `texts`, has ended."""
    async with perdure.TubeRegistry(transport=transport, handler=echo) as tubes:
        tube = tubes.create_tube("subject", initiator=False)
        await tube.run_signaling(send, texts)


if __name__ == "__main__":
    asyncio.run(serve(perdure.TransportConfig(loopback=True), write_line, lines()))
