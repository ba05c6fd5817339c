"""An honest tube beside a hostile one: round trips, and what the gateway takes of memory and of the CPU.

    python -m benchmarks.hostile [KIND …] [--seconds 10] [--json]

`perdure rendezvous` and `perdure serve` are real processes; so is the honest client, which echoes 64 bytes every 10
ms, and the hostile one (`perdure_lab.hostile`), which does one kind after another at full speed. The hostile client has
the lowest priority (`nice 19`): on a machine of its own it would take no CPU from the gateway. The kind `busy` shows
what is left of that. Before each kind the honest client is alone. Exits with 1 where a bound is missed: p99 at most 50
ms over that before, the honest tube never without a path, and the gateway's memory at most what `ResourceLimits`
let the tube's streams hold, and 64 MiB, over that at the beginning. A kind that sent nothing counts as missed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass

import psutil
from benchmarks.report import MISSED, load_average, measured, print_head, print_row, verdict

from perdure.config import ResourceLimits
from perdure_lab.hostile.attacks import Kind
from perdure_lab.stress.performance import percentile
from perdure_lab.stress.programs import cpu_seconds, house

MOST_ADDED_MS = 50.0
"""Milliseconds: what an honest tube's p99 may lose."""

LIMITS = ResourceLimits()
MOST_ADDED_BYTES = LIMITS.session_buffer_bytes + LIMITS.max_streams * 64 * 2**10 + 64 * 2**20
"""What the hostile tube's streams may hold by its limits, the last 64 KiB of each included, and 64 MiB for all else."""

SETTLE_SECONDS = 2.0
"""After each kind: what it left is over."""

IDLE_SECONDS = 3.0
LEAD_SECONDS = 3.0
"""The longest that the hostile client takes to start, and to prove its session."""

STANDSTILL_SECONDS = 10.0
"""An echo that takes longer counts as none."""

SAMPLE_INTERVAL = 0.1

COLUMNS = ("kind", "a second", "idle p50, p99 ms", "p50, p99 ms", "gateway MiB", "gateway cores", "verdict")


@dataclass(frozen=True, slots=True)
class Result:
    kind: str
    echoes: int
    idle_p50_ms: float
    idle_p99_ms: float
    p50_ms: float
    p99_ms: float
    memory_mib: float
    """The most in its time, over that at the beginning of the run."""
    cpu_cores: float
    outages: int
    """Times that the honest tube was without a path."""
    sent: dict[str, float]
    """What the hostile client did, a second."""

    @property
    def has_attacked(self) -> bool:
        return self.kind == Kind.BUSY.value or any(self.sent.values())

    @property
    def is_met(self) -> bool:
        adds = self.p99_ms - self.idle_p99_ms
        keeps_bounds = adds <= MOST_ADDED_MS and self.memory_mib * 2**20 <= MOST_ADDED_BYTES and not self.outages
        return keeps_bounds and self.has_attacked


class Honest:
    """The honest client's process, and what it said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.echoes: list[tuple[float, float]] = []
        """When each was sent, and after how many seconds it came back."""
        self.outages = 0
        assert process.stdout is not None
        self._output = process.stdout
        self._news = asyncio.Event()
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self) -> None:
        while line := await self._output.readline():
            said = json.loads(line)
            if "state" in said:
                self.outages += said["state"] == "RECONNECTING"
            else:
                self.echoes.append((said["sent_at"], said["seconds"]))
                self._news.set()

    async def milliseconds(self, since: float, until: float) -> list[float]:
        """Those of all echoes that were sent between the two instants; one that does not come back is infinite."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(until - time.monotonic() + STANDSTILL_SECONDS):
                while not self.echoes or self.echoes[-1][0] < until:
                    self._news.clear()
                    await self._news.wait()
        found = [seconds * 1e3 for sent_at, seconds in self.echoes if since <= sent_at < until]
        stands = not self.echoes or self.echoes[-1][0] < until
        return [*found, float("inf")] if stands else found


async def sink(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(2**20):
            pass
    writer.close()


async def source(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    block = bytes(2**16)
    with contextlib.suppress(OSError):
        while True:
            writer.write(block)
            await writer.drain()


@asynccontextmanager
async def target(serve: object) -> AsyncIterator[str]:
    """Its `HOST:PORT`."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)  # type: ignore[arg-type]
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def process(*words: str, priority: int = 0) -> AsyncIterator[asyncio.subprocess.Process]:
    """Python with these words and that `nice` value; stopped at the end, and killed where that takes long."""
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(sys.executable, *words, stdin=pipe, stdout=pipe)
    psutil.Process(child.pid).nice(priority)
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.terminate()
        try:
            async with asyncio.timeout(5.0):
                await child.wait()
        except TimeoutError:
            child.kill()
            await child.wait()


class Bench:
    """A gateway, and the honest client beside which each kind is measured."""

    def __init__(self, gateway: psutil.Process, honest: Honest, hostile_words: tuple[str, ...]) -> None:
        self._gateway = gateway
        self._honest = honest
        self._hostile_words = hostile_words
        self._rss_at_first = gateway.memory_info().rss

    async def measure(self, kind: Kind, seconds: float) -> Result:
        honest = self._honest
        await asyncio.sleep(SETTLE_SECONDS)
        idle_since = time.monotonic()
        await asyncio.sleep(IDLE_SECONDS)
        idle = await honest.milliseconds(idle_since, time.monotonic())
        outages = honest.outages
        async with process("-m", "perdure_lab.hostile", kind.value, *self._hostile_words, priority=19) as hostile:
            assert hostile.stdout is not None
            reports: list[dict[str, float]] = []
            reading = asyncio.ensure_future(_read_reports(hostile.stdout, reports))
            await _begun(reports)
            before, since = reports[-1], time.monotonic()
            cpu_before, most = cpu_seconds(self._gateway), 0
            while time.monotonic() < since + seconds:
                await asyncio.sleep(SAMPLE_INTERVAL)
                most = max(most, self._gateway.memory_info().rss)
            until = time.monotonic()
            cpu = (cpu_seconds(self._gateway) - cpu_before) / (until - since)
            sent = _per_second(before, reports[-1])
            echoes = await honest.milliseconds(since, until)
        await reading
        return Result(
            kind.value,
            len(echoes),
            percentile(idle, 50),
            percentile(idle, 99),
            percentile(echoes, 50),
            percentile(echoes, 99),
            (most - self._rss_at_first) / 2**20,
            cpu,
            honest.outages - outages,
            sent,
        )


async def _read_reports(output: asyncio.StreamReader, reports: list[dict[str, float]]) -> None:
    while line := await output.readline():
        reports.append(json.loads(line))


async def _begun(reports: list[dict[str, float]]) -> None:
    """Until the hostile client has done something."""
    give_up_at = time.monotonic() + LEAD_SECONDS
    while time.monotonic() < give_up_at or not reports:
        if reports and any(reports[-1][what] for what in ("messages", "offers", "carriers")):
            return
        await asyncio.sleep(SAMPLE_INTERVAL)


def _per_second(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    seconds = max(1e-9, after["seconds"] - before["seconds"])
    return {what: (after[what] - before[what]) / seconds for what in after if what != "seconds"}


@asynccontextmanager
async def bench() -> AsyncIterator[Bench]:
    async with AsyncExitStack() as stack:
        built = await stack.enter_async_context(house())
        reads, sends = [await stack.enter_async_context(target(serve)) for serve in (sink, source)]
        client = await stack.enter_async_context(process("-m", "benchmarks.peers.honest", f"@{built.ticket_file}"))
        honest = Honest(client)
        await honest.milliseconds(0.0, time.monotonic())
        words = ("--ticket", str(built.ticket_file), "--sink", reads, "--source", sends, "--forbidden", "192.0.2.1:9")
        yield Bench(psutil.Process(built.gateway.pid), honest, words)


async def run(kinds: list[Kind], seconds: float, *, as_json: bool) -> bool:
    """Whether every bound was kept."""
    results = []
    async with bench() as made:
        if not as_json:
            print(load_average())
            print_head(*COLUMNS)
        for kind in kinds:
            result = await made.measure(kind, seconds)
            results.append(result)
            if as_json:
                print(json.dumps({**asdict(result), "is_met": result.is_met}), flush=True)
            else:
                print_row(*_cells(result))
            added = [result.p99_ms - result.idle_p99_ms]
            measured("an honest echo's p99 over idle", result.kind, "ms", added, less_is_better=True)
    return all(result.is_met for result in results)


def _cells(result: Result) -> tuple[str, ...]:
    """Of `COLUMNS`."""
    sent = ", ".join(f"{_short(count)} {what}" for what, count in result.sent.items() if count >= 0.05)
    why = f", {result.outages} outages" if result.outages else ""
    why += "" if result.has_attacked else ", as nothing was sent"
    return (
        result.kind,
        sent,
        f"{result.idle_p50_ms:.2f}, {result.idle_p99_ms:.1f}",
        f"{result.p50_ms:.2f}, {result.p99_ms:.1f}",
        f"{result.memory_mib:+.1f}",
        f"{result.cpu_cores:.2f}",
        verdict(is_met=result.is_met) + why,
    )


def _short(count: float) -> str:
    for size, unit in ((1e6, " M"), (1e3, " k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return f"{count:.3g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=f"of {', '.join(kind.value for kind in Kind)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each kind")
    parser.add_argument("--json", action="store_true", help="a JSON line a kind, instead of the table")
    arguments = parser.parse_args()
    kinds = [Kind(name) for name in arguments.kinds] or list(Kind)
    sys.exit(0 if asyncio.run(run(kinds, arguments.seconds, as_json=arguments.json)) else MISSED)


if __name__ == "__main__":
    main()
