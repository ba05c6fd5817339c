"""How many of the streams that a peer opens are taken at once."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from perdure.streams.arrivals import TAKEN_AT_ONCE, Arrivals
from support.signaling import eventually


async def test_streams_are_taken_in_order_and_a_few_at_a_time() -> None:
    taken: list[int] = []
    arrivals = Arrivals(cast(Any, taken.append), asyncio.get_running_loop())
    for number in range(3 * TAKEN_AT_ONCE):
        arrivals.add(cast(Any, number))
    assert taken == list(range(TAKEN_AT_ONCE))
    await eventually(lambda: len(taken) >= 3 * TAKEN_AT_ONCE)
    assert taken == list(range(3 * TAKEN_AT_ONCE))


async def test_one_that_was_dropped_while_it_waited_is_not_taken() -> None:
    taken: list[int] = []
    arrivals = Arrivals(cast(Any, taken.append), asyncio.get_running_loop())
    for number in range(TAKEN_AT_ONCE + 2):
        arrivals.add(cast(Any, number))
    assert arrivals.drop(cast(Any, TAKEN_AT_ONCE))
    assert not arrivals.drop(cast(Any, 0)), "it was taken"
    await eventually(lambda: len(taken) > TAKEN_AT_ONCE)
    assert taken[-1] == TAKEN_AT_ONCE + 1


async def test_behind_the_end_none_is_taken() -> None:
    taken: list[int] = []
    arrivals = Arrivals(cast(Any, taken.append), asyncio.get_running_loop())
    for number in range(TAKEN_AT_ONCE + 1):
        arrivals.add(cast(Any, number))
    arrivals.close()
    await asyncio.sleep(0.02)
    assert len(taken) == TAKEN_AT_ONCE
