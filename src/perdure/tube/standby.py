"""A tube's spare: what is said on it first; and of a warm one what the core asks, and what the session says."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import StandbyTask
from perdure.core.events import SpareOpened, StandbyReady
from perdure.core.events import SpareProved as CoreSpareProved
from perdure.core.events import StandbyAnswered as CoreStandbyAnswered
from perdure.session import PADDING_BUFFER_BYTES, SpareProved, StandbyAnswered, StandbyAsked, StandbyProved
from perdure.tube.clock import clock
from perdure.tube.log import log_standby_ready

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.events import PathEvidence
    from perdure.session import BesideEvent, Session, SessionEvent
    from perdure.tube.carrier_set import CarrierSet
    from perdure.tube.path_listener import PathListener


def opened(
    held: CarrierSet,
    session: Session,
    listener: PathListener,
    generation: int,
    binding: bytes,
    max_message_bytes: int,
) -> None:
    """The spare is open: both ends prove themselves on it while the current one goes on."""
    if held.spare is None:
        return
    try:
        held.spare.limit_buffer(PADDING_BUFFER_BYTES)
        held.spare.send(session.spare_opened(generation, binding, max_message_bytes))
    except Exception as error:
        held.failed(generation, error)
        return
    if session.beside is not None and not session.beside.stands_by:
        listener.feed(SpareOpened(generation))


def tend(task: StandbyTask, held: CarrierSet, session: Session, listener: PathListener) -> list[SessionEvent]:
    """Do what the core asks; what the session says to that."""
    events: list[SessionEvent] = []
    match task:
        case StandbyTask.ASK:
            question = None if session.beside is None else session.beside.ask()
            if held.spare is not None and question is not None:
                held.spare.send(question)
        case StandbyTask.USE:
            events = session.leave_current(clock(), for_standby=True)
            if held.spare is not None and not events:
                listener.carrier_gone(held.spare.generation, "nothing can go on on it")
        case StandbyTask.CHECK:
            held.check_standby()
        case _:
            assert_never(task)
    return events


def told(event: BesideEvent, held: CarrierSet, listener: PathListener, evidence: Callable[[int], PathEvidence]) -> None:
    """What the session says of a spare, one that stands by or not. `evidence`: of the path in use, for the core."""
    match event:
        case SpareProved(generation):
            listener.feed(CoreSpareProved(generation))
        case StandbyProved(generation):
            log_standby_ready(listener.tube_id, generation)
            listener.feed(StandbyReady(generation))
        case StandbyAsked(generation, answer):
            carrier = held.spare if held.is_spare(generation) else held.current
            try:
                if carrier is not None and carrier.has_room:
                    carrier.send(answer)
            except Exception as error:
                held.failed(generation, error)
            _heard(generation, held, listener, evidence)
        case StandbyAnswered(generation):
            _heard(generation, held, listener, evidence)
        case _:
            assert_never(event)


def _heard(generation: int, held: CarrierSet, listener: PathListener, evidence: Callable[[int], PathEvidence]) -> None:
    """It works: what the peer asks there says so as well as its answer."""
    if held.is_spare(generation):
        listener.feed(evidence(held.generation))
        listener.feed(CoreStandbyAnswered(generation))
