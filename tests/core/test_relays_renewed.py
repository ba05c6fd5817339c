"""New TURN credentials: what a path, a spare and an attempt make of them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest

from core.cores import LIMITS, POLICY, connected, deadline, decided, decisions, lose, rest, rest_of, started
from perdure.core.actions import CloseCarrier, MakeOffer, WithdrawOffer
from perdure.core.connection import Connection
from perdure.core.decision import Trigger
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    Described,
    OfferReceived,
    OfferWithdrawn,
    PathEvidence,
    RecoveryRequested,
    RelaysRenewed,
    SessionResumed,
    SignalingChanged,
    SpareOpened,
    Started,
)
from perdure.core.relay_troubles import RelayTroubles
from perdure.core.spare import SPARE_TIMEOUT
from perdure.core.state import State

if TYPE_CHECKING:
    from collections.abc import Callable

RENEWED = RelaysRenewed()


def test_a_path_gets_a_spare_and_stays_connected() -> None:
    core = connected()
    actions = core.handle_event(RENEWED, 10.0)
    assert decided(actions) == [("SPARE", "RELAYS_RENEWED")]
    assert rest_of(actions) == [MakeOffer(5, Trigger.REQUEST, is_spare=True)]
    assert core.state is State.CONNECTED


def test_no_number_of_renewals_spends_the_restart_limit() -> None:
    core, now = connected(), 10.0
    for _ in range(POLICY.max_restarts_per_minute + 2):
        core.handle_event(RENEWED, now)
        core.handle_event(AnswerReceived(core.spare, "v=0\r\na=ice-ufrag:new\r\n"), now)
        core.handle_event(SpareOpened(core.spare), now)
        core.handle_event(SessionResumed(core.spare), now)
        assert core.state is State.CONNECTED
        now += 0.5
    core.handle_event(SignalingChanged(True), now)
    assert decided(lose(core, now)) == [("REBUILD", "CARRIER_LOST")]


def test_a_spare_that_was_begun_with_the_old_ones_is_begun_anew() -> None:
    core = connected()
    core.handle_event(RecoveryRequested(rebuild=True), 10.0)
    core.handle_event(Described(5), 10.05)
    actions = core.handle_event(RENEWED, 10.1)
    assert rest_of(actions) == [CloseCarrier(5), WithdrawOffer(5), MakeOffer(7, Trigger.REQUEST, is_spare=True)]


def test_a_spare_on_which_the_peer_may_go_on_is_brought_to_its_end() -> None:
    core = connected()
    core.handle_event(RecoveryRequested(rebuild=True), 10.0)
    core.handle_event(Described(5), 10.01)
    core.handle_event(SpareOpened(5), 10.05)
    assert decided(core.handle_event(RENEWED, 10.1)) == [("HOLD", "UNDER_WAY")]
    assert core.spare == 5
    actions = core.handle_event(SessionResumed(5), 10.15)
    assert decided(actions) == [("SPARE", "RELAYS_RENEWED")], "its TURN credentials are the old ones"


@pytest.mark.parametrize("after", [0.1, SPARE_TIMEOUT])
def test_a_path_whose_spare_was_brought_to_its_end_in_vain_gets_another(after: float) -> None:
    core = connected()
    core.handle_event(RecoveryRequested(rebuild=True), 10.0)
    core.handle_event(Described(5), 10.01)
    core.handle_event(SpareOpened(5), 10.05)
    core.handle_event(RENEWED, 10.06)
    lost = core.handle_event(CarrierLost(5, ""), 10.1) if after < 1 else rest(core, 10.0 + SPARE_TIMEOUT)
    assert decided(lost) == [("SPARE", "RELAYS_RENEWED")]


def test_a_spare_that_waits_for_the_credentials_gathers_with_them() -> None:
    core = connected()
    core.handle_event(RecoveryRequested(rebuild=True), 10.0)
    assert core.handle_event(RENEWED, 10.1) == []
    assert core.spare == 5


def test_a_suspicions_spare_that_waits_for_the_credentials_renews_the_path() -> None:
    core = connected()
    core.handle_event(PathEvidence(3, 10.0, 10.0), 10.0)
    core.handle_timeout(10.0 + POLICY.suspicion_floor)
    rest(core, 10.3)
    assert core.handle_event(RENEWED, 10.31) == []
    core.handle_event(PathEvidence(3, 10.35, None), 10.35)
    assert core.spare == 5, "the path that answers has the old ones"


def test_the_peers_spare_that_is_to_be_answered_with_them_and_is_withdrawn_leaves_the_path_to_be_renewed() -> None:
    core = connected(initiator=False)
    core.handle_event(OfferReceived(5, "v=0\r\na=ice-ufrag:c\r\n", cause="connection timeout"), 10.0)
    assert core.handle_event(RENEWED, 10.01) == []
    assert decided(core.handle_event(OfferWithdrawn(5), 10.1)) == [("SPARE", "RELAYS_RENEWED")]


def test_an_attempt_that_waits_for_the_credentials_gathers_with_them() -> None:
    core = connected()
    lose(core, 10.0)
    assert core.handle_event(RENEWED, 11.0) == []
    assert (core.carrier, core.state) == (5, State.RECONNECTING)


def test_the_peers_offer_that_is_not_answered_yet_is_answered_with_them() -> None:
    core = connected(initiator=False)
    lose(core, 10.0)
    core.handle_event(OfferReceived(5, "v=0\r\na=ice-ufrag:c\r\n"), 10.05)
    assert core.handle_event(RENEWED, 11.0) == []


def test_without_signaling_the_offer_goes_through_the_carrier() -> None:
    core = connected()
    core.handle_event(SignalingChanged(False), 9.0)
    assert decided(core.handle_event(RENEWED, 10.0)) == [("SPARE", "RELAYS_RENEWED")]
    assert core.state is State.CONNECTED


def test_without_signaling_a_peer_of_one_carrier_keeps_its_path() -> None:
    core = connected()
    core.handle_event(SessionResumed(3, peer_takes_spare=False), 9.0)
    core.handle_event(SignalingChanged(False), 9.0)
    assert decided(core.handle_event(RENEWED, 10.0)) == [("HOLD", "NO_SIGNALING")]
    assert core.state is State.CONNECTED


def test_an_attempt_begins_anew_and_no_other_is_spent() -> None:
    core = connected()
    lose(core, 10.0)
    core.handle_event(Described(5), 10.0)
    actions = core.handle_event(RENEWED, 11.0)
    assert decided(actions) == [("REBUILD", "RELAYS_RENEWED")]
    assert [decision.attempt for decision in decisions(actions)] == [1]
    assert rest_of(actions) == [CloseCarrier(5), MakeOffer(7, Trigger.ICE_FAILURE)]
    assert deadline(core) == 11.0 + POLICY.attempt_timeout


def test_the_first_attempt_begins_anew() -> None:
    core = started()
    core.handle_event(Described(3), 0.5)
    actions = core.handle_event(RENEWED, 1.0)
    assert rest_of(actions) == [CloseCarrier(3), MakeOffer(5, None)]


def test_a_wait_for_the_next_attempt_is_over() -> None:
    core = connected()
    lose(core, 10.0)
    core.handle_timeout(deadline(core))
    assert core.carrier == 0
    actions = core.handle_event(RENEWED, 21.0)
    assert rest_of(actions) == [MakeOffer(7, Trigger.ICE_FAILURE)]


def test_an_acceptor_that_has_no_offer_yet_waits_for_it() -> None:
    assert decided(started(initiator=False).handle_event(RENEWED, 1.0)) == []


@pytest.mark.parametrize("event", [SignalingChanged(False)])
def test_who_waits_for_signaling_goes_on_waiting(event: SignalingChanged) -> None:
    core = connected()
    core.handle_event(event, 9.0)
    lose(core, 10.0)
    assert core.handle_event(RENEWED, 11.0) == []


def test_both_ends_make_one_offer_of_it() -> None:
    """The gateway's gives way, and its end answers the client's instead."""
    client, gateway = connected(), connected(initiator=False)
    client.handle_event(RENEWED, 10.0)
    gateway.handle_event(RENEWED, 10.0)
    given_way = client.handle_event(OfferReceived(gateway.spare, "v=0\r\na=ice-ufrag:g\r\n", cause="request"), 10.05)
    assert given_way == []
    gateway.handle_event(OfferReceived(client.spare, "v=0\r\na=ice-ufrag:c\r\n", cause="request"), 10.05)
    assert gateway.spare == client.spare
    assert gateway.state is State.CONNECTED


def begun(relay_troubles: Callable[[], RelayTroubles]) -> Connection:
    core = Connection(POLICY, LIMITS, initiator=True, random=Random(1), now=0.0, relay_troubles=relay_troubles)
    core.handle_event(SignalingChanged(True), 0.0)
    core.handle_event(Started(), 0.0)
    return core


def test_an_attempt_that_could_find_no_path_says_why_and_asks_for_nothing_else_to_be_checked() -> None:
    core = begun(lambda: RelayTroubles(("no TURN server is known",), allow_no_path=True))
    [decision] = decisions(core.handle_timeout(deadline(core)))
    assert decision.detail == "no path to the other end was found in 10 s; no TURN server is known"


def test_an_attempt_that_found_no_path_names_what_is_wrong_with_the_servers() -> None:
    troubles = [f"turn:{host} gives no answer in 3 s" for host in "abcde"]
    core = begun(lambda: RelayTroubles(tuple(troubles)))
    [decision] = decisions(core.handle_timeout(deadline(core)))
    assert decision.detail == (
        "no path to the other end was found in 10 s; "
        "turn:a gives no answer in 3 s; turn:b gives no answer in 3 s; turn:c gives no answer in 3 s; and 2 more; "
        "is UDP allowed, and --ice-server (STUN, TURN) right at both ends?"
    )
    del troubles[:]
    core.handle_timeout(deadline(core))
    [decision] = decisions(core.handle_timeout(deadline(core)))
    assert decision.detail.endswith("right at both ends?")


def test_the_time_of_an_attempt_is_counted_from_its_true_beginning() -> None:
    core = started()
    core.handle_event(Described(3), 0.5)
    core.handle_event(RENEWED, 4.0)
    [decision] = decisions(core.handle_timeout(deadline(core)))
    assert decision.detail.startswith("no path to the other end was found in 14 s")
    core.handle_timeout(deadline(core))
    [decision] = decisions(core.handle_timeout(deadline(core)))
    assert decision.detail.startswith("no path to the other end was found in 10 s")
