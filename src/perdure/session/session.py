"""The resumable multiplexer of a tube: its driver's face. Streams over one carrier after another.

Rules:
1. On a new carrier nothing but HELLO and RESUME is sent until the peer's RESUME proved that it owns the session.
2. A message of any carrier but the current one is ignored, but for those of `beside`: a spare, and the one before.
3. What the peer sends never raises: it yields `CarrierUnusable`, and the carrier is built anew.
4. No end overtakes what was accepted before it: a stream's as `stream` says, the session's as `ending` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.errors import ProtocolError
from perdure.session.beside import Beside
from perdure.session.ending import NOT_ENDING, Phase, draining, ended
from perdure.session.events import (
    CarrierUnusable,
    SessionClosed,
    SessionEvent,
    SignalReceived,
    SpareProved,
    StandbyProved,
    joined,
)
from perdure.session.handshake import CarrierState, Handshake
from perdure.session.outbox import Outbox
from perdure.session.receiver import Receiver
from perdure.session.stream_calls import StreamCalls
from perdure.session.stream_table import StreamTable
from perdure.session.traffic import Traffic
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    Close,
    CloseCode,
    Hello,
    Padding,
    Resume,
    Signal,
    Unknown,
    decode_message,
)

if TYPE_CHECKING:
    from perdure.config import ResourceLimits
    from perdure.session.budget import ByteBudget
    from perdure.session.data_queue import Parts


class Session(StreamCalls):
    """One end of a session.

    Args:
        session_id: 16 random bytes, the same at both ends.
        initiator: whether this end began the session.
        key: 32 random bytes that prove ownership. The initiator makes them; the acceptor learns them from HELLO.
        budget: what all sessions of a registry may hold together. To drop a session that was not closed,
            `abandon` it: it gives its part back.
    """

    __slots__ = (
        "_handshake",
        "beside",
        "frames_of_last_message",
        "last_heard_at",
        "traffic",
    )

    def __init__(
        self,
        *,
        session_id: bytes,
        initiator: bool,
        key: bytes | None,
        limits: ResourceLimits,
        budget: ByteBudget | None = None,
    ) -> None:
        if initiator != (key is not None):
            raise ValueError("the initiator brings the session's key, the acceptor learns it")
        self.last_heard_at: float | None = None
        """When the peer last said something valid on the current carrier."""
        self.frames_of_last_message = 0
        """How many frames the last message had that was received, which says what it cost."""
        self._handshake = Handshake(session_id=session_id, initiator=initiator, key=key)
        """The current carrier's."""
        self.beside: Beside | None = None
        """Other carriers, while there are any, or one is being made; to be read."""
        self.streams = StreamTable(limits, budget, initiator=initiator)
        """Which there are, and what they hold; to be read."""
        self.traffic = Traffic(self.streams)
        """What moved, and how long the peer took to answer."""
        self._outbox = Outbox(self.streams, self.traffic)
        self._receiver = Receiver(self.streams, self._outbox, self.traffic)
        self._ending = NOT_ENDING

    @property
    def session_id(self) -> bytes:
        return self._handshake.session_id

    @property
    def is_initiator(self) -> bool:
        return self._handshake.is_initiator

    def learn_id(self, session_id: bytes) -> None:
        """The acceptor's session, which was made without an id, has this one."""
        self._handshake.learn_id(session_id)

    @property
    def is_resumed(self) -> bool:
        """Whether streams flow on the current carrier."""
        return self._handshake.is_resumed

    @property
    def message_bytes(self) -> int:
        """How long messages are, as the path answers now; a carrier should hold about two of them."""
        return self._outbox.message_bytes

    # The end.

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session: nothing more is taken, what is held is delivered, and then one last message tells the peer.

        With nothing held that is the next message. `close_now` ends the wait.
        """
        if not self._ending.has_begun:
            self._ending = draining(Close(code, reason))
            self.streams.take_no_more()

    def close_now(self) -> None:
        """Behind `close`: the last message is the next one, and what is still held is dropped."""
        if self._ending.phase is Phase.DRAINING:
            self._end(self._ending.close)

    @property
    def is_over(self) -> bool:
        """Whether there are no streams any more: the peer closed it, or this end could not go on with the peer."""
        return self._ending.is_over

    @property
    def is_close_sent(self) -> bool:
        """Whether this end's last message was handed out."""
        return self._ending.phase is Phase.SAID

    def abandon(self) -> None:
        """End the session without a word, and give back to the budget what it held. Twice is fine."""
        self.beside = None
        self.carrier_lost()
        if not self._ending.is_over:
            self._end(None)

    # Carriers.

    def carrier_opened(self, generation: int, binding: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """A new carrier is there, and no other. It takes messages of that length; `binding` names its connection."""
        self.beside = None
        self._handshake.carrier_opened(generation, binding, max_message_bytes)
        self._outbox.limit_messages(self._handshake.max_message_bytes)
        self.last_heard_at = None
        self._outbox.forget_under_way()

    def carrier_lost(self) -> None:
        """The current carrier is gone; everything waits for the next, or for `leave_current`."""
        self._handshake.carrier_lost()
        self._outbox.forget_under_way(keeps_replies=self._leaves_current_at is not None)

    def spare_begun(self, *, stands_by: bool = False) -> None:
        """A carrier is being made beside the current one; one that `stands_by` waits for `leave_current`."""
        self.beside = (self.beside or Beside()).spare_begun(self.streams, stands_by=stands_by)

    def spare_opened(self, generation: int, binding: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> bytes:
        """It is there; what to say on it first. `SessionResumed` says that it is the current carrier."""
        if self.beside is None:
            raise RuntimeError("no spare was begun")
        spare = self.beside.spare = self._handshake.beside(generation, binding, max_message_bytes)
        return spare.take(tuple(stream.peek_position() for stream in self.streams if stream.open_told))

    def next_padding(self, now: float) -> bytes | None:
        """The next message for the spare: it makes room there for what is to follow."""
        return None if self.beside is None else self.beside.next_padding(now)

    def leave_current(self, now: float, *, at_once: bool = False, for_standby: bool = False) -> list[SessionEvent]:
        """Go on on the spare, where it waits no longer for its padding, or `at_once`; or where it stands by."""
        events: list[SessionEvent] = []
        beside, leaves_at = self.beside, self._leaves_current_at
        is_due = for_standby or (leaves_at is not None and (at_once or leaves_at <= now))
        if is_due and beside and beside.spare and (resume := beside.resume_on_spare(stands_by=for_standby)):
            self._go_on(beside.spare, resume, events, now)
        return events

    def spare_lost(self) -> None:
        """It is gone, and with it what was said on it."""
        self.beside = self.beside and self.beside.without_spare()

    def old_lost(self) -> None:
        """The carrier before the current one is gone."""
        self.beside = self.beside and self.beside.without_old()

    def ping(self) -> None:
        """Ask the peer for a sign of life with the next message."""
        if self.is_resumed:
            self._outbox.ping()

    def signal(self, body: bytes) -> bool:
        """Say this of signaling on the current carrier, with which it is lost; whether it goes this way. A peer with
        one carrier at a time does not read it."""
        return self.is_resumed and self._handshake.peer.carriers > 1 and self._outbox.signal(body)

    def awaiting_since(self) -> float | None:
        """Since when the oldest thing that was sent waits for an answer; `None` where nothing does."""
        return self._outbox.awaiting_since()

    @property
    def awaits_only_ping(self) -> bool:
        """Whether a PING waits for its answer, and nothing of any stream does."""
        return self._outbox.awaits_only_ping

    def next_deadline(self) -> float | None:
        """When `handle_timeout` or `leave_current` is due."""
        due_at, leaves_at = self._outbox.next_deadline, self._leaves_current_at
        return leaves_at if due_at is None or (leaves_at is not None and leaves_at < due_at) else due_at

    def handle_timeout(self, now: float) -> None:
        """Let what is due go out with the next message."""
        self._outbox.handle_timeout(now)

    @property
    def has_due(self) -> bool:
        """Whether `next_message` may have one."""
        return self._outbox.has_due or self._handshake.is_due or self._ending.has_begun

    def next_message(self, now: float) -> bytes | None:
        """The next message for the current carrier, or `None` where nothing is due."""
        if self._handshake.state is CarrierState.ABSENT or not self.has_due:
            return None
        if self._ending.has_begun:
            if self._handshake.state is CarrierState.RESUMED and all(stream.is_settled for stream in self.streams):
                self.close_now()
            if self._ending.is_over:
                return self._ending.take()
        parts: Parts = []
        room = self.streams.max_message_bytes
        if self._handshake.is_due:
            positions = tuple(stream.take_position() for stream in self.streams if stream.open_told)
            parts.append(self._handshake.take(positions))
            room -= len(parts[0])
        if self._handshake.is_resumed:
            self._outbox.fill(parts, room, now)
        return b"".join(parts) if parts else None

    def receive(self, generation: int, message: bytes, now: float) -> list[SessionEvent]:
        """Apply one message of the carrier of `generation`."""
        events: list[SessionEvent] = []
        handshake: Handshake | None = self._handshake
        if generation != self._handshake.generation:
            handshake = None if self.beside is None else self.beside.find(generation)
        self.frames_of_last_message, replied, at, read = 0, self._outbox.reply_count, 0, 0
        if handshake is None or handshake.state is CarrierState.ABSENT or self._ending.is_over:
            return events
        is_settled = handshake is self._handshake and (self.beside is None or self.beside.old is None)
        if is_settled and handshake.is_resumed and len(message) <= MAX_MESSAGE_BYTES:
            at, read = self._receiver.apply_usual(message, events, now)
            self.frames_of_last_message = read
        try:
            for number, frame in enumerate(decode_message(message, at, read), start=read + 1):
                self.frames_of_last_message = number
                match frame:
                    case Unknown() | Padding():
                        pass
                    case Hello() | Resume() | Close():
                        self._apply_handshake(handshake, frame, events, now)
                        if self._ending.is_over:
                            break
                    case _ if not handshake.is_resumed:
                        raise ProtocolError(f"{type(frame).__name__} before RESUME")
                    case Signal(body):
                        if self.beside is not None and handshake is self.beside.standby:  # the peer goes on there
                            events += self.leave_current(now, for_standby=True)
                        events.append(SignalReceived(generation, body))
                    case _:
                        if (beside := self.beside) is not None:
                            if beside.takes(frame, handshake, self._handshake, events):
                                continue
                            if handshake is beside.standby:  # the peer goes on there
                                events += self.leave_current(now, for_standby=True)
                        self._receiver.apply(frame, events, now)
            padding = None if self.beside is None or handshake is not self.beside.spare else self.beside.padding
            if padding is not None:
                padding.note(self._outbox.replies_since(replied), message)
            if padding is not None or handshake is self._handshake:
                self.last_heard_at = now
        except ProtocolError as error:
            if handshake is self._handshake:
                self.carrier_lost()
            else:
                handshake.carrier_lost()
                self._receiver.expect_repeats()
            events.append(CarrierUnusable(generation, str(error)))
        return joined(events) if len(events) > 1 else events

    def _apply_handshake(
        self, handshake: Handshake, frame: Hello | Resume | Close, events: list[SessionEvent], now: float
    ) -> None:
        match frame:
            case Hello():
                if handshake.is_resumed:
                    self._receiver.useless(frame)
                self._refuse(handshake.receive_hello(frame), events)
            case Resume():
                if (refusal := handshake.receive_resume(frame)) is not None:
                    self._refuse(refusal, events)
                elif self.beside is not None and self.beside.proves_standby(handshake, frame):
                    events.append(StandbyProved(frame.generation))
                elif self._goes_on_later(handshake, frame, now):
                    events.append(SpareProved(frame.generation))
                else:
                    self._go_on(handshake, frame, events, now)
            case Close(code):
                reason = handshake.receive_close(frame)
                self._end(None)
                events.append(SessionClosed(code, reason, by_peer=True))
            case _:
                assert_never(frame)

    def _go_on(self, handshake: Handshake, resume: Resume, events: list[SessionEvent], now: float) -> None:
        """The peer is proved on this carrier: streams flow there. Where it was the spare, its RESUME may be old."""
        acknowledged_before, beside = None, self.beside
        if beside is not None and handshake is beside.spare:
            self._receiver.leave_carrier(() if beside.padding is None else beside.padding.owed(self.streams))
            acknowledged_before = beside.switch(self._handshake)
            self._handshake = handshake
        self._outbox.limit_messages(handshake.max_message_bytes)
        self._receiver.resume(resume, events, now, acknowledged_before)

    def _goes_on_later(self, handshake: Handshake, resume: Resume, now: float) -> bool:
        """Whether padding goes first: this is the spare, the current carrier works, and the peer holds both."""
        if (beside := self.beside) is None or handshake is not beside.spare or handshake.peer.carriers < 2:
            return False
        beside.pad(resume, self.streams.under_way_bytes, self.traffic.rtt, now)
        return (leaves_at := self._leaves_current_at) is not None and leaves_at > now

    @property
    def _leaves_current_at(self) -> float | None:
        """When the session goes on on the spare, where that waits for its padding."""
        if self.beside is None or self.beside.padding is None or self._ending.is_over:
            return None
        return self.beside.leaves_at(self._handshake, self.last_heard_at, self.awaiting_since())

    def _refuse(self, refusal: Close | None, events: list[SessionEvent]) -> None:
        if refusal is not None:
            self._end(refusal)
            events.append(SessionClosed(refusal.code, refusal.reason, by_peer=False))

    def _end(self, close: Close | None) -> None:
        self._ending = ended(close)
        self.streams.clear()
        self._outbox.clear_queues()
