"""The demo's course: start everything, break it, measure the silence, and count every byte."""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from time import monotonic

from perdure.demo.processes import Child, LogLine
from perdure.demo.traffic import Direction, run_side

CONNECTIONS = 4
BYTES_PER_SECOND = 1_000_000
"""Each connection, each direction: traffic enough that every moment counts, and little enough for a small machine."""

CALM_SECONDS = 1.5
"""Undisturbed time before the first fault, and after each recovery."""

RECOVERY_TIMEOUT = 20.0
"""Seconds after which a fault counts as not recovered from."""

STORM_BUDGET = 1000
"""The demo breaks things more often than any network does; the default would make it wait after six faults a minute."""

CLOSING_TIMEOUT = 20.0
"""Seconds for the last bytes and ends to arrive."""

SETTLED_GAP = 0.15
"""Seconds: every direction delivers again, none has been silent for longer than this."""


@dataclass
class Fault:
    name: str
    at: float
    """Seconds since the traffic began."""
    silence: float | None = None
    """Seconds without a byte in the direction that waited longest; `None` while it is being measured."""
    recovered: bool = False


@dataclass
class Report:
    """What the demo did and saw."""

    seconds: float = 0.0
    faults: list[Fault] = field(default_factory=list)
    connections: int = CONNECTIONS
    connections_kept: int = 0
    bytes_sent: int = 0
    bytes_received: int = 0
    bytes_lost_or_wrong: int = 0
    skipped: list[str] = field(default_factory=list)

    @property
    def silences(self) -> list[float]:
        return [fault.silence for fault in self.faults if fault.silence is not None]

    @property
    def recovery_median(self) -> float | None:
        return statistics.median(self.silences) if self.silences else None

    @property
    def recovery_max(self) -> float | None:
        return max(self.silences, default=None)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was lost, every connection is still there, and the demo had something to survive."""
        return (
            self.bytes_lost_or_wrong == 0
            and self.connections_kept == self.connections
            and self.bytes_sent > 0
            and all(fault.recovered for fault in self.faults)
        )


class Demo:
    """One run. `on_change` is told whenever something worth showing changed."""

    def __init__(self, seconds: float, on_change: Callable[[], None] = lambda: None) -> None:
        self.report = Report()
        self.state = "starting"
        self.phase = "starting a rendezvous, a gateway and a client"
        self.throughput: deque[float] = deque(maxlen=60)
        """Bytes delivered a second, in all, one value each tenth of a second."""
        self._seconds = seconds
        self._on_change = on_change
        self._began_at = 0.0
        self._directions: list[Direction] = []
        self._sides: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._url = ""
        self._rendezvous = Child("rendezvous", "--listen", "127.0.0.1:0", "--faults")
        self._gateway = Child()
        self._client = Child()

    @property
    def elapsed(self) -> float:
        return monotonic() - self._began_at if self._began_at else 0.0

    @property
    def current_outage(self) -> float:
        """Seconds that the longest silent direction has been silent."""
        return max((direction.current_gap for direction in self._directions), default=0.0)

    async def run(self) -> None:
        """Everything, from the first process to the last byte.

        Raises:
            PerdureError: a child process did not start.
        """
        async with AsyncExitStack() as stack:
            await self._start_processes(stack)
            await self._start_traffic(stack)
            meter = asyncio.ensure_future(self._meter())
            try:
                await self._break_things()
            finally:
                meter.cancel()
                self.phase = "letting the last bytes arrive"
                self._on_change()
                await self._finish()

    async def _start_processes(self, stack: AsyncExitStack) -> None:
        stack.push_async_callback(self._stop_rendezvous)
        await self._rendezvous.start()
        self._url = await self._rendezvous.first_line("ws://")
        server = await asyncio.start_server(self._serve_target, "127.0.0.1", 0)
        stack.callback(server.close)
        target = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        driven = ("--loopback", "--faults", "--set", f"storm_budget={STORM_BUDGET}")
        self._gateway = Child("serve", "--rendezvous", self._url, "--allow", target, *driven)
        stack.push_async_callback(self._gateway.stop)
        await self._gateway.start()
        ticket = await self._gateway.first_line("perdure1-")
        self._client = Child("connect", ticket, "-L", f"0:{target}", *driven, on_log=self._client_logged)
        stack.push_async_callback(self._client.stop)
        await self._client.start()
        listening = await self._client.first_line("listening ")
        self._port = int(listening.split()[1].rpartition(":")[2])
        await self._client.first_line("ready")

    async def _stop_rendezvous(self) -> None:
        await self._rendezvous.stop()

    async def _start_traffic(self, stack: AsyncExitStack) -> None:
        self._directions = [Direction(stream) for stream in range(2 * CONNECTIONS)]
        stack.callback(lambda: [side.cancel() for side in self._sides])
        self._began_at = monotonic()
        self.phase = "running"
        for number in range(CONNECTIONS):
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(bytes([number]))
            self._run_side(reader, writer, outgoing=2 * number, incoming=2 * number + 1)

    async def _serve_target(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = (await reader.readexactly(1))[0]
        self._run_side(reader, writer, outgoing=2 * number + 1, incoming=2 * number)

    def _run_side(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, outgoing: int, incoming: int
    ) -> None:
        side = run_side(
            reader,
            writer,
            self._directions[outgoing],
            self._directions[incoming],
            bytes_per_second=BYTES_PER_SECOND,
            stop=self._stop,
        )
        self._sides.append(asyncio.ensure_future(side))

    async def _break_things(self) -> None:
        faults: list[tuple[str, Callable[[], Awaitable[None]]]] = [
            ("the client's peer connection is killed", self._kill_client_carrier),
            ("the gateway's peer connection is killed", self._kill_gateway_carrier),
            ("the client's network interface changes", self._change_interface),
            ("the rendezvous is killed and started again", self._restart_rendezvous),
            ("both peer connections are killed at once", self._kill_both_carriers),
        ]
        if sys.platform == "linux":
            faults.insert(2, ("every packet of the carrier is dropped, both ways", self._black_hole))
        else:
            self.report.skipped.append("dropping a carrier's packets: needs Linux' socket filters")
        for name, inject in cycle(faults):
            if not await self._calm(CALM_SECONDS):
                return
            await self._suffer(name, inject)

    async def _calm(self, seconds: float) -> bool:
        """Wait; whether there is time left for another fault."""
        until = min(monotonic() + seconds, self._began_at + self._seconds)
        while monotonic() < until:
            await asyncio.sleep(0.05)
            self._on_change()
        return self.elapsed < self._seconds

    async def _suffer(self, name: str, inject: Callable[[], Awaitable[None]]) -> None:
        fault = Fault(name, self.elapsed)
        self.report.faults.append(fault)
        for direction in self._directions:
            direction.take_gap()
        injected_at = monotonic()
        await inject()
        self._on_change()
        settled_since = monotonic()
        while monotonic() - injected_at < RECOVERY_TIMEOUT:
            await asyncio.sleep(0.02)
            self._on_change()
            if self.current_outage > SETTLED_GAP:
                settled_since = monotonic()
            elif monotonic() - settled_since > 2 * SETTLED_GAP:
                fault.recovered = True
                break
        fault.silence = max(direction.take_gap() for direction in self._directions)

    async def _kill_client_carrier(self) -> None:
        self._client.inject("kill")

    async def _kill_gateway_carrier(self) -> None:
        self._gateway.inject("kill")

    async def _kill_both_carriers(self) -> None:
        self._client.inject("kill")
        self._gateway.inject("kill")

    async def _change_interface(self) -> None:
        self._client.inject("interface")

    async def _black_hole(self) -> None:
        self._client.inject("blackhole")
        self._gateway.inject("blackhole")

    async def _restart_rendezvous(self) -> None:
        await self._rendezvous.kill()
        self._rendezvous = Child("rendezvous", "--listen", self._url.removeprefix("ws://"), "--faults")
        await self._rendezvous.start()
        await self._rendezvous.first_line("ws://")

    async def _finish(self) -> None:
        self._stop.set()
        report = self.report
        if self._sides:
            await asyncio.wait(self._sides, timeout=CLOSING_TIMEOUT)
        report.seconds = self.elapsed
        report.bytes_sent = sum(direction.sent_bytes for direction in self._directions)
        report.bytes_received = sum(direction.received_bytes for direction in self._directions)
        report.bytes_lost_or_wrong = sum(direction.lost_or_wrong_bytes for direction in self._directions)
        pairs = zip(self._directions[::2], self._directions[1::2], strict=True)
        report.connections_kept = sum(there.ended and back.ended for there, back in pairs)
        for side in self._sides:
            if side.done() and not side.cancelled():
                side.exception()

    async def _meter(self) -> None:
        before, before_at = 0, monotonic()
        while True:
            await asyncio.sleep(0.1)
            received, now = sum(direction.received_bytes for direction in self._directions), monotonic()
            self.throughput.append((received - before) / (now - before_at))
            before, before_at = received, now

    def _client_logged(self, line: LogLine) -> None:
        if line.get("event") == "tube-state":
            self.state = str(line.get("after"))
            self._on_change()
