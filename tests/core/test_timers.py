"""The table of timers."""

from __future__ import annotations

import math

from perdure.core.timers import Timer, Timers


def test_the_next_deadline_is_the_earliest_and_none_where_nothing_is_set() -> None:
    timers = Timers()
    assert timers.earliest == math.inf
    timers.set(Timer.HEALTH, 5.0)
    timers.set(Timer.ATTEMPT, 7.0)
    assert timers.earliest == 5.0


def test_due_timers_come_in_the_order_of_their_deadlines_and_then_of_the_table() -> None:
    timers = Timers()
    for timer, at in ((Timer.LIFETIME, 1.0), (Timer.HEALTH, 2.0), (Timer.ATTEMPT, 2.0), (Timer.ABANDON, 9.0)):
        timers.set(timer, at)
    assert [(timers.earliest, timers.take()) for _ in range(4)] == [
        (1.0, Timer.LIFETIME),
        (2.0, Timer.ATTEMPT),
        (2.0, Timer.HEALTH),
        (9.0, Timer.ABANDON),
    ]
    assert timers.earliest == math.inf


def test_a_cancelled_timer_has_no_deadline() -> None:
    timers = Timers()
    timers.set(Timer.HEALTH, 5.0)
    timers.set(Timer.ATTEMPT, 7.0)
    timers.cancel(Timer.HEALTH)
    assert timers.deadline(Timer.HEALTH) == math.inf
    timers.clear()
    assert timers.earliest == math.inf
