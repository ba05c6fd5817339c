"""Far deadlines of many tubes on few timers, also where the machine sleeps beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import pytest
from perdure.tube.wheel import TICK_SECONDS, Wheel

from perdure.tube.clock import clock, clock_from
from perdure_lab.sim.machine import Machine
from perdure_lab.sim.world import World

if TYPE_CHECKING:
    from perdure.tube.driver import Driver


class Sleeper:
    """As much of a driver as the wheel needs."""

    def __init__(self) -> None:
        self.tick = 0
        self.woken_at: list[float] = []

    def wake(self) -> None:
        self.woken_at.append(clock())


@pytest.fixture
def world() -> Iterator[World]:
    world = World(1)
    with clock_from(world.clock):
        yield world


@pytest.fixture
def machine(world: World) -> Machine:
    def failed(machine: Machine, error: BaseException) -> None:
        raise error

    return Machine(world, "client", failed)


def put_to_sleep(machine: Machine, wheel: Wheel, until: float) -> Sleeper:
    sleeper = Sleeper()

    def sleep() -> None:
        sleeper.tick = wheel.sleep(cast("Driver", sleeper), until)

    machine.loop.run(sleep)
    return sleeper


def test_a_sleeper_wakes_at_most_a_tick_late(world: World, machine: Machine) -> None:
    wheel = Wheel()
    sleepers = [put_to_sleep(machine, wheel, 100.0 + number / 10) for number in range(10)]
    world.run(200.0)
    for number, sleeper in enumerate(sleepers):
        (woken_at,) = sleeper.woken_at
        assert 0 <= woken_at - (100.0 + number / 10) < TICK_SECONDS


def test_one_that_is_forgotten_sleeps_on(world: World, machine: Machine) -> None:
    wheel = Wheel()
    first, second = put_to_sleep(machine, wheel, 100.0), put_to_sleep(machine, wheel, 100.0)
    wheel.forget(cast("Driver", first), first.tick)
    world.run(200.0)
    assert first.woken_at == []
    assert len(second.woken_at) == 1


@pytest.mark.parametrize("noticed_by", ["the one who is told", "the next to sleep"])
def test_after_a_sleep_of_the_machine_nobody_is_late_by_it(world: World, machine: Machine, noticed_by: str) -> None:
    wheel = Wheel()
    early, late = put_to_sleep(machine, wheel, 30.0), put_to_sleep(machine, wheel, 100.0)
    world.run(10.0)
    machine.stop(asleep=True)
    world.run(60.0)
    machine.go_on()
    if noticed_by == "the one who is told":
        machine.loop.run(wheel.set_right)
    joined = put_to_sleep(machine, wheel, 100.0)
    world.run(300.0)
    assert early.woken_at == [60.0]
    assert late.woken_at == joined.woken_at == [100.0]


def test_a_clock_that_runs_as_it_should_leaves_the_handles_alone(world: World, machine: Machine) -> None:
    wheel = Wheel()
    sleeper = put_to_sleep(machine, wheel, 100.0)
    handles = list(wheel._handles.values())
    world.run(50.0)
    machine.loop.run(wheel.set_right)
    assert list(wheel._handles.values()) == handles
    world.run(200.0)
    assert sleeper.woken_at == [100.0]
