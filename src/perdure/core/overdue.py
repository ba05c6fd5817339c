"""What is done where an answer is overdue: a warm spare is asked, or another spare is begun; and what becomes of these.

| what happens | what is done |
| --- | --- |
| the path is suspect, or silent; a warm spare is ready | it is asked, and used if it answers while the path has not |
| the warm spare does not answer in time, or is lost meanwhile | as if there had been none |
| the path is suspect, and there is none | a spare is begun, by the acceptor a moment later |
| the path is silent, and there is none | it is lost |

What is begun then is said by the rules (`rules.PATH_SUSPECT`, `rules.PATH_LOST`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.core.actions import DoubtSignaling
from perdure.core.decision import DecisionReason, Trigger
from perdure.core.events import StandbyUseless

if TYPE_CHECKING:
    from perdure.core.events import StandbyAnswered, StandbyReady, UplinksCounted
    from perdure.core.recovery import Recovery


def path_suspect(recovery: Recovery) -> None:
    """The liveness finds an answer overdue."""
    if not recovery.carriers.has_standby:
        recovery.carriers.drop_standby()
        recovery.spares.path_suspect()
    elif recovery.context.state.is_up:
        recovery.context.actions.append(DoubtSignaling())
        if recovery.warm.ask():
            _judge(recovery)


def path_silent(recovery: Recovery) -> bool:
    """The liveness finds the path silent: whether it is lost. Where a warm spare is ready this process may have stood
    still, so the spare is asked first."""
    is_lost = not recovery.carriers.has_standby or recovery.warm.path_silent()
    if is_lost:
        recovery.path_lost(Trigger.CONNECTION_TIMEOUT)
    return is_lost


def spare_is_due(recovery: Recovery) -> None:
    """SPARE: it is time for one, or the one that there is has had its time."""
    spare = recovery.carriers.spare
    if recovery.carriers.holds_standby:
        recovery.warm.has_not_answered()
        _standby_gone(recovery)
    elif recovery.spares.is_due():
        _judge(recovery)
    elif spare is not None and spare.renews:
        recovery.relays_renewed()


def warm_is_due(recovery: Recovery) -> None:
    """WARM: a warm spare is begun or dropped, or looked at."""
    now = recovery.situation()
    works = now.is_up and now.is_open and now.has_address and not recovery.liveness.is_suspect(now.now)
    is_busy = now.is_attempting or recovery.carriers.old != 0 or recovery.pending is not None
    recovery.warm.is_due(is_calm=works and not is_busy and now.peer_takes_spare and (now.signaling or now.in_band))


def standby_told(recovery: Recovery, event: StandbyReady | StandbyAnswered | StandbyUseless | UplinksCounted) -> None:
    """What happens to a warm spare, or to the links that it can be on."""
    if isinstance(event, StandbyUseless):
        if event.carrier == recovery.carriers.spare_generation:
            spare_lost(recovery)
    elif recovery.warm.hear(event):
        _judge(recovery)


def standby_unhealthy(recovery: Recovery) -> None:
    """ICE reports a problem of the spare; of one that is to replace the path, its time judges."""
    if recovery.carriers.has_standby:
        spare_lost(recovery)


def withdrawn(recovery: Recovery) -> None:
    """The peer does not need the spare that it offered."""
    if recovery.carriers.holds_standby and not recovery.carriers.negotiation.offered_here:
        spare_lost(recovery)
    else:
        recovery.offer_withdrawn()


def spare_lost(recovery: Recovery) -> None:
    """It never carried anything. While the path is up that is no news."""
    carriers, spare, is_up = recovery.carriers, recovery.carriers.spare, recovery.context.state.is_up
    if carriers.holds_standby:
        recovery.warm.lost()
        _standby_gone(recovery)
        return
    if is_up:
        recovery.spares.waste()
    carriers.drop_spare()
    if carriers.is_attempting:
        recovery.attempt_failed(DecisionReason.RESTART_FAILED, "the new carrier was lost before it was open")
    elif is_up and spare is not None and spare.renews:
        recovery.relays_renewed()


def _standby_gone(recovery: Recovery) -> None:
    """A warm spare has gone, unless it was kept after all: do without it what it was to be used for."""
    if recovery.carriers.spare is not None or not recovery.context.state.is_up:
        return
    if not recovery.carriers.current:  # it was to take the lost one's place
        recovery.execute(recovery.rules.carrier_lost(recovery.situation(), ""))
    elif recovery.warm.is_needed:
        _judge(recovery)


def _judge(recovery: Recovery) -> None:
    if recovery.knows_warm and recovery.warm.is_path_silent:
        recovery.path_lost(Trigger.CONNECTION_TIMEOUT)
    else:
        recovery.execute(recovery.rules.path_suspect(recovery.situation()))
