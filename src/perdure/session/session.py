"""The resumable multiplexer of a tube: routes frames to streams, and resumes them on a new carrier.

Rules:
1. On a new carrier nothing but HELLO and RESUME is sent until the peer's RESUME proved that it owns the session.
2. A message of any carrier but the current one is ignored.
3. What the peer sends never raises: it yields `CarrierUnusable`, and the carrier is built anew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.errors import ProtocolError
from perdure.session.events import (
    CarrierUnusable,
    SessionClosed,
    SessionEvent,
    SessionResumed,
    StreamAccepted,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
)
from perdure.session.handshake import ownership_proof, proofs_match
from perdure.session.outbox import Outbox, Parts
from perdure.session.stream import INITIAL_CREDIT_BYTES, Stream
from perdure.session.stream_table import StreamTable
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    MAX_TARGET_BYTES,
    PROTOCOL_VERSION,
    Ack,
    Close,
    CloseCode,
    Data,
    Fin,
    Frame,
    Gone,
    Hello,
    Open,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Resume,
    StreamPosition,
    Window,
    decode_message,
    encode_frame,
)

if TYPE_CHECKING:
    from perdure.config import ResourceLimits


_CLOSES_WITHOUT_PROOF = {CloseCode.UNKNOWN_SESSION, CloseCode.VERSION}
"""How an acceptor may end a session of which it has no key, and so no proof."""


class Session:
    """One end of a session.

    Args:
        session_id: 16 random bytes, the same at both ends.
        initiator: whether this end began the session.
        key: 32 random bytes that prove ownership. The initiator makes them; the acceptor learns them from HELLO.
    """

    def __init__(self, *, session_id: bytes, initiator: bool, key: bytes | None, limits: ResourceLimits) -> None:
        if initiator != (key is not None):
            raise ValueError("the initiator brings the session's key, the acceptor learns it")
        self.session_id = session_id
        self.rtt: float | None = None
        """Seconds of the last PING's round trip."""
        self.last_heard_at: float | None = None
        """When the peer last said something valid on the current carrier."""
        self.received_bytes = 0
        self._initiator = initiator
        self._key = key
        self._streams = StreamTable(limits, initiator=initiator)
        self._outbox = Outbox(self._streams)
        self._closed: Close | None = None
        self._close_told = False
        self._generation = 0
        self._binding = b""
        self._carrier_usable = False
        self._resume_told = False
        self._resumed = False
        self._peer_knows_us = False

    @property
    def sent_bytes(self) -> int:
        """Streams' bytes framed for sending, those sent again included."""
        return self._outbox.sent_bytes

    @property
    def message_bytes(self) -> int:
        """How long messages are, as the path answers now; a carrier should hold about two of them."""
        return self._outbox.message_bytes

    # Streams.

    @property
    def stream_count(self) -> int:
        return len(self._streams)

    @property
    def is_resumed(self) -> bool:
        """Whether streams flow on the current carrier."""
        return self._resumed

    def open_stream(self, target: bytes) -> int:
        """A new stream to `target`; its id. Raises `RuntimeError` at the limit of streams, or when closed."""
        if self._closed is not None:
            raise RuntimeError("the session is closed")
        if self._streams.is_full:
            raise RuntimeError(f"the session carries {len(self._streams)} streams already, its limit")
        if len(target) > MAX_TARGET_BYTES:
            raise ValueError(f"a target has at most {MAX_TARGET_BYTES} bytes, not {len(target)}")
        stream_id = self._streams.take_id()
        self._add_stream(stream_id, target, mine=True, send_limit=INITIAL_CREDIT_BYTES)
        return stream_id

    def accept(self, stream_id: int) -> None:
        """Take the stream that the peer opened. A stream that is gone meanwhile: nothing."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.accept(self._streams.window_bytes)
            self._outbox.schedule(stream)

    def write(self, stream_id: int, data: bytes) -> bool:
        """Take `data`, all of it. False: no room beyond it; stop until `StreamWritable`. A gone stream drops it."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.is_finished:
            return True
        stream.buffer.append(data)
        self._outbox.schedule(stream)
        return self._streams.grew(stream, len(data))

    def finish(self, stream_id: int) -> None:
        """Half-close: nothing more is written here; reading goes on."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.finish()
            self._outbox.schedule(stream)

    def reset(self, stream_id: int, code: ResetCode) -> list[SessionEvent]:
        """End both directions now; bytes not yet delivered are dropped, which may make room for other streams."""
        events: list[SessionEvent] = []
        stream = self._streams.get_open(stream_id)
        if stream is None:
            return events
        held = len(stream.buffer)
        stream.reset(code)
        self._streams.stop_waiting(stream)
        if stream.open_told:
            self._outbox.schedule(stream)
        else:
            self._streams.forget(stream)
        self._streams.freed(held, events)
        return events

    def consume(self, stream_id: int, count: int) -> None:
        """`count` bytes of a stream's `StreamData` have gone on; the peer may send as many more."""
        if (stream := self._streams.get_open(stream_id)) is not None:
            stream.consume(count, self._streams.window_bytes)
            self._outbox.schedule(stream)

    def close(self, code: CloseCode, reason: str) -> None:
        """End the session; the peer is told by one last message."""
        if self._closed is None:
            self._close(Close(code, reason))

    # Carriers.

    def carrier_opened(self, generation: int, binding: bytes) -> None:
        """A new carrier is there; frames of every other one are ignored from here on."""
        self._generation = generation
        self._binding = binding
        self._carrier_usable = True
        self._resume_told = self._resumed = False
        self.last_heard_at = None
        self._forget_under_way()

    def carrier_lost(self) -> None:
        """The current carrier is gone; everything waits for the next."""
        self._carrier_usable = self._resumed = False
        self._forget_under_way()

    def ping(self) -> None:
        """Ask the peer for a sign of life with the next message."""
        if self._resumed:
            self._outbox.ping()

    def awaiting_since(self) -> float | None:
        """Since when the oldest thing that was sent waits for an answer; `None` where nothing does."""
        waits = [stream.awaiting_since for stream in self._streams if stream.awaiting_since is not None]
        if self._outbox.ping_sent_at is not None:
            waits.append(self._outbox.ping_sent_at)
        return min(waits, default=None)

    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due: an acknowledgement has waited long enough."""
        return self._outbox.ack_at

    def handle_timeout(self, now: float) -> None:
        """Let a due acknowledgement go out with the next message."""
        if self._outbox.ack_at is not None and now >= self._outbox.ack_at:
            self._outbox.release_acks()

    def next_message(self, now: float) -> bytes | None:
        """The next message for the current carrier, or `None` where nothing is due."""
        if not self._carrier_usable:
            return None
        if self._closed is not None:
            return self._last_message()
        parts: Parts = []
        if not self._resume_told and self._key is not None:
            self._add_handshake(parts, self._key)
        if self._resumed:
            self._outbox.fill(parts, MAX_MESSAGE_BYTES - sum(map(len, parts)), now)
        return b"".join(parts) if parts else None

    def receive(self, generation: int, message: bytes, now: float) -> list[SessionEvent]:
        """Apply one message of the carrier of `generation`."""
        events: list[SessionEvent] = []
        if generation != self._generation or not self._carrier_usable or self._closed is not None:
            return events
        try:
            for frame in decode_message(message):
                self._apply(frame, events, now)
                if self._closed is not None:
                    break
            self.last_heard_at = now
        except ProtocolError as error:
            self.carrier_lost()
            events.append(CarrierUnusable(generation, str(error)))
        return events

    # Receiving.

    def _apply(self, frame: Frame, events: list[SessionEvent], now: float) -> None:
        match frame:
            case Hello() | Resume() | Close():
                self._apply_handshake(frame, events, now)
            case _ if not self._resumed:
                raise ProtocolError(f"{type(frame).__name__} before RESUME")
            case Data() | Fin() | Ack() | Window():
                self._apply_to_stream(frame, events, now)
            case Open():
                self._apply_open(frame, events, now)
            case Reset():
                self._apply_reset(frame, events)
            case Gone(stream_id):
                if (stream := self._streams.get(stream_id)) is not None:
                    self._gone(stream, events)
            case Ping(token):
                self._outbox.reply(Pong(token))
            case Pong(token):
                self.rtt = self._outbox.take_pong(token, now) or self.rtt
            case _:
                assert_never(frame)

    def _apply_handshake(self, frame: Hello | Resume | Close, events: list[SessionEvent], now: float) -> None:
        match frame:
            case Hello(version, session_id, key):
                if self._initiator or session_id != self.session_id:
                    raise ProtocolError("a HELLO for another session")
                if self._key is None and version != PROTOCOL_VERSION:
                    self._refuse(CloseCode.VERSION, f"one end speaks version {PROTOCOL_VERSION}, not {version}", events)
                elif self._key is None:
                    self._key = key
                elif not proofs_match(key, self._key):
                    raise ProtocolError("a HELLO with another key than the one that began this session")
            case Resume():
                self._apply_resume(frame, events, now)
            case Close(code, reason):
                if not self._resumed and not (self._initiator and code in _CLOSES_WITHOUT_PROOF):
                    raise ProtocolError("a CLOSE by an end that has not proved that it owns the session")
                self._close(frame)
                self._close_told = True
                events.append(SessionClosed(code, reason, by_peer=True))
            case _:
                assert_never(frame)

    def _apply_resume(self, frame: Resume, events: list[SessionEvent], now: float) -> None:
        if self._resumed:
            raise ProtocolError("a second RESUME on one carrier")
        if self._key is None:
            self._refuse(CloseCode.UNKNOWN_SESSION, "the other end does not know the session; it was restarted", events)
            return
        expected = ownership_proof(
            self._key, self.session_id, self._generation, self._binding, by_initiator=not self._initiator
        )
        if (
            frame.session_id != self.session_id
            or frame.generation != self._generation
            or not proofs_match(frame.proof, expected)
        ):
            raise ProtocolError("a RESUME that does not prove ownership of the session")
        self._resumed = self._peer_knows_us = True
        positions = {position.stream_id: position for position in frame.positions}
        resent_bytes = self._resume_streams(positions, events, now)
        events.append(SessionResumed(self._generation, resent_bytes))

    def _resume_streams(self, positions: dict[int, StreamPosition], events: list[SessionEvent], now: float) -> int:
        self._outbox.clear_queues()
        resent_bytes = 0
        for stream in self._streams.in_order():
            position = positions.pop(stream.stream_id, None)
            if position is None and stream.open_acknowledged:
                self._gone(stream, events)
            elif position is None and stream.reset_code is not None:
                self._streams.forget(stream)
            else:
                held = len(stream.buffer)
                again, accepted = stream.resume(position, now)
                resent_bytes += again
                if accepted:
                    events.append(StreamAccepted(stream.stream_id))
                self._streams.freed(held - len(stream.buffer), events)
                self._outbox.schedule(stream)
                self._forget_if_done(stream)
        for stream_id in positions:
            if self._streams.was_seen(stream_id):
                self._outbox.reply(Gone(stream_id))
        return resent_bytes

    def _apply_to_stream(self, frame: Data | Fin | Ack | Window, events: list[SessionEvent], now: float) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            if not self._streams.was_seen(frame.stream_id):
                raise ProtocolError(f"{type(frame).__name__} for stream {frame.stream_id}, which was never opened")
            if isinstance(frame, Data | Fin):
                self._outbox.reply(Gone(frame.stream_id))
            return
        if stream.reset_code is not None:
            return
        stream.acknowledge_open(now)
        match frame:
            case Data(_, offset, payload):
                fresh = stream.receive_data(offset, payload)
                if fresh is not None:
                    self.received_bytes += len(fresh)
                    events.append(StreamData(stream.stream_id, _unpinned(fresh)))
            case Fin(_, offset):
                if stream.receive_fin(offset):
                    events.append(StreamFinished(stream.stream_id))
            case Ack(_, position):
                held, due_since = len(stream.buffer), stream.awaiting_since
                stream.receive_ack(position, now)
                if len(stream.buffer) < held and due_since is not None:
                    self._outbox.learn(now - due_since)
                self._streams.freed(held - len(stream.buffer), events)
            case Window(_, limit):
                if stream.receive_window(limit):
                    events.append(StreamAccepted(stream.stream_id))
            case _:
                assert_never(frame)
        if stream.has_ack:
            self._outbox.acknowledge_by(now)
        self._outbox.schedule(stream)
        self._forget_if_done(stream)

    def _apply_open(self, frame: Open, events: list[SessionEvent], now: float) -> None:
        if self._streams.is_ours(frame.stream_id):
            raise ProtocolError(f"OPEN of stream {frame.stream_id}, which is ours to open")
        if self._streams.get(frame.stream_id) is not None:
            return
        if self._streams.was_seen(frame.stream_id):
            self._outbox.reply(Gone(frame.stream_id))
            return
        self._streams.see(frame.stream_id)
        if self._streams.is_full:
            self._outbox.reply(Reset(frame.stream_id, ResetCode.LIMIT))
            return
        self._add_stream(frame.stream_id, frame.target, mine=False, send_limit=frame.window)
        events.append(StreamOpened(frame.stream_id, frame.target))

    def _apply_reset(self, frame: Reset, events: list[SessionEvent]) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            if stream.reset_code is None:
                events.append(StreamReset(frame.stream_id, frame.code))
                self._streams.freed(len(stream.buffer), events)
            self._streams.forget(stream)
        elif not self._streams.was_seen(frame.stream_id):
            raise ProtocolError(f"RESET of stream {frame.stream_id}, which was never opened")
        self._outbox.reply(Gone(frame.stream_id))

    def _gone(self, stream: Stream, events: list[SessionEvent]) -> None:
        """The peer has forgotten this stream: it ended there, or it never will be again."""
        self._streams.freed(len(stream.buffer), events)
        self._streams.forget(stream)
        if stream.reset_code is None and not stream.has_ended_both_ways:
            events.append(StreamReset(stream.stream_id, ResetCode.SESSION_LOST))

    # Sending.

    def _add_handshake(self, parts: Parts, key: bytes) -> None:
        self._resume_told = True
        if self._initiator and not self._peer_knows_us:
            parts.append(encode_frame(Hello(PROTOCOL_VERSION, self.session_id, key)))
        proof = ownership_proof(key, self.session_id, self._generation, self._binding, by_initiator=self._initiator)
        positions = tuple(stream.take_position() for stream in self._streams if stream.open_told)
        parts.append(encode_frame(Resume(self.session_id, self._generation, proof, positions)))

    def _last_message(self) -> bytes | None:
        if self._close_told or self._closed is None:
            return None
        self._close_told = True
        return encode_frame(self._closed)

    # Bookkeeping.

    def _add_stream(self, stream_id: int, target: bytes, *, mine: bool, send_limit: int) -> None:
        stream = Stream(stream_id, target, mine=mine, window_bytes=self._streams.window_bytes, send_limit=send_limit)
        self._streams.add(stream)
        self._outbox.schedule(stream)

    def _forget_if_done(self, stream: Stream) -> None:
        if stream.is_done:
            self._streams.forget(stream)

    def _forget_under_way(self) -> None:
        self._outbox.forget_under_way()
        for stream in self._streams:
            stream.carrier_lost()

    def _refuse(self, code: CloseCode, reason: str, events: list[SessionEvent]) -> None:
        self._close(Close(code, reason))
        events.append(SessionClosed(code, reason, by_peer=False))

    def _close(self, close: Close) -> None:
        self._closed = close
        self._close_told = False
        self._streams.clear()


def _unpinned(view: memoryview) -> memoryview:
    """A small part of a message as a copy, so that a reader which keeps it does not keep the whole message."""
    return view if 2 * len(view) >= memoryview(view.obj).nbytes else memoryview(bytes(view))
