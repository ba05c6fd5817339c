"""The resumable multiplexer of a tube: its driver's face. Streams over one carrier after another.

Rules:
1. On a new carrier nothing but HELLO and RESUME is sent until the peer's RESUME proved that it owns the session.
2. A message of any carrier but the current one is ignored.
3. What the peer sends never raises: it yields `CarrierUnusable`, and the carrier is built anew.
4. No end overtakes what was accepted before it: a stream's as `stream` says, the session's as `ending` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.errors import ProtocolError
from perdure.session.ending import NOT_ENDING, Phase, draining, ended
from perdure.session.events import CarrierUnusable, SessionClosed, SessionEvent, SessionResumed, StreamReset, joined
from perdure.session.handshake import CarrierState, Handshake, version_refusal
from perdure.session.outbox import Outbox, Parts
from perdure.session.receiver import Receiver
from perdure.session.stream_table import StreamTable
from perdure.session.traffic import Traffic
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    MAX_TARGET_BYTES,
    Close,
    CloseCode,
    Hello,
    ResetCode,
    Resume,
    Unknown,
    decode_message,
)

if TYPE_CHECKING:
    from perdure.config import ResourceLimits
    from perdure.session.budget import ByteBudget
    from perdure.session.stream import Stream


class Session:
    """One end of a session.

    Args:
        session_id: 16 random bytes, the same at both ends.
        initiator: whether this end began the session.
        key: 32 random bytes that prove ownership. The initiator makes them; the acceptor learns them from HELLO.
        budget: what all sessions of a registry may hold together. To drop a session that was not closed,
            `abandon` it: it gives its part back.
    """

    __slots__ = (
        "_ending",
        "_handshake",
        "_outbox",
        "_receiver",
        "_streams",
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
        self._streams = StreamTable(limits, budget, initiator=initiator)
        self.traffic = Traffic(self._streams)
        """What moved, and how long the peer took to answer."""
        self._outbox = Outbox(self._streams, self.traffic)
        self._receiver = Receiver(self._streams, self._outbox, self.traffic)
        self._ending = NOT_ENDING

    @property
    def session_id(self) -> bytes:
        return self._handshake.session_id

    @property
    def is_initiator(self) -> bool:
        """Whether this end began the session."""
        return self._handshake.is_initiator

    def learn_id(self, session_id: bytes) -> None:
        """The acceptor's session, which was made without an id, has this one."""
        if self._handshake.session_id:
            raise ValueError("the session has an id")
        self._handshake.session_id = session_id

    @property
    def is_resumed(self) -> bool:
        """Whether streams flow on the current carrier."""
        return self._handshake.is_resumed

    def set_limits(self, limits: ResourceLimits) -> None:
        """New limits from here on. What is in use beyond them stays; nothing is added until it has become less."""
        self._streams.limits = limits

    # What was measured.

    @property
    def buffered_bytes(self) -> int:
        """Streams' bytes that are held now: unacknowledged and unsent."""
        return self._streams.buffered_bytes

    @property
    def message_bytes(self) -> int:
        """How long messages are, as the path answers now; a carrier should hold about two of them."""
        return self._outbox.message_bytes

    @property
    def credit_bytes(self) -> int:
        """What the peer may have sent and is not read, over all streams."""
        return self._streams.credit_bytes

    # Streams.

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def has_forgotten(self) -> bool:
        """Whether `take_forgotten` has something to say."""
        return self._streams.has_forgotten

    @property
    def max_streams(self) -> int:
        """How many streams there may be."""
        return self._streams.max_streams

    def take_forgotten(self) -> list[int]:
        """The streams that ended since this was asked last: behind the events so far, nothing is told of them."""
        return self._streams.take_forgotten()

    def is_writable(self, stream_id: int) -> bool:
        """Whether `write` would take bytes: there is such a stream, and neither it nor the session was ended here."""
        return self._streams.get_writable(stream_id) is not None

    def open_stream(self, target: bytes) -> int:
        """A new stream to `target`; its id. Raises `RuntimeError` at the limit of streams, or when closed."""
        if self._ending.has_begun:
            raise RuntimeError("the session is closed")
        if self._streams.is_full:
            raise RuntimeError(f"the session carries {len(self._streams)} streams already, its limit")
        if len(target) > MAX_TARGET_BYTES:
            raise ValueError(f"a target has at most {MAX_TARGET_BYTES} bytes, not {len(target)}")
        stream_id = self._streams.take_id()
        stream = self._streams.add(stream_id, target, mine=True, send_limit=self._streams.initial_credit_bytes)
        self._outbox.schedule(stream)
        self._receiver.allow_for_stream()
        return stream_id

    def accept(self, stream_id: int) -> None:
        """Take the stream that the peer opened. A stream that is gone meanwhile: nothing."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.accept(self._streams.window_bytes)
            self._outbox.schedule(stream)

    def write(self, stream_id: int, data: bytes) -> bool:
        """Take `data`, all of it. False: no room beyond it; stop until `StreamWritable`. A gone stream, or a session
        that closes, drops it: False too, as who writes in a loop would never stop, and not hear of the end."""
        stream = self._streams.get_writable(stream_id)
        if stream is None:
            return False
        stream.buffer.append(data)
        self._outbox.schedule(stream)
        return self._streams.grew(stream, len(data))

    def finish(self, stream_id: int) -> None:
        """Half-close: nothing more is written here; reading goes on."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.finish()
            self._outbox.schedule(stream)

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End both directions: nothing more is read or written here, and the peer hears `code` behind what was written.

        The stream counts as one of `max_streams`, and what it holds as held, until the peer has answered. One that does
        not read delays that for `LINGER_TIMEOUT`, or until `abort`.
        """
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.reset(code)
            self._say_reset(stream)

    def abort(self, stream_id: int, code: ResetCode) -> list[SessionEvent]:
        """End both directions and drop what is held, which may make room for other streams; the peer hears `code`.

        Also behind a `reset`, whose code stands.
        """
        events: list[SessionEvent] = []
        if (stream := self._streams.get(stream_id)) is not None:
            held = len(stream.buffer)
            stream.abort(code)
            self._say_reset(stream)
            self._streams.freed(held, events)
        return events

    def _say_reset(self, stream: Stream) -> None:
        """Behind its bytes. Of a stream without any that the peer has not heard of, nothing is said."""
        self._streams.stop_waiting(stream)
        if stream.buffer:
            self._outbox.linger(stream)
        if stream.open_told or stream.buffer:
            self._outbox.schedule(stream)
        else:
            self._streams.forget(stream)

    def consume(self, stream_id: int, count: int) -> None:
        """`count` bytes of a stream's `StreamData` have gone on; the peer may send as many more."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.consume(count, self._streams.window_bytes)
            self._outbox.schedule(stream)
            if stream.is_done:
                self._streams.forget(stream)

    def consume_all(self, stream_id: int) -> None:
        """Whatever came has gone on, or is of no use any more."""
        if (stream := self._streams.get_open(stream_id)) is not None and stream.unconsumed_bytes:
            self.consume(stream_id, stream.unconsumed_bytes)

    def held_bytes(self, stream_id: int) -> int:
        """Bytes of the stream that are held: not sent, or sent and not acknowledged."""
        stream = self._streams.get(stream_id)
        return 0 if stream is None else len(stream.buffer)

    def write_limits(self, stream_id: int) -> tuple[int, int]:
        """How many bytes may be held before `write` says stop, and at how few `StreamWritable` follows: low, high."""
        return self._streams.write_limits(self._streams.get(stream_id))

    def set_write_limits(self, stream_id: int, high: int | None, low: int | None) -> None:
        """Lower them for one stream; `None`: the tube's own."""
        if (stream := self._streams.get(stream_id)) is not None:
            stream.write_limits = None if high is None or low is None else (low, high)

    # The end.

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session: nothing more is taken, what is held is delivered, and then one last message tells the peer.

        With nothing held that is the next message. `close_now` ends the wait.
        """
        if not self._ending.has_begun:
            self._ending = draining(Close(code, reason))
            self._streams.take_no_more()

    def close_now(self) -> None:
        """Behind `close`: the last message is the next one, and what is still held is dropped."""
        if self._ending.phase is Phase.DRAINING:
            self._end(self._ending.close)

    @property
    def is_close_sent(self) -> bool:
        """Whether this end's last message was handed out."""
        return self._ending.phase is Phase.SAID

    def abandon(self) -> None:
        """End the session without a word, and give back to the budget what it held. Twice is fine."""
        self.carrier_lost()
        if not self._ending.is_over:
            self._end(None)

    # Carriers.

    def carrier_opened(self, generation: int, binding: bytes, max_message_bytes: int = MAX_MESSAGE_BYTES) -> None:
        """A new carrier is there, which takes messages of that length; frames of every other one are ignored from here
        on. `binding` names its DTLS connection."""
        self._handshake.carrier_opened(generation, binding)
        self._outbox.limit_messages(min(max_message_bytes, self._handshake.peer.max_message_bytes))
        self.last_heard_at = None
        self._forget_under_way()

    def carrier_lost(self) -> None:
        """The current carrier is gone; everything waits for the next."""
        self._handshake.carrier_lost()
        self._forget_under_way()

    def ping(self) -> None:
        """Ask the peer for a sign of life with the next message."""
        if self.is_resumed:
            self._outbox.ping()

    def awaiting_since(self) -> float | None:
        """Since when the oldest thing that was sent waits for an answer; `None` where nothing does. A peer that takes
        longer to acknowledge than usual is given that time before the wait begins."""
        more = self._streams.late_ack_delay
        waits = [stream.awaiting_since + more for stream in self._streams if stream.awaiting_since is not None]
        if self._outbox.ping_sent_at is not None:
            waits.append(self._outbox.ping_sent_at)
        return min(waits, default=None)

    @property
    def awaits_only_ping(self) -> bool:
        """Whether a PING waits for its answer, and nothing of any stream does."""
        return self._outbox.awaits_bare_ping and all(stream.awaiting_since is None for stream in self._streams)

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due: an acknowledgement, or a reset behind unread bytes, has waited long enough."""
        return self._outbox.next_deadline

    def handle_timeout(self, now: float) -> None:
        """Let what is due go out with the next message."""
        self._outbox.handle_timeout(now)

    def next_message(self, now: float) -> bytes | None:
        """The next message for the current carrier, or `None` where nothing is due."""
        if self._handshake.state is CarrierState.ABSENT:
            return None
        if self._ending.has_begun:
            if self._handshake.state is CarrierState.RESUMED and all(stream.is_settled for stream in self._streams):
                self.close_now()
            if self._ending.is_over:
                return self._ending.take()
        parts: Parts = []
        room = self._streams.max_message_bytes
        if self._handshake.is_due:
            positions = tuple(stream.take_position() for stream in self._streams if stream.open_told)
            parts.append(self._handshake.take(positions))
            room -= len(parts[0])
        if self._handshake.is_resumed:
            self._outbox.fill(parts, room, now)
        return b"".join(parts) if parts else None

    def receive(self, generation: int, message: bytes, now: float) -> list[SessionEvent]:
        """Apply one message of the carrier of `generation`."""
        events: list[SessionEvent] = []
        handshake = self._handshake
        self.frames_of_last_message = 0
        if generation != handshake.generation or handshake.state is CarrierState.ABSENT or self._ending.is_over:
            return events
        try:
            for number, frame in enumerate(decode_message(message), start=1):
                self.frames_of_last_message = number
                match frame:
                    case Unknown():
                        pass
                    case Hello() | Resume() | Close():
                        self._apply_handshake(frame, events, now)
                        if self._ending.is_over:
                            break
                    case _ if handshake.is_resumed:
                        self._receiver.apply(frame, events, now)
                    case _:
                        raise ProtocolError(f"{type(frame).__name__} before RESUME")
            self.last_heard_at = now
        except ProtocolError as error:
            self.carrier_lost()
            events.append(CarrierUnusable(generation, str(error)))
        return joined(events) if len(events) > 1 else events

    def _apply_handshake(self, frame: Hello | Resume | Close, events: list[SessionEvent], now: float) -> None:
        match frame:
            case Hello():
                if self._handshake.is_resumed:
                    self._receiver.useless(frame)
                self._refuse(self._handshake.receive_hello(frame), events)
            case Resume(_, generation, _, positions, parameters):
                refusal = self._handshake.receive_resume(frame)
                if refusal is None:
                    self._outbox.limit_messages(min(self._streams.max_message_bytes, parameters.max_message_bytes))
                    refused = self._streams.learn(parameters)
                    events.extend(StreamReset(stream.stream_id, ResetCode.LIMIT) for stream in refused)
                    resent_bytes = self._receiver.resume(positions, events, now)
                    events.append(SessionResumed(generation, resent_bytes))
                self._refuse(refusal, events)
            case Close(code, reason, parameters):
                self._handshake.check_close(frame)
                self._end(None)
                if code is CloseCode.VERSION and (refusal := version_refusal(parameters)) is not None:
                    reason = refusal.reason
                events.append(SessionClosed(code, reason, by_peer=True))
            case _:
                assert_never(frame)

    def _refuse(self, refusal: Close | None, events: list[SessionEvent]) -> None:
        if refusal is not None:
            self._end(refusal)
            events.append(SessionClosed(refusal.code, refusal.reason, by_peer=False))

    def _forget_under_way(self) -> None:
        self._outbox.forget_under_way()
        self.traffic.forget_under_way()
        for stream in self._streams:
            stream.carrier_lost()

    def _end(self, close: Close | None) -> None:
        self._ending = ended(close)
        self._streams.clear()
        self._outbox.clear_queues()
