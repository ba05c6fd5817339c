"""What stress tests notice, shown on faults that are made here: a leak, and an echo that is not one."""

from __future__ import annotations

import asyncio
import gc
import os
from random import Random

import pytest

from perdure import StreamHandler
from perdure_lab.stress.cleanup import ENDS, Breaker
from perdure_lab.stress.holdings import Holdings, expect_returned, holdings
from perdure_lab.stress.pairs import MissingBytesError, Pairs, WrongBytesError, talk
from perdure_lab.stress.results import Measurement, shown, verdict_of
from perdure_lab.stress.sizes import LEVELS, Level
from perdure_lab.stress.stage import MOST_SHORTFALLS, Stage


def a_stage() -> Stage:
    return Stage(LEVELS[Level.LIGHT], Random(1), lambda doing, done, total: None)


@pytest.fixture
def stage() -> Stage:
    return a_stage()


def held() -> Holdings:
    """By this test: what others left for the collector is gone."""
    gc.collect()
    return holdings()


async def test_a_descriptor_that_is_left_open_is_told(stage: Stage) -> None:
    before = held()
    left = os.open(os.devnull, os.O_RDONLY)
    try:
        await expect_returned(stage, before, timeout=0.1)
    finally:
        os.close(left)
    (shortfall,) = stage.shortfalls
    assert shortfall.endswith(f"there were more descriptors: {before.descriptors + 1}, and {before.descriptors} before")


async def test_a_task_that_goes_on_is_told(stage: Stage) -> None:
    before = held()
    left = asyncio.ensure_future(asyncio.sleep(60))
    await expect_returned(stage, before, timeout=0.1)
    left.cancel()
    assert "tasks: 2, and 1 before" in stage.shortfalls[0]


async def test_what_is_gone_in_time_is_not_told(stage: Stage) -> None:
    before = held()
    going = asyncio.ensure_future(asyncio.sleep(0.05))
    await expect_returned(stage, before)
    assert going.done()
    assert not stage.shortfalls


async def test_tubes_that_end_in_every_way_lose_their_carrier_both_ways(stage: Stage) -> None:
    breaker = Breaker(stage.dice)
    async with Pairs() as pairs:
        await asyncio.gather(*(end(pairs, f"{turn} {end.__name__}", breaker) for end in ENDS for turn in range(3)))
    assert set(breaker.counts) == {"carriers killed", "carriers rebuilt"}


async def swapping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    data = await reader.read(-1)
    writer.write(data[8:] + data[:8])


async def losing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write((await reader.read(-1))[:-1])


@pytest.mark.parametrize(
    ("handler", "kind", "complaint"),
    [
        (swapping, WrongBytesError, "stream 1: wrong bytes from 0 on"),
        (losing, MissingBytesError, "stream 1: 999 of 1,000 bytes came back"),
    ],
)
async def test_an_echo_that_errs_is_told(handler: StreamHandler, kind: type[Exception], complaint: str) -> None:
    async with Pairs(handler) as pairs:
        pair = await pairs.connect("tube")
        with pytest.raises(kind, match=complaint):
            await talk(pair.here, 1, 1000)


def test_a_fault_that_shows_a_thousand_times_is_told_once(stage: Stage) -> None:
    for number in range(1000):
        stage.expect(False, "the same")
        stage.expect(False, f"fault {number}")
    assert stage.shortfalls.count("the same") == 1
    assert len(stage.shortfalls) == MOST_SHORTFALLS


@pytest.mark.parametrize(
    ("measurement", "is_met"),
    [
        (Measurement("figure", 3, "ms"), True),
        (Measurement("figure", 3, "ms", at_most=3), True),
        (Measurement("figure", 3.1, "ms", at_most=3), False),
        (Measurement("figure", 3, "ms", at_least=3), True),
        (Measurement("figure", 2.9, "ms", at_least=3), False),
    ],
)
def test_a_figure_beyond_its_bound_falls_short(measurement: Measurement, *, is_met: bool) -> None:
    assert measurement.is_met is is_met
    assert verdict_of((measurement,), ()) == ("passed" if is_met else "fell short")
    assert verdict_of((measurement,), ("a reason",)) == "fell short"


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.1234, "0.123"), (12.34, "12.3"), (123.4, "123"), (1234567.8, "1,234,568")]
)
def test_figures_have_three_digits(value: float, text: str) -> None:
    assert shown(value) == text
