"""Hours of ordinary work with a fault now and then: nothing grows."""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
from collections import Counter
from itertools import cycle
from time import monotonic
from typing import TYPE_CHECKING

from perdure import NetworkChangeType
from perdure_lab.stress.holdings import Holdings, expect_returned, holdings
from perdure_lab.stress.pairs import Pairs, talk, warmed_up

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

SAMPLE_INTERVAL = 30.0
"""Seconds between two samples. Each collects garbage first, which is no lag of perdure's: one look in 600."""

LAG_INTERVAL = 0.05

WARM_UP_SHARE = 0.25
"""Of the samples, that do not count: caches fill, the allocator finds its size."""

MOST_MIB_AN_HOUR = 1.0
MOST_LAG_MS = 20.0

ONE_SPARE = {"descriptors": 16, "threads": 3, "tasks": 40}
"""What a sample may hold more than all others, as it fell into a recovery: a carrier more at both ends, and the streams
of half a second."""

SHORTEST_SLOPE = 1200.0
"""Seconds of samples from which a slope of memory means something: the allocator's ups and downs are 2 MiB."""


async def soak(stage: Stage) -> None:
    """Ten streams a second over a few tubes, a fault each half minute, for hours: memory, descriptors, threads and the
    event loop's lag stay flat, and no byte is lost."""
    before = await warmed_up()
    ends_at = monotonic() + stage.sizes.seconds
    samples: list[tuple[float, Holdings]] = []
    lags: Counter[int] = Counter()
    counts = {"streams": 0, "faults": 0}
    async with Pairs() as pairs:
        made = [await pairs.connect(f"tube {number}") for number in range(TUBES)]
        sampling = [asyncio.ensure_future(work) for work in (_sample(samples), _watch_lag(lags))]
        try:
            await asyncio.gather(
                _open_streams(stage, made, ends_at, counts),
                _break(stage, made, ends_at, counts),
            )
        finally:
            for task in sampling:
                task.cancel()
        stage.expect(all(pair.here.is_open and pair.there.is_open for pair in made), "a tube ended")
    await expect_returned(stage, before)
    _tell(stage, samples, lags, counts)


async def _open_streams(stage: Stage, made: list[Pair], ends_at: float, counts: dict[str, int]) -> None:
    running: set[asyncio.Task[None]] = set()
    due_at = monotonic()
    for pair in cycle(made):
        if due_at >= ends_at:
            break
        counts["streams"] += 1
        task = asyncio.ensure_future(_one_stream(stage, pair.here, counts["streams"]))
        running.add(task)
        task.add_done_callback(running.discard)
        due_at += 1 / STREAMS_PER_SECOND
        stage.progress(
            f"seconds, {counts['streams']:,} streams, {counts['faults']} faults",
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


async def _break(stage: Stage, made: list[Pair], ends_at: float, counts: dict[str, int]) -> None:
    faults = cycle(FAULTS)
    while monotonic() + FAULT_INTERVAL < ends_at:
        await asyncio.sleep(FAULT_INTERVAL)
        pair = stage.dice.choice(made)
        next(faults)(stage.dice.choice([pair.here, pair.there]))
        counts["faults"] += 1


FAULTS: tuple[Callable[[TunnelConnectionManager], object], ...] = (
    lambda manager: manager.tube.kill_carrier(),
    lambda manager: manager.rebuild(),
    lambda manager: manager.relay_credentials_renewed(),
    lambda manager: manager.report_network_change(NetworkChangeType.INTERFACE_CHANGE),
)


async def _sample(samples: list[tuple[float, Holdings]]) -> None:
    while True:
        await asyncio.sleep(SAMPLE_INTERVAL)
        gc.collect()
        samples.append((monotonic(), holdings()))


async def _watch_lag(lags: Counter[int]) -> None:
    """Count how late the event loop is, by tenths of a millisecond, at most a second."""
    loop = asyncio.get_running_loop()
    while True:
        due_at = loop.time() + LAG_INTERVAL
        await asyncio.sleep(LAG_INTERVAL)
        lags[min(10_000, round(1e4 * (loop.time() - due_at)))] += 1


def _tell(stage: Stage, samples: list[tuple[float, Holdings]], lags: Counter[int], counts: dict[str, int]) -> None:
    stage.measured("streams", counts["streams"])
    stage.measured("faults", counts["faults"])
    counted = samples[int(len(samples) * WARM_UP_SHARE) :]
    if len(counted) < 4:
        stage.expect(False, f"{len(samples)} samples are too few: a soak takes minutes at least")
        return
    times = [at for at, _ in counted]
    is_long = times[-1] - times[0] >= SHORTEST_SLOPE
    memory = statistics.linear_regression(times, [held.resident_bytes / 2**20 for _, held in counted]).slope * 3600
    stage.measured("resident memory", counted[-1][1].resident_bytes / 2**20, "MiB")
    stage.measured("resident memory grows by", memory, "MiB/h", at_most=MOST_MIB_AN_HOUR if is_long else None)
    half = len(counted) // 2
    for name in ("descriptors", "threads", "tasks"):
        first, second = (max(getattr(held, name) for _, held in part) for part in (counted[:half], counted[half:]))
        stage.measured(f"most {name} at once, second half", second, at_most=first + ONE_SPARE[name])
    stage.measured("event loop's lag, p99", _percentile(lags, 99) / 10, "ms", at_most=MOST_LAG_MS)


def _percentile(counts: Counter[int], percent: int) -> int:
    """Nearest rank."""
    rank = math.ceil(counts.total() * percent / 100)
    for value in sorted(counts):
        rank -= counts[value]
        if rank <= 0:
            return value
    return 0
