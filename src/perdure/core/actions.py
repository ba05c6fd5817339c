"""What a tube's core asks its driver to do, in order."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto

from perdure.core.decision import Decision, Trigger
from perdure.core.state import Reason, State


@dataclass(frozen=True, slots=True)
class MakeOffer:
    """Build a carrier and send its offer."""

    generation: int
    cause: Trigger | None
    is_spare: bool = False
    """Whether the current carrier goes on meanwhile."""
    stands_by: bool = False
    """Whether it is a warm spare, on another of this machine's links."""


@dataclass(frozen=True, slots=True)
class MakeAnswer:
    """Build a carrier from the peer's offer and send the answer."""

    generation: int
    sdp: str
    is_spare: bool = False
    """Whether the current carrier goes on meanwhile."""
    stands_by: bool = False
    """Whether it is the peer's warm spare."""


@dataclass(frozen=True, slots=True)
class RestartIce:
    """Restart ICE on the current carrier and send the offer."""

    generation: int
    carrier: int
    cause: Trigger


@dataclass(frozen=True, slots=True)
class AnswerRestart:
    """Take the peer's restart of the current carrier and send the answer."""

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
    """Close the carrier of that generation and let go of it. Without a current one the session waits for the next."""

    generation: int


@dataclass(frozen=True, slots=True)
class WithdrawOffer:
    """Tell the peer that the carrier which was offered is not needed any more."""

    generation: int


class StandbyTask(Enum):
    ASK = auto()
    """Ask the peer for a sign of life over it: `StandbyAnswered` follows where it works."""
    USE = auto()
    """Go on on it: `SessionResumed` follows."""
    CHECK = auto()
    """See whether it is on another link than the path in use; `StandbyUseless` follows where it is not."""


@dataclass(frozen=True, slots=True)
class TendStandby:
    """Do this with the warm spare."""

    task: StandbyTask


@dataclass(frozen=True, slots=True)
class RenewNetworks:
    """The machine's networks have just changed: carriers from now on must see them as they are."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the peer for a sign of life over the current carrier."""


@dataclass(frozen=True, slots=True)
class DoubtSignaling:
    """The network may be dead: the way to the peer through signaling is asked too."""


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """Ask the peer of an idle tube whether it is there, and tell whoever listens."""

    idle_seconds: float


@dataclass(frozen=True, slots=True)
class MeasureHealth:
    """Read the engine's statistics."""


@dataclass(frozen=True, slots=True)
class WarnOfTimeout:
    """The session times out in `remaining_seconds` unless it is used."""

    idle_seconds: float
    remaining_seconds: float


@dataclass(frozen=True, slots=True)
class SayGoodbye:
    """The session ends for `reason`: take no more, deliver what is held, then tell the peer. `CloseSent` follows."""

    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class CloseNow:
    """The goodbye has waited long enough: tell the peer next, and drop what is still held."""


@dataclass(frozen=True, slots=True)
class StateChanged:
    """The state changed; tell whoever listens."""

    before: State
    after: State
    reason: Reason
    detail: str


Action = (
    MakeOffer
    | MakeAnswer
    | RestartIce
    | AnswerRestart
    | ApplyAnswer
    | ApplyCandidate
    | CloseCarrier
    | WithdrawOffer
    | TendStandby
    | DoubtSignaling
    | RenewNetworks
    | Probe
    | KeepAlive
    | MeasureHealth
    | WarnOfTimeout
    | SayGoodbye
    | CloseNow
    | StateChanged
    | Decision
)
