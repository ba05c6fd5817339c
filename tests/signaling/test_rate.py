"""Rates whose time is an argument."""

from __future__ import annotations

import pytest

from perdure.signaling.rate import RecentMost, TokenBucket


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


def test_the_most_of_lately_is_remembered_for_a_while_and_then_forgotten() -> None:
    recent = RecentMost(10.0, now=0.0)
    assert recent.of(5, 1.0) == 5
    assert recent.of(0, 2.0) == 5
    assert recent.of(1, 11.0) == 5
    assert recent.of(0, 20.9) == 5
    assert recent.of(0, 21.0) == 1
    assert recent.of(0, 31.0) == 0


def test_what_was_before_a_long_pause_is_forgotten() -> None:
    recent = RecentMost(10.0, now=0.0)
    assert recent.of(5, 1.0) == 5
    assert recent.of(1, 100.0) == 1
