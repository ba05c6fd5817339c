"""Sleep is seen from two clocks that should go together, and from a reading that comes far too late."""

from __future__ import annotations

import pytest

from perdure.netmon.wakeup import SHORTEST_STOP, Sleep, SleepWatch


def test_the_first_reading_tells_nothing() -> None:
    assert SleepWatch(1.0).read(1000.0, 90_000.0) == Sleep()


def test_clocks_that_go_together_tell_of_no_sleep() -> None:
    watch = SleepWatch(1.0)
    for second in range(100):
        assert watch.read(1000.0 + second, 5000.0 + second + 0.01 * (second % 2)).seconds == 0.0


def test_a_suspended_machine_is_seen_from_the_jump_between_the_clocks() -> None:
    watch = SleepWatch(1.0)
    watch.read(1000.0, 5000.0)
    slept = watch.read(1000.5, 8600.5)
    assert slept == Sleep(suspended=3600.0)
    assert slept.seconds == 3600.0
    assert watch.read(1001.5, 8601.5).seconds == 0.0


def test_a_stopped_process_is_seen_from_a_late_reading() -> None:
    watch = SleepWatch(1.0)
    watch.read(1000.0, 5000.0)
    assert watch.read(1031.0, 5031.0) == Sleep(stopped=30.0)
    assert watch.read(1032.0, 5032.0).seconds == 0.0


def test_a_process_that_is_stopped_on_a_machine_that_sleeps_was_away_for_both() -> None:
    watch = SleepWatch(1.0)
    watch.read(1000.0, 5000.0)
    assert watch.read(1011.0, 5111.0).seconds == pytest.approx(110.0)


def test_a_busy_loop_did_not_sleep() -> None:
    watch = SleepWatch(1.0)
    watch.read(1000.0, 5000.0)
    assert watch.read(1000.0 + 1.0 + SHORTEST_STOP - 0.01, 5000.0 + 1.0 + SHORTEST_STOP - 0.01).seconds == 0.0


def test_reading_more_often_than_need_be_changes_nothing() -> None:
    watch = SleepWatch(1.0)
    watch.read(1000.0, 5000.0)
    watch.read(1000.2, 5000.2)
    assert watch.read(1000.3, 5000.3).seconds == 0.0
