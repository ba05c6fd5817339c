"""The states of a tube and the table of legal changes."""

from __future__ import annotations

from enum import Enum


class State(Enum):
    INITIALIZING = "initializing"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    RECONNECTING = "reconnecting"
    FAILED = "failed"
    CLOSED = "closed"

    @property
    def is_final(self) -> bool:
        return self in {State.FAILED, State.CLOSED}


class Reason(Enum):
    """Why a state changed; the value is what the log shows."""

    STARTED = "started"
    SESSION_BEGUN = "the session began"
    SESSION_RESUMED = "the session resumed on a new carrier"
    CARRIER_LOST = "the carrier was lost"
    PATH_SILENT = "the path is silent while an answer is due"
    PATH_HEALED = "the path carries data again"
    PEER_REBUILDS = "the peer builds a new carrier"
    REBUILD_REQUESTED = "a rebuild was asked for"
    ATTEMPTS_EXHAUSTED = "every attempt to build a carrier failed"
    PEER_RESTARTED = "the other end was restarted and does not know the session"
    UNKNOWN_SESSION = "the other end does not know the session"
    PEER_STALLED = "the other end answers, but never acknowledges what it got"
    PROTOCOL = "the other end broke the protocol"
    ABANDONED = "the other end did not come back in time"
    CLOSED_BY_PEER = "the other end closed the tube"
    CLOSED_LOCALLY = "closed here"


TRANSITIONS: dict[State, frozenset[State]] = {
    State.INITIALIZING: frozenset({State.CONNECTING, State.FAILED, State.CLOSED}),
    State.CONNECTING: frozenset({State.CONNECTED, State.FAILED, State.CLOSED}),
    State.CONNECTED: frozenset({State.RECONNECTING, State.FAILED, State.CLOSED}),
    State.RECONNECTING: frozenset({State.CONNECTED, State.FAILED, State.CLOSED}),
    State.FAILED: frozenset(),
    State.CLOSED: frozenset(),
}
