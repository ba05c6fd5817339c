"""Two processes, one tube, and signaling of their own: JSON lines over a local TCP connection.

`python examples/two_processes.py` starts itself a second time, as the other end. Your own signaling must authenticate
both ends: who can alter it can take the tube over.
"""

import asyncio
import sys

import perdure

LOOPBACK = perdure.TransportConfig(loopback=True)  # for two ends on one machine


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def signal(
    tube: perdure.TunnelConnectionManager, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    async def send(text: str) -> None:
        writer.write(text.encode() + b"\n")
        await writer.drain()

    await tube.run_signaling(send, reader)  # a reader yields lines
    writer.close()


async def talk(tube: perdure.TunnelConnectionManager) -> None:
    """Say something before, during and after an ICE restart, and close the tube."""
    reader, writer = await tube.open_connection("echo", 7)
    for words in b"before\n", b"during\n", b"after\n":
        if words == b"during\n":
            await tube.restart_ice()
        writer.write(words)
        print((await reader.readline()).decode(), end="", flush=True)
        await tube.wait_connected()
    print("ICE restarts:", tube.metrics.ice_restart_attempts, flush=True)
    await tube.shutdown(detail="all is said")


async def parent() -> None:
    ends: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    async with await asyncio.start_server(lambda *end: ends.put_nowait(end), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        child = await asyncio.create_subprocess_exec(sys.executable, __file__, str(port))
        async with perdure.TubeRegistry(transport=LOOPBACK) as tubes:
            tube = tubes.create_tube()
            await asyncio.gather(signal(tube, *await ends.get()), talk(tube))
        await child.wait()


async def child(port: int) -> None:
    async with perdure.TubeRegistry(transport=LOOPBACK, handler=echo) as tubes:
        tube = tubes.create_tube(initiator=False)
        await signal(tube, *await asyncio.open_connection("127.0.0.1", port))
        end = await tube.wait_ended()
        print("the other process:", end.reason.value, f"({end.detail})", flush=True)


if __name__ == "__main__":
    asyncio.run(child(int(sys.argv[1])) if len(sys.argv) > 1 else parent())
