"""What a stream costs from Python: round trips of 64 bytes on an idle tunnel, in turns, each end a process.

    python -m benchmarks.streams [--round-trips 400] [--rounds 9]

`open_connection` to a `handler` is compared with a forwarded port less its two TCP legs, each of which takes what a
direct TCP connection does; to a TCP service, with a forwarded port less one. Bare protocols are the floor.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from typing import cast

from benchmarks.report import load_average, measured, print_head, print_row

import perdure
from perdure.gateway import Gateway
from perdure.signaling.server import RendezvousServer
from perdure.streams.transport import StreamTransport

MESSAGE = os.urandom(64)

BARE, HANDLER, SERVICE = "bare protocols", "open_connection to a handler", "open_connection to a TCP service"
FORWARDED, DIRECT = "a forwarded port", "TCP, direct"


class Echo(asyncio.Protocol):
    """The far end."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        at_once(self._transport)

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Asker(asyncio.Protocol):
    """Sends a message, and the next one when its echo is there."""

    def __init__(self) -> None:
        self._left = 0
        self._done: asyncio.Future[None]
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        at_once(self._transport)

    def data_received(self, data: bytes) -> None:
        self._left -= 1
        if self._left:
            self._transport.write(MESSAGE)
        else:
            self._done.set_result(None)

    async def ask(self, count: int) -> None:
        self._left, self._done = count, asyncio.get_running_loop().create_future()
        self._transport.write(MESSAGE)
        await self._done


def at_once(transport: asyncio.Transport) -> None:
    """Let the kernel not wait for more to send."""
    if (tcp := transport.get_extra_info("socket")) is not None:
        tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)


def take(stream: StreamTransport) -> None:
    stream.start(Echo())
    stream.accept()


async def far_end(url: str) -> None:
    """Three gateways, one for each way to take a stream. Prints their tickets, and the service's port."""
    service = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    port = service.sockets[0].getsockname()[1]
    bare = Gateway(
        url,
        perdure.parse_allow([]),
        tickets=perdure.TicketStore(),
        incoming=take,
        transport=perdure.TransportConfig(loopback=True),
    )
    async with (
        bare,
        perdure.serve(url, handler=echo, loopback=True) as handled,
        perdure.serve(url, allow=[f"127.0.0.1:{port}"], loopback=True) as dialled,
    ):
        print(*(gateway.ticket.encode() for gateway in (bare, handled, dialled)), port, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def measure(round_trips: int, rounds: int) -> dict[str, list[float]]:
    """Milliseconds a round trip, of each round."""
    command = (sys.executable, "-m", "benchmarks.streams", "--far-end")
    async with RendezvousServer() as rendezvous:
        url = f"ws://127.0.0.1:{rendezvous.port}"
        process = await asyncio.create_subprocess_exec(*command, url, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdin is not None
        *tickets, port = (await process.stdout.readline()).decode().split()
        bare, handled, dialled = (perdure.connect(ticket, loopback=True) for ticket in tickets)
        async with bare, handled, dialled:
            ways = await connected(bare, handled, dialled, int(port))
            results: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(rounds):
                for name, ask in ways.items():
                    began_at = time.perf_counter()
                    await ask(round_trips)
                    results[name].append((time.perf_counter() - began_at) / round_trips * 1000)
        process.stdin.close()
        await process.wait()
    return results


async def connected(
    bare: perdure.Tunnel, handled: perdure.Tunnel, dialled: perdure.Tunnel, port: int
) -> dict[str, Callable[[int], Awaitable[None]]]:
    loop = asyncio.get_running_loop()
    server = await dialled.listen("127.0.0.1", 0, to=("127.0.0.1", port))
    _, forwarded = await loop.create_connection(Asker, *server.sockets[0].getsockname())
    _, direct = await loop.create_connection(Asker, "127.0.0.1", port)
    _, protocols = await bare.create_connection(Asker, "bare", 1)
    to_handler = await handled.open_connection("handler", 1)
    to_service = await dialled.open_connection("127.0.0.1", port)

    def asking(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Callable[[int], Awaitable[None]]:
        async def ask(count: int) -> None:
            for _ in range(count):
                writer.write(MESSAGE)
                await reader.readexactly(len(MESSAGE))

        return ask

    return {
        DIRECT: direct.ask,
        FORWARDED: forwarded.ask,
        BARE: protocols.ask,
        HANDLER: asking(*to_handler),
        SERVICE: asking(*to_service),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--far-end", metavar="URL", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.far_end is not None:
        asyncio.run(far_end(arguments.far_end))
        return
    results = asyncio.run(measure(arguments.round_trips, arguments.rounds))
    print(f"{load_average()}\n")
    print_head("", "median", "lowest", "highest")
    for name, times in results.items():
        measured("64 bytes, a round trip", name, "ms", times, less_is_better=True)
        print_row(name, f"{statistics.median(times):.3f} ms", f"{min(times):.3f}", f"{max(times):.3f}")
    rounds = list(zip(*(results[name] for name in (HANDLER, SERVICE, FORWARDED, DIRECT)), strict=True))
    without_legs = statistics.median(handler / (forwarded - 2 * leg) for handler, _, forwarded, leg in rounds)
    with_one_leg = statistics.median(service / (forwarded - leg) for _, service, forwarded, leg in rounds)
    print(f"\n{HANDLER} / ({FORWARDED} less its two TCP legs): {without_legs:.2f}, at most 1.10 asked for")
    print(f"{SERVICE} / ({FORWARDED} less one): {with_one_leg:.2f}")


if __name__ == "__main__":
    main()
