"""What each step of docs/hot-path.md costs: 64-byte echoes through a tunnel, and the time in perdure's own functions.

    python -m benchmarks.steps [--round-trips 5000]

Client and gateway share this process and its loop (uvloop where it is installed); who asks and who echoes are processes
of their own. Each function is wrapped by a clock, whose own cost is measured and taken off. A step's time is without
that of the steps within it, and the median of its calls, which other work on the machine does not move. What the event
loop and the engine's threads do is in no step.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import socket
import statistics
import time
from collections.abc import Callable
from functools import wraps
from typing import Any

from benchmarks.report import load_average, print_head, print_row
from benchmarks.small import serve_echo

import perdure
from perdure.cli.running import loop_factory
from perdure.session.session import Session
from perdure.signaling.server import RendezvousServer
from perdure.streams.streams import Streams
from perdure.streams.tcp import TcpRelay
from perdure.streams.transport import StreamTransport
from perdure.transport.data_channel import DataChannel, _Mailbox
from perdure.tube.carrier_session import CarrierSession

MESSAGE_BYTES = 64
WARM_UP = 500

Wrapped = tuple[type, str]

STEPS: dict[str, tuple[Wrapped, ...]] = {
    "1: from the socket to the stream": ((TcpRelay, "data_received"), (StreamTransport, "write")),
    "2: `session.write`, a turn of the loop is asked for": ((Streams, "write"), (Session, "write")),
    "3: `session.next_message`, and the turn around it": ((CarrierSession, "_turn"), (Session, "next_message")),
    "4: `data_channel.send`": ((DataChannel, "send"),),
    "5: `data_channel._Mailbox`": ((_Mailbox, "_woken"),),
    "6: `session.receive`, and what it tells": (
        (CarrierSession, "_receive"),
        (Session, "receive"),
        (StreamTransport, "data_came"),
        (Streams, "consume"),
    ),
    "7: written to the socket": ((TcpRelay, "take"),),
}
"""Each with its functions."""


class Clock:
    """Times calls within each other."""

    def __init__(self) -> None:
        self.times: dict[Wrapped, list[int]] = {}
        self._within = [0]

    def wrap(self, owner: type, name: str) -> None:
        call: Callable[..., Any] = getattr(owner, name)
        times = self.times.setdefault((owner, name), [])
        within, now = self._within, time.perf_counter_ns

        @wraps(call)
        def timed(*args: Any, **keywords: Any) -> Any:
            within.append(0)
            began_at = now()
            try:
                return call(*args, **keywords)
            finally:
                took = now() - began_at
                times.append(took - within.pop())
                within[-1] += took

        setattr(owner, name, timed)

    def own_cost(self) -> float:
        """Nanoseconds that a wrapped call of nothing seems to take."""

        class Nothing:
            def call(self) -> None:
                pass

        self.wrap(Nothing, "call")
        for _ in range(10_000):
            Nothing().call()
        return statistics.median(self.times.pop((Nothing, "call")))


def ask(address: tuple[str, int], count: int) -> None:
    with socket.create_connection(address) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            connection.sendall(bytes(MESSAGE_BYTES))
            connection.recv(MESSAGE_BYTES, socket.MSG_WAITALL)


async def measure(count: int) -> dict[str, float]:
    """Microseconds of each step, of one direction."""
    listening = socket.create_server(("127.0.0.1", 0))
    fork = multiprocessing.get_context("fork")
    target = fork.Process(target=serve_echo, args=(listening,), daemon=True)
    target.start()
    host, port = listening.getsockname()
    clock = Clock()
    own_cost = clock.own_cost()
    for functions in STEPS.values():
        for owner, name in functions:
            clock.wrap(owner, name)  # before any of them is kept by who calls it
    try:
        async with RendezvousServer() as rendezvous:
            url = f"ws://127.0.0.1:{rendezvous.port}"
            async with (
                perdure.serve(url, allow=[f"{host}:{port}"], loopback=True) as gateway,
                perdure.connect(gateway.ticket, loopback=True) as tunnel,
            ):
                server = await tunnel.listen("127.0.0.1", 0, to=(host, port))
                address = server.sockets[0].getsockname()
                await asyncio.to_thread(_asked, address, WARM_UP)
                for times in clock.times.values():
                    times.clear()
                await asyncio.to_thread(_asked, address, count)
    finally:
        target.terminate()
        listening.close()
    return {
        step: sum(_us(clock.times[each], count, own_cost) for each in functions) for step, functions in STEPS.items()
    }


def _asked(address: tuple[str, int], count: int) -> None:
    """In a process of its own, which a thread waits for."""
    asking = multiprocessing.get_context("spawn").Process(target=ask, args=(address, count))
    asking.start()
    asking.join()


def _us(times: list[int], count: int, own_cost: float) -> float:
    """A round trip takes each step twice, and some functions oftener."""
    if not times:
        return 0.0
    return max(0.0, statistics.median(times) - own_cost) * len(times) / (2 * count) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--round-trips", type=int, default=5000)
    arguments = parser.parse_args()
    print(f"{load_average()}\n")
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        found = runner.run(measure(arguments.round_trips))
    print_head("step", "us")
    for step, us in found.items():
        print_row(step, f"{us:.1f}")
    print_row("all of them, one direction", f"{sum(found.values()):.1f}")


if __name__ == "__main__":
    main()
