"""How large the stress tests are on which machine."""

from __future__ import annotations

import pytest

from perdure_lab.stress.sizes import LEVELS, MIB, Level, Machine, fitted

LARGE = Machine(cores=16, memory_bytes=64 * 1024 * MIB, descriptors=2**20)


@pytest.mark.parametrize("level", Level)
def test_a_large_machine_does_all_that_a_level_asks(level: Level) -> None:
    assert fitted(level, LARGE) == (LEVELS[level], ())


def test_few_descriptors_make_fewer_tubes_and_that_is_said() -> None:
    sizes, cuts = fitted(Level.FULL, Machine(2, LARGE.memory_bytes, 1024))
    assert sizes.gateway_tubes == (1024 - 128) // 12
    assert sizes.clients == (1024 - 128) // 2
    assert sizes.tubes == LEVELS[Level.FULL].tubes
    assert cuts == (
        "gateway_tubes: 74 instead of 200, for 65536 MiB of free memory and 1024 descriptors",
        "clients: 448 instead of 1000, for 65536 MiB of free memory and 1024 descriptors",
    )


def test_little_memory_makes_fewer_tubes() -> None:
    sizes, _ = fitted(Level.FULL, Machine(2, 100 * MIB, LARGE.descriptors))
    assert sizes.gateway_tubes == sizes.tubes == 25


def test_a_machine_that_has_nothing_left_still_does_each_test() -> None:
    sizes, _ = fitted(Level.EXTREME, Machine(1, 0, 0))
    assert min(sizes.tubes, sizes.gateway_tubes, sizes.chaos_tubes, sizes.honest_tubes, sizes.clients) == 1
