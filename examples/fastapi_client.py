"""The other end of fastapi_server.py: `python examples/fastapi_client.py ws://127.0.0.1:8000/tubes/NAME`."""

import asyncio
import contextlib
import sys

import websockets

import perdure


async def talk(tube: perdure.TunnelConnectionManager) -> None:
    try:
        reader, writer = await tube.open_connection("shout", 1)
        for number in range(1, 1_000_000):
            writer.write(f"line {number}\n".encode())
            print((await reader.readuntil()).decode(), end="", flush=True)
            await asyncio.sleep(0.1)
    except (OSError, EOFError, perdure.PeerError) as error:
        await tube.shutdown(detail=f"the stream ended: {error}")


async def signal(tube: perdure.TunnelConnectionManager, url: str) -> None:
    while tube.end is None:  # a call for each WebSocket; the stream goes on while there is none
        with contextlib.suppress(OSError, websockets.WebSocketException):
            async with websockets.connect(url) as socket:
                await tube.run_signaling(socket.send, socket)
        await asyncio.sleep(0.5)


async def main(url: str) -> None:
    local = perdure.TransportConfig(loopback=True)  # for two ends on one machine
    async with perdure.NetworkMonitor() as network, perdure.TubeRegistry(transport=local, network=network) as tubes:
        tube = tubes.create_tube()
        while True:
            await asyncio.gather(talk(tube), signal(tube, url))
            tube = await tubes.begin_again(tube)


asyncio.run(main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__))
