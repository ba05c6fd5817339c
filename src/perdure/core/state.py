"""The states of a tube and the table of legal changes."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    INITIALIZING = "initializing"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    DEGRADED = "degraded"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def is_up(self) -> bool:
        """Whether streams flow, well or badly."""
        return self in _UP


_FINAL = (State.FAILED, State.CLOSED)
_UP = (State.CONNECTED, State.DEGRADED)


class Reason(Enum):
    """Why a state changed; the value is what the log shows."""

    STARTED = "started"
    SESSION_BEGUN = "the session began"
    SESSION_RESUMED = "the session resumed on a new carrier"
    ICE_RESTARTED = "the path works again after an ICE restart"
    PATH_HEALED = "the path carries data again"
    QUALITY_DEGRADED = "the path's quality fell below the threshold"
    QUALITY_RESTORED = "the path's quality is good again"
    CARRIER_LOST = "the carrier was lost"
    PATH_SILENT = "the path is silent while an answer is due"
    NETWORK_CHANGED = "the network changed"
    WOKE_UP = "the machine slept"
    QUALITY_POOR = "the path is poor and carries nothing"
    PEER_RESTARTS_ICE = "the peer restarts ICE"
    RECOVERY_REQUESTED = "a recovery was asked for"

    ATTEMPTS_EXHAUSTED = "every attempt to recover the path failed"
    PEER_RESTARTED = "the other end was restarted and does not know the session"
    UNKNOWN_SESSION = "the other end does not know the session"
    PEER_STALLED = "the other end answers, but never acknowledges what it got"
    PROTOCOL = "the other end broke the protocol"
    ABANDONED = "the other end did not come back in time"

    CLOSED_LOCALLY = "closed here"
    CLOSED_BY_PEER = "the other end closed the tube"
    SESSION_TIMEOUT = "nobody used the tube for as long as it may be idle"
    SESSION_LIMIT = "the tube has lived as long as it may"
    SHUT_DOWN = "the application is ending"
    STALE = "the tube never began to connect"


CLOSE_REASONS = frozenset(
    {Reason.CLOSED_LOCALLY, Reason.SESSION_TIMEOUT, Reason.SESSION_LIMIT, Reason.SHUT_DOWN, Reason.STALE}
)
"""What a tube may be closed for from this end."""

TRANSITIONS: dict[State, frozenset[State]] = {
    State.INITIALIZING: frozenset({State.CONNECTING, State.FAILED, State.CLOSED}),
    State.CONNECTING: frozenset({State.CONNECTED, State.FAILED, State.CLOSED}),
    State.CONNECTED: frozenset({State.DEGRADED, State.RECONNECTING, State.FAILED, State.CLOSED}),
    State.DEGRADED: frozenset({State.CONNECTED, State.RECONNECTING, State.FAILED, State.CLOSED}),
    State.RECONNECTING: frozenset({State.CONNECTED, State.FAILED, State.CLOSED}),
    State.FAILED: frozenset(),
    State.CLOSED: frozenset(),
}


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documentation."""
    lines = ["stateDiagram-v2", f"    [*] --> {State.INITIALIZING.name}"]
    for before, afters in TRANSITIONS.items():
        lines += [f"    {before.name} --> {after.name}" for after in State if after in afters]
        if before.is_final:
            lines.append(f"    {before.name} --> [*]")
    return "\n".join(lines)
