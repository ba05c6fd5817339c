"""RFC 6298's formulas, with numbers worked by hand."""

from __future__ import annotations

import pytest

from perdure.core.rtt import GRANULARITY, INITIAL_RTO, RttEstimator


def estimator(*samples: float) -> RttEstimator:
    rtt = RttEstimator()
    for seconds in samples:
        rtt.sample(seconds)
    return rtt


def test_before_a_sample_the_timeout_is_one_second() -> None:
    assert estimator().srtt is None
    assert estimator().timeout == INITIAL_RTO == 1.0


def test_the_first_sample_counts_whole_and_half_of_it_is_the_variation() -> None:
    rtt = estimator(0.2)
    assert (rtt.srtt, rtt.variation) == (0.2, 0.1)
    assert rtt.timeout == pytest.approx(0.2 + 4 * 0.1)


@pytest.mark.parametrize(
    ("samples", "srtt", "variation"),
    [
        # variation = 3/4 variation + 1/4 |srtt - sample|, with the srtt before the sample; srtt = 7/8 srtt + 1/8 sample
        ((0.2, 0.2), 0.2, 0.075),
        ((0.2, 0.4), 0.225, 0.125),
        ((0.2, 0.4, 0.1), 0.209375, 0.125),
        ((0.1, 0.9), 0.2, 0.2375),
        ((1.0, 0.0), 0.875, 0.625),
    ],
)
def test_a_further_sample_counts_an_eighth_and_its_distance_a_quarter(
    samples: tuple[float, ...], srtt: float, variation: float
) -> None:
    rtt = estimator(*samples)
    assert rtt.srtt == pytest.approx(srtt)
    assert rtt.variation == pytest.approx(variation)
    assert rtt.timeout == pytest.approx(srtt + 4 * variation)


def test_a_round_trip_that_never_changes_leaves_the_granularity_above_itself() -> None:
    rtt = estimator(*[0.05] * 200)
    assert rtt.timeout == pytest.approx(0.05 + GRANULARITY)


def test_a_path_that_became_slower_is_known_within_thirty_samples() -> None:
    rtt = estimator(*[0.02] * 50, *[0.4] * 30)
    assert rtt.srtt == pytest.approx(0.4, rel=0.05)
    assert rtt.timeout > 0.4
