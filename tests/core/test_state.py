"""The table of states."""

from __future__ import annotations

import pytest

from core.cores import created
from perdure.core.context import Context
from perdure.core.relay_troubles import RelayTroubles
from perdure.core.state import CLOSE_REASONS, TRANSITIONS, Reason, State


def test_the_table_names_every_state() -> None:
    assert set(TRANSITIONS) == set(State)


def test_nothing_comes_after_an_end() -> None:
    assert [state for state in State if not TRANSITIONS[state]] == [State.FAILED, State.CLOSED]
    assert [state for state in State if state.is_final] == [State.FAILED, State.CLOSED]


def test_streams_flow_in_two_states() -> None:
    assert [state for state in State if state.is_up] == [State.CONNECTED, State.DEGRADED]


def test_a_path_that_is_lost_leads_through_reconnecting() -> None:
    assert State.RECONNECTING in TRANSITIONS[State.CONNECTED]
    assert State.RECONNECTING in TRANSITIONS[State.DEGRADED]
    assert TRANSITIONS[State.RECONNECTING] == {State.CONNECTED, State.FAILED, State.CLOSED}


@pytest.mark.parametrize("before", list(State))
@pytest.mark.parametrize("after", list(State))
def test_a_change_that_is_not_in_the_table_is_impossible(before: State, after: State) -> None:
    context = Context(0.0, RelayTroubles)
    context.state = before
    if after in TRANSITIONS[before]:
        context.change(after, Reason.STARTED)
        assert context.state is after
    else:
        with pytest.raises(AssertionError, match="not in the table"):
            context.change(after, Reason.STARTED)
        assert context.state is before


def test_a_tube_begins_initializing() -> None:
    assert created().state is State.INITIALIZING


def test_reasons_to_close_are_reasons() -> None:
    assert all(reason.value for reason in CLOSE_REASONS)
    assert Reason.CLOSED_BY_PEER not in CLOSE_REASONS
