"""Why an attempt found no path, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.state import State

if TYPE_CHECKING:
    from perdure.core.attempt import RecoveryAttempt
    from perdure.core.context import Context

MOST_TROUBLES = 3
"""TURN servers that are named: as many as an attempt asks."""

_WHAT_TO_CHECK = "is UDP allowed, and --ice-server (STUN, TURN) right at both ends?"


def why_it_failed(context: Context, attempt: RecoveryAttempt, *, is_agreed: bool) -> str:
    """The attempt has had its time: what is known, then what to check. `is_agreed`: the other end knew of it."""
    if context.state is State.RECONNECTING and not is_agreed:
        return f"the other end has not answered for {context.now - attempt.asked_at:.0f} s"
    troubles, sought_for = context.relay_troubles(), context.now - attempt.begun_at
    left = len(troubles.sentences) - MOST_TROUBLES
    named = [*troubles.sentences[:MOST_TROUBLES], *([f"and {left} more"] if left > 0 else [])]
    to_check = [] if troubles.allow_no_path else [_WHAT_TO_CHECK]
    return "; ".join([f"no path to the other end was found in {sought_for:.0f} s", *named, *to_check])
