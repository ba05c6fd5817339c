"""Two sessions joined by carriers that can be cut anywhere, and what their users wrote and read."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import assert_never

from perdure.config import ResourceLimits
from perdure.session import (
    ByteBudget,
    CarrierUnusable,
    PeerSwitched,
    RttMeasured,
    Session,
    SessionClosed,
    SessionEvent,
    SessionResumed,
    SignalReceived,
    SpareProved,
    StandbyAnswered,
    StandbyAsked,
    StandbyProved,
    StreamAccepted,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from perdure.wire import MAX_MESSAGE_BYTES, MAX_MESSAGE_FRAMES, CloseCode, Frame, ResetCode, encode_frame

SESSION_ID = bytes(range(16))
KEY = bytes(range(32))
BINDING = b"b" * 32
SMALL_LIMITS = ResourceLimits(
    max_streams=16, stream_window_bytes=64 * 1024, stream_buffer_bytes=64 * 1024, session_buffer_bytes=256 * 1024
)


def position_coded(start: int, count: int) -> bytes:
    """Bytes that tell where in their stream they stand, so that a shift by any amount shows."""
    return bytes(
        (position * 31 + (position >> 8) * 17 + (position >> 16)) & 0xFF for position in range(start, start + count)
    )


@dataclass
class End:
    """One session and what its user saw."""

    session: Session
    written: dict[int, int] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    reset: set[int] = field(default_factory=set)
    """Reset here, or aborted."""
    aborted: set[int] = field(default_factory=set)
    read: dict[int, bytearray] = field(default_factory=dict)
    unconsumed: dict[int, int] = field(default_factory=dict)
    blocked: set[int] = field(default_factory=set)
    saw_finish: set[int] = field(default_factory=set)
    saw_reset: dict[int, ResetCode] = field(default_factory=dict)
    accepted: set[int] = field(default_factory=set)
    opened: dict[int, bytes] = field(default_factory=dict)
    resumed: list[SessionResumed] = field(default_factory=list)
    round_trips: list[float] = field(default_factory=list)
    unusable: list[str] = field(default_factory=list)
    signals: list[bytes] = field(default_factory=list)
    """What came of signaling."""
    said_signals: list[bytes] = field(default_factory=list)
    closed: SessionClosed | None = None
    inboxes: dict[int, deque[bytes]] = field(default_factory=dict)
    """What is under way to this end, by the carrier's generation."""
    current: int = 0
    """The carrier on which it sends; 0: none."""
    spare: int = 0
    """The one that it begins beside that, and whether it is open here."""
    spare_is_open: bool = False
    padded: list[int] = field(default_factory=list)
    """The spares behind whose padding it goes on."""
    standby_is_proved: bool = False
    """Whether the spare is one that stands by, and both ends are proved on it."""
    answers_beside: list[tuple[int, bytes]] = field(default_factory=list)
    """What is to be said there next."""
    standby_answers: int = 0
    """How often the peer has answered there."""
    old: int = 0
    """The one before, while it is read."""
    is_closing: bool = False

    @property
    def inbox(self) -> deque[bytes]:
        """What is under way to this end on its current carrier."""
        return self.inboxes.setdefault(self.current, deque())

    def note(self, events: list[SessionEvent]) -> None:
        for event in events:
            match event:
                case StreamOpened(stream_id, target):
                    assert stream_id not in self.opened, "a stream was opened twice"
                    self.opened[stream_id] = target
                    self.session.accept(stream_id)
                case StreamAccepted(stream_id):
                    assert stream_id not in self.reset, "an acceptance behind a reset here"
                    self.accepted.add(stream_id)
                case StreamData(stream_id, data):
                    assert stream_id not in self.saw_finish, "bytes after the end"
                    assert stream_id not in self.saw_reset, "bytes after a reset"
                    assert stream_id not in self.reset, "bytes behind a reset here"
                    self.read.setdefault(stream_id, bytearray()).extend(data)
                    self.unconsumed[stream_id] = self.unconsumed.get(stream_id, 0) + len(data)
                case StreamFinished(stream_id):
                    assert stream_id not in self.saw_finish, "the end came twice"
                    assert stream_id not in self.reset, "the end behind a reset here"
                    self.saw_finish.add(stream_id)
                case StreamReset(stream_id, code):
                    assert stream_id not in self.saw_reset, "a reset came twice"
                    assert stream_id not in self.reset, "a reset behind a reset here"
                    self.saw_reset[stream_id] = code
                case StreamWritable(stream_id):
                    assert not self.is_closing, "room in a session that is closed here"
                    assert stream_id not in self.reset, "room behind a reset here"
                    self.blocked.discard(stream_id)
                case SessionResumed(generation):
                    self.resumed.append(event)
                    if generation != self.current:
                        assert generation == self.spare, "it goes on on a carrier that is none of its own"
                        self.old, self.current, self.spare = self.current, generation, 0
                case PeerSwitched(generation):
                    assert generation == self.old
                    self.old = 0
                case SpareProved(generation):
                    assert generation == self.spare
                    self.padded.append(generation)
                case StandbyProved(generation):
                    assert generation == self.spare
                    self.standby_is_proved = True
                case StandbyAsked(generation, answer):
                    assert generation == self.spare
                    self.answers_beside.append((generation, answer))
                case StandbyAnswered(generation):
                    assert generation == self.spare
                    self.standby_answers += 1
                case RttMeasured(seconds):
                    self.round_trips.append(seconds)
                case CarrierUnusable(_, reason):
                    self.unusable.append(reason)
                case SignalReceived(_, body):
                    self.signals.append(body)
                case SessionClosed():
                    self.closed = event
                case _:
                    assert_never(event)

    def write(self, stream_id: int, count: int) -> None:
        """Write the next `count` position-coded bytes, where there is room."""
        if self.is_closing or stream_id in self.blocked | self.finished | self.reset:
            return
        start = self.written.get(stream_id, 0)
        self.written[stream_id] = start + count
        if not self.session.write(stream_id, position_coded(start, count)):
            self.blocked.add(stream_id)

    def signal(self, size: int) -> None:
        """Say something of signaling that was not said before."""
        body = b"%d %s" % (len(self.said_signals), bytes(size))
        if self.session.signal(body):
            self.said_signals.append(body)

    def finish(self, stream_id: int) -> None:
        if stream_id not in self.reset:
            self.finished.add(stream_id)
            self.session.finish(stream_id)

    def close(self) -> None:
        self.is_closing = True
        self.session.close(CloseCode.DONE, "enough")

    def reset_stream(self, stream_id: int) -> None:
        if stream_id not in self.reset:
            self.reset.add(stream_id)
            self.session.reset(stream_id, ResetCode.ABORTED)

    def abort_stream(self, stream_id: int) -> None:
        """Also where it was reset before."""
        self.reset.add(stream_id)
        self.aborted.add(stream_id)
        self.note(self.session.abort(stream_id, ResetCode.ABORTED))

    def consume(self, stream_id: int) -> None:
        if (count := self.unconsumed.pop(stream_id, 0)) > 0:
            self.session.consume(stream_id, count)


class Pair:
    """An initiator, an acceptor, and the carrier between them."""

    def __init__(self, limits: ResourceLimits = SMALL_LIMITS, budget: ByteBudget | None = None) -> None:
        """`budget`: of the initiator's process."""
        self.now = 0.0
        self.generation = 0
        self.connected = False
        self.initiator = End(Session(session_id=SESSION_ID, initiator=True, key=KEY, limits=limits, budget=budget))
        self.acceptor = End(Session(session_id=SESSION_ID, initiator=False, key=None, limits=limits))
        self.ends = (self.initiator, self.acceptor)

    def connect(self, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """A new carrier; what was under way on the old ones is lost."""
        self.cut()
        self.generation += 1
        self.connected = True
        for end in self.ends:
            end.current = self.generation
            end.session.carrier_opened(self.generation, BINDING, max_message_bytes)

    def cut(self) -> None:
        """Every carrier is lost, at both ends."""
        for end in self.ends:
            end.inboxes.clear()
            if end.spare:
                end.session.spare_lost()
            if end.old:
                end.session.old_lost()
            if self.connected:
                end.session.carrier_lost()
            end.current = end.spare = end.old = 0
        self.connected = False

    def lose_current(self) -> None:
        """The carrier on which the ends send is lost, where they share one and a spare is begun."""
        if self.has_spare and self.initiator.current == self.acceptor.current:
            for end in self.ends:
                end.inboxes.pop(end.current, None)
                end.session.carrier_lost()
                end.current = 0

    # The spare.

    def pad_spare(self, end: End, most: int = 1) -> int:
        """Put up to `most` messages of padding on the spare, and go on there where it is time; how much happened."""
        moved = 0
        if end.spare and end.spare_is_open:
            while moved < most and (message := end.session.next_padding(self.now)) is not None:
                self._put(end, end.spare, message)
                moved += 1
            before = end.current
            end.note(end.session.leave_current(self.now))
            moved += end.current != before
        return moved

    @property
    def has_spare(self) -> bool:
        """Whether a carrier is begun beside the current one and neither end has gone on on it."""
        return self.initiator.spare != 0 != self.acceptor.spare

    def begin_spare(self, *, stands_by: bool = False) -> None:
        """Both ends begin a carrier beside the current one, where streams flow on that and there is no other."""
        others = [*(end.spare for end in self.ends), *(end.old for end in self.ends)]
        if not self.connected or any(others) or not all(end.session.is_resumed for end in self.ends):
            return
        self.generation += 1
        for end in self.ends:
            end.spare, end.spare_is_open, end.standby_is_proved = self.generation, False, False
            end.session.spare_begun(stands_by=stands_by)

    def open_spare(self, end: End) -> None:
        """It is open at one end."""
        if end.spare and not end.spare_is_open and not end.session.is_close_sent:
            end.spare_is_open = True
            self._put(end, end.spare, end.session.spare_opened(end.spare, BINDING))

    def ask_standby(self, end: End) -> None:
        if end.spare and end.session.beside and (question := end.session.beside.ask()) is not None:
            self._put(end, end.spare, question)

    def answer_beside(self, end: End) -> None:
        """What the peer asked on the standby, which may be the current one by now."""
        answers, end.answers_beside = end.answers_beside, []
        for generation, answer in answers:
            if generation in (end.spare, end.current):
                self._put(end, generation, answer)

    def use_standby(self, end: End) -> None:
        """`end` goes on there, where both ends are proved."""
        if end.spare:
            end.note(end.session.leave_current(self.now, for_standby=True))

    def drop_spare(self) -> None:
        """It is lost, and with it every other where an end has gone on on it."""
        if self.has_spare:
            for end in self.ends:
                end.inboxes.pop(end.spare, None)
                end.session.spare_lost()
                end.spare = 0
            self.connected = self.initiator.current != 0
        elif any(end.spare for end in self.ends):
            self.cut()

    def lose_old(self) -> None:
        """The carrier that an end has left is lost; the other end may not have left it yet."""
        gone = self.initiator.old or self.acceptor.old
        for end in self.ends:
            if gone and end.old == gone:
                end.session.old_lost()
                end.old = 0
            elif gone and end.current == gone:
                end.session.carrier_lost()
                end.current = 0
                self.use_standby(end)
            end.inboxes.pop(gone, None)

    def _put(self, sender: End, generation: int, message: bytes) -> None:
        other = self.acceptor if sender is self.initiator else self.initiator
        other.inboxes.setdefault(generation, deque()).append(message)

    def send(self, end: End, most: int = 1) -> int:
        """Put up to `most` messages of `end` on its current carrier; how many there were."""
        other = self.acceptor if end is self.initiator else self.initiator
        for count in range(most):
            queue = other.inboxes.setdefault(end.current, deque())
            if not end.current or len(queue) >= 64 or (message := end.session.next_message(self.now)) is None:
                return count
            queue.append(message)
        return most

    def deliver(self, end: End, most: int = 1, generation: int | None = None) -> int:
        """Let `end` receive up to `most` messages of its current carrier, or of that one; how many there were."""
        if generation is None:
            generation = end.current
        for count in range(most):
            if not (queue := end.inboxes.get(generation)):
                return count
            end.note(end.session.receive(generation, queue.popleft(), self.now))
        return most

    def deliver_beside(self, end: End, most: int = 1) -> int:
        """The same of the spare, once it is open here, or of the carrier before."""
        generation = end.spare if end.spare and end.spare_is_open else end.old
        return self.deliver(end, most, generation) if generation else 0

    def exchange(self, rounds: int) -> None:
        """Let each end send what it has and receive what came, `rounds` times."""
        for _ in range(rounds):
            for end in self.ends:
                self.send(end, 4)
            for end in self.ends:
                self.deliver(end, 4)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for end in self.ends:
            end.session.handle_timeout(self.now)

    def settle(self) -> None:
        """Exchange and consume until nothing moves any more."""
        for _ in range(10_000):
            self.advance(0.05)
            moved = 0
            for end in self.ends:
                moved += self.send(end, 64)
                moved += self.deliver(end, 64)
                moved += self.deliver_beside(end, 64)
                self.answer_beside(end)
                moved += self.pad_spare(end, 64)
                for stream_id in list(end.unconsumed):
                    end.consume(stream_id)
                    moved += 1
            if not moved and not any(end.spare and end.session.next_deadline() for end in self.ends):
                return
        raise AssertionError("the sessions never came to rest")


def say(pair: Pair, to: End, *frames: Frame) -> None:
    """As if the peer had sent `frames`."""
    for first in range(0, len(frames), MAX_MESSAGE_FRAMES):
        message = b"".join(map(encode_frame, frames[first : first + MAX_MESSAGE_FRAMES]))
        to.note(to.session.receive(pair.generation, message, pair.now))


def known_streams(end: End, opened_here: list[int]) -> list[int]:
    return opened_here + [stream_id for stream_id in end.opened if stream_id not in opened_here]


def check_direction(sender: End, receiver: End, stream_id: int, seed: int = 0) -> None:
    read = bytes(receiver.read.get(stream_id, b""))
    assert read == position_coded(0, len(read)), "the bytes read are not the bytes written, in order"
    if stream_id in sender.aborted | receiver.reset:
        assert len(read) <= sender.written.get(stream_id, 0)
        return
    assert len(read) == sender.written.get(stream_id, 0), f"bytes are missing ({seed=})"
    if stream_id in sender.reset:
        assert stream_id not in sender.saw_reset, "a reset that answers one"
        assert (stream_id in receiver.saw_finish) == (stream_id in sender.finished) or not read
    else:
        assert stream_id not in sender.saw_reset.keys() | receiver.saw_reset.keys(), (
            f"a reset that nobody asked for ({seed=})"
        )
        assert (stream_id in receiver.saw_finish) == (stream_id in sender.finished)
