"""What a soak notices: what grows in its samples, and a fault that does nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import pytest

from perdure_lab.stress.holdings import Holdings
from perdure_lab.stress.pairs import Pairs
from perdure_lab.stress.results import verdict_of
from perdure_lab.stress.sizes import LEVELS, Level
from perdure_lab.stress.slopes import expect_flat, lowest
from perdure_lab.stress.soak import FAULTS, SAMPLE_INTERVAL, Fault, Log, break_one, tell
from perdure_lab.stress.stage import Stage

HOUR = 3600.0
FLAT = Holdings(66 * 2**20, descriptors=60, threads=6, tasks=20, factories=1)


@pytest.fixture
def stage() -> Stage:
    return Stage(LEVELS[Level.LIGHT], Random(1), lambda doing, done, total: None)


def soaked(hours: float, held: Callable[[float, Random], Holdings], lag: Callable[[float, Random], int]) -> Log:
    """Samples that were made up: `held` and `lag`, in tenths of a millisecond, are asked for the share that is over."""
    dice, log = Random(1), Log()
    seconds = hours * HOUR
    for number in range(1, int(seconds / SAMPLE_INTERVAL)):
        at = number * SAMPLE_INTERVAL
        log.samples.append((at, held(at / seconds, dice)))
    for minute in range(int(seconds / 60)):
        log.lags.append((minute * 60.0, Counter(lag(minute * 60 / seconds, dice) for _ in range(200))))
    return log


def noisy(share: float, dice: Random) -> Holdings:
    """A third of the samples fall into a recovery; one carrier more stays from the middle on."""
    spare = (4 if share > 0.5 else 0) + dice.choice([0, 0, dice.randint(1, 16)])
    return Holdings(
        FLAT.resident_bytes + dice.randrange(2**18),
        FLAT.descriptors + spare,
        FLAT.threads + dice.choice([0, 0, 3]),
        FLAT.tasks + dice.choice([0, 0, dice.randint(1, 40)]),
        1,
    )


def usual_lag(share: float, dice: Random) -> int:
    return dice.choice([2, 5, 10, 40])


def missed(stage: Stage) -> list[str]:
    return [each.name for each in stage.measurements if not each.is_met]


@pytest.mark.parametrize("hours", [0.5, 2.0, 24.0])
def test_hours_that_are_noisy_and_flat_pass(stage: Stage, hours: float) -> None:
    tell(stage, soaked(hours, noisy, usual_lag))
    assert not missed(stage)
    assert verdict_of(tuple(stage.measurements), tuple(stage.shortfalls)) == "passed"


def test_what_grows_steadily_falls_short_although_no_half_is_far_above_the_other(stage: Stage) -> None:
    def growing(share: float, dice: Random) -> Holdings:
        return Holdings(
            FLAT.resident_bytes,
            round(60 + 17 * share),
            round(6 + 5 * share),
            round(20 + 47 * share) + dice.choice([0, 0, 5]),
            1,
        )

    tell(stage, soaked(2.0, growing, usual_lag))
    grown = ("descriptors", "threads", "tasks")
    assert missed(stage) == [f"{name}, growth of the least in 5 min" for name in grown]


def test_a_leak_of_one_in_twenty_faults_shows_in_half_an_hour(stage: Stage) -> None:
    def leaking(share: float, dice: Random) -> Holdings:
        return Holdings(FLAT.resident_bytes, 60 + 4 * int(60 * share / 5), 6, 20, 1)

    tell(stage, soaked(0.5, leaking, usual_lag))
    assert missed(stage) == ["descriptors, growth of the least in 5 min"]


def test_an_event_loop_that_is_later_each_hour_falls_short_before_it_is_20_ms_late(stage: Stage) -> None:
    tell(stage, soaked(2.0, noisy, lambda share, dice: round(20 + 60 * share) + dice.choice([0, 0, 30])))
    assert missed(stage) == ["event loop's lag, p99, growth of the least in 5 min"]


def test_memory_that_grows_by_2_mib_an_hour_falls_short(stage: Stage) -> None:
    def leaking(share: float, dice: Random) -> Holdings:
        return Holdings(FLAT.resident_bytes + round(4 * 2**20 * share), 60, 6, 20, 1)

    tell(stage, soaked(2.0, leaking, usual_lag))
    assert missed(stage) == ["resident memory grows by"]


def test_a_few_minutes_are_told_and_not_judged(stage: Stage) -> None:
    expect_flat(stage, "threads", [(at * 13.0, at) for at in range(60)])
    (told,) = stage.measurements
    assert told.value > 100
    assert told.is_met


def test_the_envelope_has_the_lowest_of_each_window_and_no_part_of_one() -> None:
    samples = [(float(at), float(value)) for at, value in enumerate([5, 3, 9, 8, 7, 9, 1])]
    assert lowest(samples, window=3.0) == [(1.5, 3.0), (4.5, 7.0)]


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
async def test_each_fault_of_a_soak_does_what_it_is_counted_as(fault: Fault) -> None:
    async with Pairs() as pairs:
        pair = await pairs.connect("tube")
        decided = len(pair.here.decisions)
        assert await break_one(fault, pair.here) is None
        assert fault.name == "carriers killed" or len(pair.here.decisions) > decided


async def test_a_fault_that_does_nothing_is_told() -> None:
    async with Pairs() as pairs:
        pair = await pairs.connect("tube")
        nothing = Fault("renewals", lambda manager: manager.relay_credentials_renewed())
        assert await break_one(nothing, pair.here, timeout=0.0) == "renewals: no other carrier within 0 s"
