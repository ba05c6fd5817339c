"""How long a tube lives that nobody uses."""

from __future__ import annotations

import pytest

from perdure.config import SessionLimits
from perdure.core.activity import Activity
from perdure.core.lifetime import Lifetime, Notice
from perdure.core.state import Reason


class Idle:
    """A tube's lifetime, and the user."""

    def __init__(self, limits: SessionLimits | None = None) -> None:
        self.activity = Activity(0.0)
        self.lifetime = Lifetime(limits or SessionLimits(), self.activity, 0.0)

    def live(self, until: float) -> list[tuple[float, Notice | Reason]]:
        """What is told by then, each deadline served in time."""
        told: list[tuple[float, Notice | Reason]] = []
        for _ in range(100):
            at = self.lifetime.next_deadline()
            if at is None or at > until:
                return told
            found = self.lifetime.check(at)
            if found is not None:
                told.append((at, found))
            if isinstance(found, Reason):
                return told
        raise AssertionError("the lifetime spins")


def test_warnings_are_staged_up_to_the_end_and_each_says_how_long_is_left() -> None:
    assert Idle().live(until=1e6) == [
        (1140.0, Notice(1140.0, 2460.0)),
        (1800.0, Notice(1800.0, 1800.0)),
        (2700.0, Notice(2700.0, 900.0)),
        (3300.0, Notice(3300.0, 300.0)),
        (3540.0, Notice(3540.0, 60.0)),
        (3600.0, Reason.SESSION_TIMEOUT),
    ]


def test_use_begins_everything_anew() -> None:
    idle = Idle()
    idle.live(until=2000.0)
    idle.activity.used(2000.0)
    told = idle.live(until=1e6)
    assert told[0] == (3140.0, Notice(1140.0, 2460.0))
    assert told[-1] == (5600.0, Reason.SESSION_TIMEOUT)


def test_a_deadline_that_use_has_put_off_tells_nothing() -> None:
    idle = Idle()
    idle.activity.used(1000.0)
    assert idle.lifetime.check(1140.0) is None
    assert idle.lifetime.next_deadline() == 2140.0


def test_of_several_missed_warnings_one_is_given() -> None:
    idle = Idle()
    assert idle.lifetime.check(2800.0) == Notice(2800.0, 800.0)
    assert idle.lifetime.next_deadline() == 3300.0


def test_a_timeout_that_was_slept_through_is_judged_by_the_clock() -> None:
    assert Idle().lifetime.check(90_000.0) is Reason.SESSION_TIMEOUT


def test_an_extension_puts_the_end_and_its_warnings_off() -> None:
    idle = Idle()
    idle.live(until=3540.0)
    idle.lifetime.extend(0.0, 3550.0 + 3600.0)
    assert idle.live(until=1e6) == [
        (4690.0, Notice(4690.0, 2460.0)),
        (5350.0, Notice(5350.0, 1800.0)),
        (6250.0, Notice(6250.0, 900.0)),
        (6850.0, Notice(6850.0, 300.0)),
        (7090.0, Notice(7090.0, 60.0)),
        (7150.0, Reason.SESSION_TIMEOUT),
    ]


def test_an_extension_never_shortens() -> None:
    idle = Idle()
    idle.lifetime.extend(0.0, 10.0)
    assert idle.live(until=3000.0)[-1][0] == 2700.0
    idle.lifetime.extend(0.0, 5000.0)
    idle.lifetime.extend(0.0, 4000.0)
    assert idle.live(until=1e6)[-1] == (5000.0, Reason.SESSION_TIMEOUT)


def test_the_absolute_limit_stands_against_use_and_extension() -> None:
    idle = Idle(SessionLimits(session_duration_limit=1000.0))
    idle.activity.used(900.0)
    idle.lifetime.extend(0.0, 5000.0)
    told = idle.live(until=1e6)
    assert told[-1] == (1000.0, Reason.SESSION_LIMIT)
    assert told[-2] == (940.0, Notice(40.0, 60.0))


def test_a_tube_without_limits_never_ends() -> None:
    idle = Idle(SessionLimits(session_timeout=0.0))
    assert idle.lifetime.next_deadline() is None
    assert idle.lifetime.check(1e9) is None


def test_the_absolute_limit_alone_is_warned_of_too() -> None:
    told = Idle(SessionLimits(session_timeout=0.0, session_duration_limit=7200.0)).live(until=1e6)
    assert [at for at, _ in told] == [1140.0, 1800.0, 2700.0, 3300.0, 3540.0, 7200.0]
    assert told[0][1] == Notice(1140.0, 6060.0)


@pytest.mark.parametrize(("timeout", "instants"), [(60.0, [60.0]), (1200.0, [1140.0, 1200.0])])
def test_stages_behind_the_timeout_are_not_given(timeout: float, instants: list[float]) -> None:
    assert [at for at, _ in Idle(SessionLimits(session_timeout=timeout)).live(until=1e6)] == instants
