"""The simulator finds bugs: each of these, planted in perdure, is found by a seed within `MOST_SEEDS`.

A plant changes one method, as a mistake of one line would.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from perdure.core.connection import Connection
from perdure.core.decision import Because, Decision
from perdure.core.lifetime import Lifetime
from perdure.core.negotiation import Negotiation
from perdure.core.restart import Ladder
from perdure.core.storm import StormBudget
from perdure.manager import TunnelConnectionManager
from perdure.session.events import StreamData
from perdure.session.send_buffer import SendBuffer
from perdure.session.stream import Stream
from perdure.session.stream_table import StreamTable
from perdure.sim.application import Talker
from perdure.sim.chaos import Chaos
from perdure.sim.engine import SimCarrier
from perdure.sim.peers import GatewayProcess
from perdure.tube.driver import Driver
from perdure.tube.link import Link

MOST_SEEDS = 2000

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def forget_to_resend_after_a_resume(patch: Patch) -> None:
    patch.setattr(SendBuffer, "rewind", lambda self: None)


def acknowledge_before_delivery(patch: Patch) -> None:
    """What came is kept back until the next message; a carrier that goes takes it with it."""
    kept: dict[Link, list[StreamData]] = {}
    handle, close = Link._handle_session, Link.close_carrier

    def handle_late(self: Link, events: list[Any]) -> None:
        ready = kept.pop(self, [])
        kept[self] = [event for event in events if isinstance(event, StreamData)]
        handle(self, [*ready, *(event for event in events if not isinstance(event, StreamData))])

    def close_with_loss(self: Link) -> None:
        kept.pop(self, None)
        close(self)

    patch.setattr(Link, "_handle_session", handle_late)
    patch.setattr(Link, "close_carrier", close_with_loss)


def reset_the_backoff_on_failure(patch: Patch) -> None:
    failed = Ladder._failed

    def forgetful(self: Ladder, *args: Any) -> Decision:
        self._attempts_failed = min(self._attempts_failed, 1)
        decision = failed(self, *args)
        at = decision.at + self._policy.restart_backoff_base if decision.next_attempt_at is not None else None
        return Decision(decision.trigger, decision.rung, Because.BACKOFF, decision.attempt, at, decision.at)

    patch.setattr(Ladder, "_failed", forgetful)


def restart_without_limit(patch: Patch) -> None:
    patch.setattr(StormBudget, "empty_until", lambda self, now: None)
    patch.setattr(StormBudget, "kept_until", lambda self, now, network_event: None)


def drop_the_fin_on_a_rebuild(patch: Patch) -> None:
    resume = Stream.resume

    def resume_without_fin(self: Stream, *args: Any) -> tuple[int, bool]:
        was_sent = self._fin_sent
        result = resume(self, *args)
        self._fin_sent = was_sent
        return result

    patch.setattr(Stream, "resume", resume_without_fin)


def leak_a_stream(patch: Patch) -> None:
    forget = StreamTable.forget

    def forget_some(self: StreamTable, stream: Stream) -> None:
        if stream.stream_id % 4 != 3:
            forget(self, stream)

    patch.setattr(StreamTable, "forget", forget_some)


def trust_a_late_callback(patch: Patch) -> None:
    """An engine that still says something of a carrier which was closed, and a core that does not look whose it is."""
    lost = SimCarrier.close

    def close_and_tell(self: SimCarrier) -> None:
        if not self.is_closed and self._association is not None:
            self.loop.call_later(0.02, self._listener.carrier_lost, self.generation, _Late(), "late")
        lost(self)

    patch.setattr(SimCarrier, "close", close_and_tell)
    patch.setattr(Connection, "_is_current", lambda self, carrier: self._recovery.carrier != 0)


class _Late:
    value = "a late callback"


def count_credit_twice(patch: Patch) -> None:
    consume = Stream.consume

    def consume_twice(self: Stream, count: int, window_bytes: int) -> None:
        consume(self, count, window_bytes)
        self._limit_granted += count

    patch.setattr(Stream, "consume", consume_twice)


def leave_a_timer_unarmed(patch: Patch) -> None:
    """After it was woken, a driver sleeps until something happens."""
    wake, rearm = Driver.wake, Driver.rearm
    waking: list[Driver] = []

    def wake_and_forget(self: Driver) -> None:
        waking.append(self)
        try:
            wake(self)
        finally:
            waking.pop()

    patch.setattr(Driver, "wake", wake_and_forget)
    patch.setattr(Driver, "rearm", lambda self, now=None: None if self in waking else rearm(self, now))


def ignore_generations(patch: Patch) -> None:
    """Any answer is taken for that to the last offer."""
    patch.setattr(Negotiation, "takes_answer", lambda self, generation: self.offered_here)


def let_an_unused_tube_live(patch: Patch) -> None:
    patch.setattr(Lifetime, "next_deadline", lambda self: None)


def open_what_is_not_allowed(patch: Patch) -> None:
    def open_anything(self: GatewayProcess, manager: TunnelConnectionManager, stream_id: int, target: bytes) -> Talker:
        conversation = self.book.conversation(manager.tube_id, stream_id)
        self.loop.call_later(0.001, manager.streams.accept, stream_id)
        return Talker(self.book, manager, conversation, is_client=False, stream_id=stream_id)

    patch.setattr(GatewayProcess, "stream_opened", open_anything)


PLANTS: list[tuple[Plant, int]] = [
    (forget_to_resend_after_a_resume, 31),
    (acknowledge_before_delivery, 2),
    (reset_the_backoff_on_failure, 1),
    (restart_without_limit, 3),
    (drop_the_fin_on_a_rebuild, 19),
    (leak_a_stream, 18),
    (trust_a_late_callback, 44),
    (count_credit_twice, 3),
    (ignore_generations, 3),
    (leave_a_timer_unarmed, 0),
    (let_an_unused_tube_live, 0),
    (open_what_is_not_allowed, 0),
]
"""Each with a seed that found it, which is tried first."""


def finds(seed: int) -> bool:
    chaos = Chaos(seed)
    chaos.run()
    return bool(chaos.simulation.violations)


@pytest.mark.parametrize(("plant", "known"), PLANTS, ids=[plant.__name__ for plant, _ in PLANTS])
def test_a_planted_bug_is_found(plant: Plant, known: int, monkeypatch: Patch) -> None:
    plant(monkeypatch)
    assert finds(known) or any(finds(seed) for seed in range(MOST_SEEDS)), "no seed found it"
