"""A path through a TURN server is tried without one: when, how often, and never at the cost of the one in use."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from core.cores import POLICY, ROAM, connected, decided, decisions, rest, states
from perdure.config import SessionLimits
from perdure.core.actions import CloseCarrier, MakeOffer
from perdure.core.connection import Connection
from perdure.core.decision import Decision, DecisionReason, Trigger
from perdure.core.events import HealthMeasured, NetworkChanged, RttMeasured, SessionResumed
from perdure.core.state import State

CALM = replace(POLICY, ice_keepalive_enabled=False)
"""Nothing but the statistics wakes these cores."""

UNTOUCHED = replace(ROAM, local_address_lost=False)


def measured(core: Connection, *, until: float, is_relayed: bool = True) -> list[Decision]:
    """The decisions while the statistics, as they are read, say that the path is relayed, or not; each spare opens."""
    found: list[Decision] = []
    while (at := core.next_deadline()) is not None and at <= until:
        actions = core.handle_timeout(at)
        actions += core.handle_event(HealthMeasured(core.carrier, 0.02, 0, 0, is_relayed), at)
        if core.spare:
            actions += core.handle_event(SessionResumed(core.spare), at)
            actions += core.handle_event(RttMeasured(core.carrier, 0.02), at)
        found += decisions(actions)
        assert states(actions) == [], "the tube stays CONNECTED"
    return found


def test_a_relayed_path_is_tried_direct_less_and_less_often() -> None:
    core = connected(policy=CALM, limits=SessionLimits(session_timeout=0))
    found = [(decision.action.name, decision.reason.name, decision.at) for decision in measured(core, until=20_000.0)]
    assert {(action, reason) for action, reason, _ in found} == {("SPARE", "TRY_DIRECT")}
    waits = [later - earlier for (_, _, earlier), (_, _, later) in pairwise(found)]
    assert len(waits) >= 3
    assert all(later > 1.7 * earlier for earlier, later in pairwise(waits)), waits
    assert found[0][2] >= CALM.direct_retry_interval


def test_a_direct_path_is_left_alone_and_so_is_a_tube_that_is_to_use_relays_only() -> None:
    core = connected(policy=CALM, limits=SessionLimits(session_timeout=0))
    assert measured(core, until=20_000.0, is_relayed=False) == []
    only = connected(policy=replace(CALM, direct_retry_interval=0), limits=SessionLimits(session_timeout=0))
    assert measured(only, until=20_000.0) == []


def test_a_network_event_has_a_relayed_path_tried_once_it_has_settled() -> None:
    core = connected(policy=CALM)
    measured(core, until=300.0)
    assert decided(core.handle_event(UNTOUCHED, 300.0)) == [("HOLD", "UNTOUCHED")]
    found = measured(core, until=310.0)
    assert [(decision.action.name, decision.reason.name) for decision in found] == [("SPARE", "TRY_DIRECT")]
    assert found[0].at == 305.0


def test_a_network_that_flaps_has_it_tried_once_a_minute_at_most() -> None:
    core = connected(policy=CALM, limits=SessionLimits(session_timeout=0))
    measured(core, until=300.0)
    found = []
    for at in range(301, 541, 6):
        core.handle_event(UNTOUCHED, float(at))
        found += [each for each in measured(core, until=at + 6.0) if each.reason is DecisionReason.TRY_DIRECT]
    assert 2 <= len(found) <= 4


def test_the_carrier_in_use_goes_on_until_the_trial_has_resumed() -> None:
    core = connected(policy=CALM)
    measured(core, until=300.0)
    core.handle_event(UNTOUCHED, 300.0)
    core.handle_timeout(305.0)
    actions = core.handle_event(HealthMeasured(core.carrier, 0.02, 0, 0, is_relayed=True), 305.0)
    assert any(isinstance(action, MakeOffer) and action.is_spare for action in actions)
    assert not any(isinstance(action, CloseCarrier) for action in actions)
    assert core.state is State.CONNECTED
    assert not states(rest(core, 400.0)), "one that does not open changes nothing"


def test_a_trial_is_not_begun_while_the_path_recovers() -> None:
    core = connected(policy=CALM)
    measured(core, until=300.0)
    core.handle_event(NetworkChanged(Trigger.INTERFACE_CHANGE), 300.0)
    actions = core.handle_event(HealthMeasured(core.carrier, 0.02, 0, 0, is_relayed=True), 305.0)
    assert ("SPARE", "TRY_DIRECT") not in decided(actions)
