"""One recovery, from the moment when a path is first needed, or lost, until one works: its data."""

from __future__ import annotations

from enum import Enum, auto

from perdure.core.decision import Trigger
from perdure.core.state import Reason

REASONS = {
    Trigger.INTERFACE_CHANGE: Reason.NETWORK_CHANGED,
    Trigger.IP_ADDRESS_CHANGE: Reason.NETWORK_CHANGED,
    Trigger.CONNECTION_TIMEOUT: Reason.PATH_SILENT,
    Trigger.ICE_FAILURE: Reason.CARRIER_LOST,
    Trigger.QUALITY_DEGRADATION: Reason.QUALITY_POOR,
    Trigger.WAKE_UP: Reason.WOKE_UP,
    Trigger.REQUEST: Reason.RECOVERY_REQUESTED,
}
"""Why the path is left, by what the attempt answers."""


class Phase(Enum):
    WAITING = auto()
    """The next attempt waits for signaling, an address, or the peer."""
    DELAYED = auto()
    """The next attempt has its time."""
    RESTARTING = auto()
    """An ICE restart of the carrier."""
    BUILDING = auto()
    """A new carrier."""


class RecoveryAttempt:
    """Made as the recovery begins; `None` takes its place once a path works."""

    __slots__ = ("agreed_at", "asked_at", "begun_at", "is_described", "lost_at", "phase", "trigger")

    def __init__(self, trigger: Trigger | None, now: float) -> None:
        self.phase = Phase.WAITING
        self.trigger = trigger
        """What it answers; `None`: the first set-up."""
        self.lost_at = now
        """When the tube was left without a working path."""
        self.begun_at = now
        """When what is under way began; what is begun anew meanwhile, as with new credentials, goes on with it."""
        self.asked_at = now
        """When the peer was last asked for it, or asked."""
        self.agreed_at: float | None = None
        """When both ends knew the ICE restart, or the new carrier, that is under way."""
        self.is_described = False
        """Whether this end's description of that is made: it gathers with the TURN credentials of then."""

    def enter(self, trigger: Trigger | None, phase: Phase, now: float) -> None:
        was_under_way = self.is_under_way
        self.trigger, self.phase = trigger, phase
        if self.is_under_way:
            self.asked_at = now
            if not was_under_way:
                self.begun_at = now

    @property
    def is_under_way(self) -> bool:
        """Whether an ICE restart or a new carrier may bring the path back any moment; otherwise it waits."""
        return self.phase is Phase.RESTARTING or self.phase is Phase.BUILDING

    def was_agreed_before(self, at: float) -> bool:
        """Whether both ends knew what is under way when it was `at`."""
        return self.agreed_at is not None and self.agreed_at < at
