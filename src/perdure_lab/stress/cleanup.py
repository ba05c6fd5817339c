"""Tubes that are created, used, broken and closed, in every order: nothing of them stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import statistics
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from perdure import PeerError, PerdureError
from perdure_lab.stress.holdings import Holdings, expect_returned, returned
from perdure_lab.stress.pairs import MissingBytesError, Pairs, WrongBytesError, talk, warmed_up

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from random import Random

    from perdure_lab.stress.pairs import Pair
    from perdure_lab.stress.stage import Stage

STREAMS = 4
"""A tube."""

STREAM_BYTES = 256 * 1024

SIDE_BY_SIDE = 16
"""Tubes that are set up at the same time: each takes tens of milliseconds of CPU."""

MOST_GROWTH_MIB = 4.0
"""From the middle third of the cycles to the last one. The allocator's own ups and downs are half of it; a tube that is
kept with both its ends has 0.6 MiB, so one in five would be above it even in the light form."""


KILLED, REBUILT = "carriers killed", "carriers rebuilt"


@dataclass(frozen=True, slots=True)
class Breaker:
    """Breaks tubes at one end, by chance: of each two one is killed, and one rebuilt."""

    dice: Random
    counts: Counter[str] = field(default_factory=Counter)
    _next: list[str] = field(default_factory=list)

    def break_one(self, pair: Pair) -> None:
        if not self._next:
            self._next.extend(self.dice.sample([KILLED, REBUILT], 2))
        way, manager = self._next.pop(), self.dice.choice([pair.here, pair.there])
        if way == KILLED:
            manager.tube.kill_carrier()
        else:
            manager.rebuild()
        self.counts[way] += 1


async def test_resource_cleanup_under_stress(stage: Stage) -> None:
    """Tubes that end in every way, while their streams are under way: no task, descriptor or thread is left."""
    before = await warmed_up()
    breaker = Breaker(stage.dice)
    ended = 0

    async def one(number: int) -> None:
        nonlocal ended
        end = stage.dice.choice(ENDS)
        async with places:
            try:
                await end(pairs, f"tube {number}", breaker)
            except (PeerError, TimeoutError, MissingBytesError, WrongBytesError) as error:
                stage.expect(False, f"{end.__name__}: {error or type(error).__name__}")
        ended += 1
        stage.progress("tubes that ended", ended, count)

    count = stage.sizes.tubes * 3
    places = asyncio.Semaphore(SIDE_BY_SIDE)
    async with Pairs() as pairs:
        await asyncio.gather(*(one(number) for number in range(count)))
        await _emptied(pairs)
        stage.expect(not len(pairs.here) + len(pairs.there), f"{pairs.here!r}, {pairs.there!r}: tubes were left")
    stage.progress("waiting for what they held", count, count)
    after = await expect_returned(stage, before)
    _tell(stage, before, after, count, breaker)


async def test_memory_cleanup_verification(stage: Stage) -> None:
    """The same cycle again and again: create, use, break (the carrier is killed, or rebuilt), use, close. Memory and
    all else stay flat."""
    tubes, cycles = max(8, stage.sizes.tubes // 4), stage.sizes.cycles
    before, breaker = await warmed_up(), Breaker(stage.dice)
    resident: list[int] = []
    for cycle in range(cycles):
        stage.progress("cycles", cycle, cycles)
        async with Pairs() as pairs:
            for first in range(0, tubes, SIDE_BY_SIDE):
                numbers = range(first, min(tubes, first + SIDE_BY_SIDE))
                await asyncio.gather(*(_whole_life(pairs, f"tube {number}", breaker) for number in numbers))
        resident.append((await returned(before)).resident_bytes)
    after = await expect_returned(stage, before)
    _tell(stage, before, after, tubes * cycles, breaker)
    stage.measured("memory, last third over middle third", _growth(resident) / 2**20, "MiB", at_most=MOST_GROWTH_MIB)


# The ways in which a tube ends.


async def _whole_life(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    pair = await pairs.connect(tube_id)
    await _use(pair)
    breaker.break_one(pair)
    await _use(pair)
    await pair.close()


async def _closed_by_one_end(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    pair = await pairs.connect(tube_id)
    await _use(pair)
    await breaker.dice.choice([pair.here, pair.there]).shutdown()


async def _closed_with_streams_under_way(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    pair = await pairs.connect(tube_id)
    using = asyncio.ensure_future(_use(pair, times=100))
    await asyncio.sleep(breaker.dice.uniform(0.0, 0.5))
    await _close_meanwhile(pair, using)


async def _streams_aborted(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    pair = await pairs.connect(tube_id)
    for _ in range(STREAMS):
        _, writer = await pair.here.open_connection("127.0.0.1", 7)
        writer.write(bytes(STREAM_BYTES))
        await asyncio.sleep(breaker.dice.uniform(0.0, 0.05))
        writer.transport.abort()
    await pair.close()


async def _broken_while_it_closes(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    pair = await pairs.connect(tube_id)
    using = asyncio.ensure_future(_use(pair, times=100))
    await asyncio.sleep(breaker.dice.uniform(0.0, 0.2))
    breaker.break_one(pair)
    await asyncio.sleep(breaker.dice.uniform(0.0, 0.2))
    await _close_meanwhile(pair, using)


async def _given_up_while_it_is_set_up(pairs: Pairs, tube_id: str, breaker: Breaker) -> None:
    connecting = asyncio.ensure_future(pairs.connect(tube_id))
    await asyncio.sleep(breaker.dice.uniform(0.0, 0.3))
    connecting.cancel()
    try:
        pair = await connecting
    except asyncio.CancelledError:
        return
    await pair.close()


ENDS: tuple[Callable[[Pairs, str, Breaker], Coroutine[object, object, None]], ...] = (
    _whole_life,
    _closed_by_one_end,
    _closed_with_streams_under_way,
    _streams_aborted,
    _broken_while_it_closes,
    _given_up_while_it_is_set_up,
)


async def _close_meanwhile(pair: Pair, using: asyncio.Future[None]) -> None:
    """What was under way may be cut off, and must not be wrong."""
    try:
        await pair.close()
    finally:
        with contextlib.suppress(OSError, PerdureError, MissingBytesError, TimeoutError):
            await using


async def _use(pair: Pair, times: int = 1) -> None:
    await asyncio.gather(*(talk(pair.here, number, times * STREAM_BYTES) for number in range(STREAMS)))


# What is left of them.


async def _emptied(pairs: Pairs) -> None:
    """Wait until the peers of those that one end closed have heard of it."""
    for registry in (pairs.here, pairs.there):
        for manager in registry:
            async with asyncio.timeout(30.0):
                await manager.wait_ended()


def _growth(resident: list[int]) -> float:
    """Bytes by which the median of the last third of the cycles is above that of the middle one. The first warms up."""
    third = max(1, len(resident) // 3)
    return statistics.median(resident[-third:]) - statistics.median(resident[-2 * third : -third])


def _tell(stage: Stage, before: Holdings, after: Holdings, tubes: int, breaker: Breaker) -> None:
    stage.measured("tubes", tubes)
    for what, count in sorted(breaker.counts.items()):
        stage.measured(what, count)
    stage.measured("memory over the beginning", (after.resident_bytes - before.resident_bytes) / 2**20, "MiB")
    stage.measured("descriptors over the beginning", after.descriptors - before.descriptors, at_most=0)
    stage.measured("threads over the beginning", after.threads - before.threads, at_most=0)
    stage.measured("tasks over the beginning", after.tasks - before.tasks, at_most=0)
