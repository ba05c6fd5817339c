"""Round trips of 64 bytes through a tunnel: idle, and while another stream of the same tunnel is saturated.

    python -m benchmarks.latency [--round-trips 2000] [--rounds 3] [--processes 1 2]

perdure and what it is compared with, in turns; ssh and iroh, whose ends are two programs, only with two processes.
Both load directions are measured: "up" is the direction in which the request travels behind the bulk transfer, "down"
that of the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import statistics
import threading
import time
from dataclasses import dataclass

from benchmarks.peers import child
from benchmarks.peers.tunnels import TUNNELS, loops, names
from benchmarks.report import load_average, measured, print_head, print_row, spread
from benchmarks.throughput import BLOCK_BYTES

MESSAGE_BYTES = 64
WARM_UP = 50
LOAD_LEAD_SECONDS = 1.0
"""The bulk transfer runs this long before the first round trip, so that every buffer on the way is full."""


class Target:
    """The far end: the first byte of a connection says what it is for. `E` echoes, `U` reads all, `D` sends all."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> child.Address:
        host, port = self._listener.getsockname()
        return host, port

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        block = bytearray(BLOCK_BYTES)
        try:
            match connection.recv(1):
                case b"E":
                    while data := connection.recv(MESSAGE_BYTES):
                        connection.sendall(data)
                case b"U":
                    while connection.recv_into(block):
                        pass
                case b"D":
                    while True:
                        connection.sendall(block)
        except OSError:
            return
        finally:
            connection.close()


class Load:
    """A connection that carries as much as it can, one way, until closed."""

    def __init__(self, address: child.Address, kind: bytes) -> None:
        self._connection = socket.create_connection(address)
        self._connection.sendall(kind)
        self._is_up = kind == b"U"
        self.carried_bytes = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._connection.shutdown(socket.SHUT_RDWR)
        self._thread.join(10)
        self._connection.close()

    def _run(self) -> None:
        block = bytearray(BLOCK_BYTES)
        try:
            while True:
                if self._is_up:
                    self.carried_bytes += self._connection.send(block)
                elif count := self._connection.recv_into(block):
                    self.carried_bytes += count
                else:
                    return
        except OSError:
            return


@dataclass(frozen=True, slots=True)
class Result:
    round_trips_ms: list[float]
    load_mb_per_second: float

    def percentile(self, percent: int) -> float:
        return statistics.quantiles(self.round_trips_ms, n=100, method="inclusive")[percent - 1]


async def measure(factory: child.TunnelFactory, processes: int, load: bytes, count: int) -> Result:
    target = Target()
    try:
        async with factory(target.address, processes=processes) as tunnel:
            return await asyncio.to_thread(round_trips, tunnel.address, load, count)
    finally:
        target.close()


def round_trips(address: child.Address, load: bytes, count: int) -> Result:
    """Of a `Target` behind `address`, one after the other, beside a `Load` of that kind or without one."""
    bulk = Load(address, load) if load else None
    if bulk is not None:
        time.sleep(LOAD_LEAD_SECONDS)
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(30)
        connection.sendall(b"E")
        message = os.urandom(MESSAGE_BYTES)
        times = []
        began_at, carried_before = time.perf_counter(), bulk.carried_bytes if bulk else 0
        for _ in range(WARM_UP + count):
            at = time.perf_counter()
            connection.sendall(message)
            missing = MESSAGE_BYTES
            while missing and (data := connection.recv(missing)):
                missing -= len(data)
            if missing:
                raise ConnectionError("the echo ended")
            times.append((time.perf_counter() - at) * 1e3)
        seconds = time.perf_counter() - began_at
    carried = (bulk.carried_bytes - carried_before) / 1e6 if bulk else 0.0
    if bulk is not None:
        bulk.close()
    return Result(times[WARM_UP:], carried / seconds)


async def run(rounds: int, processes: int, count: int, peers: list[str]) -> None:
    print(f"\n{processes} process{'es' if processes > 1 else ''}; {load_average()}; {loops()}")
    print_head("what", "load", *(f"p{percent} ms (lowest to highest round)" for percent in (50, 99)), "bulk MB/s")
    for load, name in ((b"", "idle"), (b"U", "up"), (b"D", "down")):
        results: dict[str, list[Result]] = {}
        for _ in range(rounds):
            for peer in names(processes, peers):
                results.setdefault(peer, []).append(await measure(TUNNELS[peer], processes, load, count))
        for peer, runs in results.items():
            bulk = statistics.median(run.load_mb_per_second for run in runs)
            shown = []
            for percent in (50, 99):
                values = [run.percentile(percent) for run in runs]
                measured(f"64 bytes, p{percent}, {name}", peer, "ms", values, less_is_better=True)
                shown.append(spread(values, ".2f"))
            print_row(peer, name, *shown, f"{bulk:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], choices=(1, 2))
    parser.add_argument("--peers", nargs="+", default=list(TUNNELS), choices=list(TUNNELS))
    arguments = parser.parse_args()
    for processes in arguments.processes:
        asyncio.run(run(arguments.rounds, processes, arguments.round_trips, arguments.peers))


if __name__ == "__main__":
    main()
