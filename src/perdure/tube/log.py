"""What a tube logs: one line an event."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from perdure.core.decision import Decision, DecisionReason, RecoveryAction
from perdure.core.state import State
from perdure.eventlog import Field, error_fields, log_event

if TYPE_CHECKING:
    import asyncio

    from perdure.core.actions import StateChanged, WarnOfTimeout
    from perdure.session import SessionResumed
    from perdure.transport.base import IceState, Path


class PathHolder(Protocol):
    """Whose path is logged: a `CarrierSession`."""

    loop: asyncio.AbstractEventLoop
    path_look: asyncio.TimerHandle | None
    path_logged: int
    """A hash of the path that was logged last."""

    @property
    def path(self) -> Path | None: ...


SETTLING_DELAY = 1.0
"""Seconds until a path that changed is looked at. The engine tells it some milliseconds after the channel opened, and
may move once more: to a better pair as checks come in, or from the old pair to the new one after an ICE restart."""

log = logging.getLogger("perdure.tube")


def log_state_change(tube_id: str, change: StateChanged, generation: int, outage: float | None) -> None:
    """`outage`: seconds from the loss, where the tube is back from one."""
    fields: dict[str, Field] = {"reason": change.reason.value}
    if change.detail:
        fields["detail"] = change.detail
    if outage is not None:
        fields["outage_ms"] = round(outage * 1000, 1)
    level = logging.WARNING if change.after in (State.RECONNECTING, State.FAILED, State.DEGRADED) else logging.INFO
    states = {"before": change.before.value, "after": change.after.value}
    log_event(log, level, "tube-state", tube=tube_id, **states, generation=generation, **fields)


def log_decision(tube_id: str, decision: Decision) -> None:
    """What the policy decided; what costs time is a warning, what costs nothing is for the curious."""
    fields: dict[str, Field] = {
        "trigger": decision.trigger.value if decision.trigger else "set-up",
        "action": decision.action.value,
        "why": decision.reason.value,
        "attempt": decision.attempt,
    }
    if decision.next_attempt_at is not None:
        fields["retry_in"] = round(decision.next_attempt_at - decision.at, 1)
    if decision.detail:
        fields["detail"] = decision.detail
    is_costly = (
        decision.action in (RecoveryAction.WAIT, RecoveryAction.FAIL) and decision.reason is not DecisionReason.GLARE
    )
    is_only_early = decision.trigger is None and decision.reason is DecisionReason.NO_SIGNALING
    level = logging.WARNING if is_costly and not is_only_early else logging.DEBUG
    log_event(log, level, "decision", tube=tube_id, **fields)


def carrier_kind(is_spare: bool, stands_by: bool) -> str:
    return "warm spare" if stands_by else "spare" if is_spare else "carrier"


def log_negotiation_begun(tube_id: str, generation: int, what: str, by: str) -> None:
    log_event(log, logging.DEBUG, "negotiation-begun", tube=tube_id, generation=generation, what=what, by=by)


def log_timeout_warning(tube_id: str, warning: WarnOfTimeout) -> None:
    log_event(
        log,
        logging.INFO,  # the application hears of it by a signal
        "session-timeout-warning",
        tube=tube_id,
        idle=round(warning.idle_seconds),
        remaining=round(warning.remaining_seconds),
    )


def log_switched(tube_id: str, before: int, after: int) -> None:
    """The session goes on on the carrier that was begun beside the one before; no state need have changed."""
    log_event(log, logging.INFO, "carrier-switched", tube=tube_id, before=before, generation=after)


def log_path_soon(tube_id: str, holder: PathHolder) -> None:
    """The path may be another one: look in a moment."""
    if holder.path_look is None:
        holder.path_look = holder.loop.call_later(SETTLING_DELAY, _log_path_now, tube_id, holder)


def _log_path_now(tube_id: str, holder: PathHolder) -> None:
    holder.path_look = None
    try:
        log_path(tube_id, holder, holder.path)
    except Exception as error:  # of an application's transport
        log_event(log, logging.ERROR, "no-path", error, tube=tube_id)


def log_path(tube_id: str, holder: PathHolder, path: Path | None) -> None:
    """By which path the session goes, where that is not what was logged last. An address that the engine does not tell
    is left out."""
    if path is None or holder.path_logged == (now := hash(replace(path, rtt=None))):
        return
    holder.path_logged = now
    said = {"local": path.local_address, "remote": path.remote_address, "relay": path.relay_url}
    known: dict[str, Field] = {key: value for key, value in said.items() if value is not None}
    kind = "relayed" if path.is_relayed else "direct"
    log_event(log, logging.INFO, "path", tube=tube_id, path=kind, protocol=path.protocol, **known)


def log_standby_ready(tube_id: str, generation: int) -> None:
    log_event(log, logging.INFO, "warm-spare-ready", tube=tube_id, generation=generation)


def log_standby_useless(tube_id: str, generation: int, here: str, there: str) -> None:
    """It is on the link in use."""
    where = {"address": there, "in_use": here}
    log_event(log, logging.DEBUG, "warm-spare-useless", tube=tube_id, generation=generation, **where)


def log_resumed(tube_id: str, resumed: SessionResumed) -> None:
    fields = {"generation": resumed.generation, "resent_bytes": resumed.resent_bytes}
    log_event(log, logging.DEBUG, "session-resumed", tube=tube_id, **fields)


def log_ice_state(tube_id: str, generation: int, state: IceState) -> None:
    log_event(log, logging.DEBUG, "ice-state", tube=tube_id, generation=generation, state=state.value)


def log_user_failed(tube_id: str, stream_id: int, error: BaseException) -> None:
    """What a stream's user raised, which is the application's mistake."""
    about: dict[str, Field] = {"tube": tube_id, "stream": stream_id}
    log_event(log, logging.WARNING, "stream-user-failed", error, **about, **error_fields(error))


def log_stream_refused(tube_id: str, stream_id: int, why: str, target: str = "") -> None:
    fields: dict[str, Field] = {"tube": tube_id, "stream": stream_id}
    if target:
        fields["target"] = target
    log_event(log, logging.WARNING, "stream-refused", **fields, why=why)
