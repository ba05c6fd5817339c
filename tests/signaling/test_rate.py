"""Rates whose time is an argument."""

from __future__ import annotations

import pytest

from perdure.signaling.rate import TokenBucket


def test_another_rate_counts_from_when_it_was_set() -> None:
    bucket = TokenBucket(1.0, 10, now=0.0)
    assert bucket.take(0.0, 10)
    bucket.set_rate(100.0, 2.0)
    assert not bucket.take(2.0, 3)
    assert bucket.take(2.02, 3)


def test_a_lower_rate_takes_away_nothing_that_was_gained() -> None:
    bucket = TokenBucket(100.0, 10, now=0.0)
    assert bucket.take(0.0, 10)
    bucket.set_rate(1.0, 0.05)
    assert bucket.take(0.05, 5)
    assert bucket.delay(0.05) == pytest.approx(1.0)


def test_the_wait_for_several_tokens_is_that_for_the_last_of_them() -> None:
    bucket = TokenBucket(10.0, 10, now=0.0)
    assert bucket.take(0.0, 10)
    assert bucket.delay(0.0, 5) == pytest.approx(0.5)
    assert not bucket.take(0.45, 5)
    assert bucket.take(0.55, 5)
