"""Hours of ordinary work with a fault now and then: nothing grows."""

from __future__ import annotations

import asyncio
import gc
import math
from collections import Counter
from dataclasses import dataclass
from itertools import cycle
from time import monotonic
from typing import TYPE_CHECKING

from perdure import NetworkChangeType
from perdure.core.events import RelaysRenewed
from perdure_lab.stress.holdings import Holdings, expect_returned, holdings
from perdure_lab.stress.pairs import Pairs, talk, warmed_up
from perdure_lab.stress.slopes import expect_flat, slope_an_hour

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure import TunnelConnectionManager
    from perdure_lab.stress.pairs import Pair
    from perdure_lab.stress.stage import Stage

TUBES = 4
STREAMS_PER_SECOND = 10
STREAM_BYTES = 64 * 1024

FAULT_INTERVAL = 30.0
"""Seconds: two a minute are far below the restart limit."""

EFFECT_TIMEOUT = 10.0
"""Seconds within which a fault leads to another carrier: a rebuild takes well under one."""

SAMPLE_INTERVAL = 13.0
"""Seconds between two samples: no part of `FAULT_INTERVAL`, or each sample would fall into a recovery. Each collects
garbage first, which is no lag of perdure's: one look in 260."""

LAG_INTERVAL = 0.05
LAG = "event loop's lag, p99"

WARM_UP_SHARE = 0.25
"""Of the samples, that do not count: caches fill, the allocator finds its size."""

MOST_MIB_AN_HOUR = 1.0
MOST_LAG_MS = 20.0

SHORTEST_SLOPE = 1200.0
"""Seconds of samples from which a slope of memory means something: the allocator's ups and downs are 2 MiB."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is done to one end of a tube."""

    name: str
    do: Callable[[TunnelConnectionManager], object]
    makes_a_carrier: bool = True
    """Whether another carrier has to take over."""


FAULTS = (
    Fault("carriers killed", lambda manager: manager.tube.kill_carrier()),
    Fault("carriers rebuilt", lambda manager: manager.rebuild()),
    # As new credentials of a TURN server do: a planned move to a spare carrier. There is no TURN server here.
    Fault("planned moves", lambda manager: manager.tube.driver.feed(RelaysRenewed())),
    Fault(
        "network changes",
        lambda manager: manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE),
        makes_a_carrier=False,
    ),
)


class Log:
    """What a soak has seen so far."""

    def __init__(self) -> None:
        self.streams = 0
        self.faults: Counter[str] = Counter()
        self.samples: list[tuple[float, Holdings]] = []
        self.lags: list[tuple[float, Counter[int]]] = []
        """Of each minute: when it began, and how often the event loop was so many tenths of a millisecond late."""


async def soak(stage: Stage) -> None:
    """Ten streams a second over a few tubes, a fault each half minute, for hours: memory, descriptors, threads and the
    event loop's lag stay flat, and no byte is lost."""
    before = await warmed_up()
    ends_at = monotonic() + stage.sizes.seconds
    log = Log()
    async with Pairs() as pairs:
        made = [await pairs.connect(f"tube {number}") for number in range(TUBES)]
        beside = [asyncio.ensure_future(work) for work in (_sample(log), _watch_lag(log), _break(stage, made, log))]
        try:
            await _open_streams(stage, made, ends_at, log)
        finally:
            for task in beside:
                task.cancel()
        stage.expect(all(pair.here.is_open and pair.there.is_open for pair in made), "a tube ended")
        for error in await asyncio.gather(*beside, return_exceptions=True):
            stage.expect(isinstance(error, asyncio.CancelledError), f"beside the streams: {error!r}")
    if not stage.is_stopped:
        await expect_returned(stage, before)
    tell(stage, log)


async def _open_streams(stage: Stage, made: list[Pair], ends_at: float, log: Log) -> None:
    running: set[asyncio.Task[None]] = set()
    due_at = monotonic()
    for pair in cycle(made):
        if due_at >= ends_at or stage.is_stopped:
            break
        log.streams += 1
        task = asyncio.ensure_future(_one_stream(stage, pair.here, log.streams))
        running.add(task)
        task.add_done_callback(running.discard)
        due_at += 1 / STREAMS_PER_SECOND
        stage.progress(
            f"seconds, {log.streams:,} streams, {log.faults.total()} faults",
            stage.sizes.seconds - (ends_at - monotonic()),
            stage.sizes.seconds,
        )
        await asyncio.sleep(max(0.0, due_at - monotonic()))
    await asyncio.gather(*running)


async def _one_stream(stage: Stage, opener: TunnelConnectionManager, number: int) -> None:
    try:
        await talk(opener, number, STREAM_BYTES)
    except Exception as error:
        stage.expect(False, f"a stream: {type(error).__name__}: {error}")


async def _break(stage: Stage, made: list[Pair], log: Log) -> None:
    for fault in cycle(FAULTS):
        await asyncio.sleep(FAULT_INTERVAL)
        pair = stage.dice.choice(made)
        shortfall = await break_one(fault, stage.dice.choice([pair.here, pair.there]))
        stage.expect(shortfall is None, shortfall or "")
        log.faults[fault.name] += 1


async def break_one(fault: Fault, manager: TunnelConnectionManager, timeout: float = EFFECT_TIMEOUT) -> str | None:
    """Wait for another carrier; what did not happen within `timeout` seconds, in words."""
    held = manager.tube.driver.carriers.held
    before, give_up_at = held.generation, monotonic() + timeout
    fault.do(manager)
    while fault.makes_a_carrier and held.generation == before:
        if monotonic() >= give_up_at:
            return f"{fault.name}: no other carrier within {timeout:.0f} s"
        await asyncio.sleep(LAG_INTERVAL)
    return None


async def _sample(log: Log) -> None:
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL)
        gc.collect()
        log.samples.append((monotonic(), holdings()))


async def _watch_lag(log: Log) -> None:
    """Count how late the event loop is, by tenths of a millisecond, at most a second."""
    loop = asyncio.get_running_loop()
    while True:
        began_at, lags = monotonic(), Counter[int]()
        log.lags.append((began_at, lags))
        while monotonic() < began_at + 60.0:
            due_at = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            lags[min(10_000, round(1e4 * (loop.time() - due_at)))] += 1


def tell(stage: Stage, log: Log) -> None:
    """What it measured, beside what it may be."""
    stage.measured("streams", log.streams)
    for fault in FAULTS:
        stage.measured(fault.name, log.faults[fault.name])
    counted = log.samples[int(len(log.samples) * WARM_UP_SHARE) :]
    if len(counted) < 4:
        stage.expect(False, f"{len(log.samples)} samples are too few: a soak takes minutes at least")
        return
    began_at, ended_at = counted[0][0], counted[-1][0]
    memory = slope_an_hour([(at, held.resident_bytes / 2**20) for at, held in counted])
    stage.measured("resident memory", counted[-1][1].resident_bytes / 2**20, "MiB")
    is_long = ended_at - began_at >= SHORTEST_SLOPE
    stage.measured("resident memory grows by", memory, "MiB/h", at_most=MOST_MIB_AN_HOUR if is_long else None)
    for name in ("descriptors", "threads", "tasks"):
        stage.measured(f"most {name} at once", max(getattr(held, name) for _, held in counted))
        expect_flat(stage, name, [(at, getattr(held, name)) for at, held in counted])
    lags = sum((each for _, each in log.lags), Counter[int]())
    stage.measured(LAG, percentile_of(lags, 99) / 10, "ms", at_most=MOST_LAG_MS)
    minutes = [(at, percentile_of(each, 99) / 10) for at, each in log.lags if began_at <= at < ended_at - 60.0]
    expect_flat(stage, LAG, minutes)


def percentile_of(counts: Counter[int], percent: int) -> int:
    """Nearest rank."""
    rank = math.ceil(counts.total() * percent / 100)
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return 0
