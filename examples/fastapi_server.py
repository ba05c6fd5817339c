"""A FastAPI application that accepts tubes. Their signaling passes over a WebSocket of its own; see fastapi_client.py.

uvicorn --app-dir examples fastapi_server:app
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import fastapi

import perdure


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    async for line in reader:  # one stream of a client
        writer.write(line.upper())
        await writer.drain()


@contextlib.asynccontextmanager
async def lifespan(app: fastapi.FastAPI) -> AsyncIterator[None]:
    local = perdure.TransportConfig(loopback=True)  # for two ends on one machine
    async with (
        perdure.NetworkMonitor() as network,
        perdure.TubeRegistry(transport=local, network=network, handler=shout) as app.state.tubes,
    ):
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.websocket("/tubes/{name}")
async def signaling(socket: fastapi.WebSocket, name: str) -> None:
    tubes: perdure.TubeRegistry = app.state.tubes
    await socket.accept()  # yours checks first who that is: who signals for a tube can take it over
    tube = tubes.manager(name) if name in tubes else tubes.create_tube(name, initiator=False)
    with contextlib.suppress(fastapi.WebSocketDisconnect):
        await tube.run_signaling(socket.send_text, socket.iter_text())
