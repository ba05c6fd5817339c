"""Virtual time: what is due happens in order, and machines that sleep, stall or crash have their clocks right."""

from __future__ import annotations

import asyncio

import pytest

from perdure_lab.sim.machine import Machine
from perdure_lab.sim.world import World


@pytest.fixture
def world() -> World:
    return World(1)


@pytest.fixture
def machine(world: World) -> Machine:
    def failed(machine: Machine, error: BaseException) -> None:
        raise error

    return Machine(world, "client", failed)


def test_what_is_due_happens_in_the_order_of_its_instants_and_then_as_it_was_asked_for(world: World) -> None:
    heard: list[str] = []
    for delay, word in ((2.0, "third"), (1.0, "first"), (1.0, "second"), (9.0, "too late")):
        world.after(delay, heard.append, word)
    world.run(5.0)
    assert (heard, world.now) == (["first", "second", "third"], 5.0)


def test_what_is_cancelled_does_not_happen(world: World) -> None:
    heard: list[str] = []
    world.after(1.0, heard.append, "never").cancel()
    world.run(5.0)
    assert heard == []


def test_a_timer_that_rounding_leaves_nothing_still_moves_time_on(world: World) -> None:
    def again() -> None:
        world.after(1e-18, again)

    world.after(0.0, again)
    world.run(1e-4)
    assert world.performed <= 101


def test_who_throws_other_dice_more_often_changes_nothing(world: World) -> None:
    first = [world.dice("a").random() for _ in range(3)]
    world.dice("b").random()
    assert first == [World(1).dice("a").random()] * 3
    assert World(2).dice("a").random() != first[0]


def test_a_timer_of_a_sleeping_machine_has_after_it_what_was_left_before(world: World, machine: Machine) -> None:
    heard: list[tuple[float, float, float]] = []
    machine.loop.call_later(10.0, lambda: heard.append((world.now, machine.awake_clock, machine.always_clock)))
    world.run(4.0)
    machine.stop(asleep=True)
    world.run(104.0)
    machine.go_on()
    world.run(200.0)
    assert heard == [(110.0, 10.0, 110.0)]


def test_a_timer_of_a_stalled_process_is_late_and_no_later(world: World, machine: Machine) -> None:
    heard: list[tuple[float, float]] = []
    machine.loop.call_later(10.0, lambda: heard.append((world.now, machine.awake_clock)))
    machine.loop.call_later(300.0, lambda: heard.append((world.now, machine.awake_clock)))
    machine.stop(asleep=False)
    world.run(100.0)
    machine.go_on()
    world.run(400.0)
    assert heard == [(100.0, 100.0), (300.0, 300.0)]


def test_what_reaches_a_machine_while_it_does_not_run_is_taken_when_it_does(world: World, machine: Machine) -> None:
    heard: list[float] = []
    machine.stop(asleep=True)
    machine.loop.deliver(1.0, lambda: heard.append(world.now))
    world.run(7.0)
    machine.go_on()
    world.run(8.0)
    assert heard == [7.0]


def test_nothing_of_before_a_crash_reaches_the_process_that_comes_after(world: World, machine: Machine) -> None:
    heard: list[str] = []
    machine.loop.call_later(1.0, heard.append, "of the first")
    machine.crash()
    machine.loop.call_later(1.0, heard.append, "of the second")
    world.run(5.0)
    assert heard == ["of the second"]


def test_a_crash_ends_tasks_that_go_on_waiting_when_they_are_cancelled(world: World, machine: Machine) -> None:
    heard: list[str] = []

    async def stubborn() -> None:
        try:
            await asyncio.sleep(100.0)
        finally:
            await asyncio.sleep(1.0)
            heard.append("it had its way")

    machine.loop.run(lambda: machine.loop.create_task(stubborn()))
    world.run(1.0)
    machine.crash()
    world.run(500.0)
    assert heard == []


def test_a_task_that_a_crash_finds_before_its_first_step_is_ended_as_well(world: World, machine: Machine) -> None:
    async def act() -> None:
        raise AssertionError("it never begins")

    machine.stop(asleep=False)
    machine.loop.run(lambda: machine.loop.create_task(act()))
    world.run(1.0)
    machine.crash()
    world.run(5.0)


def test_tasks_timeouts_and_futures_live_in_virtual_time(world: World, machine: Machine) -> None:
    heard: list[float] = []

    async def act() -> None:
        await asyncio.sleep(60.0)
        heard.append(world.now)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5.0):
                await asyncio.get_running_loop().create_future()
        heard.append(world.now)
        await asyncio.gather(asyncio.sleep(1.0), asyncio.sleep(2.0))
        heard.append(world.now)

    machine.loop.run(lambda: machine.loop.create_task(act()))
    world.run(1000.0)
    assert heard == [60.0, 65.0, 67.0]
