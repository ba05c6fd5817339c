"""A warm spare: when one is held, when it is used, and that it costs a tube that works nothing."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Literal

import pytest

from core.cores import NEW_ADDRESS, POLICY, ROAM, connected, deadline, decided, rest, rest_of, sdp, started, states
from perdure.config import RestartPolicy
from perdure.core.actions import (
    Action,
    CloseCarrier,
    DoubtSignaling,
    MakeAnswer,
    MakeOffer,
    Probe,
    StandbyTask,
    StateChanged,
    TendStandby,
    WithdrawOffer,
)
from perdure.core.connection import Connection
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    CloseRequested,
    Event,
    IceUnhealthy,
    NetworkChanged,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    PeerSwitched,
    RecoveryRequested,
    RelaysRenewed,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    StandbyAnswered,
    StandbyReady,
    StandbyUseless,
    UplinksCounted,
)
from perdure.core.spare import SPARE_TIMEOUT
from perdure.core.state import State
from perdure.core.warm import (
    ANSWER_TIMEOUT,
    AT_ONCE_SECONDS,
    FIRST_WAIT,
    IDLE_SECONDS,
    LONGEST_WAIT,
    PEERS_IDLE_SECONDS,
    PROVED_SECONDS,
    SECOND_TURN_SECONDS,
    SETTLE_SECONDS,
)

ASK, USE, CHECK = (TendStandby(task) for task in (StandbyTask.ASK, StandbyTask.USE, StandbyTask.CHECK))
SUSPECT_AFTER = POLICY.suspicion_floor
IDLE = replace(POLICY, ice_keepalive_interval=20.0, timeout_threshold=5.0)
"""An idle path is asked often."""


def used(core: Connection, now: float) -> list[Action]:
    """A stream's bytes move at `now`, and are acknowledged."""
    return core.handle_event(PathEvidence(core.carrier, now, None, last_data_at=now), now)


def rest_in_use(core: Connection, begin: float, end: float) -> list[Action]:
    """Bytes move once a second."""
    actions: list[Action] = []
    for second in range(int(end - begin) + 1):
        actions += rest(core, begin + second)
        actions += used(core, begin + second)
    return actions + rest(core, end)


def offers(actions: list[Action]) -> list[MakeOffer]:
    return [action for action in actions if isinstance(action, MakeOffer)]


def on_two_uplinks(
    *, initiator: bool = True, warm_spare: Literal["auto", "off"] = "auto", policy: RestartPolicy = POLICY
) -> Connection:
    """CONNECTED at 0 on carrier 3, on a machine with two uplinks."""
    core = connected(initiator=initiator, policy=replace(policy, warm_spare=warm_spare))
    core.handle_event(UplinksCounted(2), 0.1)
    return core


def with_warm_spare(policy: RestartPolicy = POLICY) -> Connection:
    """The same, in use; from 10 on a warm spare, 5, is ready."""
    core = on_two_uplinks(policy=policy)
    assert offers(rest_in_use(core, 1.0, 9.0)) == [MakeOffer(5, None, is_spare=True, stands_by=True)]
    core.handle_event(AnswerReceived(5, sdp("standby")), 9.5)
    core.handle_event(StandbyReady(5), 10.0)
    assert rest(core, 10.4) == [CHECK]
    assert (core.state, core.carrier, core.spare) == (State.CONNECTED, 3, 5)
    return core


def with_peers() -> Connection:
    """The acceptor, CONNECTED on carrier 3; at 10 the peer's warm spare, 5, is ready."""
    core = connected(initiator=False)
    actions = core.handle_event(OfferReceived(5, sdp("standby"), stands_by=True), 9.0)
    assert actions == [MakeAnswer(5, sdp("standby"), is_spare=True, stands_by=True)]
    assert core.handle_event(StandbyReady(5), 10.0) == []
    return core


def suspect(core: Connection, since: float) -> list[Action]:
    """An answer is due since then, and is overdue now."""
    rest(core, since)
    core.handle_event(PathEvidence(core.carrier, since, since), since)
    return core.handle_timeout(since + SUSPECT_AFTER)


def silent_while_idle(core: Connection) -> tuple[list[Action], float]:
    """Nobody says anything from 10.5 on, and the idle path's question is not answered; what that led to, and when."""
    rest(core, 10.5)
    core.handle_event(PathEvidence(3, 10.5, None, last_data_at=10.5), 10.5)
    asked_at = 10.5 + IDLE.ice_keepalive_interval
    rest(core, asked_at)
    core.handle_event(PathEvidence(3, 10.5, asked_at, awaits_only_ping=True), asked_at)
    silent_at = asked_at + IDLE.timeout_threshold
    return rest(core, silent_at), silent_at


def failed(core: Connection, now: float) -> float:
    """The warm spare is lost at `now`; how long it takes until the next one is begun, in use."""
    core.handle_event(CarrierLost(core.spare, "gone"), now)
    for second in range(2 * int(LONGEST_WAIT)):
        actions = rest(core, now + second) + used(core, now + second)
        if offers(actions):
            return second
    raise AssertionError("none is begun any more")


# When one is held.


def test_a_tube_in_use_on_two_uplinks_has_one_once_it_has_settled() -> None:
    core = on_two_uplinks()
    used(core, 1.0)
    assert rest(core, 1.0 + SETTLE_SECONDS - 0.01) == []
    used(core, 1.0 + SETTLE_SECONDS - 0.005)
    actions = core.handle_timeout(1.0 + SETTLE_SECONDS)
    assert actions == [MakeOffer(5, None, is_spare=True, stands_by=True)]
    assert (core.state, core.carrier) == (State.CONNECTED, 3)


def test_the_acceptor_leaves_the_first_word_to_the_initiator() -> None:
    core = on_two_uplinks(initiator=False)
    actions = rest_in_use(core, 1.0, 1.0 + SETTLE_SECONDS + SECOND_TURN_SECONDS - 0.1)
    assert offers(actions) == []
    assert offers(rest(core, 7.0)) == [MakeOffer(4, None, is_spare=True, stands_by=True)]


def test_there_is_none_on_one_uplink() -> None:
    core = connected()
    core.handle_event(UplinksCounted(1), 0.1)
    assert offers(rest_in_use(core, 1.0, 60.0)) == []


def test_there_is_none_where_it_is_switched_off() -> None:
    assert offers(rest_in_use(on_two_uplinks(warm_spare="off"), 1.0, 60.0)) == []


def test_there_is_none_for_an_idle_tube() -> None:
    assert offers(rest(on_two_uplinks(), 299.0)) == []


def test_it_is_offered_through_the_carrier_itself_while_signaling_is_away() -> None:
    core = on_two_uplinks()
    core.handle_event(SignalingChanged(False), 0.5)
    assert offers(rest_in_use(core, 1.0, 6.0)) == [MakeOffer(5, None, is_spare=True, stands_by=True)]


def test_there_is_none_while_an_answer_is_overdue() -> None:
    core = on_two_uplinks()
    used(core, 1.0)
    core.handle_event(PathEvidence(3, 3.0, 3.0, last_data_at=3.0), 3.0)
    assert [offer.stands_by for offer in offers(rest(core, 5.0))] == [False]


def test_there_is_none_for_a_peer_that_has_one_carrier_at_a_time() -> None:
    core = started()
    core.handle_event(AnswerReceived(3, sdp("peer")), 0.0)
    core.handle_event(SessionResumed(3, peer_takes_spare=False), 0.0)
    core.handle_event(UplinksCounted(2), 0.1)
    assert offers(rest_in_use(core, 1.0, 60.0)) == []


def test_it_is_dropped_when_nobody_uses_the_tube_any_more() -> None:
    core = with_warm_spare()
    used(core, 11.0)
    assert CloseCarrier(5) not in rest(core, 11.0 + IDLE_SECONDS - 0.1)
    assert rest(core, 11.0 + IDLE_SECONDS + 0.1) == [CloseCarrier(5), WithdrawOffer(5)]
    assert len(offers(rest_in_use(core, 200.0, 210.0))) == 1


def test_no_rounding_of_the_clock_puts_that_off_for_ever() -> None:
    # Found by the simulator: `now - data_at` was less than 120, and `data_at + 120` was not later than now.
    for thousandths in range(11_003, 12_000, 37):
        core = with_warm_spare()
        used(core, thousandths / 1000)
        assert CloseCarrier(5) in rest(core, 200.0)


def test_it_is_dropped_with_the_second_uplink() -> None:
    core = with_warm_spare()
    assert core.handle_event(UplinksCounted(1), 11.0) == [CloseCarrier(5), WithdrawOffer(5)]
    assert offers(rest_in_use(core, 12.0, 60.0)) == []


@pytest.mark.parametrize(
    "event", [ROAM, NEW_ADDRESS, NetworkChanged(Trigger.INTERFACE_CHANGE, local_address_lost=False)]
)
def test_a_network_event_drops_it_and_the_next_is_begun_when_the_network_has_settled(event: NetworkChanged) -> None:
    core = with_warm_spare()
    assert CloseCarrier(5) in core.handle_event(event, 11.0)
    if core.carrier != 3 or core.state is not State.CONNECTED:
        return
    assert len(offers(rest_in_use(core, 11.5, 20.0))) == 1


ETHERNET_GONE = NetworkChanged(
    Trigger.INTERFACE_CHANGE, has_address=True, local_address_lost=True, standby_leads_on=True
)


def test_where_the_default_route_moves_to_its_link_it_is_used_at_once_and_nothing_is_built() -> None:
    core = with_warm_spare()
    core.handle_event(SignalingChanged(False), 10.5)
    actions = core.handle_event(ETHERNET_GONE, 11.0)
    assert decided(actions) == [("SWITCH", "LOCAL_ADDRESS_LOST")]
    assert USE in actions
    actions += core.handle_event(SessionResumed(5), 11.0) + core.handle_event(UplinksCounted(1), 11.0)
    assert [action for action in actions if isinstance(action, (CloseCarrier, MakeOffer, StateChanged))] == []
    assert (core.state, core.carrier, core.spare) == (State.CONNECTED, 5, 0)


@pytest.mark.parametrize(
    "event",
    [
        replace(ETHERNET_GONE, standby_leads_on=False),
        replace(ETHERNET_GONE, local_address_lost=False),
        replace(ETHERNET_GONE, trigger=Trigger.WAKE_UP, slept_seconds=100.0),
    ],
)
def test_it_is_not_used_where_another_link_is_or_the_path_is_as_it_was_or_the_machine_slept(
    event: NetworkChanged,
) -> None:
    actions = with_warm_spare().handle_event(event, 11.0)
    assert USE not in actions
    assert CloseCarrier(5) in actions


ETHERNET_UNPLUGGED = replace(ETHERNET_GONE, standby_leads_on=False, standby_untouched=True)
"""The address is gone some milliseconds before the default route moves."""


def test_without_signaling_one_that_the_change_left_alone_is_used_though_the_route_does_not_lead_there_yet() -> None:
    core = with_warm_spare()
    core.handle_event(SignalingChanged(False), 10.5)
    actions = core.handle_event(ETHERNET_UNPLUGGED, 11.0)
    assert decided(actions) == [("SWITCH", "LOCAL_ADDRESS_LOST")]
    assert USE in actions
    actions += core.handle_event(SessionResumed(5), 11.0)
    assert (core.state, core.carrier) == (State.CONNECTED, 5)


def test_with_signaling_the_route_says_where_to_go() -> None:
    actions = with_warm_spare().handle_event(ETHERNET_UNPLUGGED, 11.0)
    assert USE not in actions
    assert ("REBUILD", "LOCAL_ADDRESS_LOST") in decided(actions)


def test_one_with_the_old_credentials_of_its_turn_server_makes_room_for_another() -> None:
    core = with_warm_spare()
    assert rest_of(core.handle_event(RelaysRenewed(of_standby=True), 10.5)) == [CloseCarrier(5), WithdrawOffer(5)]
    assert core.state is State.CONNECTED
    later = rest_in_use(core, 11.0, 10.5 + SETTLE_SECONDS + 1)
    assert offers(later) == [MakeOffer(7, None, is_spare=True, stands_by=True)]


def test_one_with_old_credentials_that_is_needed_is_used_and_the_path_then_gets_new_ones() -> None:
    core = with_warm_spare()
    suspect(core, 20.0)
    now = 20.0 + SUSPECT_AFTER
    assert core.handle_event(RelaysRenewed(of_standby=True), now + 0.01) == []
    assert rest_of(core.handle_event(StandbyAnswered(5), now + 0.02)) == [USE]
    assert ("SPARE", "RELAYS_RENEWED") in decided(core.handle_event(SessionResumed(5), now + 0.03))


def test_new_credentials_mean_nothing_to_a_tube_without_one() -> None:
    core = on_two_uplinks()
    assert core.handle_event(RelaysRenewed(of_standby=True), 1.0) == []


def test_its_offer_is_none_that_is_to_bring_a_path() -> None:
    core = with_warm_spare()
    assert not core.carriers.is_offer_begun
    core.handle_event(RecoveryRequested(), 11.0)
    assert core.carriers.is_offer_begun


def test_what_begins_another_carrier_drops_it() -> None:
    core = with_warm_spare()
    actions = core.handle_event(RecoveryRequested(rebuild=True), 11.0)
    assert rest_of(actions) == [CloseCarrier(5), WithdrawOffer(5), MakeOffer(7, Trigger.REQUEST, is_spare=True)]


def test_a_tube_that_is_closed_drops_it() -> None:
    assert CloseCarrier(5) in with_warm_spare().handle_event(CloseRequested(), 11.0)


def test_each_that_fails_doubles_the_wait_for_the_next() -> None:
    core = with_warm_spare()
    waits: list[float] = []
    for _ in range(3):
        waits.append(failed(core, 100.0 + sum(waits)))
    assert waits == [pytest.approx(FIRST_WAIT * 2**n, abs=1.01) for n in range(3)]


def test_one_that_was_ready_for_long_was_no_failure() -> None:
    core = with_warm_spare()
    first = failed(core, 20.0)
    ready_at = 20.0 + first
    core.handle_event(StandbyReady(core.spare), ready_at)
    rest_in_use(core, ready_at + 1, ready_at + PROVED_SECONDS + 1)
    assert failed(core, ready_at + PROVED_SECONDS + 2) == pytest.approx(first, abs=1)


def test_the_long_life_of_one_excuses_no_other() -> None:
    core = with_warm_spare()
    first = failed(core, 20.0)
    ready_at = 20.0 + first
    core.handle_event(StandbyReady(core.spare), ready_at)
    core.handle_event(RecoveryRequested(rebuild=True), ready_at + 1)  # drops it
    core.handle_event(SessionResumed(core.spare), ready_at + 2)
    rest_in_use(core, ready_at + 2, ready_at + 10)
    core.handle_event(PathEvidence(core.carrier, ready_at + 10, None), ready_at + 10)
    assert failed(core, ready_at + 10 + PROVED_SECONDS) == pytest.approx(2 * FIRST_WAIT, abs=1.01)


def test_one_that_does_not_open_in_its_time_has_failed() -> None:
    core = on_two_uplinks()
    begun_at = 1.0 + SETTLE_SECONDS
    rest_in_use(core, 1.0, 10.0)
    actions = rest_in_use(core, 11.0, begun_at + SPARE_TIMEOUT + 1)
    assert actions == [CloseCarrier(5), WithdrawOffer(5)]
    assert core.state is State.CONNECTED


def test_one_whose_ice_reports_a_problem_is_dropped_and_nothing_else_changes() -> None:
    core = with_warm_spare()
    assert core.handle_event(IceUnhealthy(5), 11.0) == [CloseCarrier(5), WithdrawOffer(5)]
    assert core.state is State.CONNECTED


def test_one_that_is_lost_changes_nothing_else() -> None:
    core = with_warm_spare()
    actions = core.handle_event(CarrierLost(5, "it is on the link in use"), 11.0)
    assert actions == [CloseCarrier(5), WithdrawOffer(5)]


def test_it_is_looked_at_whether_it_is_on_another_link() -> None:
    core = on_two_uplinks()
    rest_in_use(core, 1.0, 9.0)
    core.handle_event(StandbyReady(5), 10.0)
    assert rest(core, 10.5) == [CHECK]
    assert CHECK in rest_in_use(core, 11.0, 60.0)


# When it is used.


def test_a_suspect_path_has_it_asked_and_it_is_used_where_it_answers_first() -> None:
    core = with_warm_spare()
    actions = suspect(core, 11.0)
    assert actions == [Probe(), DoubtSignaling(), ASK]
    at = 11.0 + SUSPECT_AFTER + 0.01
    core.handle_event(PathEvidence(3, 11.0, 11.0), at)
    actions = core.handle_event(StandbyAnswered(5), at)
    assert decided(actions) == [("SWITCH", "PATH_SUSPECT")]
    assert actions[-1] == USE
    actions = core.handle_event(SessionResumed(5), at)
    assert states(actions) == []
    assert (core.state, core.carrier, core.spare) == (State.CONNECTED, 5, 0)


def test_a_peer_that_has_asked_there_since_the_path_was_heard_shows_that_it_works() -> None:
    core = with_warm_spare()
    rest(core, 11.0)
    core.handle_event(PathEvidence(3, 11.0, 11.0), 11.0)
    assert core.handle_event(StandbyAnswered(5), 11.1) == []
    assert ("SWITCH", "PATH_SUSPECT") in decided(core.handle_timeout(11.0 + SUSPECT_AFTER))


def test_it_is_not_used_where_the_path_answers_first() -> None:
    core = with_warm_spare()
    suspect(core, 11.0)
    core.handle_event(PathEvidence(3, 11.21, None), 11.21)
    assert core.handle_event(StandbyAnswered(5), 11.22) == []
    assert [action for action in rest(core, 12.0) if not isinstance(action, TendStandby)] == []
    assert core.spare == 5, "it stands by for the next time"


def test_a_spare_is_begun_as_without_it_where_it_does_not_answer() -> None:
    core = with_warm_spare()
    suspect(core, 11.0)
    assert deadline(core) == pytest.approx(11.0 + SUSPECT_AFTER + ANSWER_TIMEOUT + 2 * 0.05)
    actions = core.handle_timeout(deadline(core))
    assert rest_of(actions) == [
        CloseCarrier(5),
        WithdrawOffer(5),
        MakeOffer(7, Trigger.CONNECTION_TIMEOUT, is_spare=True),
    ]


def test_a_process_that_stood_still_asks_it_before_it_takes_the_path_for_lost() -> None:
    core = with_warm_spare()
    rest(core, 11.0)
    core.handle_event(PathEvidence(3, 11.0, 11.0), 11.0)
    assert core.handle_timeout(11.95) == [], "what came meanwhile is read first"
    actions = core.handle_timeout(deadline(core))
    assert decided(actions) == []
    assert ASK in actions
    core.handle_event(PathEvidence(3, 12.01, None), 12.01)
    assert core.handle_event(StandbyAnswered(5), 12.02) == []


def test_a_process_that_stood_still_reads_its_answer_before_it_is_dropped() -> None:
    # Found by review: it was dropped, and the peer may have gone on on it.
    core = with_warm_spare()
    suspect(core, 11.0)
    assert core.handle_timeout(11.9) == []
    assert decided(core.handle_event(StandbyAnswered(5), 11.91)) == [("SWITCH", "PATH_SUSPECT")]


def test_one_that_does_not_answer_is_dropped_by_a_process_that_is_always_late_too() -> None:
    core = with_warm_spare()
    suspect(core, 11.0)
    assert core.handle_timeout(11.6) == []
    assert CloseCarrier(5) in core.handle_timeout(deadline(core) + 0.15)


def test_an_idle_path_that_is_silent_has_it_asked_and_it_is_used_when_it_answers() -> None:
    core = with_warm_spare(IDLE)
    actions, now = silent_while_idle(core)
    assert ASK in actions
    assert decided(actions) == []
    assert decided(core.handle_event(StandbyAnswered(5), now + 0.05)) == [("SWITCH", "PATH_SILENT")]


def test_an_idle_path_that_is_silent_is_lost_where_it_does_not_answer_either() -> None:
    core = with_warm_spare(IDLE)
    _, now = silent_while_idle(core)
    actions = rest(core, now + ANSWER_TIMEOUT + 2 * 0.05 + 0.01)
    assert decided(actions) == [("SPARE", "PATH_SILENT")]
    assert states(actions) == [State.RECONNECTING]


def test_an_idle_path_that_answers_then_keeps_the_session() -> None:
    core = with_warm_spare(IDLE)
    _, now = silent_while_idle(core)
    core.handle_event(RttMeasured(3, 0.05, is_idle=True), now + 0.02)
    assert core.handle_event(StandbyAnswered(5), now + 0.05) == []
    assert decided(rest(core, now + 2.0)) == []
    assert (core.carrier, core.spare) == (3, 5)


def test_a_path_that_carries_one_way_is_left_for_it() -> None:
    core = with_warm_spare()
    rest(core, 10.5)
    for tenth in range(400):
        now = 10.5 + tenth / 10
        core.handle_event(PathEvidence(3, now, 10.5, last_data_at=now), now)
        if ASK in core.handle_timeout(now):
            assert decided(core.handle_event(StandbyAnswered(5), now + 0.02)) == [("SWITCH", "PATH_SILENT")]
            return
    raise AssertionError("it is not asked")


@pytest.mark.parametrize("event", [CarrierLost(5, "gone"), IceUnhealthy(5), StandbyUseless(5)])
def test_where_it_is_lost_while_it_is_asked_a_spare_is_begun_at_once(event: Event) -> None:
    core = with_warm_spare()
    suspect(core, 11.0)
    actions = core.handle_event(event, 11.0 + SUSPECT_AFTER + 0.01)
    assert offers(actions) == [MakeOffer(7, Trigger.CONNECTION_TIMEOUT, is_spare=True)]


def test_where_the_peer_withdraws_it_while_it_is_asked_a_spare_is_begun_at_once() -> None:
    core = with_peers()
    suspect(core, 11.0)
    actions = core.handle_event(OfferWithdrawn(5), 11.0 + SUSPECT_AFTER + 0.05)
    assert actions != []
    assert core.next_deadline() is not None
    assert ("SPARE", "PATH_SUSPECT") in decided(actions + rest(core, 11.0 + SUSPECT_AFTER + 0.2))


def test_what_was_heard_on_another_one_says_nothing_of_it() -> None:
    core = with_warm_spare()
    rest(core, 11.0)
    core.handle_event(PathEvidence(3, 11.0, 11.0), 11.0)
    assert core.handle_event(StandbyAnswered(7), 11.1) == []
    actions = core.handle_timeout(11.0 + SUSPECT_AFTER)
    assert decided(actions) == []
    assert ASK in actions
    assert core.handle_event(StandbyAnswered(7), 11.0 + SUSPECT_AFTER + 0.01) == []


def test_at_the_restart_limit_it_is_used_when_the_path_is_lost() -> None:
    core = with_warm_spare()
    for generation in range(6, 6 + 2 * POLICY.max_restarts_per_minute, 2):
        core.handle_event(OfferReceived(generation, sdp("theirs"), cause=Trigger.CONNECTION_TIMEOUT.value), 11.0)
        core.handle_event(SessionResumed(generation), 11.0)
    core.handle_event(OfferReceived(50, sdp("standby"), stands_by=True), 11.2)
    core.handle_event(StandbyReady(50), 11.3)
    suspect(core, 18.0)
    assert decided(core.handle_event(StandbyAnswered(50), 18.3)) == [("HOLD", "PATH_SUSPECT")]
    assert ("SWITCH", "PATH_SILENT") in decided(rest(core, 20.0))


def test_it_is_used_without_signaling() -> None:
    core = with_warm_spare()
    core.handle_event(SignalingChanged(False), 10.5)
    suspect(core, 11.0)
    assert ("SWITCH", "PATH_SUSPECT") in decided(core.handle_event(StandbyAnswered(5), 11.3))


def test_one_that_is_not_ready_gives_way_to_the_spare_of_a_suspicion() -> None:
    core = on_two_uplinks()
    rest_in_use(core, 1.0, 4.0)
    assert core.spare == 5
    actions = suspect(core, 4.5)
    assert [action for action in actions if isinstance(action, CloseCarrier)] == [CloseCarrier(5)]
    assert offers(actions + rest(core, 4.8)) == [MakeOffer(7, Trigger.CONNECTION_TIMEOUT, is_spare=True)]


def test_where_the_engine_gives_the_carrier_up_it_is_used_at_once_and_no_state_changes() -> None:
    core = with_warm_spare()
    actions = core.handle_event(CarrierLost(3, "gone"), 11.0)
    assert decided(actions) == [("SWITCH", "CARRIER_LOST")]
    assert rest_of(actions) == [CloseCarrier(3), USE]
    assert states(actions + core.handle_event(SessionResumed(5), 11.0)) == []
    assert (core.state, core.carrier) == (State.CONNECTED, 5)


def test_where_both_are_lost_the_tube_recovers_as_without_it() -> None:
    core = with_warm_spare()
    core.handle_event(CarrierLost(3, "gone"), 11.0)
    actions = core.handle_event(CarrierLost(5, "gone too"), 11.0)
    assert decided(actions) == [("REBUILD", "CARRIER_LOST")]
    assert states(actions) == [State.RECONNECTING]


def test_where_ice_has_given_up_it_is_used_at_once() -> None:
    core = with_warm_spare()
    actions = core.handle_event(IceUnhealthy(3, has_failed=True), 11.0)
    assert decided(actions) == [("SWITCH", "ICE_FAILED")]
    assert actions[-1] == USE


def test_the_next_one_is_begun_when_the_path_has_settled() -> None:
    core = with_warm_spare()
    core.handle_event(CarrierLost(3, "gone"), 11.0)
    core.handle_event(SessionResumed(5), 11.0)
    assert offers(rest_in_use(core, 11.1, 11.0 + SETTLE_SECONDS - 0.2)) == []
    assert offers(rest_in_use(core, 14.5, 20.0)) == [MakeOffer(7, None, is_spare=True, stands_by=True)]


@pytest.mark.parametrize("is_proved", [True, False])
def test_a_peer_that_goes_on_on_each_as_soon_as_it_opens_is_offered_fewer_and_fewer(is_proved: bool) -> None:
    # Found by review: an end that knows no warm spare takes each for a spare, and the tube changed its link each 6 s.
    core, begun_at = on_two_uplinks(), []
    for second in range(1, 601):
        if offers(rest(core, second) + used(core, second)):
            begun_at.append(second)
            core.handle_event(AnswerReceived(core.spare, sdp(f"standby {core.spare}")), second)
            if is_proved:
                core.handle_event(StandbyReady(core.spare), second)
            core.handle_event(SessionResumed(core.spare), second)
    waits = [later - earlier for earlier, later in pairwise(begun_at)]
    assert waits == [pytest.approx(FIRST_WAIT * 2**n, abs=SETTLE_SECONDS) for n in range(len(waits))]


def test_one_on_which_the_peer_goes_on_later_was_needed() -> None:
    core = with_warm_spare()
    rest_in_use(core, 11.0, 10.0 + AT_ONCE_SECONDS)
    core.handle_event(SessionResumed(5), 20.5)
    core.handle_event(PeerSwitched(3), 20.6)
    assert len(offers(rest_in_use(core, 21.0, 21.0 + SETTLE_SECONDS))) == 1


# At the end that answers.


def test_the_peer_s_is_answered_and_used_like_an_own_one() -> None:
    core = with_peers()
    assert ASK in suspect(core, 11.0)
    actions = core.handle_event(StandbyAnswered(5), 11.3)
    assert decided(actions) == [("SWITCH", "PATH_SUSPECT")]


def test_the_peer_s_goes_when_nobody_has_used_the_tube_for_long() -> None:
    core = with_peers()
    used(core, 20.0)
    assert CloseCarrier(5) not in rest(core, 20.0 + PEERS_IDLE_SECONDS - 1)
    assert CloseCarrier(5) in rest(core, 20.0 + PEERS_IDLE_SECONDS)
    assert core.state is State.CONNECTED


def test_the_peer_s_stays_while_the_tube_is_used() -> None:
    core = with_peers()
    assert CloseCarrier(5) not in rest_in_use(core, 11.0, 11.0 + 3 * PEERS_IDLE_SECONDS)


def test_the_peer_goes_on_on_it() -> None:
    core = with_peers()
    actions = core.handle_event(SessionResumed(5), 11.0)
    assert DoubtSignaling() in actions, "the rendezvous may be behind the same link"
    assert not [action for action in actions if isinstance(action, StateChanged)]
    assert (core.state, core.carrier) == (State.CONNECTED, 5)


def test_the_peer_withdraws_it() -> None:
    core = with_peers()
    assert core.handle_event(OfferWithdrawn(5), 11.0) == [CloseCarrier(5)]
    assert core.state is State.CONNECTED


def test_the_end_that_answers_begins_none_of_its_own_beside_it() -> None:
    core = with_peers()
    core.handle_event(UplinksCounted(2), 10.5)
    assert offers(rest_in_use(core, 11.0, 61.0)) == []
    core.handle_event(CarrierLost(5, "gone"), 61.0)
    assert len(offers(rest_in_use(core, 61.5, 70.0))) == 1


def test_where_the_path_works_no_more_the_peer_s_is_a_carrier_like_any_other() -> None:
    core = connected(initiator=False)
    core.handle_event(CarrierLost(3, "gone"), 9.0)
    actions = core.handle_event(OfferReceived(5, sdp("standby"), stands_by=True), 9.05)
    assert rest_of(actions) == [MakeAnswer(5, sdp("standby"))]
