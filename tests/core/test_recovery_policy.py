"""The rules as a table: what happened, in which situation, and which action answers it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from random import Random

import pytest

from perdure.config import RestartPolicy
from perdure.core.conditions import GLARE_DELAY, SHORT_LIVES_FORGIVEN, Facts
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Situation, Trigger
from perdure.core.events import NetworkChanged
from perdure.core.recovery_policy import JITTER, RecoveryPolicy, backoff, renewal_delay
from perdure.core.rules import TABLES, Table
from perdure.core.state import Reason

POLICY = RestartPolicy()

WORKING = Situation(
    now=100.0,
    has_begun=True,
    is_up=True,
    is_open=True,
    has_spare=False,
    is_attempting=False,
    restarts=0,
    can_restart=True,
    silent_for=0.0,
    signaling=True,
    has_address=True,
    is_initiator=True,
)
ACCEPTOR = WORKING._replace(is_initiator=False)
SILENT = WORKING._replace(silent_for=1.0)
NOT_BEGUN = WORKING._replace(has_begun=False, is_up=False, is_open=False)
LOST = WORKING._replace(is_up=False, is_open=False)
HELD = WORKING._replace(is_up=False, silent_for=20.0)
UNABLE = WORKING._replace(can_restart=False)
RESTARTING = WORKING._replace(is_up=False, is_attempting=True)
BUILDING = LOST._replace(is_attempting=True)
NO_SIGNALING = WORKING._replace(signaling=False)
NO_ADDRESS = WORKING._replace(has_address=False)
WITH_SPARE = WORKING._replace(has_spare=True, silent_for=1.0)

Ask = Callable[[RecoveryPolicy, Situation], Decision]


def event(
    trigger: Trigger,
    *,
    is_new_address: bool = False,
    local_address_lost: bool | None = None,
    slept_seconds: float = 0.0,
) -> Ask:
    happened = NetworkChanged(
        trigger, is_new_address=is_new_address, local_address_lost=local_address_lost, slept_seconds=slept_seconds
    )
    return lambda rules, situation: rules.network_event(happened, situation)


ROAM = event(Trigger.INTERFACE_CHANGE)
UNTOUCHED = event(Trigger.INTERFACE_CHANGE, is_new_address=True, local_address_lost=False)
LOCAL_ADDRESS_LOST = event(Trigger.INTERFACE_CHANGE, local_address_lost=True)
NEW_ADDRESS = event(Trigger.IP_ADDRESS_CHANGE, is_new_address=True)
NAP = event(Trigger.WAKE_UP, slept_seconds=59.0)
SLEEP = event(Trigger.WAKE_UP, slept_seconds=60.0)


def suspicion(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.path_suspect(situation)


def silence(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.path_lost(Trigger.CONNECTION_TIMEOUT, situation)


def loss(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.carrier_lost(situation, "")


def poor_idle(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.quality_poor(situation, carries_data=False)


def poor_busy(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.quality_poor(situation, carries_data=True)


def doubt(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.reported(Trigger.ICE_FAILURE, situation, "")


def request(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.requested(situation, rebuild=False)


def request_to_rebuild(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.requested(situation, rebuild=True)


def wait_of(trigger: Trigger, reason: DecisionReason = DecisionReason.RETRY) -> Ask:
    return lambda rules, situation: rules.retry(trigger, situation, reason)


wait_over = wait_of(Trigger.CONNECTION_TIMEOUT)


def first(rules: RecoveryPolicy, situation: Situation) -> Decision:
    return rules.first(situation)


TABLE: list[tuple[Ask, Situation, RecoveryAction, DecisionReason]] = [
    # Network events go first, also where the path still looks good.
    (ROAM, WORKING, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
    (ROAM, ACCEPTOR, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
    (ROAM, SILENT, RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (ROAM, LOST, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (ROAM, HELD, RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (ROAM, RESTARTING, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
    (ROAM, BUILDING, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (ROAM, WORKING._replace(restarts=7), RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
    (ROAM, WORKING._replace(restarts=8), RecoveryAction.SPARE, DecisionReason.WORN),
    # An engine that cannot restart ICE.
    (ROAM, UNABLE, RecoveryAction.SPARE, DecisionReason.CANNOT_RESTART),
    (request, UNABLE, RecoveryAction.SPARE, DecisionReason.CANNOT_RESTART),
    (poor_idle, UNABLE, RecoveryAction.SPARE, DecisionReason.CANNOT_RESTART),
    (poor_busy, UNABLE, RecoveryAction.HOLD, DecisionReason.CARRIES_DATA),
    (UNTOUCHED, UNABLE, RecoveryAction.HOLD, DecisionReason.UNTOUCHED),
    (ROAM, UNABLE._replace(silent_for=1.0), RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (ROAM, UNABLE._replace(is_open=False), RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (ROAM, NOT_BEGUN, RecoveryAction.HOLD, DecisionReason.NOT_BEGUN),
    (ROAM, NO_SIGNALING, RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (ROAM, NO_ADDRESS, RecoveryAction.WAIT, DecisionReason.NO_ADDRESS),
    (ROAM, RESTARTING._replace(signaling=False), RecoveryAction.HOLD, DecisionReason.NO_SIGNALING),
    (ROAM, BUILDING._replace(has_address=False), RecoveryAction.HOLD, DecisionReason.NO_ADDRESS),
    (NEW_ADDRESS, WORKING, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
    (NEW_ADDRESS, BUILDING, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
    (LOCAL_ADDRESS_LOST, WORKING, RecoveryAction.REBUILD, DecisionReason.LOCAL_ADDRESS_LOST),
    (UNTOUCHED, WORKING, RecoveryAction.HOLD, DecisionReason.UNTOUCHED),
    (UNTOUCHED, SILENT, RecoveryAction.HOLD, DecisionReason.UNTOUCHED),
    (UNTOUCHED, HELD, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
    (UNTOUCHED, LOST, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
    # A path that is lost with its address is replaced also while signaling is away.
    (LOCAL_ADDRESS_LOST, NO_SIGNALING, RecoveryAction.REBUILD, DecisionReason.LOCAL_ADDRESS_LOST),
    (NEW_ADDRESS, NO_SIGNALING, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
    (UNTOUCHED, NO_SIGNALING, RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (NAP, WORKING, RecoveryAction.HOLD, DecisionReason.SHORT_SLEEP),
    (NAP, LOST, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (SLEEP, WORKING, RecoveryAction.REBUILD, DecisionReason.LONG_SLEEP),
    (SLEEP, LOST, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (SLEEP, NO_SIGNALING, RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    # An answer that is overdue: a spare is begun where that can be done now, and nothing is waited for.
    (suspicion, WORKING, RecoveryAction.SPARE, DecisionReason.PATH_SUSPECT),
    (suspicion, ACCEPTOR, RecoveryAction.SPARE, DecisionReason.PATH_SUSPECT),
    (suspicion, WITH_SPARE, RecoveryAction.HOLD, DecisionReason.PATH_SUSPECT),
    (suspicion, RESTARTING, RecoveryAction.HOLD, DecisionReason.PATH_SUSPECT),
    (suspicion, NO_SIGNALING, RecoveryAction.HOLD, DecisionReason.PATH_SUSPECT),
    (suspicion, NO_ADDRESS, RecoveryAction.HOLD, DecisionReason.PATH_SUSPECT),
    # Silence. A spare that is under way is the attempt, at both ends, and whatever is missing for another.
    (silence, SILENT, RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (silence, WITH_SPARE, RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (silence, WITH_SPARE._replace(is_initiator=False), RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (silence, WITH_SPARE._replace(signaling=False), RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (silence, WITH_SPARE._replace(has_address=False), RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (silence, ACCEPTOR, RecoveryAction.WAIT, DecisionReason.GLARE),
    (silence, NO_SIGNALING, RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (silence, NO_ADDRESS, RecoveryAction.WAIT, DecisionReason.NO_ADDRESS),
    # A carrier that the engine gave up.
    (loss, WORKING._replace(is_open=False), RecoveryAction.REBUILD, DecisionReason.CARRIER_LOST),
    (loss, ACCEPTOR._replace(is_open=False), RecoveryAction.WAIT, DecisionReason.GLARE),
    (loss, NO_SIGNALING._replace(is_open=False), RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (loss, NO_ADDRESS._replace(is_open=False), RecoveryAction.WAIT, DecisionReason.NO_ADDRESS),
    # Quality.
    (poor_busy, WORKING, RecoveryAction.HOLD, DecisionReason.CARRIES_DATA),
    (poor_idle, WORKING, RecoveryAction.ICE_RESTART, DecisionReason.POOR_PATH),
    (poor_idle, SILENT, RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (poor_idle, WITH_SPARE, RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (poor_idle, NO_SIGNALING, RecoveryAction.HOLD, DecisionReason.NO_SIGNALING),
    # Opinions.
    (doubt, WORKING, RecoveryAction.HOLD, DecisionReason.DOUBTED),
    (doubt, NOT_BEGUN, RecoveryAction.HOLD, DecisionReason.NOT_BEGUN),
    # The user.
    (request, WORKING, RecoveryAction.ICE_RESTART, DecisionReason.ASKED),
    (request, SILENT, RecoveryAction.SPARE, DecisionReason.PATH_SILENT),
    (request, LOST, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (request, NOT_BEGUN, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
    (request, RESTARTING, RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (request, NO_SIGNALING, RecoveryAction.HOLD, DecisionReason.NO_SIGNALING),
    (request, LOST._replace(signaling=False), RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (request_to_rebuild, WORKING, RecoveryAction.SPARE, DecisionReason.ASKED),
    (request_to_rebuild, LOST, RecoveryAction.REBUILD, DecisionReason.ASKED),
    (request_to_rebuild, WITH_SPARE, RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    (request_to_rebuild, BUILDING, RecoveryAction.HOLD, DecisionReason.UNDER_WAY),
    # What was waited for.
    (wait_over, LOST, RecoveryAction.REBUILD, DecisionReason.RETRY),
    (wait_over, HELD, RecoveryAction.SPARE, DecisionReason.RETRY),
    (wait_of(Trigger.INTERFACE_CHANGE), HELD, RecoveryAction.SPARE, DecisionReason.RETRY),
    (wait_of(Trigger.IP_ADDRESS_CHANGE), HELD, RecoveryAction.REBUILD, DecisionReason.RETRY),
    (wait_of(Trigger.WAKE_UP), HELD, RecoveryAction.REBUILD, DecisionReason.RETRY),
    (wait_over, LOST._replace(signaling=False), RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
    (wait_over, LOST._replace(has_address=False), RecoveryAction.WAIT, DecisionReason.NO_ADDRESS),
    # An ICE restart that failed, or cannot be answered.
    (
        wait_of(Trigger.INTERFACE_CHANGE, DecisionReason.RESTART_FAILED),
        HELD,
        RecoveryAction.SPARE,
        DecisionReason.RESTART_FAILED,
    ),
    (
        wait_of(Trigger.IP_ADDRESS_CHANGE, DecisionReason.RESTART_FAILED),
        HELD,
        RecoveryAction.SPARE,
        DecisionReason.RESTART_FAILED,
    ),
    (
        wait_of(Trigger.ICE_FAILURE, DecisionReason.RESTART_FAILED),
        LOST,
        RecoveryAction.REBUILD,
        DecisionReason.RESTART_FAILED,
    ),
    (
        wait_of(Trigger.ICE_FAILURE, DecisionReason.PEER_IS_BEHIND),
        WORKING,
        RecoveryAction.SPARE,
        DecisionReason.PEER_IS_BEHIND,
    ),
    (
        wait_of(Trigger.ICE_FAILURE, DecisionReason.CANNOT_RESTART),
        UNABLE,
        RecoveryAction.SPARE,
        DecisionReason.CANNOT_RESTART,
    ),
    (first, LOST, RecoveryAction.REBUILD, DecisionReason.FIRST),
    (first, LOST._replace(signaling=False), RecoveryAction.WAIT, DecisionReason.NO_SIGNALING),
]


def rules(policy: RestartPolicy = POLICY) -> RecoveryPolicy:
    return RecoveryPolicy(policy, Random(1))


@pytest.mark.parametrize(("ask", "situation", "action", "reason"), TABLE)
def test_the_table(ask: Ask, situation: Situation, action: RecoveryAction, reason: DecisionReason) -> None:
    decision = ask(rules(), situation)
    assert (decision.action, decision.reason) == (action, reason)
    assert decision.at == situation.now


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.title)
def test_each_table_has_an_answer_to_everything(table: Table) -> None:
    for situation in (WORKING, NOT_BEGUN, LOST, BUILDING, WITH_SPARE):
        assert table.rules[-1].when.holds(Facts(situation, None)), "the last row always fits"


def at_the_limit() -> RecoveryPolicy:
    """Its budget was spent by the peer, but for the last restart, long enough ago to leave no grace."""
    spent = rules()
    for quarter in range(POLICY.max_restarts_per_minute):
        spent.peer_began(Trigger.INTERFACE_CHANGE, 90.0 + quarter / 4)
    assert ROAM(spent, WORKING._replace(now=98.0)).action is RecoveryAction.ICE_RESTART
    return spent


TABLE_AT_THE_LIMIT: list[tuple[Ask, Situation, RecoveryAction]] = [
    (ROAM, WORKING, RecoveryAction.WAIT),
    (NEW_ADDRESS, WORKING, RecoveryAction.WAIT),
    (SLEEP, WORKING, RecoveryAction.WAIT),
    (silence, SILENT, RecoveryAction.WAIT),
    (wait_over, LOST, RecoveryAction.WAIT),
    (ROAM, BUILDING, RecoveryAction.HOLD),
]


@pytest.mark.parametrize(("ask", "situation", "action"), TABLE_AT_THE_LIMIT)
def test_a_reached_restart_limit_lets_nothing_begin(ask: Ask, situation: Situation, action: RecoveryAction) -> None:
    decision = ask(at_the_limit(), situation)
    assert (decision.action, decision.reason) == (action, DecisionReason.RESTART_LIMIT)
    assert decision.next_attempt_at == 150.0
    assert ask(at_the_limit(), situation._replace(now=150.0)).reason is not DecisionReason.RESTART_LIMIT


def test_no_spare_is_begun_for_a_suspicion_at_the_restart_limit() -> None:
    decision = suspicion(at_the_limit(), WORKING)
    assert (decision.action, decision.reason, decision.next_attempt_at) == (
        RecoveryAction.HOLD,
        DecisionReason.PATH_SUSPECT,
        None,
    )
    assert suspicion(at_the_limit(), WORKING._replace(now=160.0)).action is RecoveryAction.SPARE


def test_a_suspicions_spare_counts_as_a_restart() -> None:
    busy = rules()
    begun = [suspicion(busy, WORKING._replace(now=100.0 + tenth / 10)).action for tenth in range(50)]
    assert begun.count(RecoveryAction.SPARE) == POLICY.max_restarts_per_minute // 2, (
        "the others are for who needs them more"
    )
    for place in range(POLICY.max_restarts_per_minute // 2):
        ROAM(busy, WORKING._replace(now=110.0 + 2 * place))
    assert ROAM(busy, WORKING._replace(now=130.0)).reason is DecisionReason.RESTART_LIMIT


def test_a_spare_that_was_not_needed_counts_for_nothing() -> None:
    calm = rules()
    for tenth in range(50):
        now = 100.0 + tenth / 10
        assert suspicion(calm, WORKING._replace(now=now)).action is RecoveryAction.SPARE
        calm.precaution_wasted(now)
    assert ROAM(calm, WORKING._replace(now=110.0)).action is RecoveryAction.ICE_RESTART


def test_a_silence_that_finds_a_spare_under_way_spends_no_restart() -> None:
    busy = rules()
    for _ in range(50):
        silence(busy, WITH_SPARE)
    assert ROAM(busy, WORKING).action is RecoveryAction.ICE_RESTART


def test_poor_quality_at_the_restart_limit_is_left_to_the_next_health_check() -> None:
    decision = poor_idle(at_the_limit(), WORKING)
    assert (decision.action, decision.reason) == (RecoveryAction.HOLD, DecisionReason.RESTART_LIMIT)
    assert decision.next_attempt_at is None


@pytest.mark.parametrize("ask", [loss, request, request_to_rebuild])
def test_what_the_engine_lost_and_what_the_user_wants_is_not_limited(ask: Ask) -> None:
    assert ask(at_the_limit(), LOST).action is RecoveryAction.REBUILD


def test_the_users_requests_and_the_engines_losses_do_not_spend_the_budget() -> None:
    calm = rules()
    for _ in range(50):
        request_to_rebuild(calm, WORKING)
        loss(calm, LOST)
    assert ROAM(calm, WORKING).action is RecoveryAction.ICE_RESTART


def test_no_more_restarts_a_minute_than_may_be_whatever_their_trigger() -> None:
    busy, begun = rules(), 0
    for tick, ask in enumerate([ROAM, NEW_ADDRESS, SLEEP, silence, wait_over, poor_idle] * 100):
        decision = ask(busy, WORKING._replace(now=100.0 + tick / 10))
        begun += decision.action in (RecoveryAction.ICE_RESTART, RecoveryAction.REBUILD, RecoveryAction.SPARE)
    assert begun == POLICY.max_restarts_per_minute


# The grace.


def test_a_second_event_within_the_grace_waits_for_the_first_ones_result() -> None:
    moved = rules()
    ROAM(moved, WORKING)
    again = event(Trigger.IP_ADDRESS_CHANGE)(moved, RESTARTING._replace(now=100.5))
    assert (again.action, again.reason, again.next_attempt_at) == (RecoveryAction.HOLD, DecisionReason.IN_GRACE, 101.0)
    assert ROAM(moved, WORKING._replace(now=101.0)).action is RecoveryAction.ICE_RESTART


def test_a_new_address_does_not_wait_for_the_grace() -> None:
    moved = rules()
    ROAM(moved, WORKING)
    assert NEW_ADDRESS(moved, RESTARTING._replace(now=100.5)).action is RecoveryAction.REBUILD


@pytest.mark.parametrize(
    "ask",
    [LOCAL_ADDRESS_LOST, event(Trigger.IP_ADDRESS_CHANGE, is_new_address=True, local_address_lost=True)],
)
def test_a_path_that_is_up_again_and_loses_its_address_does_not_wait_for_the_grace(ask: Ask) -> None:
    moved = rules()
    NEW_ADDRESS(moved, WORKING)
    assert ask(moved, BUILDING._replace(now=100.1)).reason is DecisionReason.IN_GRACE
    assert ask(moved, WORKING._replace(now=100.2)).action is RecoveryAction.REBUILD


def test_several_events_of_one_new_address_cause_one_rebuild() -> None:
    # Found by review: each event of a change to a new address aborted the rebuild of the one before.
    moved = rules()
    assert NEW_ADDRESS(moved, WORKING).action is RecoveryAction.REBUILD
    assert NEW_ADDRESS(moved, BUILDING._replace(now=100.05)).reason is DecisionReason.IN_GRACE
    assert NEW_ADDRESS(moved, BUILDING._replace(now=101.0)).action is RecoveryAction.REBUILD


def test_the_peers_hand_over_has_a_grace_here_too() -> None:
    moved = rules()
    moved.peer_began(Trigger.INTERFACE_CHANGE, 100.0)
    assert ROAM(moved, WORKING._replace(now=100.5)).reason is DecisionReason.IN_GRACE


@pytest.mark.parametrize("ask", [silence, loss, request, poor_idle])
def test_what_no_network_event_began_has_no_grace(ask: Ask) -> None:
    moved = rules()
    ask(moved, WORKING)
    assert ROAM(moved, WORKING._replace(now=100.1)).reason is not DecisionReason.IN_GRACE


def test_a_build_that_fails_within_the_grace_is_not_spent_but_only_once() -> None:
    # Found by review: each retry began a grace of its own, so instant failures were never counted.
    moved = rules()
    NEW_ADDRESS(moved, WORKING)
    within = moved.rebuild_failed(Trigger.IP_ADDRESS_CHANGE, LOST._replace(now=100.2), "")
    assert (within.action, within.reason, within.attempt, within.next_attempt_at) == (
        RecoveryAction.WAIT,
        DecisionReason.IN_GRACE,
        0,
        101.0,
    )
    moved.retry(Trigger.IP_ADDRESS_CHANGE, LOST._replace(now=101.0))
    after = moved.rebuild_failed(Trigger.IP_ADDRESS_CHANGE, LOST._replace(now=101.2), "")
    assert (after.reason, after.attempt) == (DecisionReason.BACKOFF, 1)


# Attempts.


def fail(failing: RecoveryPolicy, situation: Situation = LOST) -> Decision:
    return failing.rebuild_failed(Trigger.ICE_FAILURE, situation, "why")


def test_attempts_wait_five_and_ten_seconds_and_the_third_is_the_last() -> None:
    failing = rules()
    waits = [fail(failing), fail(failing)]
    assert [(wait.action, wait.reason, wait.attempt) for wait in waits] == [
        (RecoveryAction.WAIT, DecisionReason.BACKOFF, 1),
        (RecoveryAction.WAIT, DecisionReason.BACKOFF, 2),
    ]
    for wait, base in zip(waits, (5.0, 10.0), strict=True):
        assert wait.next_attempt_at is not None
        assert base <= wait.next_attempt_at - 100.0 <= base * (1 + JITTER)
    last = fail(failing)
    assert (last.action, last.reason, last.attempt, last.detail) == (
        RecoveryAction.FAIL,
        DecisionReason.EXHAUSTED,
        3,
        "why",
    )


def test_the_acceptor_end_never_fails_by_itself() -> None:
    failing = rules()
    acceptor = LOST._replace(is_initiator=False)
    last = [fail(failing, acceptor) for _ in range(3)][-1]
    assert (last.action, last.reason, last.next_attempt_at) == (RecoveryAction.WAIT, DecisionReason.PEERS_TURN, None)
    assert failing.retry(Trigger.ICE_FAILURE, acceptor).reason is DecisionReason.PEERS_TURN


@pytest.mark.parametrize("ask", [ROAM, NEW_ADDRESS, SLEEP])
def test_a_network_event_starts_the_count_over(ask: Ask) -> None:
    failing = rules()
    fail(failing)
    fail(failing)
    assert ask(failing, LOST._replace(now=110.0)).attempt == 1
    assert fail(failing, LOST._replace(now=120.0)).attempt == 1


def test_a_success_starts_the_count_over() -> None:
    failing = rules()
    fail(failing)
    fail(failing)
    failing.succeeded(110.0)
    assert fail(failing, LOST._replace(now=120.0)).attempt == 1


@pytest.mark.parametrize("situation", [LOST._replace(signaling=False), LOST._replace(has_address=False)])
def test_an_attempt_that_fails_while_nothing_can_be_attempted_is_not_spent(situation: Situation) -> None:
    failing = rules()
    for _ in range(10):
        assert fail(failing, situation).action is RecoveryAction.WAIT
    assert fail(failing).attempt == 1


def test_waits_double_up_to_the_longest_with_at_most_a_tenth_of_jitter() -> None:
    for seed in range(50):
        waits = [backoff(POLICY, failures, Random(seed)) for failures in range(1, 12)]
        for wait, base in zip(waits, (5, 10, 20, 40, *[60] * 7), strict=True):
            assert base <= wait <= min(60.0, base * (1 + JITTER))
        assert all(before <= after for before, after in pairwise(waits))


def test_jitter_comes_from_the_generator_that_is_given() -> None:
    assert backoff(POLICY, 1, Random(7)) == backoff(POLICY, 1, Random(7)) != backoff(POLICY, 1, Random(8))


def test_no_number_of_failures_is_too_large() -> None:
    assert backoff(POLICY, 10**9, Random(1)) == 60.0


# Carriers that die young.


def test_carriers_that_die_young_are_forgiven_five_times_then_wait_and_then_fail() -> None:
    young, found = rules(), list[tuple[RecoveryAction, DecisionReason, int]]()
    for life in range(SHORT_LIVES_FORGIVEN + 3):
        now = 100.0 + life
        young.succeeded(now)
        decision = young.carrier_lost(LOST._replace(now=now + 0.1), "")
        found.append((decision.action, decision.reason, decision.attempt))
    assert (
        found[:SHORT_LIVES_FORGIVEN]
        == [(RecoveryAction.REBUILD, DecisionReason.CARRIER_LOST, 1)] * SHORT_LIVES_FORGIVEN
    )
    assert found[SHORT_LIVES_FORGIVEN:] == [
        (RecoveryAction.WAIT, DecisionReason.SHORT_LIVES, 1),
        (RecoveryAction.WAIT, DecisionReason.SHORT_LIVES, 2),
        (RecoveryAction.FAIL, DecisionReason.EXHAUSTED, 3),
    ]


@pytest.mark.parametrize("prove", [True, False])
def test_a_life_that_was_long_or_proved_itself_is_not_young(prove: bool) -> None:
    old = rules()
    for life in range(50):
        now = 100.0 + life
        old.succeeded(now)
        if prove:
            old.acknowledged()
        lost_at = now + (0.1 if prove else 0.3)
        assert old.carrier_lost(LOST._replace(now=lost_at), "").action is RecoveryAction.REBUILD


# Quality.


def test_restarts_for_quality_wait_longer_each_time_until_it_is_restored() -> None:
    poor = rules()
    assert poor_idle(poor, WORKING).action is RecoveryAction.ICE_RESTART
    assert poor_idle(poor, WORKING._replace(now=104.0)).reason is DecisionReason.QUALITY_BACKOFF
    assert poor_idle(poor, WORKING._replace(now=106.0)).action is RecoveryAction.ICE_RESTART
    assert poor_idle(poor, WORKING._replace(now=115.0)).reason is DecisionReason.QUALITY_BACKOFF
    poor.quality_restored()
    assert poor_idle(poor, WORKING._replace(now=115.0)).action is RecoveryAction.ICE_RESTART


# Words.


def test_a_wait_for_glare_is_short() -> None:
    assert silence(rules(), ACCEPTOR).next_attempt_at == 100.0 + GLARE_DELAY


def test_every_reason_rung_and_trigger_is_a_phrase_of_its_own() -> None:
    for words in (DecisionReason, RecoveryAction, Trigger, Reason):
        phrases = [word.value for word in words]
        assert len(set(phrases)) == len(phrases) == len(words.__members__)


def test_a_new_session_replaces_one_that_the_peer_forgot_at_once_and_then_backs_off() -> None:
    assert renewal_delay(POLICY, Reason.PEER_RESTARTED, 1, Random(1)) == 0.0
    assert 5.0 <= renewal_delay(POLICY, Reason.ABANDONED, 0, Random(1)) <= 5.5
    assert 10.0 <= renewal_delay(POLICY, Reason.UNKNOWN_SESSION, 2, Random(1)) <= 11.0
