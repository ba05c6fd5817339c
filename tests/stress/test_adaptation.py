"""What the test of limits notices: one that is not kept, and descriptors that have not run out."""

from __future__ import annotations

import os
from random import Random

import pytest

from perdure_lab.stress.adaptation import (
    TIGHT,
    expect_starved,
    expect_streams_refused,
    expect_streams_taken,
    has_none_left,
    no_descriptors,
)
from perdure_lab.stress.pairs import Pairs
from perdure_lab.stress.sizes import LEVELS, Level
from perdure_lab.stress.stage import Stage


@pytest.fixture
def stage() -> Stage:
    return Stage(LEVELS[Level.LIGHT], Random(1), lambda doing, done, total: None)


@pytest.mark.parametrize("whose", ["there", "here"])
async def test_a_third_stream_is_refused_by_the_limit_of_either_end(stage: Stage, whose: str) -> None:
    async with Pairs() as pairs:
        pair = await pairs.connect("tube")
        await expect_streams_refused(stage, pair, "nobody's")
        assert stage.shortfalls == ["3 streams were taken, nobody's max_streams being less"]
        stage.shortfalls.clear()
        getattr(pairs, whose).configure_resource_limits(max_streams=TIGHT["max_streams"])
        await expect_streams_refused(stage, pair, whose)
        assert not stage.shortfalls
        await expect_streams_taken(stage, pair)
        assert "was refused after max_streams was loosened" in stage.shortfalls[0]


async def test_without_descriptors_no_tube_comes_up_and_with_some_the_next_one_does(stage: Stage) -> None:
    async with Pairs() as pairs:
        await (await pairs.connect("first")).close()
        with no_descriptors(stage):
            assert has_none_left()
            starved = await expect_starved(stage, pairs, timeout=0.5)
        assert not has_none_left()
        starved.cancel()
        await (await pairs.connect("second")).close()
    assert not stage.shortfalls


async def test_a_tube_that_comes_up_where_none_should_is_told(stage: Stage) -> None:
    async with Pairs() as pairs:
        up = await expect_starved(stage, pairs, timeout=60.0)
        await (await up).close()
    assert stage.shortfalls == ["a tube came up without a descriptor: they had not run out"]


def test_a_descriptor_that_is_freed_meanwhile_is_noticed(stage: Stage) -> None:
    freed = os.open(os.devnull, os.O_RDONLY)
    with no_descriptors(stage):
        os.close(freed)
        assert not has_none_left()
