"""What a tube's core asks its driver to do, in order."""

from __future__ import annotations

from dataclasses import dataclass

from perdure.core.state import Reason, State


@dataclass(frozen=True, slots=True)
class MakeOffer:
    """Build a carrier and send its offer."""

    generation: int


@dataclass(frozen=True, slots=True)
class MakeAnswer:
    """Build a carrier from the peer's offer and send the answer."""

    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class ApplyAnswer:
    generation: int
    sdp: str


@dataclass(frozen=True, slots=True)
class ApplyCandidate:
    generation: int
    candidate: str
    sdp_mid: str | None
    sdp_mline: int | None


@dataclass(frozen=True, slots=True)
class CloseCarrier:
    """Close the current carrier and let go of it; the session waits for the next one."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the peer for a sign of life over the current carrier."""


@dataclass(frozen=True, slots=True)
class ChangeState:
    """The state changed; tell whoever listens."""

    before: State
    after: State
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class AttemptDelayed:
    """An attempt failed; the next one is at `next_attempt_at`."""

    attempt: int
    next_attempt_at: float
    detail: str


Action = MakeOffer | MakeAnswer | ApplyAnswer | ApplyCandidate | CloseCarrier | Probe | ChangeState | AttemptDelayed
