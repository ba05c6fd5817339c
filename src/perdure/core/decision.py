"""A decision: what triggered it, the action, the reason, and the situation that it was made in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple


class Trigger(Enum):
    """Why recovery is considered; the value is what the log shows and the peer is told."""

    INTERFACE_CHANGE = "interface change"
    IP_ADDRESS_CHANGE = "address change"
    CONNECTION_TIMEOUT = "connection timeout"
    ICE_FAILURE = "ICE failure"
    QUALITY_DEGRADATION = "quality degradation"
    WAKE_UP = "wake-up"
    REQUEST = "request"

    @classmethod
    def named(cls, word: str) -> Trigger:
        """What the peer names. A word that this version does not know, or none, means that it lost its carrier."""
        return next((trigger for trigger in cls if trigger.value == word), cls.ICE_FAILURE)

    @property
    def is_network_event(self) -> bool:
        return self in _NETWORK_EVENTS


_NETWORK_EVENTS = (Trigger.INTERFACE_CHANGE, Trigger.IP_ADDRESS_CHANGE, Trigger.WAKE_UP)


class RecoveryAction(Enum):
    """`REBUILD` closes the carrier in use and builds a new one; `SPARE` builds one beside it, and closes nothing;
    `SWITCH` goes on on the warm spare, which is there already."""

    HOLD = "hold"
    ICE_RESTART = "ICE restart"
    REBUILD = "rebuild"
    SPARE = "spare"
    SWITCH = "switch"
    WAIT = "wait"
    FAIL = "fail"


class DecisionReason(Enum):
    """Why this action."""

    FIRST = "the first carrier"
    NOT_BEGUN = "there is nothing to recover yet"
    CARRIES_DATA = "the path carries data"
    DOUBTED = "a problem is reported; probing the path"
    UNTOUCHED = "the path's own address is as it was; the path is asked"
    SHORT_SLEEP = "the sleep was short; the path is asked"
    IN_GRACE = "a hand-over has just begun; its result is awaited"
    UNDER_WAY = "a recovery is under way"
    QUALITY_BACKOFF = "a restart for quality was tried not long ago"
    NETWORK_MOVED = "the network moved, and the engine knows where to"
    LOCAL_ADDRESS_LOST = "the path's own address is gone, or leads elsewhere now"
    NEW_ADDRESS = "the engine does not know the new address yet"
    LONG_SLEEP = "the machine slept long"
    PATH_SUSPECT = "an answer is overdue"
    PATH_SILENT = "the path is silent while an answer is due"
    ICE_FAILED = "ICE has given up: no pair of candidates works"
    CARRIER_LOST = "there is no carrier to restart"
    PEER_IS_BEHIND = "the peer restarts a carrier that is gone here"
    NOT_OPEN = "no path was there yet to restart"
    CANNOT_RESTART = "this end's engine cannot restart ICE"
    WORN = "the carrier was restarted often, and each restart leaves sockets behind"
    POOR_PATH = "the path is poor and carries nothing"
    ASKED = "it was asked for"
    RELAYS_RENEWED = "there are new credentials of a TURN server"
    TRY_DIRECT = "the path is relayed, and one without a TURN server is tried"
    PEER_CANNOT_RESTART = "the peer answered with its old ICE credentials"
    RESTART_FAILED = "the ICE restart did not bring the path back"
    WITHDRAWN = "the peer does not need the carrier that it offered"
    RETRY = "the wait is over"
    NO_SIGNALING = "the other end cannot be reached through signaling now"
    NO_ADDRESS = "there is no usable address"
    RESTART_LIMIT = "there were as many restarts in the last minute as may be"
    UNSETTLED = "the last restarts of this minute are reserved until the network settles"
    GLARE = "both ends see the loss, and the other one offers first"
    BACKOFF = "the attempt failed"
    ANSWERED_LATE = "the peer answers an offer whose attempt is over: it is back"
    SHORT_LIVES = "carriers are lost again and again"
    PEERS_TURN = "this end's attempts are spent; the other end may come back"
    EXHAUSTED = "every attempt failed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, "nothing" included. Instants are seconds on the core's clock."""

    trigger: Trigger | None
    """`None`: the first set-up."""
    action: RecoveryAction
    reason: DecisionReason
    attempt: int
    """Which attempt in a row this is, or was; 0 where none is counted."""
    next_attempt_at: float | None
    """When the next attempt begins, or the event is judged again, by itself; `None` where neither is planned."""
    at: float
    detail: str = ""


class Situation(NamedTuple):
    """What is known of the tube as a decision is made."""

    now: float
    has_begun: bool
    """Whether there is something to recover: the acceptor's first set-up begins with the peer's offer."""
    is_up: bool
    is_open: bool
    """Whether there is a carrier whose ICE could be restarted."""
    has_spare: bool
    """Whether one is being built beside it."""
    is_attempting: bool
    """Whether an attempt is under way."""
    restarts: int
    """How often ICE was restarted on the carrier."""
    can_restart: bool
    """Whether the engine can restart that carrier's ICE."""
    silent_for: float
    """Seconds of silence while an answer is due."""
    signaling: bool
    """Whether the peer can be reached through the rendezvous."""
    has_address: bool
    is_initiator: bool
    peer_takes_spare: bool = True
    """Whether the peer can have another carrier beside the open one. Where it cannot, it closes that for an offer."""
    in_band: bool = False
    """Whether the open carrier itself can take an offer to the peer: its path works, as far as is known."""
    has_standby: bool = False
    """Whether a warm spare is ready beside the carrier."""
    spare_told_at: float = -math.inf
    """When RESUME was said on a spare that is under way: the peer may go on on it."""
