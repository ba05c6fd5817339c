"""What the peer says about streams, applied to them; what it breaks raises `ProtocolError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.errors import ProtocolError
from perdure.session.events import (
    RttMeasured,
    SessionEvent,
    SessionResumed,
    StreamAccepted,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
)
from perdure.wire import (
    MAX_MESSAGE_FRAMES,
    MAX_STREAMS,
    Accept,
    Ack,
    Data,
    Fin,
    Gone,
    Hello,
    Open,
    Ping,
    Pong,
    Reset,
    ResetCode,
    Window,
    decode_stream_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.outbox import Outbox
    from perdure.session.stream import Stream
    from perdure.session.stream_table import StreamTable
    from perdure.session.traffic import Traffic
    from perdure.wire import Frame, Resume

StreamFrame = Data | Fin | Ack | Window | Accept
MAX_USELESS_FRAMES = 64
"""Frames of one carrier that change nothing and are taken all the same: they cost as much as others."""

USELESS_FRAMES_A_STREAM = 8
"""As many more for each stream that is opened: an honest peer sends three or four where both ends' frames cross."""

LONG_REPEAT_BYTES = 512
"""DATA that is here already and is at least so long does not count as useless: it costs no more than any data. Where a
carrier is left for another all that is not acknowledged is sent again, in frames of about 1 KiB at least but for each
stream's last."""

MAX_EARLY_FRAMES = 80
"""Frames that may be under way behind an OPEN that is refused: the initial credit in shares of 1 KiB, the smallest that
perdure sends where many streams are ready, the FIN, and the peer's ACK and WINDOW."""

_MAX_REFUSED = 2 * MAX_STREAMS

Inbound = StreamFrame | Open | Reset | Gone | Ping | Pong
"""What may come once the carrier is resumed."""


class Receiver:
    """Routes frames to streams. Each method appends what the driver must hear to `events`."""

    __slots__ = ("_outbox", "_refused", "_streams", "_traffic", "_useless_left")

    def __init__(self, streams: StreamTable, outbox: Outbox, traffic: Traffic) -> None:
        self._streams = streams
        self._outbox = outbox
        self._traffic = traffic
        self._useless_left = MAX_USELESS_FRAMES
        self._refused: dict[int, int] | None = None
        """The streams that were refused on this carrier, and how many frames of theirs may still come."""

    def allow_for_stream(self) -> None:
        """A stream was opened, by either end: frames about it may cross."""
        most = MAX_USELESS_FRAMES + USELESS_FRAMES_A_STREAM * MAX_STREAMS
        self._useless_left = min(most, self._useless_left + USELESS_FRAMES_A_STREAM)

    def leave_carrier(self, replies: Iterable[Frame]) -> None:
        """What was said on the carrier so far is said again on another, with `replies`."""
        self._outbox.forget_under_way(keeps_replies=True)
        self._outbox.reply_again(replies)
        for stream in self._streams:
            stream.repeat()
        self.expect_repeats()
        self._outbox.ping()  # what the peer hears behind RESUME tells it that the old carrier is of no use

    def expect_repeats(self) -> None:
        """A carrier is left for another: what was said on it is said again."""
        self._useless_left = MAX_USELESS_FRAMES + USELESS_FRAMES_A_STREAM * len(self._streams)

    def apply(self, frame: Inbound, events: list[SessionEvent], now: float) -> None:
        """Apply one frame of the current carrier."""
        match frame:
            case Data() | Fin() | Ack() | Window() | Accept():
                self._apply_to_stream(frame, events, now)
            case Open():
                self._apply_open(frame, events, now)
            case Reset():
                self._apply_reset(frame, events)
            case Gone(stream_id):
                if (stream := self._streams.get(stream_id)) is not None:
                    self._gone(stream, events)
                else:
                    self.useless(frame)
            case Ping(token):
                self._outbox.reply(Pong(token))
            case Pong(token):
                if (seconds := self._outbox.take_pong(token, now)) is not None:
                    self._measured(seconds, events)
                else:
                    self.useless(frame)
            case _:
                assert_never(frame)

    def apply_usual(self, message: bytes, events: list[SessionEvent], now: float) -> tuple[int, int]:
        """Apply the first frames of `message`, of the current carrier, as long as they are the next bytes of an open
        stream, behind that stream's ACK or without one. As `apply` would, in half of the time. Returns where the rest
        begins, and how many frames are before it."""
        at = frames = 0
        while frames < MAX_MESSAGE_FRAMES - 1 and (usual := decode_stream_bytes(message, at)) is not None:
            stream_id, acknowledged, offset, begins_at, ends_at = usual
            stream = self._streams.get(stream_id)
            if stream is None or not _just_goes_on(stream, offset, ends_at - begins_at, acknowledged):
                break
            if acknowledged >= 0:
                self._apply_ack(stream, acknowledged, events, now)
            payload = memoryview(message)[begins_at:ends_at]
            stream.received += len(payload)
            self._traffic.received(len(payload), now)
            events.append(StreamData(stream_id, _unpinned(payload)))
            self._outbox.owes_ack(stream, now)
            at, frames = ends_at, frames + (2 if acknowledged >= 0 else 1)
            if at == len(message):
                break
        return at, frames

    def resume(
        self,
        resume: Resume,
        events: list[SessionEvent],
        now: float,
        acknowledged_before: frozenset[int] | None = None,
    ) -> None:
        """The peer is proved: take every stream up from where the peer has it.

        Args:
            acknowledged_before: where the positions were told while another carrier was in use, and so may be old: the
                streams whose OPEN the peer had acknowledged before. Only of these it means anything that they are
                absent.
        """
        self._useless_left = max(self._useless_left, MAX_USELESS_FRAMES)
        self._refused = None
        refused = self._streams.learn(resume.parameters)
        events.extend(StreamReset(stream.stream_id, ResetCode.LIMIT) for stream in refused)
        known = {position.stream_id: position for position in resume.positions}
        self._outbox.clear_queues()
        resent_bytes = 0
        for stream in self._streams.in_order():
            position = known.pop(stream.stream_id, None)
            is_absent = position is None
            if is_absent and acknowledged_before is not None and stream.stream_id not in acknowledged_before:
                position, is_absent = stream.known_position(), False
            if is_absent and stream.open_acknowledged:
                self._gone(stream, events)
            elif is_absent and stream.reset_code is not None and not stream.buffer:
                self._streams.forget(stream)
            else:
                held = len(stream.buffer)
                again, accepted = stream.resume(position, now)
                resent_bytes += again
                if accepted and stream.reset_code is None:
                    events.append(StreamAccepted(stream.stream_id))
                self._streams.freed(held - len(stream.buffer), events)
                if stream.has_ack:
                    self._outbox.acknowledge_by(now, stream)
                self._outbox.schedule(stream)
                self._forget_if_done(stream)
        self._streams.under_way_bytes = 0  # each is rewound
        for stream_id in known:
            if self._streams.was_seen(stream_id):
                self._outbox.reply(Gone(stream_id))
        events.append(SessionResumed(resume.generation, resent_bytes, resume.parameters.carriers))

    def _apply_to_stream(self, frame: StreamFrame, events: list[SessionEvent], now: float) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            if not self._streams.was_seen(frame.stream_id):
                raise ProtocolError(f"{type(frame).__name__} for stream {frame.stream_id}, which was never opened")
            if not self._is_early(frame.stream_id):
                self.useless(frame)
                if isinstance(frame, Data | Fin):
                    self._outbox.reply(Gone(frame.stream_id))
            return
        is_news = stream.acknowledge_open(now)
        is_read = stream.reset_code is None
        match frame:
            case Data(_, offset, payload):
                fresh = stream.receive_data(offset, payload)
                if fresh is None:
                    if len(payload) < LONG_REPEAT_BYTES:
                        self.useless(frame)
                elif is_read:
                    self._traffic.received(len(fresh), now)
                    events.append(StreamData(stream.stream_id, _unpinned(fresh)))
            case Fin(_, offset):
                if not stream.receive_fin(offset):
                    self.useless(frame)
                elif is_read:
                    events.append(StreamFinished(stream.stream_id))
            case Ack(_, position):
                if not self._apply_ack(stream, position, events, now) and not is_news:
                    self.useless(frame)
            case Window(_, limit):
                if not stream.receive_window(limit):
                    self.useless(frame)
            case Accept(_, limit):
                if not stream.mine:
                    raise ProtocolError(f"ACCEPT of stream {frame.stream_id}, which the peer opened")
                stream.receive_window(limit)
                if not stream.receive_accept():
                    self.useless(frame)
                elif is_read:
                    events.append(StreamAccepted(stream.stream_id))
            case _:
                assert_never(frame)
        if stream.has_ack:
            self._outbox.acknowledge_by(now, stream)
        self._outbox.schedule(stream)
        self._forget_if_done(stream)

    def _apply_ack(self, stream: Stream, position: int, events: list[SessionEvent], now: float) -> bool:
        """Whether it says anything new."""
        held, due_since = len(stream.buffer), stream.awaiting_since
        under_way = stream.buffer.under_way
        is_news = stream.receive_ack(position, now)
        freed = held - len(stream.buffer)
        self._streams.under_way_bytes += stream.buffer.under_way - under_way
        self._traffic.delivered_bytes += freed
        if freed and due_since is not None:
            self._outbox.learn(now - due_since - self._streams.late_ack_delay)
        if (seconds := self._traffic.acknowledged(stream.stream_id, position, now)) is not None:
            self._measured(max(0.0, seconds - self._streams.late_ack_delay), events)
        self._streams.freed(freed, events)
        return is_news

    def _apply_open(self, frame: Open, events: list[SessionEvent], now: float) -> None:
        if not frame.stream_id or self._streams.is_ours(frame.stream_id):
            raise ProtocolError(f"OPEN of stream {frame.stream_id}, which is not the peer's to open")
        if self._streams.was_seen(frame.stream_id):
            self.useless(frame)
            if self._streams.get(frame.stream_id) is None:
                self._refuse(Gone(frame.stream_id))
            return
        self._streams.see(frame.stream_id)
        self.allow_for_stream()
        if self._streams.is_closing:
            self._refuse(Gone(frame.stream_id))
            return
        if self._streams.is_full:
            self._refuse(Reset(frame.stream_id, ResetCode.LIMIT))
            return
        self._traffic.opened(now)
        stream = self._streams.add(frame.stream_id, frame.target, mine=False, send_limit=frame.window)
        self._outbox.acknowledge_by(now, stream)
        self._outbox.schedule(stream)
        events.append(StreamOpened(frame.stream_id, frame.target))

    def _apply_reset(self, frame: Reset, events: list[SessionEvent]) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is not None:
            self._streams.forget(stream)
            if stream.reset_code is None:
                events.append(StreamReset(frame.stream_id, frame.code))
            self._streams.tell_writable(events)
        elif not self._streams.was_seen(frame.stream_id):
            raise ProtocolError(f"RESET of stream {frame.stream_id}, which was never opened")
        else:
            self.useless(frame)
        self._outbox.reply(Gone(frame.stream_id))

    def _gone(self, stream: Stream, events: list[SessionEvent]) -> None:
        """The peer has forgotten this stream: it ended there, or it never will be again."""
        self._streams.forget(stream)
        self._streams.tell_writable(events)
        if stream.reset_code is None and not stream.has_ended_both_ways:
            events.append(StreamReset(stream.stream_id, ResetCode.SESSION_LOST))

    def _refuse(self, answer: Gone | Reset) -> None:
        """Answer an OPEN; what follows it is dropped in silence."""
        self._outbox.reply(answer)
        refused = self._refused = self._refused or {}
        refused.pop(answer.stream_id, None)
        refused[answer.stream_id] = MAX_EARLY_FRAMES
        if len(refused) > _MAX_REFUSED:
            del refused[next(iter(refused))]

    def _is_early(self, stream_id: int) -> bool:
        """Whether a frame was sent before the peer knew that its stream is refused."""
        if self._refused is None or not (left := self._refused.get(stream_id, 0)):
            return False
        self._refused[stream_id] = left - 1
        return True

    def useless(self, frame: Inbound | Hello) -> None:
        """It changes nothing here. Raises `ProtocolError` where too many have come."""
        self._useless_left -= 1
        if self._useless_left < 0:
            raise ProtocolError(f"too many frames that change nothing, the last one a {type(frame).__name__}")

    def _forget_if_done(self, stream: Stream) -> None:
        if stream.is_done:
            self._streams.forget(stream)

    def _measured(self, seconds: float, events: list[SessionEvent]) -> None:
        self._traffic.rtt = seconds
        events.append(RttMeasured(seconds))


def _just_goes_on(stream: Stream, offset: int, count: int, acknowledged: int) -> bool:
    """Whether DATA of `count` bytes is all new, leaves no gap and keeps within the credit, and the ACK before it (-1:
    there is none) says something new. While an ACCEPT waits, more bytes may make it urgent: that is not the usual."""
    if stream.fin_received or stream.reset_code is not None or not stream.open_acknowledged or stream.accept_is_due:
        return False
    if offset != stream.received or not 0 < count <= stream.credit_bytes - stream.unconsumed_bytes:
        return False
    return acknowledged == -1 or stream.buffer.acknowledged < acknowledged <= stream.buffer.sent


def _unpinned(view: memoryview) -> memoryview:
    """A small part of a message as a copy, so that a reader which keeps it does not keep the whole message."""
    return view if 2 * len(view) >= memoryview(view.obj).nbytes else memoryview(bytes(view))
