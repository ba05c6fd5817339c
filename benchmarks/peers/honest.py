"""An honest client: 64 bytes every 10 ms to an echo of its own beside the gateway, until its standard input ends.

It writes a JSON line for each echo, `{"sent_at", "seconds"}` on this machine's monotonic clock, and one for each change
of its tunnel's state, `{"state"}`. A message is sent at its time, also where earlier ones are still awaited.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque

import perdure

MESSAGE_BYTES = 64
INTERVAL = 0.01


def say(**fields: object) -> None:
    print(json.dumps(fields), flush=True)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
    writer.close()


async def send(writer: asyncio.StreamWriter, sent: deque[float]) -> None:
    due_at = time.monotonic()
    while True:
        due_at += INTERVAL
        await asyncio.sleep(due_at - time.monotonic())
        sent.append(due_at)
        writer.write(bytes(MESSAGE_BYTES))


async def run(ticket: str) -> None:
    loop = asyncio.get_running_loop()
    stdin = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    target = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with target, perdure.connect(ticket, loopback=True) as tunnel:
        tunnel.manager.add_state_change_callback(lambda change: say(state=change.after.name))
        reader, writer = await tunnel.open_connection(*target.sockets[0].getsockname())
        sent: deque[float] = deque()

        async def receive() -> None:
            while True:
                await reader.readexactly(MESSAGE_BYTES)
                sent_at = sent.popleft()
                say(sent_at=sent_at, seconds=time.monotonic() - sent_at)

        working = [asyncio.ensure_future(work) for work in (send(writer, sent), receive(), stdin.read())]
        await asyncio.wait(working, return_when=asyncio.FIRST_COMPLETED)
        for work in working:
            work.cancel()
        writer.transport.abort()


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1]))
