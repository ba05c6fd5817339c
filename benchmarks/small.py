"""Small things, in turns: a 64-byte echo, 50 connections' echoes, and connections that ask once and close.

    python -m benchmarks.small [--rounds 5] [--seconds 2] [--peers perdure ssh]

Each end is a process of its own, on loopback. The programs that ask are one process with one event loop for many
connections, and a blocking socket for one; the same for each peer. So with many connections the asker's own cost is in
the figures, which ratios understate.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass

from benchmarks.peers import child
from benchmarks.peers.tunnels import TUNNELS, loops
from benchmarks.report import load_average, print_beside_perdure, print_head

MESSAGE = bytes(64)
BUSY_CONNECTIONS = 50
CONNECTORS = 20
WARM_UP = 100
WARM_UP_CONNECTIONS = 10


class EchoServer(asyncio.Protocol):
    """The target: a process of its own."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


def serve_echo(listening: socket.socket) -> None:
    async def main() -> None:
        server = await asyncio.get_running_loop().create_server(EchoServer, sock=listening)
        await server.serve_forever()

    asyncio.run(main())


class Asker(asyncio.Protocol):
    """Sends a message whenever the one before has come back."""

    def __init__(self) -> None:
        self.count = 0
        self.transport: asyncio.Transport | None = None
        self._missing = len(MESSAGE)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(MESSAGE)

    def data_received(self, data: bytes) -> None:
        self._missing -= len(data)
        if self._missing <= 0:
            self.count += 1
            self._missing = len(MESSAGE)
            if self.transport is not None:
                self.transport.write(MESSAGE)


async def echo(address: child.Address, seconds: float) -> float:
    """Milliseconds of a round trip, median."""
    return await asyncio.to_thread(_echo, address, seconds)


def _echo(address: child.Address, seconds: float) -> float:
    times: list[float] = []
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(30)
        until = time.perf_counter() + seconds
        while (at := time.perf_counter()) < until or len(times) <= WARM_UP:
            connection.sendall(MESSAGE)
            missing = len(MESSAGE)
            while missing:
                if not (data := connection.recv(missing)):
                    raise ConnectionError("the echo ended")
                missing -= len(data)
            times.append((time.perf_counter() - at) * 1e3)
    return statistics.median(times[WARM_UP:])


async def many_echoes(address: child.Address, seconds: float) -> float:
    """Round trips a second of all connections."""
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(Asker, *address) for _ in range(BUSY_CONNECTIONS)]
    await asyncio.sleep(0.3)
    counted, began_at = sum(asker.count for _, asker in made), time.perf_counter()
    await asyncio.sleep(seconds)
    count = sum(asker.count for _, asker in made) - counted
    took = time.perf_counter() - began_at
    for transport, _ in made:
        transport.abort()
    return count / took


async def one_at_a_time(address: child.Address, seconds: float) -> float:
    """Connections a second."""
    return await asyncio.to_thread(_connect, address, seconds)


def _connect(address: child.Address, seconds: float) -> float:
    count, began_at = -WARM_UP_CONNECTIONS, time.perf_counter()
    while time.perf_counter() < began_at + seconds:
        with socket.create_connection(address) as connection:
            connection.settimeout(30)
            connection.sendall(MESSAGE)
            if len(connection.recv(len(MESSAGE), socket.MSG_WAITALL)) < len(MESSAGE):
                raise ConnectionError("the echo ended")
        count += 1
        if not count:
            began_at = time.perf_counter()
    return count / (time.perf_counter() - began_at)


async def twenty_at_once(address: child.Address, seconds: float) -> float:
    """Connections a second of all that connect."""
    count, until = 0, time.perf_counter() + seconds

    async def connect() -> None:
        nonlocal count
        while time.perf_counter() < until:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(MESSAGE)
            await reader.readexactly(len(MESSAGE))
            writer.close()
            count += time.perf_counter() < until

    await asyncio.gather(*(connect() for _ in range(CONNECTORS)))
    return count / seconds


@dataclass(frozen=True, slots=True)
class Work:
    name: str
    unit: str
    measure: Callable[[child.Address, float], Coroutine[object, object, float]]


WORK = (
    Work("echo, 64 bytes", "ms", echo),
    Work(f"{BUSY_CONNECTIONS} connections' echoes", "a second", many_echoes),
    Work("connect, ask, close", "a second", one_at_a_time),
    Work(f"the same, {CONNECTORS} at once", "a second", twenty_at_once),
)


async def run(peers: list[str], rounds: int, seconds: float, only: str) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    target = multiprocessing.get_context("fork").Process(target=serve_echo, args=(listening,), daemon=True)
    target.start()
    host, port = listening.getsockname()
    print(f"{load_average()}; {loops()}\n")
    print_head("what", "through", "median (lowest to highest)", "perdure's as a ratio, median of the rounds")
    try:
        for work in WORK:
            if only not in work.name:
                continue
            results: dict[str, list[float]] = {peer: [] for peer in peers}
            for _ in range(rounds):
                for peer in peers:
                    async with TUNNELS[peer]((host, port), processes=2) as tunnel:
                        results[peer].append(await work.measure(tunnel.address, seconds))
            print_beside_perdure(work.name, work.unit, results, less_is_better=work.unit == "ms")
    finally:
        target.terminate()
        listening.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--peers", nargs="+", default=list(TUNNELS), choices=list(TUNNELS))
    parser.add_argument("--only", default="", help="words in the name of the work")
    arguments = parser.parse_args()
    asyncio.run(run(arguments.peers, arguments.rounds, arguments.seconds, arguments.only))


if __name__ == "__main__":
    main()
