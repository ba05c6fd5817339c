"""What a tube logs: one line an event."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from perdure.core.actions import AttemptDelayed, ChangeState, MakeAnswer, MakeOffer
from perdure.core.state import State
from perdure.eventlog import Field, log_event

if TYPE_CHECKING:
    from perdure.session import SessionResumed
    from perdure.transport.base import IceState

log = logging.getLogger("perdure.tube")


def log_state_change(tube_id: str, change: ChangeState, generation: int, outage: float | None) -> None:
    """`outage`: seconds from the loss, where the tube is back from one."""
    fields: dict[str, Field] = {"reason": change.reason.value}
    if change.detail:
        fields["detail"] = change.detail
    if outage is not None:
        fields["outage_ms"] = round(outage * 1000, 1)
    level = logging.WARNING if change.after in {State.RECONNECTING, State.FAILED} else logging.INFO
    states = {"before": change.before.value, "after": change.after.value}
    log_event(log, level, "tube-state", tube=tube_id, **states, generation=generation, **fields)


def log_attempt_delayed(tube_id: str, delayed: AttemptDelayed, delay: float) -> None:
    fields: dict[str, Field] = {"attempt": delayed.attempt, "retry_in": round(delay, 1), "why": delayed.detail}
    log_event(log, logging.WARNING, "attempt-failed", tube=tube_id, **fields)


def log_carrier_begun(tube_id: str, action: MakeOffer | MakeAnswer) -> None:
    by = "us" if isinstance(action, MakeOffer) else "the peer"
    log_event(log, logging.DEBUG, "carrier-begun", tube=tube_id, generation=action.generation, by=by)


def log_resumed(tube_id: str, resumed: SessionResumed) -> None:
    fields = {"generation": resumed.generation, "resent_bytes": resumed.resent_bytes}
    log_event(log, logging.DEBUG, "session-resumed", tube=tube_id, **fields)


def log_ice_state(tube_id: str, generation: int, state: IceState) -> None:
    log_event(log, logging.DEBUG, "ice-state", tube=tube_id, generation=generation, state=state.value)
