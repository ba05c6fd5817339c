"""A service that fails is left in peace, and asked again by one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.core.breaker import CircuitBreaker


def opened(*, at: float) -> CircuitBreaker:
    breaker = CircuitBreaker(failures=5, open_for=30.0)
    for _ in range(5):
        assert breaker.allows(at)
        breaker.failed(at)
    return breaker


def test_it_is_closed_at_first() -> None:
    breaker = CircuitBreaker()
    assert breaker.allows(0.0)
    assert breaker.open_until is None


def test_five_failures_in_a_row_open_it_for_thirty_seconds() -> None:
    breaker = opened(at=100.0)
    assert breaker.open_until == 130.0
    assert not breaker.allows(100.0)
    assert not breaker.allows(129.9)
    assert breaker.allows(130.0)


def test_a_success_between_failures_keeps_it_closed() -> None:
    breaker = CircuitBreaker(failures=5)
    for _ in range(3):
        for _ in range(4):
            breaker.failed(0.0)
        breaker.succeeded()
    assert breaker.allows(0.0)


def test_half_open_it_lets_one_through() -> None:
    breaker = opened(at=0.0)
    assert breaker.allows(30.0)
    assert not breaker.allows(30.0)
    assert not breaker.allows(59.0)


def test_the_success_of_the_trial_closes_it_and_five_more_failures_are_needed() -> None:
    breaker = opened(at=0.0)
    assert breaker.allows(30.0)
    breaker.succeeded()
    for _ in range(4):
        breaker.failed(31.0)
    assert breaker.allows(31.0)
    breaker.failed(32.0)
    assert breaker.open_until == 62.0


def test_the_failure_of_the_trial_opens_it_again() -> None:
    breaker = opened(at=0.0)
    assert breaker.allows(30.0)
    breaker.failed(35.0)
    assert breaker.open_until == 65.0
    assert not breaker.allows(64.9)
    assert breaker.allows(65.0)


def test_a_failure_from_before_it_opened_does_not_keep_it_open_longer() -> None:
    breaker = opened(at=0.0)
    breaker.failed(20.0)
    assert breaker.open_until == 30.0


def test_a_trial_whose_end_nobody_reports_does_not_close_the_way_for_ever() -> None:
    breaker = opened(at=0.0)
    assert breaker.allows(30.0)
    assert breaker.allows(60.0)


@pytest.mark.parametrize(("failures", "open_for"), [(0, 30.0), (-1, 30.0), (5, 0.0), (5, -1.0)])
def test_a_breaker_that_never_closes_or_never_opens_is_refused(failures: int, open_for: float) -> None:
    with pytest.raises(ValueError, match="breaker"):
        CircuitBreaker(failures, open_for)


@given(st.lists(st.tuples(st.sampled_from(["ask", "fail", "succeed"]), st.floats(0.0, 40.0)), max_size=60))
def test_it_never_stays_shut_longer_than_its_time(steps: list[tuple[str, float]]) -> None:
    breaker = CircuitBreaker(failures=3, open_for=30.0)
    now = 0.0
    for step, delay in steps:
        now += delay
        match step:
            case "ask":
                allowed = breaker.allows(now)
                assert allowed or (breaker.open_until is not None and breaker.open_until > now)
            case "fail":
                breaker.failed(now)
            case _:
                breaker.succeeded()
                assert breaker.allows(now)
        assert breaker.open_until is None or breaker.open_until <= now + 30.0
