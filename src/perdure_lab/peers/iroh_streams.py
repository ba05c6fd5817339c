"""PyPI `iroh`: one QUIC connection with multipath, and a stream of it for each TCP connection.

    python -m perdure_lab.peers.iroh_streams gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.iroh_streams client FOLDER PORT

The gateway's identity and its direct addresses are asked for beside the network. There is no relay. A connection that
iroh gives up is made anew for the next TCP connection; those that it carried end with it.

Done for it: uvloop where it is installed, as perdure has it; and one copy of what is sent in the place of the package's
loop over its bytes, which takes 0.3 us for each of them.
"""

from __future__ import annotations

import asyncio
import ctypes
import importlib
from functools import partial
from typing import Any

from perdure.cli.running import loop_factory
from perdure_lab.peers import exchange, words
from perdure_lab.peers.exchange import Exchange
from perdure_lab.peers.words import Words

ALPN = b"perdure-lab"
STREAMS = 1024
"""TCP connections at once that the gateway takes."""

_READ_BYTES = 1 << 16


class Carrier:
    """The client's connection to the gateway, made when the first TCP connection comes."""

    def __init__(self, endpoint: Any, given: Words) -> None:
        self._endpoint = endpoint
        self._given = given
        self._connection: Any = None
        self._one_at_a_time = asyncio.Lock()

    async def stream(self) -> Any:
        """A new one."""
        async with self._one_at_a_time:
            if self._connection is None or self._connection.close_reason() is not None:
                self._connection = await self._connect()
        return await self._connection.open_bi()

    async def _connect(self) -> Any:
        told = await exchange.ask(self._given.folder)
        gateway = _package().EndpointId.from_string(told["id"])
        address = _package().EndpointAddr(gateway, None, told["addresses"].split())
        return await self._endpoint.connect(address, ALPN)


def main() -> None:
    given = words.parsed(__doc__)
    words.require("iroh", package="iroh")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_gateway(given) if given.is_gateway else _client(given))


def _package() -> Any:
    """It is optional, and most of its calls have no types."""
    return importlib.import_module("iroh")


def write_at_once(builder: Any, value: bytes) -> None:
    """In the place of `_UniffiRustBufferBuilder.write`."""
    with builder._reserve(len(value)):
        ctypes.memmove(ctypes.addressof(builder.rbuf.data.contents) + builder.rbuf.len, bytes(value), len(value))


async def _endpoint() -> Any:
    package = _package()
    package.iroh_ffi._UniffiRustBufferBuilder.write = write_at_once
    package.iroh_ffi.uniffi_set_event_loop(asyncio.get_running_loop())
    options = package.EndpointOptions(
        preset=package.preset_minimal(), alpns=[ALPN], relay_mode=package.RelayMode.disabled()
    )
    return await package.Endpoint.bind(options)


async def _gateway(given: Words) -> None:
    endpoint = await _endpoint()
    async with asyncio.TaskGroup() as group:
        group.create_task(exchange.serve(given.folder, partial(_tell, endpoint)))
        while (incoming := await endpoint.accept_next()) is not None:
            group.create_task(_accept(given, incoming))
        words.refuse("iroh's endpoint was closed")


async def _tell(endpoint: Any, joined: Exchange) -> None:
    joined.send(id=str(endpoint.id()), addresses=" ".join(endpoint.addr().direct_addresses()))
    async for _ in joined.messages():
        pass


async def _accept(given: Words, incoming: Any) -> None:
    try:
        connection = await (await incoming.accept()).connect()
        connection.set_max_concurrent_bi_streams(STREAMS)
        async with asyncio.TaskGroup() as group:
            while True:
                group.create_task(_dial(given, await connection.accept_bi()))
    except* _package().IrohError as errors:
        words.complain(f"the connection ended: {errors.exceptions}")


async def _dial(given: Words, stream: Any) -> None:
    try:
        reader, writer = await asyncio.open_connection(given.host, given.port)
    except OSError as error:
        words.complain(f"the target: {error}")
        await stream.send().reset(0)
    else:
        await _copy_both(stream, reader, writer)


async def _client(given: Words) -> None:
    carrier = Carrier(await _endpoint(), given)
    server = await asyncio.start_server(partial(_carry, carrier), given.host, given.port)
    await server.serve_forever()


async def _carry(carrier: Carrier, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        stream = await carrier.stream()
    except (OSError, _package().IrohError) as error:
        words.complain(f"no stream: {error!r}")
        writer.transport.abort()
    else:
        await _copy_both(stream, reader, writer)


async def _copy_both(stream: Any, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await asyncio.gather(_send(reader, stream.send()), _receive(stream.recv(), writer))
    except (OSError, _package().IrohError) as error:
        words.complain(f"a stream ended: {error!r}")
        writer.transport.abort()
    finally:
        writer.close()


async def _send(reader: asyncio.StreamReader, sender: Any) -> None:
    while data := await reader.read(_READ_BYTES):
        await sender.write_all(data)
    await sender.finish()


async def _receive(receiver: Any, writer: asyncio.StreamWriter) -> None:
    while data := await receiver.read(_READ_BYTES):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


if __name__ == "__main__":
    main()
