"""How large the stress tests are on which machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from perdure_lab.stress.sizes import LEVELS, MIB, Level, Machine, fitted

LARGE = Machine(cores=2, memory_bytes=64 * 1024 * MIB, descriptors=2**20)


@pytest.mark.parametrize("level", Level)
def test_a_large_machine_does_all_that_a_level_asks(level: Level) -> None:
    assert fitted(level, LARGE) == (LEVELS[level], {})


def test_one_core_does_half() -> None:
    sizes, cuts = fitted(Level.FULL, replace(LARGE, cores=1))
    assert (sizes.tubes, sizes.gateway_tubes, sizes.workers, sizes.clients) == (20, 100, 50, 500)
    assert sizes.cycles == LEVELS[Level.FULL].cycles
    assert not cuts


def test_more_cores_do_more_in_the_extreme_alone() -> None:
    assert fitted(Level.FULL, replace(LARGE, cores=16))[0] == LEVELS[Level.FULL]
    sizes, _ = fitted(Level.EXTREME, replace(LARGE, cores=16))
    assert (sizes.tubes, sizes.clients) == (1000, 8000)
    assert (sizes.gateway_tubes, sizes.chaos_tubes) == (1000, 250)


def test_few_descriptors_make_fewer_tubes_and_that_is_said() -> None:
    sizes, cuts = fitted(Level.FULL, Machine(2, LARGE.memory_bytes, 1024))
    assert sizes.gateway_tubes == (1024 - 128) // 12
    assert sizes.clients == (1024 - 128) // 2
    assert sizes.tubes == LEVELS[Level.FULL].tubes
    assert tuple(cuts.values()) == (
        "tubes at one gateway: 74 instead of 200, for 65536 MiB of free memory and 1024 descriptors",
        "clients of one rendezvous: 448 instead of 1000, for 65536 MiB of free memory and 1024 descriptors",
    )


def test_little_memory_makes_fewer_tubes() -> None:
    sizes, _ = fitted(Level.FULL, Machine(2, 100 * MIB, LARGE.descriptors))
    assert sizes.gateway_tubes == sizes.tubes == 25


def test_a_machine_that_has_nothing_left_still_does_each_test() -> None:
    sizes, _ = fitted(Level.EXTREME, Machine(1, 0, 0))
    assert min(sizes.tubes, sizes.gateway_tubes, sizes.chaos_tubes, sizes.honest_tubes, sizes.clients) == 1
