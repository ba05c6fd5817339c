"""What the peer says about streams, applied to them; what it breaks raises `ProtocolError`."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

from perdure.errors import ProtocolError
from perdure.session.events import (
    RttMeasured,
    SessionEvent,
    StreamAccepted,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
)
from perdure.wire import Ack, Data, Fin, Gone, Open, Ping, Pong, Reset, ResetCode, StreamPosition, Window

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.outbox import Outbox
    from perdure.session.stream import Stream
    from perdure.session.stream_table import StreamTable
    from perdure.session.traffic import Traffic

StreamFrame = Data | Fin | Ack | Window
Inbound = StreamFrame | Open | Reset | Gone | Ping | Pong
"""What may come once the carrier is resumed."""


class Receiver:
    """Routes frames to streams. Each method appends what the driver must hear to `events`."""

    __slots__ = ("_outbox", "_streams", "_traffic")

    def __init__(self, streams: StreamTable, outbox: Outbox, traffic: Traffic) -> None:
        self._streams = streams
        self._outbox = outbox
        self._traffic = traffic

    def apply(self, frame: Inbound, events: list[SessionEvent], now: float) -> None:
        """Apply one frame of the current carrier."""
        match frame:
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
                if (seconds := self._outbox.take_pong(token, now)) is not None:
                    self._measured(seconds, events)
            case _:
                assert_never(frame)

    def resume(self, positions: Iterable[StreamPosition], events: list[SessionEvent], now: float) -> int:
        """Take every stream up from where the peer has it; how many bytes are to be sent again."""
        known = {position.stream_id: position for position in positions}
        self._outbox.clear_queues()
        resent_bytes = 0
        for stream in self._streams.in_order():
            position = known.pop(stream.stream_id, None)
            if position is None and stream.open_acknowledged:
                self._gone(stream, events)
            elif position is None and stream.reset_code is not None and not stream.buffer:
                self._streams.forget(stream)
            else:
                held = len(stream.buffer)
                again, accepted = stream.resume(position, now)
                resent_bytes += again
                if accepted and stream.reset_code is None:
                    events.append(StreamAccepted(stream.stream_id))
                self._streams.freed(held - len(stream.buffer), events)
                self._outbox.schedule(stream)
                self._forget_if_done(stream)
        for stream_id in known:
            if self._streams.was_seen(stream_id):
                self._outbox.reply(Gone(stream_id))
        return resent_bytes

    def _apply_to_stream(self, frame: StreamFrame, events: list[SessionEvent], now: float) -> None:
        stream = self._streams.get(frame.stream_id)
        if stream is None:
            if not self._streams.was_seen(frame.stream_id):
                raise ProtocolError(f"{type(frame).__name__} for stream {frame.stream_id}, which was never opened")
            if isinstance(frame, Data | Fin):
                self._outbox.reply(Gone(frame.stream_id))
            return
        stream.acknowledge_open(now)
        is_read = stream.reset_code is None
        match frame:
            case Data(_, offset, payload):
                fresh = stream.receive_data(offset, payload)
                if fresh is not None and is_read:
                    self._traffic.received(len(fresh), now)
                    events.append(StreamData(stream.stream_id, _unpinned(fresh)))
            case Fin(_, offset):
                if stream.receive_fin(offset) and is_read:
                    events.append(StreamFinished(stream.stream_id))
            case Ack(_, position):
                self._apply_ack(stream, position, events, now)
            case Window(_, limit):
                if stream.receive_window(limit) and is_read:
                    events.append(StreamAccepted(stream.stream_id))
            case _:
                assert_never(frame)
        if stream.has_ack:
            self._outbox.acknowledge_by(now)
        self._outbox.schedule(stream)
        self._forget_if_done(stream)

    def _apply_ack(self, stream: Stream, position: int, events: list[SessionEvent], now: float) -> None:
        held, due_since = len(stream.buffer), stream.awaiting_since
        stream.receive_ack(position, now)
        freed = held - len(stream.buffer)
        if freed and due_since is not None:
            self._outbox.learn(now - due_since)
        if (seconds := self._traffic.acknowledged(stream.stream_id, position, now)) is not None:
            self._measured(seconds, events)
        self._streams.freed(freed, events)

    def _apply_open(self, frame: Open, events: list[SessionEvent], now: float) -> None:
        if self._streams.is_ours(frame.stream_id):
            raise ProtocolError(f"OPEN of stream {frame.stream_id}, which is ours to open")
        if self._streams.get(frame.stream_id) is not None:
            return
        if self._streams.was_seen(frame.stream_id):
            self._outbox.reply(Gone(frame.stream_id))
            return
        self._streams.see(frame.stream_id)
        if self._streams.is_closing:
            self._outbox.reply(Gone(frame.stream_id))
            return
        if self._streams.is_full:
            self._outbox.reply(Reset(frame.stream_id, ResetCode.LIMIT))
            return
        self._traffic.opened(now)
        stream = self._streams.add(frame.stream_id, frame.target, mine=False, send_limit=frame.window)
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
        self._outbox.reply(Gone(frame.stream_id))

    def _gone(self, stream: Stream, events: list[SessionEvent]) -> None:
        """The peer has forgotten this stream: it ended there, or it never will be again."""
        self._streams.forget(stream)
        self._streams.tell_writable(events)
        if stream.reset_code is None and not stream.has_ended_both_ways:
            events.append(StreamReset(stream.stream_id, ResetCode.SESSION_LOST))

    def _forget_if_done(self, stream: Stream) -> None:
        if stream.is_done:
            self._streams.forget(stream)

    def _measured(self, seconds: float, events: list[SessionEvent]) -> None:
        self._traffic.rtt = seconds
        events.append(RttMeasured(seconds))


def _unpinned(view: memoryview) -> memoryview:
    """A small part of a message as a copy, so that a reader which keeps it does not keep the whole message."""
    return view if 2 * len(view) >= memoryview(view.obj).nbytes else memoryview(bytes(view))
