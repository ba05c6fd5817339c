"""10,000 managers in one process: their memory, their CPU when idle, one decision, and what goes over the wire.

    python -m benchmarks.managers [memory] [idle] [decision] [wire] [--managers 10000] [--where] [--json FILE]

1. `memory` and `idle` connect each manager to a stand-in of the engine (`benchmarks.peers.crowd`); the rest is real:
   core, session, the application's own signaling, signals with a handler, one timer a manager.
2. `decision` asks cores by themselves, each once, as many as are cold in the processor's caches.
3. `wire` runs two managers on the real engine, over loopback (`benchmarks.peers.wire_pair`).
4. Each part runs in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import multiprocessing
import resource
import selectors
import time
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from benchmarks.peers.crowd import BATCH, CoreMaker, Crowd, fill_log
from benchmarks.peers.wire_pair import SETTLE_SECONDS, WirePair, sealed_bytes
from benchmarks.report import load_average, measured, print_head, print_row, verdict, writable

from perdure.config import RestartPolicy, SessionLimits
from perdure.core.connection import Connection
from perdure.core.decision import Trigger
from perdure.core.events import (
    CarrierLost,
    Event,
    IceUnhealthy,
    NetworkChanged,
    PathEvidence,
    RttMeasured,
)
from perdure.signaling.application import describe
from perdure.tube import clock
from perdure.wire import SESSION_ID_BYTES, FrameType

KIB = 1024

COLUMNS = ("what", "measured", "asked for", "", "")

ROUNDS = 5
"""Of the decisions; the figures are the middle round's, with the others' range."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; a figure without a limit is only told."""

    what: str
    measured: float
    unit: str
    limit: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        return "" if self.limit is None else verdict(is_met=self.measured <= self.limit)

    @property
    def cells(self) -> tuple[str, ...]:
        """Of `COLUMNS`."""
        limit = "" if self.limit is None else f"at most {self.limit:g} {self.unit}"
        return self.what, f"{_shown(self.measured)} {self.unit}", limit, self.verdict, self.note


# Memory.


def measure_memory(count: int, where: bool) -> list[Figure]:
    cores, decisions = _core_bytes(count)
    managers = manager_bytes(count, handler=True, where=where)
    without = manager_bytes(count // 5, handler=False)
    full = cores + decisions
    return [
        Figure("a core, CONNECTED", cores, "bytes"),
        Figure("the same, with 64 decisions in its log", full, "bytes", note="what a flapping network leaves behind"),
        Figure("a manager in all, with a signal handler", managers, "bytes", 5 * KIB),
        Figure("a manager in all, without", without, "bytes"),
    ]


def _core_bytes(count: int) -> tuple[float, float]:
    """Bytes a core, and the bytes that a full log of decisions adds."""
    make = CoreMaker()
    make.connected()
    cores: list[Connection | None] = [None] * count
    with _Traced() as traced:
        for index in range(count):
            cores[index] = make.connected()
    few = cores[: max(1, count // 100)]
    with _Traced() as added:
        for core in few:
            assert core is not None
            fill_log(core)
    return traced.bytes / count, added.bytes / len(few)


def manager_bytes(count: int, *, handler: bool, where: bool = False) -> float:
    """Bytes a manager: what `count` hold beyond half as many, so that what all share weighs nothing."""
    half = count // 2
    few = asyncio.run(_crowd_bytes(half, handler))
    return (asyncio.run(_crowd_bytes(count, handler, where)) - few) / (count - half)


async def _crowd_bytes(count: int, handler: bool, where: bool = False) -> float:
    rarely = RestartPolicy(connection_health_check_interval=86400, ice_keepalive_interval=86400)
    crowd = Crowd(count + BATCH, rarely, [SessionLimits()], handler=handler)
    await crowd.connect(range(count, count + BATCH))  # what is made once, and cached, is no manager's
    with _Traced() as traced:
        for first in range(0, count, BATCH):
            await crowd.connect(range(first, min(count, first + BATCH)))
        await crowd.age()
        await _drop_cancelled_timers(2 * count + BATCH)
        if where:
            traced.print_where(count)
    crowd.check()
    return traced.bytes


async def _drop_cancelled_timers(more: int) -> None:
    """asyncio drops cancelled timers when they are more than half of all: so `more` are cancelled at once. Until then
    each holds 160 bytes, which now and then is half a timer a manager, and now and then none."""
    loop = asyncio.get_running_loop()
    for timer in [loop.call_later(3600.0, print) for _ in range(more)]:
        timer.cancel()
    await asyncio.sleep(0)


class _Traced:
    """The bytes that were allocated within, and are still held at the end. The collector rests meanwhile."""

    def __enter__(self) -> _Traced:
        gc.collect()
        gc.disable()
        tracemalloc.start()
        self.bytes = 0.0
        return self

    def __exit__(self, *_: object) -> None:
        gc.enable()
        gc.collect()
        self.bytes = float(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()

    def print_where(self, count: int) -> None:
        gc.collect()
        found = tracemalloc.take_snapshot().statistics("lineno")
        for each in found[:60]:
            frame = each.traceback[0]
            print(f"{each.size / count:8.1f} bytes {each.count / count:6.2f} objects  {frame.filename}:{frame.lineno}")


# Idle.


class WaitCounter(selectors.DefaultSelector):
    """Counts how often the event loop waits."""

    waits = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.waits += timeout is None or timeout > 0
        return super().select(timeout)


def measure_idle(count: int, factor: float, seconds: float) -> list[Figure]:
    counter = WaitCounter()
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(counter)) as runner:
        return runner.run(_measure_idle(counter, count, factor, seconds))


WARNINGS_PER_SECOND = 5 / 3600
"""Of an idle tube with the default limits: five warnings in the hour that it lives."""


async def _measure_idle(counter: WaitCounter, count: int, factor: float, seconds: float) -> list[Figure]:
    """All intervals are divided by `factor`, and so is the share that is measured.

    The starts are spread evenly over the keepalive's interval and the measurement takes a health check's, in which
    each manager has one health check, and as many have a keepalive as in any such time. Warnings would not come before
    the 19th minute; here they come half-way through the spread, at a part of the managers that makes their rate an idle
    hour's average. The collector rests while the crowd connects, and leaves it alone from then on.
    """
    defaults = RestartPolicy()
    policy = RestartPolicy(
        connection_health_check_interval=defaults.connection_health_check_interval / factor,
        ice_keepalive_interval=defaults.ice_keepalive_interval / factor,
    )
    spread = policy.ice_keepalive_interval
    seconds = seconds or policy.connection_health_check_interval
    never = SessionLimits(session_timeout=36000, session_timeout_warning=35000, session_timeout_warning_stages=())
    warned = SessionLimits(session_timeout=36000, session_timeout_warning=spread / 2, session_timeout_warning_stages=())
    resident = _resident_bytes()
    nothing = await _share_of_a_core(2.0)
    crowd = Crowd(count, policy, [warned, never], handler=True)
    made = _resident_bytes() - resident
    gc.disable()
    await _connect_evenly(crowd, count, spread, warned_share=WARNINGS_PER_SECOND * defaults.ice_keepalive_interval)
    gc.freeze()
    gc.enable()
    resident = _resident_bytes() - resident - made
    before, waits = _counts(crowd), counter.waits
    share = (await _share_of_a_core(seconds) - nothing) / factor
    waits = counter.waits - waits
    rates = {name: (after - before[name]) / seconds / factor for name, after in _counts(crowd).items()}
    crowd.check()
    due = {
        "keepalives": count / defaults.ice_keepalive_interval,
        "health checks": count / defaults.connection_health_check_interval,
        "session warnings": count * WARNINGS_PER_SECOND,
    }
    acts = sum(rates.values())
    return [
        Figure("share of a core, idle", share * 100, "%", 1, f"over {seconds:.0f} s at {factor:g} times the rate"),
        Figure("CPU for one of the following three", share / acts * 1e6, "us"),
        *(Figure(f"{name} a second", rate, "", note=f"due: {due[name]:.0f}") for name, rate in rates.items()),
        Figure("waits of the event loop a second", waits / seconds, "", note="not divided"),
        Figure("resident memory a manager", resident / count, "bytes", note="malloc's and the collector's share too"),
    ]


async def _connect_evenly(crowd: Crowd, count: int, spread: float, *, warned_share: float) -> None:
    began_at = time.monotonic()
    batch = max(1, round(count / spread / 1000))  # one at a time, where a loop can: timers made together come together
    warned = 0
    for first in range(0, count, batch):
        numbers = range(first, min(count, first + batch))
        is_warned = warned < first * warned_share
        warned += len(numbers) if is_warned else 0
        await crowd.connect(numbers, 0 if is_warned else 1)
        await asyncio.sleep(max(0.0, began_at + spread * (first + batch) / count - time.monotonic()))


def _counts(crowd: Crowd) -> dict[str, int]:
    return {
        "keepalives": crowd.signals["keepalive"],
        "health checks": crowd.transport.measures,
        "session warnings": crowd.signals["session_timeout_warning"],
    }


async def _share_of_a_core(seconds: float) -> float:
    cpu, began_at = time.process_time(), time.monotonic()
    await asyncio.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - began_at)


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


# One decision.


def measure_decisions(count: int) -> list[Figure]:
    """Each on a core of its own, once; the collector rests."""
    make = CoreMaker()
    moved = NetworkChanged(Trigger.INTERFACE_CHANGE, has_address=True)

    def silent(core: Connection) -> None:
        now = clock()
        core.handle_event(PathEvidence(core.carrier, now, now, False, None), now)

    def timeout(core: Connection) -> None:
        now = clock()
        core.handle_timeout(max(now, core.next_deadline() or now))

    def probed(core: Connection) -> None:
        silent(core)
        timeout(core)

    def told(event: Callable[[Connection], Event]) -> Callable[[Connection], object]:
        return lambda core: core.handle_event(event(core), clock())

    cases: list[tuple[str, Callable[[Connection], None], Callable[[Connection], object]]] = [
        ("the network moved: ICE restart", lambda core: None, told(lambda core: moved)),
        ("the same, with 64 decisions in the log", fill_log, told(lambda core: moved)),
        ("ICE doubts the path: hold, ask", lambda core: None, told(lambda core: IceUnhealthy(core.carrier))),
        ("the carrier is lost: rebuild", lambda core: None, told(lambda core: CarrierLost(core.carrier, "gone"))),
        ("an answer is overdue: probe", silent, timeout),
        ("the path is silent: rebuild", probed, timeout),
        ("a round trip was measured", lambda core: None, told(lambda core: RttMeasured(core.carrier, 0.02))),
    ]
    return [_decision(what, prepare, act, make, count) for what, prepare, act in cases]


def _decision(
    what: str,
    prepare: Callable[[Connection], None],
    act: Callable[[Connection], object],
    make: CoreMaker,
    count: int,
) -> Figure:
    rounds = []
    for _ in range(ROUNDS):
        cores = [make.connected() for _ in range(count)]
        for core in cores:
            prepare(core)
        rounds.append(sorted(_timed(act, cores)))
    rounds.sort(key=lambda times: times[count // 2])
    middles = [times[count // 2] for times in rounds]
    late = rounds[ROUNDS // 2][count * 99 // 100]
    note = f"median ({middles[0]:.1f} to {middles[-1]:.1f}); p99 {late:.1f}"
    return Figure(what, middles[ROUNDS // 2], "us", 20, note)


def _timed(act: Callable[[Connection], object], cores: list[Connection]) -> Iterator[float]:
    gc.collect()
    gc.disable()
    try:
        for core in cores:
            began_at = time.perf_counter_ns()
            act(core)
            yield (time.perf_counter_ns() - began_at) / 1e3
    finally:
        gc.enable()


# On the wire.

KEEPALIVES = 15
"""That are watched, one a second."""


def measure_wire(restarts: int) -> list[Figure]:
    return asyncio.run(_measure_wire(restarts))


async def _measure_wire(restarts: int) -> list[Figure]:
    async with WirePair(RestartPolicy(ice_keepalive_enabled=False)) as pair:
        await asyncio.sleep(SETTLE_SECONDS)
        quiet = await pair.sent_within(float(KEEPALIVES))
        exchanges = [await pair.restart() for _ in range(restarts)]
    async with WirePair(RestartPolicy(ice_keepalive_interval=1.0)) as pair:
        await asyncio.sleep(SETTLE_SECONDS)
        ping = await pair.one_ping()
        busy = await pair.sent_with_pings(KEEPALIVES)
    if any(quiet) or sum(each[0] in (FrameType.PING, FrameType.PONG) for each in busy.messages) != 2 * KEEPALIVES:
        raise RuntimeError(f"something else than keepalives was sent: {quiet}")
    client, gateway = (each / KEEPALIVES for each in busy.datagram_bytes)
    sizes = [sum(len(each.sdp.encode()) for each in exchange.descriptions) for exchange in exchanges]
    worst = exchanges[sizes.index(max(sizes))]
    carried = [len(describe(bytes(SESSION_ID_BYTES), each).encode()) for each in worst.descriptions]
    sealed = [sealed_bytes(each) for each in worst.descriptions]
    candidates = [len(each.candidate.encode()) for each in worst.candidates]
    addresses = len({each.candidate.split()[4] for each in worst.candidates})
    messages = sorted({len(each) for each in busy.messages})
    return [
        Figure("a restart's offer and answer, SDP", max(sizes), "bytes", 2000, f"the most of {restarts} restarts"),
        Figure("the same, as the application carries it", sum(carried), "bytes", 2000, _listed(carried)),
        Figure("the same, as sealed envelopes", sum(sealed), "bytes", 2000, _listed(sealed)),
        Figure("its candidates", sum(candidates), "bytes", note=f"{len(candidates)}, of {addresses} addresses here"),
        Figure("a keepalive, the session's message", messages[-1], "bytes", note="PING and PONG alike"),
        Figure("a keepalive, its datagram", ping, "bytes", 100, "DTLS; with UDP's and IPv4's headers 28 more"),
        Figure("all that it makes its end send", client, "bytes", note="the answer's SCTP acknowledgement too"),
        Figure("all that it makes both ends send", client + gateway, "bytes", note=f"mean of {KEEPALIVES}"),
    ]


def _listed(sizes: Sequence[int]) -> str:
    return " + ".join(map(str, sizes))


# The program.

PARTS = ("memory", "idle", "decision", "wire")


def run(part: str, arguments: argparse.Namespace) -> list[Figure]:
    logging.getLogger("perdure").addHandler(logging.NullHandler())
    match part:
        case "memory":
            return measure_memory(arguments.managers, arguments.where)
        case "idle":
            return measure_idle(arguments.managers, arguments.factor, arguments.seconds)
        case "decision":
            return measure_decisions(arguments.decisions)
        case "wire":
            return measure_wire(arguments.restarts)
        case _:
            raise ValueError(part)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; without one: all")
    parser.add_argument("--managers", type=int, default=10_000)
    parser.add_argument("--factor", type=float, default=1.0, help="idle: how many times as often timers are due")
    parser.add_argument(
        "--seconds", type=float, default=0.0, help="idle: how long to measure; 0: all health checks once"
    )
    parser.add_argument("--decisions", type=int, default=2000, help="of each kind and round")
    parser.add_argument("--restarts", type=int, default=5)
    parser.add_argument("--where", action="store_true", help="memory: which lines hold it")
    parser.add_argument("--json", type=writable, metavar="FILE", help="write the figures there too")
    arguments = parser.parse_args()
    parts = arguments.parts or list(PARTS)
    if unknown := set(parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    told = {}
    for part in parts:
        load = load_average()
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            figures = pool.apply(run, (part, arguments))
        told[part] = [asdict(figure) | {"verdict": figure.verdict} for figure in figures]
        print(f"\n{part}; {load}")
        print_head(*COLUMNS)
        for each in figures:
            print_row(*each.cells)
            measured(each.what, "perdure", each.unit, [each.measured], less_is_better=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def _shown(value: float) -> str:
    return f"{value:.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


if __name__ == "__main__":
    main()
