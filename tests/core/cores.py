"""One tube's core in the situations that the tests begin from, and what they read in its actions."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from perdure.config import RestartPolicy, SessionLimits
from perdure.core.actions import CloseCarrier, StateChanged
from perdure.core.connection import Connection
from perdure.core.decision import Decision, Trigger
from perdure.core.events import (
    AnswerReceived,
    CarrierLost,
    NetworkChanged,
    OfferReceived,
    PathEvidence,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.actions import Action

POLICY = RestartPolicy()
LIMITS = SessionLimits()

ROAM = NetworkChanged(Trigger.INTERFACE_CHANGE)
"""The network moved to an interface that the engine knows."""

NEW_ADDRESS = NetworkChanged(Trigger.IP_ADDRESS_CHANGE, is_new_address=True)

OFFLINE = NetworkChanged(Trigger.IP_ADDRESS_CHANGE, has_address=False)
ONLINE = NetworkChanged(Trigger.IP_ADDRESS_CHANGE, has_address=True)


def sdp(ufrag: str) -> str:
    """As much of a description as the core reads."""
    return f"v=0\r\na=ice-ufrag:{ufrag}\r\na=ice-pwd:x\r\n"


def created(
    *, initiator: bool = True, policy: RestartPolicy = POLICY, limits: SessionLimits = LIMITS, seed: int = 1
) -> Connection:
    return Connection(policy, limits, initiator=initiator, random=Random(seed), now=0.0)


def started(
    *, initiator: bool = True, signaling: bool = True, policy: RestartPolicy = POLICY, limits: SessionLimits = LIMITS
) -> Connection:
    core = created(initiator=initiator, policy=policy, limits=limits)
    core.handle_event(SignalingChanged(signaling), 0.0)
    core.handle_event(Started(), 0.0)
    return core


def connected(
    *, initiator: bool = True, policy: RestartPolicy = POLICY, limits: SessionLimits = LIMITS, rtt: float | None = 0.05
) -> Connection:
    """CONNECTED at 0 on carrier 3, with a round trip that makes timeouts the floor's."""
    core = started(initiator=initiator, policy=policy, limits=limits)
    if not initiator:
        core.handle_event(OfferReceived(3, sdp("peer")), 0.0)
    else:
        core.handle_event(AnswerReceived(3, sdp("peer")), 0.0)
    core.handle_event(SessionResumed(3), 0.0)
    if rtt is not None:
        for _ in range(30):
            core.handle_event(RttMeasured(3, rtt), 0.0)
    assert core.state is State.CONNECTED
    return core


def silent(core: Connection, since: float) -> list[Action]:
    """Let an answer be due since then until the verdict; what that led to."""
    core.handle_event(PathEvidence(core.carrier, None, since), since)
    actions: list[Action] = []
    for _ in range(100):
        if not core.state.is_up:
            return actions
        actions += core.handle_timeout(deadline(core))
    raise AssertionError("silence is never noticed")


def lose(core: Connection, now: float) -> list[Action]:
    """The engine gives the carrier up."""
    return core.handle_event(CarrierLost(core.carrier, "gone"), now)


def rest(core: Connection, until: float) -> list[Action]:
    """Serve every deadline up to then, each in time."""
    actions: list[Action] = []
    for _ in range(10_000):
        at = core.next_deadline()
        if at is None or at > until:
            return actions
        actions += core.handle_timeout(at)
    raise AssertionError("the core spins")


def deadline(core: Connection) -> float:
    at = core.next_deadline()
    assert at is not None
    return at


def states(actions: list[Action]) -> list[State]:
    return [action.after for action in actions if isinstance(action, StateChanged)]


def reasons(actions: list[Action]) -> list[str]:
    return [action.reason.name for action in actions if isinstance(action, StateChanged)]


def decisions(actions: list[Action]) -> list[Decision]:
    return [action for action in actions if isinstance(action, Decision)]


def decided(actions: list[Action]) -> list[tuple[str, str]]:
    """Of each decision, the action and why."""
    return [(decision.action.name, decision.reason.name) for decision in decisions(actions)]


def rest_of(actions: list[Action]) -> list[Action]:
    """What is to be done, beside telling of it."""
    return [action for action in actions if not isinstance(action, StateChanged | Decision)]


def closes(actions: list[Action]) -> bool:
    return any(isinstance(action, CloseCarrier) for action in actions)
