"""What an application is told of a tube: a closed union of typed events, each also a dict. Pure.

The table of kinds, with their fields and units, is in `docs/signals.md`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache
from typing import ClassVar

Value = str | int | float | bool | None | list[str]
"""What a signal's data holds: nothing that JSON cannot say."""


@dataclass(frozen=True, slots=True)
class _AboutTube:
    """What every signal says: of which tube, and of the caller's own conversation where there is one."""

    kind: ClassVar[str]

    tube_id: str
    conversation_id: str | None

    @property
    def data(self) -> dict[str, Value]:
        """The signal's own fields, JSON-able."""
        own = {name: getattr(self, name) for name in _own_fields(type(self))}  # type: ignore[arg-type]  # mypy: not hashable
        return {name: list(value) if isinstance(value, tuple) else value for name, value in own.items()}

    def as_dict(self) -> dict[str, str | dict[str, Value] | None]:
        """`{"tube_id": …, "kind": …, "data": {…}, "conversation_id": …}`."""
        return {
            "tube_id": self.tube_id,
            "kind": self.kind,
            "data": self.data,
            "conversation_id": self.conversation_id,
        }


_ABOUT = {field.name for field in fields(_AboutTube)}


@cache
def _own_fields(kind: type[_AboutTube]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in _ABOUT)


@dataclass(frozen=True, slots=True)
class Keepalive(_AboutTube):
    """The tube is idle, and its peer is being asked whether it is there."""

    kind: ClassVar[str] = "keepalive"

    idle_seconds: float
    """Since the peer was last heard."""
    rtt: float | None
    """Seconds; the last one known."""


@dataclass(frozen=True, slots=True)
class SessionTimeoutWarning(_AboutTube):
    """The tube will be closed if nobody uses it."""

    kind: ClassVar[str] = "session_timeout_warning"

    idle_seconds: float
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class NetworkChangeDetected(_AboutTube):
    """Something happened to the network or the path, and this is what is done about it."""

    kind: ClassVar[str] = "network_change_detected"

    change: str
    """What happened, such as "interface change"."""
    action: str
    """"hold", "ICE restart", "spare", "switch", "rebuild", "wait" or "fail"."""
    reason: str
    """Why this action."""
    attempt: int
    """Which attempt in a row this is, or was, from 1; 0 where none is counted."""
    next_attempt_in: float | None
    """Seconds; `None` where none is planned."""
    detail: str


@dataclass(frozen=True, slots=True)
class IceRestartOffer(_AboutTube):
    """An offer that recovers the tube, to be sent to the peer by an application that does its own signaling."""

    kind: ClassVar[str] = "ice_restart_offer"

    sdp: str
    generation: int
    action: str
    """"ICE restart"; or "rebuild": a new carrier, a spare's too."""


@dataclass(frozen=True, slots=True)
class IceCandidate(_AboutTube):
    """A candidate of this end, to be sent to the peer by an application that does its own signaling."""

    kind: ClassVar[str] = "icecandidate"

    candidate: str
    sdp_mid: str | None
    sdp_mline_index: int | None
    generation: int


@dataclass(frozen=True, slots=True)
class ConnectionStateChanged(_AboutTube):
    """The tube's state changed."""

    kind: ClassVar[str] = "connection_state_changed"

    before: str
    after: str
    reason: str
    detail: str
    outage_seconds: float | None
    """From the loss, where this change ends one."""


@dataclass(frozen=True, slots=True)
class ChannelClosed(_AboutTube):
    """The tube has ended; its last signal."""

    kind: ClassVar[str] = "channel_closed"

    reason: str
    detail: str
    state: str
    """"closed" or "failed"."""


@dataclass(frozen=True, slots=True)
class TurnCredentialsRefreshed(_AboutTube):
    """New TURN credentials are in use from now on. The password is never part of a signal."""

    kind: ClassVar[str] = "turn_credentials_refreshed"

    urls: tuple[str, ...]
    username: str | None
    expires_in: float | None = None
    """Seconds; `None`: nobody says."""


@dataclass(frozen=True, slots=True)
class TurnCredentialsFailed(_AboutTube):
    """A provider had no new TURN credentials; the old ones stay in use, and it is asked again."""

    kind: ClassVar[str] = "turn_credentials_failed"

    reason: str
    retry_in: float
    """Seconds."""
    expires_in: float | None
    """Seconds until those in use expire, below 0 where they have; `None`: there are none, or nobody says."""


@dataclass(frozen=True, slots=True)
class TurnServerFailed(_AboutTube):
    """A TURN server does not serve this end, and is left out for a minute."""

    kind: ClassVar[str] = "turn_server_failed"

    url: str
    code: int
    """STUN's or W3C's, such as 401, 486 or 701 (out of reach); 0: it said nothing."""
    reason: str
    """What is wrong, for a person."""


Signal = (
    Keepalive
    | SessionTimeoutWarning
    | NetworkChangeDetected
    | IceRestartOffer
    | IceCandidate
    | ConnectionStateChanged
    | ChannelClosed
    | TurnCredentialsRefreshed
    | TurnCredentialsFailed
    | TurnServerFailed
)


@dataclass(frozen=True, slots=True)
class SignalsDropped:
    """What `events()` yields in the place of signals that were not read in time."""

    count: int
