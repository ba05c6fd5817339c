"""The first hint acts at once, a burst is judged a few times, and nothing waits long."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.netmon.debounce import LOOK_INTERVAL, LOOKS_AT_ONCE, MAX_HOLD, SETTLE, Debounce


def looks_of(hints: list[float], *, until: float) -> list[float]:
    """When a driver that is always on time looks."""
    debounce, looks = Debounce(), []
    for hint in [*sorted(hints), until]:
        while (due_at := debounce.due_at) is not None and due_at <= hint:
            looks.append(due_at)
            debounce.looked(due_at)
        if hint < until:
            debounce.hinted(hint)
    return looks


def test_without_a_hint_nothing_is_due() -> None:
    assert Debounce().due_at is None


def test_the_first_hint_is_looked_at_at_once() -> None:
    debounce = Debounce()
    debounce.hinted(100.0)
    assert debounce.due_at == 100.0
    debounce.looked(100.001)
    assert debounce.due_at is None


def test_a_hint_some_time_after_a_look_is_looked_at_at_once_again() -> None:
    assert looks_of([100.0, 100.125, 110.0], until=120.0) == [100.0, 100.125, 110.0]


def test_the_steps_of_a_change_of_wifi_are_all_looked_at_at_once() -> None:
    steps = [100.0, 100.4, 100.9, 101.1, 101.5, 101.8, 102.3]
    assert looks_of(steps, until=103.0) == steps


def test_the_rest_of_a_change_is_judged_once_it_has_settled() -> None:
    assert looks_of([100.0, 100.004, 100.008, 100.012], until=101.0) == [100.0, pytest.approx(100.012 + SETTLE)]


def test_hints_that_do_not_end_are_looked_at_within_the_longest_hold() -> None:
    looks = looks_of([100.0 + 0.01 * number for number in range(300)], until=103.0)
    gaps = [later - earlier for earlier, later in pairwise(looks)]
    assert max(gaps) <= MAX_HOLD + 0.011


def test_fifty_flaps_a_second_for_a_minute_cost_a_few_looks_a_second() -> None:
    looks = looks_of([100.0 + 0.02 * number for number in range(3000)], until=161.0)
    assert len([at for at in looks if at < 101.0]) <= LOOKS_AT_ONCE + 1 / LOOK_INTERVAL
    assert len(looks) <= LOOKS_AT_ONCE + 61 / LOOK_INTERVAL


def test_half_a_change_gets_another_look_without_a_hint() -> None:
    debounce = Debounce()
    debounce.hinted(100.0)
    debounce.looked(100.001)
    debounce.hinted(100.001)
    assert debounce.due_at == pytest.approx(100.001 + SETTLE)


def test_a_look_for_another_reason_answers_the_hints_that_wait() -> None:
    debounce = Debounce()
    debounce.hinted(100.0)
    debounce.looked(100.0)
    debounce.hinted(100.01)
    debounce.looked(100.02)
    assert debounce.due_at is None


HINTS = st.lists(st.floats(0.0, 20.0), min_size=1, max_size=200)


@given(HINTS)
def test_every_hint_is_followed_by_a_look_in_time(hints: list[float]) -> None:
    looks = looks_of(hints, until=30.0)
    for hint in hints:
        assert any(hint <= at <= hint + MAX_HOLD + LOOK_INTERVAL for at in looks)


@given(HINTS)
def test_no_pattern_of_hints_costs_more_than_a_few_looks_in_any_second(hints: list[float]) -> None:
    looks = looks_of(hints, until=30.0)
    most = LOOKS_AT_ONCE + 1 / LOOK_INTERVAL
    assert all(sum(at <= other < at + 1.0 for other in looks) <= most for at in looks)
