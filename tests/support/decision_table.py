"""What recovery decides when, as docs/recovery.md shows it; a random walk through the core holds it to be complete."""

from __future__ import annotations

from perdure.core.decision import DecisionReason, RecoveryAction, Trigger

Triggers = tuple[Trigger | None, ...]
Row = tuple[Triggers, str, tuple[RecoveryAction, ...], DecisionReason]
"""Triggers, the situation in words, what is done, and the reason that the decision carries."""

ANY: Triggers = (None, *Trigger)
FIRST: Triggers = (None,)
MOVED: Triggers = (Trigger.INTERFACE_CHANGE, Trigger.IP_ADDRESS_CHANGE)
NETWORK: Triggers = (*MOVED, Trigger.WAKE_UP)

AT_ONCE: list[Row] = [
    (
        (Trigger.CONNECTION_TIMEOUT,),
        "the path is suspect (*hold* while signaling is away, without an address, and at the restart limit)",
        (RecoveryAction.SPARE, RecoveryAction.HOLD),
        DecisionReason.PATH_SUSPECT,
    ),
    (
        (Trigger.CONNECTION_TIMEOUT, Trigger.ICE_FAILURE, Trigger.QUALITY_DEGRADATION, Trigger.REQUEST),
        "ICE reports a problem, or your program does (`report_network_change`)",
        (RecoveryAction.HOLD,),
        DecisionReason.DOUBTED,
    ),
    ((Trigger.QUALITY_DEGRADATION,), "the path carries data", (RecoveryAction.HOLD,), DecisionReason.CARRIES_DATA),
    (
        (Trigger.CONNECTION_TIMEOUT, Trigger.ICE_FAILURE, Trigger.QUALITY_DEGRADATION, Trigger.REQUEST),
        "a spare is under way; for a request: any attempt",
        (RecoveryAction.HOLD,),
        DecisionReason.UNDER_WAY,
    ),
    (
        ANY,
        "the tube has not begun, or its first offer has not come",
        (RecoveryAction.HOLD,),
        DecisionReason.NOT_BEGUN,
    ),
    (
        ANY,
        "there is no usable address (*hold* while an attempt is under way; for quality or a request also while the "
        "path works)",
        (RecoveryAction.WAIT, RecoveryAction.HOLD),
        DecisionReason.NO_ADDRESS,
    ),
    (
        ANY,
        "signaling is away (*hold* in the same cases)",
        (RecoveryAction.WAIT, RecoveryAction.HOLD),
        DecisionReason.NO_SIGNALING,
    ),
    (
        (Trigger.WAKE_UP,),
        "the sleep was shorter than 60 s, and there is a carrier",
        (RecoveryAction.HOLD,),
        DecisionReason.SHORT_SLEEP,
    ),
    (
        MOVED,
        "the path works, and the network monitor says that its own address was not touched",
        (RecoveryAction.HOLD,),
        DecisionReason.UNTOUCHED,
    ),
    (
        NETWORK,
        "less than `handover_grace` after the network event before; not where this one brings the first new address, "
        "or takes the address of a path that works",
        (RecoveryAction.HOLD,),
        DecisionReason.IN_GRACE,
    ),
    (
        (*NETWORK, Trigger.CONNECTION_TIMEOUT, Trigger.QUALITY_DEGRADATION),
        "`max_restarts_per_minute` is spent (*hold* while an attempt is under way; for quality also while the path "
        "works)",
        (RecoveryAction.WAIT, RecoveryAction.HOLD),
        DecisionReason.RESTART_LIMIT,
    ),
    (
        (*NETWORK, Trigger.CONNECTION_TIMEOUT, Trigger.QUALITY_DEGRADATION),
        "one restart of this minute is left, and the last network event is less than 4 s old (silence and quality: "
        "60 s); or two are left, and it is less than 1 s old (10 s), and has not brought the path's own address back",
        (RecoveryAction.WAIT, RecoveryAction.HOLD),
        DecisionReason.UNSETTLED,
    ),
    (
        (Trigger.WAKE_UP,),
        "the sleep was longer, and there is a carrier",
        (RecoveryAction.REBUILD,),
        DecisionReason.LONG_SLEEP,
    ),
    (
        MOVED,
        "the path's own address is gone, or no longer where the default route is; the engine knows another",
        (RecoveryAction.REBUILD,),
        DecisionReason.LOCAL_ADDRESS_LOST,
    ),
    (NETWORK, "there is a new address", (RecoveryAction.REBUILD,), DecisionReason.NEW_ADDRESS),
    (
        (Trigger.CONNECTION_TIMEOUT,),
        "the path is lost, at the gateway, for 0.1 s",
        (RecoveryAction.WAIT,),
        DecisionReason.GLARE,
    ),
    (
        (Trigger.CONNECTION_TIMEOUT,),
        "the path is lost, at the client",
        (RecoveryAction.SPARE,),
        DecisionReason.PATH_SILENT,
    ),
    (
        (Trigger.ICE_FAILURE,),
        "the sixth carrier in a row was lost within 0.25 s of its success, before anything was acknowledged on it",
        (RecoveryAction.WAIT,),
        DecisionReason.SHORT_LIVES,
    ),
    ((Trigger.ICE_FAILURE,), "ICE has given up, at the client", (RecoveryAction.SPARE,), DecisionReason.ICE_FAILED),
    (
        (Trigger.ICE_FAILURE,),
        "the carrier was lost, at the client",
        (RecoveryAction.REBUILD,),
        DecisionReason.CARRIER_LOST,
    ),
    (
        (Trigger.ICE_FAILURE,),
        "either of these, at the gateway, for 0.1 s",
        (RecoveryAction.WAIT,),
        DecisionReason.GLARE,
    ),
    (
        (Trigger.QUALITY_DEGRADATION,),
        "a restart for quality was tried less than 5 s, then 10 s … 60 s ago",
        (RecoveryAction.HOLD,),
        DecisionReason.QUALITY_BACKOFF,
    ),
    (
        (Trigger.REQUEST,),
        "`rebuild()` was called (*rebuild* where no carrier is open)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.ASKED,
    ),
    ((*NETWORK, Trigger.REQUEST), "no carrier is open", (RecoveryAction.REBUILD,), DecisionReason.NOT_OPEN),
    (
        (*MOVED, Trigger.QUALITY_DEGRADATION, Trigger.REQUEST),
        "the path has been silent for 0.3 s or more",
        (RecoveryAction.SPARE,),
        DecisionReason.PATH_SILENT,
    ),
    (
        (*MOVED, Trigger.QUALITY_DEGRADATION, Trigger.REQUEST),
        "the carrier's engine cannot restart ICE (perdure's own can; a `transport` of yours may not)",
        (RecoveryAction.SPARE,),
        DecisionReason.CANNOT_RESTART,
    ),
    (ANY, "this carrier's ICE was restarted 8 times already", (RecoveryAction.SPARE,), DecisionReason.WORN),
    (MOVED, "otherwise", (RecoveryAction.ICE_RESTART,), DecisionReason.NETWORK_MOVED),
    ((Trigger.QUALITY_DEGRADATION,), "otherwise", (RecoveryAction.ICE_RESTART,), DecisionReason.POOR_PATH),
    ((Trigger.REQUEST,), "otherwise", (RecoveryAction.ICE_RESTART,), DecisionReason.ASKED),
    (FIRST, "the client's first offer", (RecoveryAction.REBUILD,), DecisionReason.FIRST),
]
"""The first row that fits, from top to bottom."""

ONCE_IT_CAN: list[Row] = [
    (NETWORK, "the peer was heard since the event came", (RecoveryAction.HOLD,), DecisionReason.CARRIES_DATA),
    (NETWORK, "an attempt has begun since", (RecoveryAction.HOLD,), DecisionReason.UNDER_WAY),
]
"""A network event that had to wait, judged again; otherwise as `AT_ONCE`."""

AFTERWARDS: list[Row] = [
    (
        ANY,
        "the peer answered an ICE restart with its old credentials",
        (RecoveryAction.SPARE,),
        DecisionReason.PEER_CANNOT_RESTART,
    ),
    (
        ANY,
        "an ICE restart brought no data within `ice_restart_timeout` (*rebuild* where the carrier was lost meanwhile)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.RESTART_FAILED,
    ),
    (
        ANY,
        "the peer restarts a carrier that is gone here (*rebuild* where no other is open)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.PEER_IS_BEHIND,
    ),
    (
        ANY,
        "the peer restarts ICE on a carrier whose engine here cannot; the peer follows the new offer (*rebuild* where "
        "the carrier is not open)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.CANNOT_RESTART,
    ),
    (ANY, "a new carrier did not open, within `handover_grace`", (RecoveryAction.WAIT,), DecisionReason.IN_GRACE),
    (
        ANY,
        "a new carrier did not open, within `attempt_timeout` or at once",
        (RecoveryAction.WAIT,),
        DecisionReason.BACKOFF,
    ),
    (
        ANY,
        "the wait is over, and a carrier is open (*rebuild* for IP_ADDRESS_CHANGE and WAKE_UP)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.RETRY,
    ),
    (ANY, "the wait is over, and no carrier is open", (RecoveryAction.REBUILD,), DecisionReason.RETRY),
    (
        ANY,
        "the peer was away, is back, and answers an offer whose attempt is over (*rebuild* where no carrier is open)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.ANSWERED_LATE,
    ),
    (
        ANY,
        "the peer withdraws a spare that all waits for here (*rebuild* where no carrier is open)",
        (RecoveryAction.SPARE, RecoveryAction.REBUILD),
        DecisionReason.WITHDRAWN,
    ),
    (ANY, "the attempts are spent, at the gateway", (RecoveryAction.WAIT,), DecisionReason.PEERS_TURN),
    (ANY, "the attempts are spent, at the client", (RecoveryAction.FAIL,), DecisionReason.EXHAUSTED),
]
"""After an attempt or a wait, whatever the trigger was."""

ROWS = [*AT_ONCE, *ONCE_IT_CAN, *AFTERWARDS]


def as_cells(row: Row) -> tuple[str, ...]:
    """The row as its table has it."""
    triggers, situation, actions, reason = row
    return _triggers(triggers), situation, ", ".join(action.value for action in actions), reason.value


def _triggers(triggers: Triggers) -> str:
    if triggers == ANY:
        return "any"
    if triggers == FIRST:
        return "first set-up"
    rest = [trigger.name for trigger in triggers if trigger is not None]
    if triggers[:3] == NETWORK:
        rest = ["network event", *rest[3:]]
    return ", ".join(rest)
