"""The demo's course: start everything, break it, measure the silence, and count every byte."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from time import monotonic

from perdure_lab.demo.programs import Programs
from perdure_lab.demo.report import CONNECTIONS, FaultResult, Moment, Report
from perdure_lab.demo.stage import Fault, Stage
from perdure_lab.lab.children import LogLine
from perdure_lab.lab.traffic import Traffic

BYTES_PER_SECOND = 1_000_000
"""Each connection, each direction: traffic enough that every moment counts, and little enough for a small machine."""

CALM_SECONDS = 1.5
"""Undisturbed time before the first fault, and after each recovery."""

RECOVERY_TIMEOUT = 20.0
"""Seconds after which a fault counts as not recovered from."""

MAX_RESTARTS_PER_MINUTE = 1000
"""The demo breaks things more often than any network does; the default would make it wait after six faults a minute."""

SETTLED_GAP = 0.15
"""Seconds: every direction delivers again, none has been silent for longer than this."""

_MOMENT_INTERVAL = 0.1
"""Seconds between two moments that are told."""


class Demo:
    """One run.

    Args:
        tell: hears of moments, and of each fault when it begins and when it is over.
    """

    def __init__(self, stage: Stage, seconds: float, tell: Callable[[Moment | FaultResult], None]) -> None:
        self.report = Report(skipped=list(stage.skipped))
        self._stage = stage
        self._seconds = seconds
        self._tell = tell
        self._traffic = Traffic(CONNECTIONS, BYTES_PER_SECOND, seconds)
        self._phase = "starting a rendezvous, a gateway and a client"
        self._state = "starting"
        self._playing: asyncio.Task[None] | None = None
        self._is_ended = False

    async def run(self) -> None:
        """Everything, from the first process to the last byte.

        Raises:
            LabError: a program did not start, or nothing came through the tunnel.
        """
        async with AsyncExitStack() as stack:
            self._playing = asyncio.ensure_future(self._play(stack))
            if self._is_ended:
                self._playing.cancel()
            try:
                await self._playing
            except asyncio.CancelledError:
                if not self._is_ended:
                    raise
            finally:
                self._phase = "letting the last bytes arrive"
                await self._finish()

    def end(self) -> None:
        """Break nothing any more; the last bytes are waited for all the same."""
        self._is_ended = True
        if self._playing is not None:
            self._playing.cancel()

    async def _play(self, stack: AsyncExitStack) -> None:
        self._tell(Moment(self._phase))
        programs = await self._start(stack)
        meter = asyncio.ensure_future(self._meter())
        stack.callback(meter.cancel)
        await self._break_things(programs)

    async def _start(self, stack: AsyncExitStack) -> Programs:
        await self._traffic.listen(self._stage.namespace("gateway"))
        target = f"127.0.0.1:{self._traffic.target_port}"
        patience = ("--set", f"max_restarts_per_minute={MAX_RESTARTS_PER_MINUTE}")
        programs = Programs(
            target,
            *self._stage.options,
            *patience,
            rendezvous=self._stage.rendezvous,
            namespace=self._stage.namespace,
            on_log=self._client_logged,
        )
        await programs.start(stack)
        await self._traffic.begin(self._stage.namespace("client"), programs.port)
        self._phase = "running"
        return programs

    async def _break_things(self, programs: Programs) -> None:
        faults = self._stage.faults(programs)
        while await self._calm():
            await self._inject(await anext(faults))

    async def _calm(self) -> bool:
        """Wait; whether there is time left for another fault."""
        left = self._seconds - self._traffic.elapsed
        await asyncio.sleep(min(CALM_SECONDS, max(0.0, left)))
        return left > CALM_SECONDS

    async def _inject(self, fault: Fault) -> None:
        result = FaultResult(fault.name, self._traffic.elapsed)
        self.report.faults.append(result)
        self._tell(result)
        self._traffic.take_silence()
        await fault.strike()
        result.recovered = await self._settled()
        if fault.mend is not None:
            await fault.mend()
            result.recovered = await self._settled() and result.recovered
        result.silence = self._traffic.take_silence()
        self._tell(result)

    async def _settled(self) -> bool:
        """Wait until everything flows again; whether it did in time."""
        began_at = settled_since = monotonic()
        while monotonic() - began_at < RECOVERY_TIMEOUT:
            await asyncio.sleep(0.02)
            if self._traffic.silent_for > SETTLED_GAP:
                settled_since = monotonic()
            elif monotonic() - settled_since > 2 * SETTLED_GAP:
                return True
        return False

    async def _finish(self) -> None:
        report, traffic = self.report, self._traffic
        report.seconds = traffic.elapsed
        await traffic.finish()
        report.bytes_sent = traffic.sent_bytes
        report.bytes_received = traffic.received_bytes
        report.bytes_lost_or_wrong = traffic.lost_bytes + traffic.wrong_bytes
        report.connections_kept = traffic.kept

    async def _meter(self) -> None:
        before, before_at = 0, monotonic()
        while True:
            await asyncio.sleep(_MOMENT_INTERVAL)
            received, now = self._traffic.received_bytes, monotonic()
            rate = (received - before) / (now - before_at)
            before, before_at = received, now
            self._tell(Moment(self._phase, self._state, self._traffic.elapsed, rate, outage=self._traffic.silent_for))

    def _client_logged(self, line: LogLine) -> None:
        if line.get("event") == "tube-state":
            self._state = str(line.get("after"))
