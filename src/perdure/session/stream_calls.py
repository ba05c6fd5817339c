"""What the user of a session does with its streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.session.ending import Ending
    from perdure.session.events import SessionEvent
    from perdure.session.outbox import Outbox
    from perdure.session.receiver import Receiver
    from perdure.session.stream_table import StreamTable
    from perdure.wire import ResetCode


class StreamCalls:
    """That part of a `Session`."""

    __slots__ = ("_ending", "_outbox", "_receiver", "streams")

    streams: StreamTable
    """Which there are, and what they hold; to be read."""
    _ending: Ending
    _outbox: Outbox
    _receiver: Receiver

    def is_writable(self, stream_id: int) -> bool:
        """Whether `write` would take bytes: there is such a stream, and neither it nor the session was ended here."""
        return self.streams.get_writable(stream_id) is not None

    def open_stream(self, target: bytes) -> int:
        """A new stream to `target`; its id. Raises `RuntimeError` at the limit of streams, or when closed."""
        if self._ending.has_begun:
            raise RuntimeError("the session is closed")
        stream = self.streams.open(target)
        self._outbox.schedule(stream)
        self._receiver.allow_for_stream()
        return stream.stream_id

    def accept(self, stream_id: int) -> None:
        """Take the stream that the peer opened. A stream that is gone meanwhile: nothing."""
        if (stream := self.streams.get_open(stream_id)) is not None:
            stream.accept(self.streams.window_bytes)
            self._outbox.schedule(stream)

    def write(self, stream_id: int, data: bytes) -> bool:
        """Take `data`, all of it. False: no room beyond it; stop until `StreamWritable`. A gone stream, or a session
        that closes, drops it: False too, as who writes in a loop would never stop, and not hear of the end."""
        stream = self.streams.get_writable(stream_id)
        if stream is None:
            return False
        stream.buffer.append(data)
        self._outbox.schedule(stream)
        return self.streams.grew(stream, len(data))

    def finish(self, stream_id: int) -> None:
        """Half-close: nothing more is written here; reading goes on."""
        if (stream := self.streams.get_open(stream_id)) is not None:
            stream.finish()
            self._outbox.schedule(stream)

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End both directions: nothing more is read or written here, and the peer hears `code` behind what was written.

        The stream counts as one of `max_streams`, and what it holds as held, until the peer has answered. One that does
        not read delays that for `LINGER_TIMEOUT`, or until `abort`.
        """
        if (stream := self.streams.get_open(stream_id)) is not None:
            stream.reset(code)
            self._outbox.end_stream(stream)

    def abort(self, stream_id: int, code: ResetCode) -> list[SessionEvent]:
        """End both directions and drop what is held, which may make room for other streams. The peer hears `code`, or
        that of a `reset` before."""
        events: list[SessionEvent] = []
        if (stream := self.streams.get(stream_id)) is not None:
            self.streams.abort(stream, code)
            self._outbox.end_stream(stream)
            self.streams.tell_writable(events)
        return events

    def consume(self, stream_id: int, count: int | None = None) -> None:
        """`count` bytes of a stream's `StreamData` have gone on, or are of no use any more, by default all that came;
        the peer may send as many more."""
        if (stream := self.streams.get_open(stream_id)) is not None:
            stream.consume(stream.unconsumed_bytes if count is None else count, self.streams.window_bytes)
            self._outbox.schedule(stream)
            if stream.is_done:
                self.streams.forget(stream)
