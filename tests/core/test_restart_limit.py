"""The restart limit."""

from __future__ import annotations

import pytest

from perdure.core.restart_limit import LIMIT_WINDOW, QUIET_BEFORE_LAST, SILENT_BEFORE_LAST, RestartLimit


def spent(*instants: float, budget_size: int = 3) -> RestartLimit:
    budget = RestartLimit(budget_size)
    for at in instants:
        budget.spend(at)
    return budget


def test_a_budget_that_is_not_spent_allows_the_next_restart_now() -> None:
    assert spent(0.0, 1.0).look(2.0, network_event=True).spent_until is None


def test_a_spent_budget_waits_until_the_oldest_restart_is_a_minute_old() -> None:
    assert spent(0.0, 1.0, 2.0).look(3.0, network_event=True).spent_until == LIMIT_WINDOW
    assert spent(0.0, 1.0, 2.0).look(LIMIT_WINDOW, network_event=True).spent_until is None


def test_the_peer_spends_all_but_the_last_restart() -> None:
    budget = spent(0.0)
    for at in (1.0, 2.0, 30.0):
        budget.peer_spends(at)
    assert budget.look(31.0, network_event=True).spent_until is None
    budget.spend(31.0)
    assert budget.look(32.0, network_event=True).spent_until == LIMIT_WINDOW


@pytest.mark.parametrize(("used", "place"), [(4, 1), (5, 0)])
@pytest.mark.parametrize("network_event", [True, False])
def test_the_last_two_restarts_are_kept_for_when_the_network_is_at_rest(
    used: int, place: int, network_event: bool
) -> None:
    budget = spent(*range(100, 100 + used), budget_size=6)
    assert budget.look(110.0, network_event=network_event).reserved_until is None
    budget.moved(110.0)
    budget.moved(111.0)
    quiet = (QUIET_BEFORE_LAST if network_event else SILENT_BEFORE_LAST)[place]
    until = min(111.0 + quiet, 100.0 + LIMIT_WINDOW)
    assert budget.look(111.5, network_event=network_event).reserved_until == until
    assert budget.look(until, network_event=network_event).reserved_until is None
    assert budget.look(111.5, network_event=True).spent_until is None


def test_the_return_of_the_paths_own_address_does_not_wait_for_the_network_to_settle() -> None:
    budget = spent(*range(100, 104), budget_size=6)
    budget.moved(110.0)
    budget.moved(110.7, is_return=True)
    budget.moved(110.8)  # the route
    assert budget.look(110.8, network_event=True).reserved_until is None
    assert budget.look(110.8, network_event=False).reserved_until is not None, "silence tells of no return"


def test_a_return_is_for_one_restart_and_ends_with_the_next_change() -> None:
    budget = spent(*range(100, 104), budget_size=6)
    budget.moved(110.0, is_return=True)
    budget.moved(110.6)
    assert budget.look(110.6, network_event=True).reserved_until is not None
    budget.moved(111.0, is_return=True)
    budget.spend(111.0)
    assert budget.look(111.1, network_event=True).reserved_until is not None


def test_the_last_restart_is_kept_from_a_return_too() -> None:
    budget = spent(*range(100, 105), budget_size=6)
    budget.moved(110.0, is_return=True)
    assert budget.look(110.0, network_event=True).reserved_until == 110.0 + QUIET_BEFORE_LAST[0]


def test_a_return_does_not_enlarge_the_budget() -> None:
    budget = spent(*range(100, 106), budget_size=6)
    budget.moved(110.0, is_return=True)
    assert budget.look(110.0, network_event=True).spent_until == 100.0 + LIMIT_WINDOW


@pytest.mark.parametrize(("size", "free"), [(1, 1), (2, 1), (3, 2), (6, 4), (1000, 998)])
def test_at_most_half_of_a_budget_is_kept_and_never_its_first_restart(size: int, free: int) -> None:
    for used in (0, free - 1):
        budget = spent(*[0.0] * used, budget_size=size)
        budget.moved(1.0)
        assert budget.look(1.0, network_event=True).reserved_until is None


def test_a_network_that_never_rests_has_a_kept_restart_when_the_oldest_is_a_minute_old() -> None:
    budget = spent(0.0, 1.0, 2.0, 3.0, 58.0, budget_size=6)
    budget.moved(59.0)
    assert budget.look(59.0, network_event=True).reserved_until == LIMIT_WINDOW
