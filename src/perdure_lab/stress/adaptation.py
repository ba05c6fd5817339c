"""Limits that tighten and loosen while tubes work, and a process that has no descriptors left."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from perdure import PeerError, ResourceLimits
from perdure_lab.stress.holdings import expect_returned
from perdure_lab.stress.pairs import ANY_PORT, Pairs, talk, warmed_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure_lab.stress.pairs import Pair
    from perdure_lab.stress.stage import Stage

TIGHT = {"max_streams": 2, "stream_window_bytes": 64 * 1024, "session_buffer_bytes": 128 * 1024}
TIGHT_BUFFER = {"stream_buffer_bytes": 64 * 1024, "total_buffer_bytes": 256 * 1024}

STREAM_BYTES = 2 * 2**20

STARVED_SECONDS = 3.0
"""Without descriptors: a tube takes 50 ms to connect where there are some."""


async def test_system_resource_adaptation(stage: Stage) -> None:
    """Limits tighten and loosen while streams are under way: what flows goes on, what is new is refused with a reason,
    and taken again later. The process' descriptors run out, and are there again."""
    before = await warmed_up()
    tubes = max(2, stage.sizes.tubes // 4)
    rounds = 0
    ends_at = monotonic() + stage.sizes.seconds
    async with Pairs() as pairs:
        made = [await pairs.connect(f"tube {number}") for number in range(tubes)]
        while not rounds or monotonic() < ends_at:
            await _one_round(stage, pairs, made)
            rounds += 1
            stage.progress("rounds", stage.sizes.seconds - max(0.0, ends_at - monotonic()), stage.sizes.seconds)
        await _without_descriptors(stage, pairs)
        await asyncio.gather(*(talk(pair.here, number, STREAM_BYTES) for number, pair in enumerate(made)))
    await expect_returned(stage, before)
    stage.measured("rounds", rounds)


async def _one_round(stage: Stage, pairs: Pairs, made: list[Pair]) -> None:
    flowing = [asyncio.ensure_future(talk(pair.here, number, STREAM_BYTES)) for number, pair in enumerate(made)]
    normal = ResourceLimits()
    registries = (pairs.there, pairs.here)
    await asyncio.sleep(stage.dice.uniform(0.0, 0.2))
    for registry, whose in zip(registries, ("the peer's", "this end's"), strict=True):
        registry.configure_resource_limits(max_tubes=len(registry), **(TIGHT | TIGHT_BUFFER))
        await expect_streams_refused(stage, stage.dice.choice(made), whose)
    await _expect_refusal(stage, pairs)
    await asyncio.sleep(stage.dice.uniform(0.0, 0.2))
    for registry in registries:
        registry.configure_resource_limits(
            max_tubes=normal.max_tubes, **{name: getattr(normal, name) for name in (*TIGHT, *TIGHT_BUFFER)}
        )
    await expect_streams_taken(stage, stage.dice.choice(made))
    one_more = await pairs.connect(f"one more {stage.dice.random()}")
    await talk(one_more.here, 1000, STREAM_BYTES)
    await one_more.close()
    for error in await asyncio.gather(*flowing, return_exceptions=True):
        stage.expect(error is None, f"a stream that was under way when limits changed: {error!r}")


async def _expect_refusal(stage: Stage, pairs: Pairs) -> None:
    try:
        await pairs.connect("too many")
        stage.expect(False, "a tube was taken beyond max_tubes")
    except RuntimeError as error:
        stage.expect("max_tubes" in str(error), f"the refusal does not name max_tubes: {error}")


async def expect_streams_refused(stage: Stage, pair: Pair, whose: str) -> None:
    """That of one stream more than `max_streams` one is refused, by the limit of the end that `whose` names."""
    refusal = await _refusal(pair)
    stage.expect(refusal is not None, f"{TIGHT['max_streams'] + 1} streams were taken, {whose} max_streams being less")


async def expect_streams_taken(stage: Stage, pair: Pair) -> None:
    """That as many are taken once the limits are loose again."""
    refusal = await _refusal(pair)
    stage.expect(refusal is None, f"a stream was refused after max_streams was loosened: {refusal}")


async def _refusal(pair: Pair) -> ConnectionRefusedError | None:
    """Of one of so many streams that are open at once."""
    held: list[asyncio.StreamWriter] = []
    try:
        for _ in range(TIGHT["max_streams"] + 1):
            _, writer = await pair.here.open_connection("127.0.0.1", ANY_PORT)
            held.append(writer)
    except ConnectionRefusedError as error:
        return error
    finally:
        for writer in held:
            writer.transport.abort()
    return None


async def _without_descriptors(stage: Stage, pairs: Pairs) -> None:
    """This process may open none any more: a new tube does not come up, and the next one does when there are some."""
    with no_descriptors(stage):
        starved = await expect_starved(stage, pairs, STARVED_SECONDS)
    try:
        pair = await starved
    except (PeerError, TimeoutError, OSError, RuntimeError):
        pair = await pairs.connect("with descriptors again")
    await talk(pair.here, 2000, STREAM_BYTES)
    await pair.close()


async def expect_starved(stage: Stage, pairs: Pairs, timeout: float) -> asyncio.Future[Pair]:
    """That a new tube does not come up within `timeout` seconds; it goes on trying."""
    starved = asyncio.ensure_future(pairs.connect("without descriptors"))
    await asyncio.wait([starved], timeout=timeout)
    is_up = starved.done() and starved.exception() is None
    stage.expect(not is_up, "a tube came up without a descriptor: they had not run out")
    return starved


@contextmanager
def no_descriptors(stage: Stage) -> Iterator[None]:
    """The limit is at the lowest number that is free, so the next one is refused: that is looked at too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        stage.expect(has_none_left(), "a file could be opened: descriptors had not run out")
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def has_none_left() -> bool:
    """Whether this process may open no file."""
    try:
        os.close(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno == errno.EMFILE
    return False
