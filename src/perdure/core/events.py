"""What a tube's core is told."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.core.state import Reason


@dataclass(frozen=True, slots=True)
class Started:
    """The driver is ready."""


@dataclass(frozen=True, slots=True)
class SignalingChanged:
    """Whether the peer can be reached through signaling."""

    available: bool


@dataclass(frozen=True, slots=True)
class OfferReceived:
    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class AnswerReceived:
    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class CandidateReceived:
    generation: int
    candidate: str
    sdp_mid: str | None
    sdp_mline: int | None


@dataclass(frozen=True, slots=True)
class CarrierLost:
    """The engine, or the session, gave the carrier up."""

    generation: int
    detail: str


@dataclass(frozen=True, slots=True)
class PathDoubted:
    """The engine's ICE says that the path does not work: evidence, not a verdict."""

    generation: int


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """Streams flow on the carrier."""

    generation: int


@dataclass(frozen=True, slots=True)
class PathEvidence:
    """What the session knows of its path: when the peer was last heard, and since when an answer is due."""

    generation: int
    last_heard_at: float | None
    awaiting_since: float | None


@dataclass(frozen=True, slots=True)
class PeerRestarted:
    """The sealed handshake shows that the peer's process is a new one."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """The session is over for `reason`."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class PeerLeft:
    """The peer said good-bye through signaling."""

    detail: str


@dataclass(frozen=True, slots=True)
class RebuildRequested:
    """The user asks for a new carrier now."""


@dataclass(frozen=True, slots=True)
class CloseRequested:
    """The user ends the tube."""

    detail: str = ""


Event = (
    Started
    | SignalingChanged
    | OfferReceived
    | AnswerReceived
    | CandidateReceived
    | CarrierLost
    | PathDoubted
    | SessionResumed
    | PathEvidence
    | PeerRestarted
    | SessionEnded
    | PeerLeft
    | RebuildRequested
    | CloseRequested
)
