"""256 MiB through one forwarded TCP connection: perdure, what it is compared with, and the engine by itself, in turns.

    python -m benchmarks.throughput [--mib 256] [--rounds 3] [--processes 1 2] [--peers perdure keeper]

The source and the sink are threads of this process, with blocking sockets, the same for every tunnel. "bare channel"
has no TCP at all: messages of 64 KiB from one peer connection to the other. MB = 10^6 bytes; CPU is that of the
tunnel's ends (user and system), without source and sink.
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

from benchmarks.peers import bare_wrtc, child
from benchmarks.peers.tunnels import TUNNELS, loops, names
from benchmarks.report import load_average, measured, print_head, print_row, spread

BARE = "bare channel"
BLOCK_BYTES = 256 * 1024
TIMEOUT = 180.0


@dataclass(frozen=True, slots=True)
class Result:
    mb_per_second: float
    cpu_ms_per_mb: float


class Sink:
    """Takes connections, and counts until `expected` bytes have come by one."""

    def __init__(self, expected: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._expected = expected
        self.done_at = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def address(self) -> child.Address:
        host, port = self._listener.getsockname()
        return host, port

    def wait(self) -> float:
        self._thread.join(TIMEOUT)
        if not self.done_at:
            raise TimeoutError("not every byte arrived")
        return self.done_at

    def _run(self) -> None:
        missing = self._expected
        while missing == self._expected:  # one that says nothing only looked whether the tunnel is there
            connection, _ = self._listener.accept()
            missing = self._missing_after(connection)
        if missing == 0:
            self.done_at = time.perf_counter()
        self._listener.close()

    def _missing_after(self, connection: socket.socket) -> int:
        buffer, missing = bytearray(BLOCK_BYTES), self._expected
        with connection:
            while missing > 0 and (count := connection.recv_into(buffer)):
                missing -= count
        return missing


async def through_tunnel(factory: child.TunnelFactory, total: int, processes: int) -> Result:
    sink = Sink(total)
    async with factory(sink.address, processes=processes) as tunnel:
        source = socket.create_connection(tunnel.address)
        cpu_before = await tunnel.cpu_seconds()
        began_at = time.perf_counter()
        await asyncio.to_thread(_push, source, total)
        done_at = await asyncio.to_thread(sink.wait)
        cpu = await tunnel.cpu_seconds() - cpu_before
        source.close()
    megabytes = total / 1e6
    return Result(megabytes / (done_at - began_at), cpu * 1e3 / megabytes)


async def bare_channel(total: int, processes: int) -> Result:
    pushed = await bare_wrtc.push(mebibytes=total >> 20, processes=processes)
    return Result(pushed.mb_per_second, pushed.cpu_ms_per_mb)


def _push(source: socket.socket, total: int) -> None:
    block = os.urandom(BLOCK_BYTES)
    for _ in range(total // BLOCK_BYTES):
        source.sendall(block)


async def measure(total: int, rounds: int, processes: int, peers: list[str]) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {}
    for _ in range(rounds):
        for peer in names(processes, peers):
            if peer == BARE:
                result = await bare_channel(total, processes)
            else:
                result = await through_tunnel(TUNNELS[peer], total, processes)
            results.setdefault(peer, []).append(result)
    return results


def show(results: dict[str, list[Result]], processes: int) -> None:
    print(f"\n{processes} process{'es' if processes > 1 else ''}; {load_average()}; {loops()}")
    ratio = "perdure's MB/s as a ratio, median of the rounds"
    print_head("what", "MB/s, median (lowest to highest)", "CPU ms/MB", ratio)
    ours = results.get("perdure", [])
    for name, runs in results.items():
        speeds = [run.mb_per_second for run in runs]
        ratios = [mine.mb_per_second / theirs.mb_per_second for mine, theirs in zip(ours, runs, strict=False)]
        cpu = statistics.median(run.cpu_ms_per_mb for run in runs)
        measured("256 MiB, one connection", name, "MB/s", speeds, less_is_better=False)
        measured("CPU of both ends", name, "ms/MB", [run.cpu_ms_per_mb for run in runs], less_is_better=True)
        ratio = spread(ratios, ".2f") if ratios and name != "perdure" else ""
        print_row(name, spread(speeds, ".1f"), f"{cpu:.1f}", ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], choices=(1, 2))
    peers = [*TUNNELS, BARE]
    parser.add_argument("--peers", nargs="+", default=peers, choices=peers)
    arguments = parser.parse_args()
    for processes in arguments.processes:
        show(asyncio.run(measure(arguments.mib << 20, arguments.rounds, processes, arguments.peers)), processes)


if __name__ == "__main__":
    main()
