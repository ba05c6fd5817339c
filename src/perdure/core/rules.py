"""What recovery decides, as data: one table for each thing that can happen. The first row that fits is the answer.

docs/recovery.md shows these tables; they are written there from here. What holds in all of them:

1. Nothing is built or spent without a usable address or signaling. A warm spare needs no signaling. A path that is
   lost with its address is replaced without signaling all the same: signaling comes back meanwhile, and then has the
   offer to send. One whose address is there, only off the default route, is kept until then: it may work. What is
   planned needs no rendezvous while the path works: its offer goes through the carrier.
2. A network event acts at once, also where the path still looks good, unless it leaves the path's own address alone.
3. No more restarts than `max_restarts_per_minute`, the last of them each end's own. What the engine or the user ended
   does not count: no network causes that. Suspicions take at most half of them, and one that was not needed is given
   back. The use of a warm spare counts, and waits for nothing.
4. An open carrier goes on beside a new one. It is closed first only where its own address is gone, or where the engine
   has to read the networks anew (docs/design.md).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import NamedTuple

from perdure.core.conditions import (
    ADDRESS_LOST,
    ASKS_FOR_REBUILD,
    AT_GATEWAY,
    ATTEMPTING,
    ATTEMPTS_LEFT,
    ATTEMPTS_SPENT,
    BUSY,
    CANNOT_RESTART,
    CARRIES_DATA,
    HAS_SPARE,
    HAS_STANDBY,
    ICE_FAILED,
    IN_GRACE,
    LIMIT_HALVED,
    LIMIT_REACHED,
    LIMIT_RESERVED,
    NEW_ADDRESS,
    NO_ADDRESS,
    NO_NEWS,
    NO_SIGNALING,
    NOT_BEGUN,
    NOT_OPEN,
    OTHERWISE,
    QUALITY_TRIED,
    READS_NETWORKS,
    RESUMING,
    SHORT_LIVES,
    SILENT,
    SLEPT_LONG,
    SLEPT_SHORTLY,
    STANDBY_LEADS_ON,
    TAKES_NO_SPARE,
    UNTOUCHED,
    WAIT_IS_OVER,
    WORN,
    Facts,
    When,
    because,
)
from perdure.core.decision import DecisionReason, RecoveryAction


class Until(Enum):
    """When what was put off is looked at again by itself."""

    GRACE = auto()
    """`handover_grace` after the hand-over."""
    LIMIT = auto()
    """When the restart limit allows it."""
    BACKOFF = auto()
    """`restart_backoff_base`, doubled with each failure in a row."""
    GLARE = auto()
    """`GLARE_DELAY` from now."""
    RESUMED = auto()
    """See `conditions.resuming_until`."""


class Rule(NamedTuple):
    when: When
    action: RecoveryAction
    """SPARE is REBUILD where no carrier is open."""
    reason: DecisionReason
    until: Until | None = None


class Table:
    """Rules in their order; a table among its parts stands for its rules."""

    __slots__ = ("parts", "rules", "title")

    def __init__(self, title: str, parts: tuple[Rule | Table, ...]) -> None:
        self.title = title
        self.parts = parts
        self.rules: tuple[Rule, ...] = ()
        """Its own, and those of its parts."""
        for part in parts:
            self.rules += part.rules if isinstance(part, Table) else (part,)

    def find(self, facts: Facts) -> Rule:
        """The first rule that fits. The last one of a table that is asked always does."""
        for rule in self.rules:
            if rule.when.holds(facts):
                return rule
        raise AssertionError(f"no rule of {self.title!r} fits {facts}")


_HOLD, _WAIT, _SPARE = RecoveryAction.HOLD, RecoveryAction.WAIT, RecoveryAction.SPARE

NOTHING_POSSIBLE = Table(
    "Nothing is possible now",
    (
        Rule(NOT_BEGUN, _HOLD, DecisionReason.NOT_BEGUN),
        Rule(NO_ADDRESS & BUSY, _HOLD, DecisionReason.NO_ADDRESS),
        Rule(NO_ADDRESS, _WAIT, DecisionReason.NO_ADDRESS),
        Rule(NO_SIGNALING & BUSY, _HOLD, DecisionReason.NO_SIGNALING),
        Rule(NO_SIGNALING, _WAIT, DecisionReason.NO_SIGNALING),
    ),
)
RESTART_LIMIT = Table(
    "The restart limit",
    (
        Rule(LIMIT_REACHED & ATTEMPTING, _HOLD, DecisionReason.RESTART_LIMIT, Until.LIMIT),
        Rule(LIMIT_REACHED & BUSY, _HOLD, DecisionReason.RESTART_LIMIT),
        Rule(LIMIT_REACHED, _WAIT, DecisionReason.RESTART_LIMIT, Until.LIMIT),
        Rule(LIMIT_RESERVED & ATTEMPTING, _HOLD, DecisionReason.UNSETTLED, Until.LIMIT),
        Rule(LIMIT_RESERVED & BUSY, _HOLD, DecisionReason.UNSETTLED),
        Rule(LIMIT_RESERVED, _WAIT, DecisionReason.UNSETTLED, Until.LIMIT),
    ),
)
NO_ICE_RESTART = Table(
    "A new carrier instead of an ICE restart",
    (
        Rule(NOT_OPEN, RecoveryAction.REBUILD, DecisionReason.NOT_OPEN),
        Rule(SILENT, _SPARE, DecisionReason.PATH_SILENT),
        Rule(CANNOT_RESTART, _SPARE, DecisionReason.CANNOT_RESTART),
        Rule(WORN, _SPARE, DecisionReason.WORN),
    ),
)
ATTEMPT_FAILED = Table(
    "An attempt has failed",
    (
        Rule(ATTEMPTS_LEFT, _WAIT, DecisionReason.BACKOFF, Until.BACKOFF),
        Rule(AT_GATEWAY, _WAIT, DecisionReason.PEERS_TURN),
        Rule(OTHERWISE, RecoveryAction.FAIL, DecisionReason.EXHAUSTED),
    ),
)

# What can happen.

FIRST_OFFER = Table(
    "The client makes the first offer",
    (NOTHING_POSSIBLE, Rule(OTHERWISE, RecoveryAction.REBUILD, DecisionReason.FIRST)),
)
NETWORK_EVENT = Table(
    "A network event",
    (
        Rule(ADDRESS_LOST & HAS_STANDBY & STANDBY_LEADS_ON, RecoveryAction.SWITCH, DecisionReason.LOCAL_ADDRESS_LOST),
        NOTHING_POSSIBLE,
        Rule(SLEPT_SHORTLY, _HOLD, DecisionReason.SHORT_SLEEP),
        Rule(UNTOUCHED, _HOLD, DecisionReason.UNTOUCHED),
        Rule(IN_GRACE & NO_NEWS, _HOLD, DecisionReason.IN_GRACE, Until.GRACE),
        RESTART_LIMIT,
        Rule(SLEPT_LONG, RecoveryAction.REBUILD, DecisionReason.LONG_SLEEP),
        Rule(NEW_ADDRESS, RecoveryAction.REBUILD, DecisionReason.NEW_ADDRESS),
        Rule(ADDRESS_LOST, RecoveryAction.REBUILD, DecisionReason.LOCAL_ADDRESS_LOST),
        Rule(RESUMING, _HOLD, DecisionReason.UNDER_WAY, Until.RESUMED),
        NO_ICE_RESTART,
        Rule(OTHERWISE, RecoveryAction.ICE_RESTART, DecisionReason.NETWORK_MOVED),
    ),
)
EVENT_ANSWERED = Table(
    "A network event waited, and the peer was heard since, or an attempt is under way that can use what it brought",
    (
        Rule(ATTEMPTING, _HOLD, DecisionReason.UNDER_WAY),
        Rule(OTHERWISE, _HOLD, DecisionReason.CARRIES_DATA),
    ),
)
PATH_SUSPECT = Table(
    "The path is suspect",
    (
        Rule(ATTEMPTING, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(HAS_SPARE, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(NOT_BEGUN, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(NO_ADDRESS, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(TAKES_NO_SPARE, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(LIMIT_HALVED, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(HAS_STANDBY, RecoveryAction.SWITCH, DecisionReason.PATH_SUSPECT),
        Rule(NO_SIGNALING, _HOLD, DecisionReason.PATH_SUSPECT),
        Rule(OTHERWISE, _SPARE, DecisionReason.PATH_SUSPECT),
    ),
)
PATH_LOST = Table(
    "The path is lost: it is silent, or ICE has given up",
    (
        Rule(HAS_SPARE, _HOLD, DecisionReason.UNDER_WAY),
        Rule(ICE_FAILED & HAS_STANDBY, RecoveryAction.SWITCH, DecisionReason.ICE_FAILED),
        Rule(HAS_STANDBY, RecoveryAction.SWITCH, DecisionReason.PATH_SILENT),
        NOTHING_POSSIBLE,
        RESTART_LIMIT,
        Rule(AT_GATEWAY, _WAIT, DecisionReason.GLARE, Until.GLARE),
        Rule(ICE_FAILED, _SPARE, DecisionReason.ICE_FAILED),
        Rule(OTHERWISE, _SPARE, DecisionReason.PATH_SILENT),
    ),
)
CARRIER_LOST = Table(
    "The engine gives the carrier up",
    (
        Rule(HAS_STANDBY, RecoveryAction.SWITCH, DecisionReason.CARRIER_LOST),
        NOTHING_POSSIBLE,
        Rule(SHORT_LIVES & ATTEMPTS_LEFT, _WAIT, DecisionReason.SHORT_LIVES, Until.BACKOFF),
        Rule(SHORT_LIVES & AT_GATEWAY, _WAIT, DecisionReason.PEERS_TURN),
        Rule(SHORT_LIVES, RecoveryAction.FAIL, DecisionReason.EXHAUSTED),
        Rule(AT_GATEWAY, _WAIT, DecisionReason.GLARE, Until.GLARE),
        Rule(OTHERWISE, RecoveryAction.REBUILD, DecisionReason.CARRIER_LOST),
    ),
)
QUALITY_POOR = Table(
    "The path's quality is poor",
    (
        Rule(CARRIES_DATA, _HOLD, DecisionReason.CARRIES_DATA),
        Rule(HAS_SPARE, _HOLD, DecisionReason.UNDER_WAY),
        NOTHING_POSSIBLE,
        RESTART_LIMIT,
        Rule(QUALITY_TRIED, _HOLD, DecisionReason.QUALITY_BACKOFF),
        NO_ICE_RESTART,
        Rule(OTHERWISE, RecoveryAction.ICE_RESTART, DecisionReason.POOR_PATH),
    ),
)
REQUESTED = Table(
    "A new path is wanted: `restart_ice()`, `rebuild()`, a planned move",
    (
        Rule(HAS_SPARE, _HOLD, DecisionReason.UNDER_WAY),
        Rule(ATTEMPTING, _HOLD, DecisionReason.UNDER_WAY),
        NOTHING_POSSIBLE,
        Rule(
            because(DecisionReason.RELAYS_RENEWED, "there are new credentials for the TURN server in use"),
            _SPARE,
            DecisionReason.RELAYS_RENEWED,
        ),
        Rule(
            because(DecisionReason.TRY_DIRECT, "the path has been relayed for `direct_retry_interval`"),
            _SPARE,
            DecisionReason.TRY_DIRECT,
        ),
        Rule(ASKS_FOR_REBUILD, _SPARE, DecisionReason.ASKED),
        NO_ICE_RESTART,
        Rule(OTHERWISE, RecoveryAction.ICE_RESTART, DecisionReason.ASKED),
    ),
)
REPORTED = Table(
    "ICE reports a problem, or your program does: `report_network_change()`",
    (
        Rule(NOT_BEGUN, _HOLD, DecisionReason.NOT_BEGUN),
        Rule(OTHERWISE, _HOLD, DecisionReason.DOUBTED),
    ),
)
RETRY = Table(
    "A wait is over, or an ICE restart has failed",
    (
        NOTHING_POSSIBLE,
        RESTART_LIMIT,
        Rule(ATTEMPTS_SPENT & ATTEMPTING, _HOLD, DecisionReason.PEERS_TURN),
        Rule(ATTEMPTS_SPENT, _WAIT, DecisionReason.PEERS_TURN),
        Rule(WAIT_IS_OVER & READS_NETWORKS, RecoveryAction.REBUILD, DecisionReason.RETRY),
        Rule(WAIT_IS_OVER, _SPARE, DecisionReason.RETRY),
        Rule(
            because(
                DecisionReason.RESTART_FAILED,
                "an ICE restart brought no data within `ice_restart_timeout`, or the carrier was lost",
            ),
            _SPARE,
            DecisionReason.RESTART_FAILED,
        ),
        Rule(
            because(DecisionReason.PEER_CANNOT_RESTART, "the peer answered an ICE restart with its old credentials"),
            _SPARE,
            DecisionReason.PEER_CANNOT_RESTART,
        ),
        Rule(
            because(DecisionReason.PEER_IS_BEHIND, "the peer restarts a carrier that is gone here"),
            _SPARE,
            DecisionReason.PEER_IS_BEHIND,
        ),
        Rule(
            because(DecisionReason.WITHDRAWN, "the peer withdraws a spare that is the attempt here"),
            _SPARE,
            DecisionReason.WITHDRAWN,
        ),
        Rule(
            because(
                DecisionReason.RELAYS_RENEWED,
                "an attempt has begun to gather or has its time, no TURN server served it, and one has new credentials",
            ),
            _SPARE,
            DecisionReason.RELAYS_RENEWED,
        ),
        Rule(
            When("the peer restarts ICE on a carrier whose engine here cannot", OTHERWISE.holds),
            _SPARE,
            DecisionReason.CANNOT_RESTART,
        ),
    ),
)
ANSWERED_LATE = Table(
    "The peer answers an offer whose attempt is over",
    (NOTHING_POSSIBLE, RESTART_LIMIT, Rule(OTHERWISE, _SPARE, DecisionReason.ANSWERED_LATE)),
)
BUILD_FAILED = Table(
    "A new carrier did not open, within `attempt_timeout` or at once",
    (
        NOTHING_POSSIBLE,
        Rule(IN_GRACE, _WAIT, DecisionReason.IN_GRACE, Until.GRACE),
        ATTEMPT_FAILED,
    ),
)

TABLES = (
    FIRST_OFFER,
    NETWORK_EVENT,
    EVENT_ANSWERED,
    PATH_SUSPECT,
    PATH_LOST,
    CARRIER_LOST,
    QUALITY_POOR,
    REQUESTED,
    REPORTED,
    RETRY,
    ANSWERED_LATE,
    BUILD_FAILED,
)
"""Those that are asked."""

SHARED = (NOTHING_POSSIBLE, RESTART_LIMIT, NO_ICE_RESTART, ATTEMPT_FAILED)
