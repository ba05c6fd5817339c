"""How the smallest things feel while everything else is busy."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING

import perdure
from perdure_lab.stress.machine import cores
from perdure_lab.stress.pairs import ECHO_TIMEOUT, talk
from perdure_lab.stress.programs import house

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from perdure_lab.stress.stage import Stage

KEYSTROKE_INTERVAL = 0.02
STREAMS = 20
BULK_BYTES = 1024 * 1024
SMALL_BYTES = 4 * 1024

LONGEST_MS = 1000.0
"""That a keystroke may take, whatever else goes on: with every core taken by other programs, each byte waits for its
turn at three processes, twice. What bulk alone may cost is asked by `benchmarks`."""


async def test_performance_under_stress(stage: Stage) -> None:
    """A keystroke's round trip when idle, beside bulk and beside many short streams, and with every core taken by other
    programs; nothing is lost or late for good."""
    async with house() as built, perdure.connect(f"@{built.ticket_file}", loopback=True) as tunnel:
        load = _Load(tunnel, built.echo_port, stage.sizes.seconds / 4)
        keys = Keystrokes(await tunnel.open_connection("127.0.0.1", built.echo_port))
        times = {}
        bulk: list[int] = []
        short: list[int] = []
        stage.progress("idle", 0, 4)
        times["idle"], _ = await keys.during(asyncio.ensure_future(asyncio.sleep(stage.sizes.seconds / 4)))
        stage.progress("beside bulk", 1, 4)
        times["beside bulk"], bulk_seconds = await keys.during(load.streams(BULK_BYTES, bulk))
        stage.progress("beside short streams", 2, 4)
        times["beside short streams"], short_seconds = await keys.during(load.streams(SMALL_BYTES, short))
        stage.progress("with every core taken", 3, 4)
        async with all_cores_busy():
            times["with every core taken"], _ = await keys.during(load.streams(BULK_BYTES, []))
        await keys.end()
    for what, each in times.items():
        stage.measured(f"keystroke {what}, p50", statistics.median(each) * 1e3, "ms")
        stage.measured(f"keystroke {what}, p99", percentile(each, 99) * 1e3, "ms", at_most=LONGEST_MS)
    stage.measured("bulk, both directions", 2 * len(bulk) * BULK_BYTES / bulk_seconds / 2**20, "MiB/s")
    stage.measured("short streams a second", len(short) / short_seconds)


class Keystrokes:
    """One byte at a time through a stream of its own to an echo, and how long each takes."""

    def __init__(self, stream: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._stream = stream

    async def during(self, work: asyncio.Future[None]) -> tuple[list[float], float]:
        """Until `work` is done; the seconds of each round trip, and those of the work. Raises what `work` raises."""
        reader, writer = self._stream
        times: list[float] = []
        began_at = monotonic()
        while not work.done():
            sent_at = monotonic()
            writer.write(b"k")
            async with asyncio.timeout(ECHO_TIMEOUT):
                await reader.readexactly(1)
            times.append(monotonic() - sent_at)
            await asyncio.sleep(KEYSTROKE_INTERVAL)
        await work
        return times, monotonic() - began_at

    async def end(self) -> None:
        self._stream[1].close()


def percentile(values: list[float], percent: int) -> float:
    """Endless where there are too few, or one is."""
    if len(values) < 2 or max(values) == float("inf"):
        return float("inf")
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


class _Load:
    """Streams of one tunnel, `STREAMS` at a time, for `seconds`."""

    def __init__(self, tunnel: perdure.Tunnel, port: int, seconds: float) -> None:
        self._tunnel = tunnel
        self._port = port
        self._seconds = seconds

    def streams(self, size: int, done: list[int]) -> asyncio.Future[None]:
        """Each of `size` bytes each way; `done` gets the number of each that ended."""
        return asyncio.ensure_future(self._streams(size, done))

    async def _streams(self, size: int, done: list[int]) -> None:
        ends_at = monotonic() + self._seconds

        async def one(number: int) -> None:
            while monotonic() < ends_at:
                await talk(self._tunnel, number, size, port=self._port)
                done.append(number)

        await asyncio.gather(*(one(number) for number in range(STREAMS)))


_BUSY_PROGRAM = """
import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0))).start()
while True:
    pass
"""


@asynccontextmanager
async def all_cores_busy() -> AsyncIterator[None]:
    """A program on each core that only computes, and ends with this process."""
    async with AsyncExitStack() as stack:
        for _ in range(cores()):
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-c", _BUSY_PROGRAM, stdin=asyncio.subprocess.PIPE, start_new_session=True
            )

            async def stop(process: asyncio.subprocess.Process = process) -> None:
                with contextlib.suppress(ProcessLookupError):
                    process.kill()
                await process.wait()

            stack.push_async_callback(stop)
        yield
