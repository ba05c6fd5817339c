"""What a tube's core is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from perdure.core.decision import Trigger
from perdure.core.state import CLOSE_REASONS, Reason

LONGEST_EXTENSION = 86400.0 * 30
"""Seconds: a month, the most that any of a tube's times may be set to."""


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
    restarts: int = 0
    """The carrier whose ICE the offer restarts; 0: it begins a new carrier."""
    cause: str = ""
    """The `Trigger` that the peer names, by its value."""
    stands_by: bool = False
    """Whether the carrier is a warm spare."""


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
class CarrierMade:
    """The carrier that was asked for is there; it is not open yet."""

    carrier: int
    can_restart: bool
    """Whether the engine can restart its ICE."""


@dataclass(frozen=True, slots=True)
class Described:
    """This end's offer or answer of that negotiation is made: it gathers with the ICE servers of now."""

    generation: int


@dataclass(frozen=True, slots=True)
class OfferWithdrawn:
    """The peer does not need the carrier any more that it offered."""

    generation: int


@dataclass(frozen=True, slots=True)
class SpareOpened:
    """The spare is open, and RESUME was said on it: the peer may go on there."""

    carrier: int


@dataclass(frozen=True, slots=True)
class SpareProved:
    """The peer has said RESUME on the spare too, and this end goes on there a little later, behind its padding."""

    carrier: int


@dataclass(frozen=True, slots=True)
class StandbyReady:
    """Both ends are proved on the warm spare."""

    carrier: int


@dataclass(frozen=True, slots=True)
class StandbyUseless:
    """The warm spare is on the link of the path in use."""

    carrier: int


@dataclass(frozen=True, slots=True)
class StandbyAnswered:
    """The peer answered there, or asked; `PathEvidence` of the current carrier came before."""

    carrier: int


@dataclass(frozen=True, slots=True)
class UplinksCounted:
    """How many links this machine has over which a carrier can be built now; 1 where nothing can choose among them."""

    count: int


@dataclass(frozen=True, slots=True)
class PeerSwitched:
    """The peer goes on on the current carrier: the one before it is of no use any more."""

    carrier: int
    """The one before."""


@dataclass(frozen=True, slots=True)
class CarrierLost:
    """The engine, or the session, gave the carrier up."""

    carrier: int
    detail: str


@dataclass(frozen=True, slots=True)
class IceUnhealthy:
    """The engine's ICE says that the path does not work."""

    carrier: int
    has_failed: bool = False
    """W3C's `failed`: no pair of candidates works, and ICE has given up. Otherwise it is evidence, not a verdict."""


@dataclass(frozen=True, slots=True)
class SessionResumed:
    """Streams flow on the carrier."""

    carrier: int
    peer_takes_spare: bool = True
    """Whether the peer can have another one beside it."""


class PathEvidence(NamedTuple):  # a tuple, as it is by far the most frequent
    """What the session knows of its path and of its use."""

    carrier: int
    last_heard_at: float | None
    """When the peer last said something on this carrier."""
    awaiting_since: float | None
    """Since when an answer is due."""
    awaits_only_ping: bool = False
    """Whether nothing but an idle path's ping waits for that answer."""
    last_data_at: float | None = None
    """When a stream's bytes last moved for the first time."""


@dataclass(frozen=True, slots=True)
class RttMeasured:
    """The peer answered after `seconds`."""

    carrier: int
    seconds: float
    is_idle: bool = False
    """Whether it was an idle path's ping, so that nothing is due any more."""


@dataclass(frozen=True, slots=True)
class HealthMeasured:
    """The engine's counts of STUN checks on the path in use, since the carrier was made."""

    carrier: int
    rtt: float | None
    checks_sent: int | None
    checks_answered: int | None
    is_relayed: bool = False
    """Whether a TURN server is between the two ends."""


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """The network under this end changed, or somebody says so."""

    trigger: Trigger
    has_address: bool | None = None
    """Whether there is a usable local address now; `None`: as far as is known."""
    is_new_address: bool = False
    """Whether the engine cannot know that address yet."""
    local_address_lost: bool | None = None
    """Whether the path in use cannot be trusted any more: its local address is gone, or leads elsewhere now. `None`:
    that is not known, so it may be."""
    slept_seconds: float = 0.0
    """How long the machine slept, for `Trigger.WAKE_UP`."""
    detail: str = ""
    is_return: bool = False
    """Whether the path's own address is back, which was away for some seconds."""
    leads_elsewhere: bool = False
    """Whether that local address is still there, and only the default route has left it: its packets may go on."""
    standby_untouched: bool = False
    """Whether there is a spare, and the change took nothing from its address."""
    standby_leads_on: bool = False
    """The same, and the default route leads by its address now."""


@dataclass(frozen=True, slots=True)
class RecoveryRequested:
    """The user asks for a new path now: an ICE restart where that is possible, or a new carrier."""

    rebuild: bool = False


@dataclass(frozen=True, slots=True)
class RelaysRenewed:
    """There are new credentials for a TURN server: that of the path in use, or one that refused the attempt under way
    where no other served. `of_standby`: that of the warm spare alone."""

    of_standby: bool = False


@dataclass(frozen=True, slots=True)
class Used:
    """The user says that the tube is in use."""


@dataclass(frozen=True, slots=True)
class Extended:
    """The user wants the tube to live at least `seconds` from now, used or not; at most a month. By default another
    session timeout."""

    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 <= self.seconds <= LONGEST_EXTENSION:
            raise ValueError(f"a tube is extended by 0 to {LONGEST_EXTENSION:.0f} s, not by {self.seconds} s")


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
class CloseRequested:
    """The user ends the tube; `reason` is one of `CLOSE_REASONS`."""

    reason: Reason = Reason.CLOSED_LOCALLY
    detail: str = ""

    def __post_init__(self) -> None:
        if self.reason not in CLOSE_REASONS:
            raise ValueError(f"{self.reason} is not a reason to close a tube here")


@dataclass(frozen=True, slots=True)
class CloseSent:
    """The session's last message went out on the carrier, behind everything that was held."""


Event = (
    Started
    | SignalingChanged
    | OfferReceived
    | AnswerReceived
    | CandidateReceived
    | OfferWithdrawn
    | CarrierMade
    | Described
    | SpareOpened
    | SpareProved
    | StandbyReady
    | StandbyAnswered
    | StandbyUseless
    | UplinksCounted
    | PeerSwitched
    | CarrierLost
    | IceUnhealthy
    | SessionResumed
    | PathEvidence
    | RttMeasured
    | HealthMeasured
    | NetworkChanged
    | RecoveryRequested
    | RelaysRenewed
    | Used
    | Extended
    | PeerRestarted
    | SessionEnded
    | PeerLeft
    | CloseRequested
    | CloseSent
)
