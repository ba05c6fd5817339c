"""The simulator finds bugs: each of these, planted in perdure, is found by a seed below `MOST_SEEDS`.

A plant changes a method or two, as a mistake of a line would; one needs an engine that talks too late as well.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from perdure.client_sessions import ClientSessions
from perdure.core import recovery_policy
from perdure.core.carriers import Carriers
from perdure.core.connection import Connection
from perdure.core.decision import Decision, DecisionReason, RecoveryAction, Trigger
from perdure.core.events import AnswerReceived
from perdure.core.keepalive import Liveness
from perdure.core.lifetime import Lifetime
from perdure.core.negotiation import Negotiation
from perdure.core.recovery import Recovery
from perdure.core.recovery_policy import RecoveryPolicy, backoff
from perdure.core.restart_limit import UNLIMITED, RestartLimit
from perdure.core.spares import Spares
from perdure.core.state import Reason
from perdure.errors import ProtocolError
from perdure.netmon.monitor import NetworkMonitor
from perdure.session import Session
from perdure.session.events import SessionResumed, StreamData
from perdure.session.receiver import Receiver
from perdure.session.send_buffer import SendBuffer
from perdure.session.spare_padding import SparePadding
from perdure.session.stream import Stream
from perdure.session.stream_table import StreamTable
from perdure.streams.allow import AllowList
from perdure.streams.transport import StreamTransport
from perdure.tube.carrier_session import CarrierSession
from perdure.tube.carrier_set import CarrierSet
from perdure.tube.driver import Driver
from perdure.wire import ResetCode
from perdure_lab.sim.chaos import Chaos
from perdure_lab.sim.engine import SimCarrier

MOST_SEEDS = 2000

Patch = pytest.MonkeyPatch
Plant = Callable[[Patch], None]


def forget_to_resend_after_a_resume(patch: Patch) -> None:
    patch.setattr(SendBuffer, "rewind", lambda self: None)


def acknowledge_before_delivery(patch: Patch) -> None:
    """What came is kept back until the next message; a carrier that goes takes it with it."""
    kept: dict[CarrierSession, list[StreamData]] = {}
    handle, take, close = CarrierSession._handle, CarrierSession.carrier_message, CarrierSession.close_carrier

    def keep(self: CarrierSession, event: Any) -> None:
        if isinstance(event, StreamData):
            kept.setdefault(self, []).append(event)
        else:
            handle(self, event)

    def take_late(self: CarrierSession, generation: int, message: bytes) -> None:
        for event in kept.pop(self, []):
            handle(self, event)
        take(self, generation, message)

    def close_with_loss(self: CarrierSession, generation: int) -> None:
        kept.pop(self, None)
        close(self, generation)

    patch.setattr(CarrierSession, "_handle", keep)
    patch.setattr(CarrierSession, "carrier_message", take_late)
    patch.setattr(CarrierSession, "close_carrier", close_with_loss)


def reset_the_backoff_on_failure(patch: Patch) -> None:
    failed = RecoveryPolicy.rebuild_failed

    def forgetful(self: RecoveryPolicy, *args: Any) -> Decision:
        self._attempts_failed = 0
        return failed(self, *args)

    patch.setattr(RecoveryPolicy, "rebuild_failed", forgetful)


def restart_without_limit(patch: Patch) -> None:
    patch.setattr(RestartLimit, "look", lambda self, now, network_event: UNLIMITED)


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
            self.loop.call_later(0.02, self.listener.carrier_lost, self.generation, _Late(), "late")
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
    wake, rearm = Driver._wake, Driver.rearm
    waking: list[Driver] = []

    def wake_and_forget(self: Driver) -> None:
        waking.append(self)
        try:
            wake(self)
        finally:
            waking.pop()

    patch.setattr(Driver, "_wake", wake_and_forget)
    patch.setattr(Driver, "rearm", lambda self: None if self in waking else rearm(self))


def ignore_generations(patch: Patch) -> None:
    """Any answer is taken for that to the last offer."""
    patch.setattr(Negotiation, "takes_answer", lambda self, generation: self.offered_here)


def let_an_unused_tube_live(patch: Patch) -> None:
    patch.setattr(Lifetime, "next_deadline", lambda self: None)


def end_the_tube_with_its_carrier(patch: Patch) -> None:
    """A new session would hide it from who only looks at the end."""

    def give_up(self: RecoveryPolicy, situation: Any, detail: str) -> Decision:
        return Decision(
            Trigger.ICE_FAILURE, RecoveryAction.FAIL, DecisionReason.EXHAUSTED, 1, None, situation.now, detail
        )

    patch.setattr(RecoveryPolicy, "carrier_lost", give_up)


def reset_the_streams_on_a_resume(patch: Patch) -> None:
    handle = CarrierSession._handle

    def handle_and_reset(self: CarrierSession, event: Any) -> None:
        handle(self, event)
        if isinstance(event, SessionResumed):
            for stream in list(self.session.streams):
                self.session.reset(stream.stream_id, ResetCode.ABORTED)

    patch.setattr(CarrierSession, "_handle", handle_and_reset)


def never_tell_of_room(patch: Patch) -> None:
    patch.setattr(StreamTable, "tell_writable", lambda self, events: None)


def let_a_buffer_grow(patch: Patch) -> None:
    grew = StreamTable.grew

    def grow(self: StreamTable, *args: Any) -> bool:
        grew(self, *args)
        return True

    patch.setattr(StreamTable, "grew", grow)


def log_an_error(patch: Patch) -> None:
    """What is raised is caught, logged, and harms nobody."""
    lost = RecoveryPolicy.carrier_lost

    def raise_and_catch(self: RecoveryPolicy, *args: Any) -> Decision:
        logging.getLogger("perdure.core").error("planted")
        return lost(self, *args)

    patch.setattr(RecoveryPolicy, "carrier_lost", raise_and_catch)


def raise_in_a_task_that_nobody_awaits(patch: Patch) -> None:
    async def start(self: NetworkMonitor) -> None:
        raise RuntimeError("planted")

    patch.setattr(NetworkMonitor, "start", start)


def open_what_is_not_allowed(patch: Patch) -> None:
    patch.setattr(AllowList, "names", lambda self, target: True)


def end_a_tube_in_use(patch: Patch) -> None:
    """The session timeout counts from the beginning, whoever uses the tube."""
    ends_at = Lifetime._ends_at

    def ends_by_age(self: Lifetime) -> tuple[float, Reason] | None:
        if self._limits.session_timeout:
            return self._began_at + self._limits.session_timeout, Reason.SESSION_TIMEOUT
        return ends_at(self)

    patch.setattr(Lifetime, "_ends_at", ends_by_age)


def wait_too_long(patch: Patch) -> None:
    patch.setattr(recovery_policy, "backoff", lambda policy, failures, random: 5 * backoff(policy, failures, random))


def let_a_reset_drop_what_was_written(patch: Patch) -> None:
    patch.setattr(Stream, "reset", Stream.abort)


def let_a_reset_overtake_the_end_before_it(patch: Patch) -> None:
    reset = Stream.reset

    def reset_unfinished(self: Stream, code: ResetCode) -> None:
        self._fin_wanted = self._fin_sent
        reset(self, code)

    patch.setattr(Stream, "reset", reset_unfinished)


def tell_a_reset_once(patch: Patch) -> None:
    """A reset that was lost with its carrier is not repeated."""
    resume = Stream.resume

    def resume_as_told(self: Stream, *args: Any) -> tuple[int, bool]:
        was_told = self._reset_told
        result = resume(self, *args)
        self._reset_told = was_told
        return result

    patch.setattr(Stream, "resume", resume_as_told)


def close_without_waiting(patch: Patch) -> None:
    close = Session.close

    def close_at_once(self: Session, *args: Any) -> None:
        close(self, *args)
        self.close_now()

    patch.setattr(Session, "close", close_at_once)


def begin_no_second_session(patch: Patch) -> None:
    async def run_one(self: ClientSessions) -> None:
        assert self.manager is not None
        await self.manager.wait_ended()

    patch.setattr(ClientSessions, "_run", run_one)


def hand_over_to_a_protocol_that_pauses(patch: Patch) -> None:
    patch.setattr(StreamTransport, "pause_reading", lambda self: None)


def let_the_end_overtake_bytes(patch: Patch) -> None:
    """A protocol that reads nothing now is told of the other's end at once."""

    def tell(self: StreamTransport) -> None:
        self._call(self.get_protocol().eof_received)  # type: ignore[attr-defined]

    patch.setattr(StreamTransport, "eof_came", tell)


def never_say_that_a_connection_is_lost(patch: Patch) -> None:
    patch.setattr(StreamTransport, "_lose", lambda self, error: None)


def lose_a_connection_without_its_reason(patch: Patch) -> None:
    lose = StreamTransport._lose
    patch.setattr(StreamTransport, "_lose", lambda self, error: lose(self, None))


def wait_for_ever_to_be_accepted(patch: Patch) -> None:
    patch.setattr(StreamTransport, "_settle", lambda self: None)


def deliver_what_came_again(patch: Patch) -> None:
    """An honest peer sends nothing twice on one carrier."""
    receive = Stream.receive_data

    def receive_again(self: Stream, offset: int, payload: memoryview) -> memoryview | None:
        fresh = receive(self, offset, payload)
        return payload if fresh is None and payload else fresh

    patch.setattr(Stream, "receive_data", receive_again)


def bound_acknowledgements_by_one_carrier(patch: Patch) -> None:
    receive_ack = Stream.receive_ack

    def receive(self: Stream, position: int, now: float) -> bool:
        if position > self.buffer.sent + self._fin_sent:
            raise ProtocolError("an ACK of what was not sent on this carrier")
        return receive_ack(self, position, now)

    patch.setattr(Stream, "receive_ack", receive)


def give_a_late_answer_to_another_carrier(patch: Patch) -> None:
    def take(self: Carriers, answer: AnswerReceived) -> bool:
        return self.current != 0 and self.negotiation.takes_answer(answer.generation)

    patch.setattr(Carriers, "takes_answer", take)


def leak_a_spare(patch: Patch) -> None:
    close = CarrierSet.close

    def close_others(self: CarrierSet, generation: int) -> None:
        if self.is_spare(generation):
            self.spare = None
        else:
            close(self, generation)

    patch.setattr(CarrierSet, "close", close_others)


def take_instead_of_peek(patch: Patch) -> None:
    """What a spare's RESUME says counts as told, also where the spare dies."""
    patch.setattr(Stream, "peek_position", Stream.take_position)


def forget_what_ended_while_a_spare_is_padded(patch: Patch) -> None:
    """The last ACK of a stream was said on the carrier that is left, and is not said again."""
    patch.setattr(SparePadding, "owed", lambda self, streams: self._replies)


def let_the_answerer_drop_a_spare(patch: Patch) -> None:
    """Whoever hears the other end on the current carrier drops the spare of a suspicion, whoever offered it, and also
    where RESUME was said on it: the other end may go on there."""

    def hear(self: Spares, at: float) -> None:
        spare = self._carriers.spare
        if spare is not None and spare.trigger is Trigger.CONNECTION_TIMEOUT and at > spare.begun_at:
            self.waste()

    patch.setattr(Spares, "heard", hear)


def read_a_stale_resume_as_the_truth(patch: Patch) -> None:
    """A stream that is absent from a spare's RESUME is gone, also where its OPEN was acknowledged after that was said.
    A warm spare's RESUME, of which no position is read, is left alone."""
    resume = Receiver.resume

    def resume_as_told(self: Receiver, *args: Any) -> None:
        said, events, now, acknowledged_before = args
        resume(self, said, events, now, None if acknowledged_before else acknowledged_before)

    patch.setattr(Receiver, "resume", resume_as_told)


def spend_the_restart_limit_on_planned_renewals(patch: Patch) -> None:
    """Relays rotate their credentials, and a path that is lost then has to wait."""
    count = RecoveryPolicy._count

    def count_requests(self: RecoveryPolicy, trigger: Trigger | None, now: float) -> None:
        count(self, Trigger.CONNECTION_TIMEOUT if trigger is Trigger.REQUEST else trigger, now)

    patch.setattr(RecoveryPolicy, "_count", count_requests)


def renew_a_path_in_turns(patch: Patch) -> None:
    """An end whose path the peer has renewed renews it too."""
    resumed, most = Recovery.spare_resumed, 20

    def resume_and_renew(self: Recovery) -> None:
        nonlocal most
        spare, is_own = self.carriers.spare, self.carriers.negotiation.offered_here
        resumed(self)
        if spare is not None and spare.trigger is Trigger.REQUEST and not is_own and most:
            most -= 1  # without end, but for the test's sake
            self.relays_renewed()

    patch.setattr(Recovery, "spare_resumed", resume_and_renew)


def close_the_old_one_too_early(patch: Patch) -> None:
    """The carrier before is not read until the other end has left it too."""
    promoted = Carriers.promoted

    def promote_and_drop(self: Carriers) -> None:
        promoted(self)
        self.drop_old()

    patch.setattr(Carriers, "promoted", promote_and_drop)


def count_for_ever_as_under_way(patch: Patch) -> None:
    acknowledge = Receiver._apply_ack

    def acknowledge_and_count(self: Receiver, *args: Any) -> bool:
        under_way = self._streams.under_way_bytes
        is_news = acknowledge(self, *args)
        self._streams.under_way_bytes = under_way
        return is_news

    patch.setattr(Receiver, "_apply_ack", acknowledge_and_count)


def take_late_acknowledgements_for_a_stall(patch: Patch) -> None:
    patch.setattr(Liveness, "_stalled_at", lambda self, awaiting_since: awaiting_since + 2.0)


def wait_for_the_first_carrier_instead_of_the_first_offer(patch: Patch) -> None:
    patch.setattr(Recovery, "first_offer_came", lambda self: None)


PLANTS: list[tuple[Plant, int, str]] = [
    (forget_to_resend_after_a_resume, 20, "bytes have come"),
    (acknowledge_before_delivery, 4, "other bytes than were sent"),
    (reset_the_backoff_on_failure, 6, "waits "),
    (restart_without_limit, 12, "restarts in a minute"),
    (drop_the_fin_on_a_rebuild, 13, "its end has not come"),
    (leak_a_stream, 1, "never acknowledges what it got"),
    (trust_a_late_callback, 5, "has no stream to say anything in"),
    (count_credit_twice, 21, "came beyond what was read"),
    (ignore_generations, 3, "was given the answer to"),
    (leave_a_timer_unarmed, 0, "nobody says anything, and the client's tube is"),
    (let_an_unused_tube_live, 0, "nobody says anything, and the client's tube is"),
    (end_the_tube_with_its_carrier, 0, "it ended for no reason"),
    (reset_the_streams_on_a_resume, 6, "its protocol was not told"),
    (never_tell_of_room, 9, "still waits for room"),
    (let_a_buffer_grow, 1, "may go on, and "),
    (log_an_error, 0, "logged: planted"),
    (raise_in_a_task_that_nobody_awaits, 0, "RuntimeError: planted"),
    (open_what_is_not_allowed, 0, "whose target is not allowed"),
    (end_a_tube_in_use, 0, "it ended for no reason: nobody used the tube"),
    (wait_too_long, 3, "waits "),
    (let_a_reset_drop_what_was_written, 0, "reset after"),
    (let_a_reset_overtake_the_end_before_it, 37, "reset before its end has come"),
    (tell_a_reset_once, 14, "are alive"),
    (close_without_waiting, 14, "the client is stopped, and"),
    (begin_no_second_session, 1, "the client has no stream"),
    (hand_over_to_a_protocol_that_pauses, 0, "hears bytes while it reads none"),
    (let_the_end_overtake_bytes, 37, "hears the other's end while it reads nothing"),
    (never_say_that_a_connection_is_lost, 25, "its protocol was not told"),
    (lose_a_connection_without_its_reason, 0, "is lost without a word"),
    (wait_for_ever_to_be_accepted, 0, "waits to be accepted"),
    (deliver_what_came_again, 10, "hears other bytes than were sent"),
    (bound_acknowledgements_by_one_carrier, 13, "has not left it"),
    (give_a_late_answer_to_another_carrier, 0, "was given the answer to"),
    (leak_a_spare, 4, "which the gateway has not closed"),
    (take_instead_of_peek, 56, "never acknowledges what it got"),
    (forget_what_ended_while_a_spare_is_padded, 56, "never acknowledges what it got"),
    (let_the_answerer_drop_a_spare, 96, "has not left it"),
    (read_a_stale_resume_as_the_truth, 4, "was reset for no reason"),
    (spend_the_restart_limit_on_planned_renewals, 151, "the restart limit is reached after"),
    (renew_a_path_in_turns, 31, "new credentials"),
    (close_the_old_one_too_early, 1, "has not left it"),
    (count_for_ever_as_under_way, 9, "bytes have come"),
    (take_late_acknowledgements_for_a_stall, 0, "it ended for no reason: the other end answers"),
    (wait_for_the_first_carrier_instead_of_the_first_offer, 652, "it ended for no reason: the other end did not come"),
]
"""Each with a seed that finds it, and with what that violates."""


def violations(seed: int) -> list[str]:
    chaos = Chaos(seed)
    chaos.run()
    return chaos.simulation.violations


@pytest.mark.parametrize(("plant", "seed", "what"), PLANTS, ids=[plant.__name__ for plant, _, _ in PLANTS])
def test_a_planted_bug_is_found(plant: Plant, seed: int, what: str, monkeypatch: Patch) -> None:
    assert seed < MOST_SEEDS
    plant(monkeypatch)
    found = violations(seed)
    assert any(what in each for each in found), found or "another seed may find it"


@pytest.mark.parametrize("seed", sorted({seed for _, seed, _ in PLANTS}))
def test_the_bug_is_what_was_found(seed: int) -> None:
    assert violations(seed) == []
