"""One tube's session over its carriers: one after another, and for a while one beside another.

1. Nothing is decided here: what happens is told to the driver, and what the core decides is done.
2. Sending is pulled: a message is framed when the carrier has room for it, so that its buffer stays shallow.
3. What the session says of streams goes to one consumer, in order; the driver hears the rest.
4. The engine's queue of what all its carriers received has no bound. So messages are taken out of it as they come, and
   wait in this tube's inbox, which has one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.core import events as core_events
from perdure.core.closing import FAREWELL_SECONDS
from perdure.core.events import PathEvidence
from perdure.core.state import State
from perdure.session import (
    CarrierUnusable,
    PeerSwitched,
    RttMeasured,
    SessionClosed,
    SessionResumed,
    SignalReceived,
    SpareProved,
    StandbyAnswered,
    StandbyAsked,
    StandbyProved,
    StreamData,
    channel_binding,
)
from perdure.transport.base import IceState
from perdure.tube.carrier_set import CarrierSet
from perdure.tube.carrier_signals import CarrierSignals
from perdure.tube.clock import clock
from perdure.tube.close_codes import CLOSE_REASONS
from perdure.tube.inbox import QUIET_COST, REST, RESTING_FRAMES, TURN_COST, Inbox, turn_cost
from perdure.tube.log import log_ice_state, log_path, log_path_soon, log_resumed
from perdure.tube.standby import opened, tend, told

if TYPE_CHECKING:
    from perdure.core.actions import StandbyTask
    from perdure.session import Session, SessionEvent
    from perdure.signaling.in_band import InBandMessage
    from perdure.transport.base import Carrier, LossReason, OpenChannel, Path, PathStatistics, Transport
    from perdure.tube.path_listener import PathListener
    from perdure.tube.standby_places import StandbyPlaces
    from perdure.tube.stream_consumer import StreamConsumer
    from perdure.wire import CloseCode

FIRST_BYTES_TURNS = 3
"""Turns of the event loop from a stream's opening to its OPEN: a local connection's first bytes are read by then."""


class CarrierSession:
    """A session, and its carriers while there are any.

    Attributes:
        held: these; `offer`, `answer` and `close_carrier` go through here, as the session has to know.

    Args:
        session: nobody else drives it; `streams` and the like call what concerns streams, and then `schedule_turn`.
    """

    __slots__ = (
        "_ack_at",
        "_consumer",
        "_frames_read",
        "_in_band",
        "_inbox",
        "_is_resting",
        "_is_turn_scheduled",
        "_listener",
        "_message_bytes",
        "_turn_cost",
        "held",
        "loop",
        "path_logged",
        "path_look",
        "session",
    )

    def __init__(self, listener: PathListener, transport: Transport, session: Session, places: StandbyPlaces) -> None:
        self.session = session
        self._listener = listener
        self._consumer: StreamConsumer | None = None
        self.loop = asyncio.get_running_loop()
        self.held = CarrierSet(listener, transport, self, places)
        self.path_logged = 0
        self.path_look: asyncio.TimerHandle | None = None
        self._inbox: Inbox | None = None
        self._in_band: CarrierSignals | None = None
        self._frames_read = self._turn_cost = 0  # of what was received since the tube's last turn
        self._is_resting = False
        """Whether nothing is read, as the last turn had many frames."""
        self._message_bytes = 0
        self._is_turn_scheduled = False
        self._ack_at: float | None = None
        """When the session wants to be woken, so that an idle tube's waking does not ask the session."""

    def consume_by(self, consumer: StreamConsumer) -> None:
        self._consumer = consumer

    @property
    def path(self) -> Path | None:
        """The one on which streams flow."""
        carrier = self.held.current
        return carrier.path() if carrier is not None and self.session.is_resumed else None

    # What the core decides.

    def offer(self, generation: int, *, is_spare: bool, stands_by: bool = False) -> None:
        if is_spare:
            self.session.spare_begun(stands_by=stands_by)
        self.held.offer(generation, is_spare=is_spare, stands_by=stands_by)

    def answer(self, generation: int, sdp: str, *, is_spare: bool, stands_by: bool = False) -> None:
        if is_spare:
            self.session.spare_begun(stands_by=stands_by)
        self.held.answer(generation, sdp, is_spare=is_spare, stands_by=stands_by)

    def tend_standby(self, task: StandbyTask) -> None:
        self.handle(tend(task, self.held, self.session, self._listener))
        self.schedule_turn()

    def close_carrier(self, generation: int) -> None:
        held = self.held
        if held.is_spare(generation):
            self.session.spare_lost()
        elif held.is_current(generation):
            self.session.carrier_lost()
        elif held.is_old(generation):
            self.session.old_lost()
        if self._inbox is not None:
            self._inbox.forget(generation)
        held.close(generation)
        if held.spare is not None:
            self._pump()

    def probe(self) -> None:
        self.session.ping()
        self._pump()

    def say(self, message: InBandMessage) -> None:
        """Say this of signaling through the carrier, too, where there is one on which streams flow."""
        if self.session.is_resumed:
            self._in_band = self._in_band or CarrierSignals()
            if (body := self._in_band.write(message)) is not None and self.session.signal(body):
                self.schedule_turn()

    def say_goodbye(self, code: CloseCode, reason: str) -> None:
        self.handle(self.session.leave_current(clock(), at_once=True))  # the peer may be on the spare already
        self.session.close(code, reason)
        self._pump()

    def close_now(self) -> None:
        self.session.close_now()
        self._pump()

    def wind_up(self) -> None:
        """The tube has ended: what was held is given back, and the streams' consumer is told."""
        self.session.abandon()
        self._tell_forgotten()
        if self._consumer is not None:
            self._consumer.session_ended()

    # What the core asks.

    def evidence(self, carrier: int) -> PathEvidence:
        """What the session knows of its path, for the core."""
        session = self.session
        return PathEvidence(
            carrier,
            session.last_heard_at,
            session.awaiting_since(),
            session.awaits_only_ping,
            session.traffic.last_data_at,
        )

    def next_deadline(self) -> float | None:
        return self._ack_at

    def handle_timeout(self, now: float) -> None:
        self.session.handle_timeout(now)
        self._ack_at = self.session.next_deadline()
        self._pump()

    # What the streams ask.

    def schedule_turn(self) -> None:
        """Send what is due, once the loop's ready callbacks have run: small writes share a message."""
        if not self._is_turn_scheduled and self._is_turn_due:
            self._is_turn_scheduled = True
            self.loop.call_soon(self._turn)

    def schedule_turn_behind_first_bytes(self, turns: int = FIRST_BYTES_TURNS) -> None:
        """As `schedule_turn`, for a stream that was just opened: so many turns of the loop later."""
        if turns:
            self.loop.call_soon(self.schedule_turn_behind_first_bytes, turns - 1)
        else:
            self.schedule_turn()

    def handle(self, events: list[SessionEvent]) -> None:
        """What the session says to a call for a stream."""
        for event in events:
            self._handle(event)

    # The carrier.

    def carrier_description(self, generation: int, sdp: str) -> None:
        self._listener.described(generation, sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._listener.candidate_found(generation, candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, channel: OpenChannel) -> None:
        binding = channel_binding(channel.local_certificate, channel.remote_certificate)
        if self.held.is_spare(generation):
            opened(self.held, self.session, self._listener, generation, binding, channel.max_message_bytes)
            return
        self._message_bytes = 0
        self.session.carrier_opened(generation, binding, channel.max_message_bytes)
        self._pump()

    def carrier_message(self, generation: int, message: bytes) -> None:
        if self._inbox is None and self._turn_cost < TURN_COST:
            try:
                self._receive(generation, message)
            finally:
                self.schedule_turn()
                if not self._is_turn_scheduled and self._ack_at is not None:
                    self._listener.rearm()
        else:
            self.schedule_turn()
            self._inbox = self._inbox or Inbox(self.session.streams.credit_bytes)
            if not self._inbox.add(generation, message):
                self._inbox.forget(generation)
                if self.held.is_current(generation):
                    self.session.carrier_lost()
                self._listener.carrier_gone(generation, "the peer sends faster than is read here")

    def carrier_writable(self, generation: int) -> None:
        self._pump()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        log_ice_state(self._listener.tube_id, generation, state)
        if state is not IceState.CONNECTED:
            self._listener.feed(core_events.IceUnhealthy(generation, has_failed=state is IceState.FAILED))

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        log_path(self._listener.tube_id, self, path := self.path)
        measured = statistics.rtt, statistics.checks_sent, statistics.checks_answered
        self._listener.feed(core_events.HealthMeasured(generation, *measured, path is not None and path.is_relayed))

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        why = f"{reason.value}: {detail}" if detail else reason.value
        if self._inbox is not None and self.held.is_current(generation):  # the peer's last words wait in it
            self._inbox.loss = generation, why
        else:
            self._listener.carrier_gone(generation, why)

    # The session.

    def _handle(self, event: SessionEvent) -> None:
        match event:
            case StreamData():  # the frequent one first
                if self._consumer is not None:
                    self._consumer.stream_event(event)
            case RttMeasured(seconds):
                is_idle = not len(self.session.streams)
                self._listener.feed(core_events.RttMeasured(self.held.generation, seconds, is_idle))
            case PeerSwitched(generation):
                self._listener.feed(core_events.PeerSwitched(generation))
            case SpareProved() | StandbyProved() | StandbyAsked() | StandbyAnswered():
                told(event, self.held, self._listener, self.evidence)
            case SessionResumed(generation, _, peer_carriers):
                if self.held.is_spare(generation):
                    self.held.switch()
                    self._message_bytes = 0
                log_resumed(self._listener.tube_id, event)
                log_path_soon(self._listener.tube_id, self)
                self._listener.feed(core_events.SessionResumed(generation, peer_takes_spare=peer_carriers > 1))
            case SignalReceived(generation, body):
                self._in_band = self._in_band or CarrierSignals()
                self._in_band.received(generation, body, self._listener)
            case CarrierUnusable(generation, reason):
                self._listener.carrier_gone(generation, f"protocol error: {reason}")
            case SessionClosed(code, reason, by_peer):
                self._pump()
                ended = core_events.SessionEnded(CLOSE_REASONS[code], reason)
                self.loop.call_later(0.0 if by_peer else FAREWELL_SECONDS, self._listener.feed, ended)
            case _:
                if self._consumer is not None:
                    self._consumer.stream_event(event)

    def _receive(self, generation: int, message: bytes) -> None:
        session = self.session
        events = session.receive(generation, message, clock())
        self._frames_read += session.frames_of_last_message
        self._turn_cost += turn_cost(session.frames_of_last_message, len(message))
        self._ack_at = session.next_deadline()
        for event in events:
            self._handle(event)
        is_spare_begun = session.beside is not None and self.held.spare is not None and not session.beside.stands_by
        if is_spare_begun or self._listener.core.state is State.RECONNECTING:  # a sign of life may make it needless
            self._listener.feed(self.evidence(self.held.generation))

    def _read_inbox(self, inbox: Inbox) -> None:
        """As much as one turn allows."""
        self.schedule_turn()  # before anything: what follows may raise
        while inbox and self._inbox is inbox:
            if self._turn_cost >= TURN_COST:
                return
            self._receive(*inbox.pop())
        if self._inbox is inbox:
            self._inbox = None
            if inbox.loss is not None:
                self._listener.carrier_gone(*inbox.loss)

    @property
    def _is_turn_due(self) -> bool:
        session = self.session
        if session.has_due or session.streams.has_forgotten or self._turn_cost >= QUIET_COST:
            return True
        return self._inbox is not None or self.held.spare is not None

    def _turn(self) -> None:
        self._is_turn_scheduled = False
        if self._frames_read >= RESTING_FRAMES and not self._is_resting:
            self._is_resting = True
            self._turn_cost = TURN_COST
            self.loop.call_later(REST, self._go_on_reading)
        self._frames_read = 0
        if not self._is_resting:
            self._turn_cost = 0
            if self._inbox is not None:
                self._read_inbox(self._inbox)
        if self.session.streams.has_forgotten:
            self._tell_forgotten()
        self._pump()

    def _go_on_reading(self) -> None:
        self._is_resting = False
        self._turn()

    def _tell_forgotten(self) -> None:
        for stream_id in self.session.streams.take_forgotten():
            if self._consumer is not None:
                self._consumer.stream_forgotten(stream_id)

    def _pump_spare(self, spare: Carrier) -> None:
        """Make room on it for what is to follow, and go on there once it is time."""
        now = clock()
        try:
            while spare.has_room and (message := self.session.next_padding(now)) is not None:
                spare.send(message)
        except Exception as error:
            self.held.failed(spare.generation, error)
        else:
            self.handle(self.session.leave_current(now))

    def _pump(self) -> None:
        if (spare := self.held.spare) is not None:
            self._pump_spare(spare)
        carrier, session, sent = self.held.current, self.session, False
        if carrier is None:
            return
        try:
            if session.message_bytes != self._message_bytes:
                self._message_bytes = session.message_bytes
                carrier.limit_buffer(2 * self._message_bytes)
            now = clock()
            while carrier.has_room and (message := session.next_message(now)) is not None:
                carrier.send(message)
                sent = True
        except Exception as error:
            self.held.failed(carrier.generation, error)
            return
        self._ack_at = session.next_deadline()
        if session.streams.has_forgotten:
            self.schedule_turn()
        if sent and session.is_close_sent:
            self._listener.feed(core_events.CloseSent())
        if sent and self._core_must_know:
            self._listener.feed(self.evidence(carrier.generation))
        elif self._ack_at is not None:
            self._listener.rearm()

    @property
    def _core_must_know(self) -> bool:
        """Whether the core believes that nothing waits for an answer, or only a ping. Then it has no deadline for what
        was just sent. To tell it each time would be an event of the core for each message."""
        believed = self._listener.core.liveness
        return believed.awaiting_since is None or (believed.awaits_only_ping and not self.session.awaits_only_ping)
