"""The storm budget."""

from __future__ import annotations

from perdure.core.storm import STORM_WINDOW, StormBudget


def spent(*instants: float) -> StormBudget:
    budget = StormBudget(3)
    for at in instants:
        budget.spend(at)
    return budget


def test_a_budget_that_is_not_spent_allows_the_next_restart_now() -> None:
    assert spent(0.0, 1.0).empty_until(2.0) is None


def test_a_spent_budget_waits_until_the_oldest_restart_is_a_minute_old() -> None:
    assert spent(0.0, 1.0, 2.0).empty_until(3.0) == STORM_WINDOW
    assert spent(0.0, 1.0, 2.0).empty_until(STORM_WINDOW) is None


def test_restarts_of_the_peer_beyond_the_budget_put_the_next_one_off() -> None:
    assert spent(0.0, 1.0, 2.0, 30.0).empty_until(31.0) == 1.0 + STORM_WINDOW
