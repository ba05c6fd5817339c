"""One stream of a tube as an `asyncio.Transport`.

1. What came is handed to the protocol in order, and an end never overtakes it: while reading is paused, bytes, EOF and
   loss wait, and the peer may send no more than its window.
2. A loss behind the peer's end is no error, where no writer waits: a `StreamReader` would drop what it has whole.
3. What was written is the tube's to deliver, over whatever carriers it takes: `close` sends it and then the end,
   `reset` sends it and then a reset, `abort` drops it.
4. The peer learns that a byte has gone on when the protocol got it, so a protocol that pauses slows the peer down.
5. A protocol that raises loses its own stream, and harms no other.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Protocol, cast

from perdure.streams.buffered import Unread, fill_once
from perdure.streams.outcomes import loss, refusal
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.streams.target import AnyTarget


class StreamOwner(Protocol):
    """What a stream's transport asks of the tube's `Streams`."""

    tube_id: str

    def accept(self, stream_id: int) -> None:
        """Take a stream that the peer opened."""

    def write(self, stream_id: int, data: bytes) -> bool:
        """Take `data`; whether there is room for more."""

    def finish(self, stream_id: int) -> None:
        """Nothing more is written."""

    def consume(self, stream_id: int, count: int) -> None:
        """The protocol got `count` bytes: the peer may send as many more."""

    def close(self, transport: StreamTransport, *, unread: bool, is_heard_out: bool) -> None:
        """Finish the stream. With bytes `unread`, reset it behind what was written, unless the peer has finished."""

    def reset(self, transport: StreamTransport, code: ResetCode) -> None:
        """End it behind what was written."""

    def abort(self, transport: StreamTransport, code: ResetCode) -> None:
        """End it now."""

    def lost(self, transport: StreamTransport) -> None:
        """Its protocol is told that it was lost."""

    def held_bytes(self, stream_id: int) -> int:
        """Bytes that are held for the peer."""

    def write_limits(self, stream_id: int) -> tuple[int, int]:
        """Low and high."""

    def set_write_limits(self, stream_id: int, high: int | None, low: int | None) -> None:
        """See `StreamTransport.set_write_buffer_limits`."""

    def extra_info(self, transport: StreamTransport, name: str, default: Any) -> Any:
        """See `StreamTransport`."""

    def user_failed(self, transport: StreamTransport, error: BaseException) -> None:
        """Its protocol raised."""


class StreamTransport(asyncio.Transport):
    """A stream; `Streams` makes it, and calls what is neither `asyncio.Transport`'s nor in docs/api.md.

    `get_extra_info` knows `target` and, where this end opened it, `peername` (both `(host, port)` or a unix socket's
    path), `tube_id`, `peer_address` (on the path in use), and, at a gateway, `peer`: the client's `Holder`.
    """

    _start_tls_compatible = True  # asyncio's `loop.start_tls` asks for it

    __slots__ = (
        "_accepted",
        "_is_closing",
        "_is_eof_due",
        "_is_lost",
        "_is_paused",
        "_is_write_paused",
        "_loop",
        "_loss",
        "_protocol",
        "_received",
        "_streams",
        "is_accepted",
        "is_finished",
        "is_ours",
        "reset_code",
        "stream_id",
        "target",
    )

    def __init__(self, streams: StreamOwner, stream_id: int, target: AnyTarget, *, is_ours: bool) -> None:
        super().__init__()
        self.stream_id = stream_id
        self.target = target
        self.reset_code: ResetCode | None = None
        """How the other end, or the tube's end, ended it before its time."""
        self.is_finished = False
        """Whether this end writes no more."""
        self.is_ours = is_ours
        """Whether this end opened it."""
        self._streams = streams
        self._loop = asyncio.get_running_loop()
        self._protocol: asyncio.BaseProtocol | None = None
        self._received: Unread | None = None
        """What came and the protocol has not got."""
        self._is_paused = False
        self._is_eof_due: bool | None = None
        """The peer has finished: True until the protocol was told, then False."""
        self._loss: tuple[ConnectionResetError | None] | None = None
        """The stream was lost, and the protocol was not told: by what error."""
        self._is_closing = False
        self._is_lost = False
        """Whether the protocol was told, or is being told, that the connection is lost."""
        self._is_write_paused = False
        self.is_accepted = not is_ours
        self._accepted: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        about = "closing" if self._is_closing else "open"
        return f"<{type(self).__name__} {self._streams.tube_id!r} {self.stream_id} to {self.target} {about}>"

    # Its beginning.

    def start(self, protocol: asyncio.BaseProtocol) -> None:
        """Give it its protocol, which is told what came so far."""
        was_write_paused, self._protocol = self._is_write_paused, protocol
        self._call(protocol.connection_made, self)
        if was_write_paused and self._is_write_paused and not self._is_lost:
            self._pause_writing()
        self._deliver()

    def accept(self) -> None:
        """Take the stream that the peer opened: it may send a full window now."""
        if not self._is_closing:
            self._streams.accept(self.stream_id)

    def refuse(self, code: ResetCode) -> None:
        """Decline the stream that the peer opened, for `code`. Instead of `accept`."""
        self._reset(code)

    async def wait_accepted(self) -> None:
        """Wait until the peer has accepted the stream. Cancelling this leaves the stream as it is: abort it.

        Raises:
            NotAuthorisedError, PeerError, OSError: it was refused, or closed here meanwhile; see `refusal`.
        """
        if not self._is_closing and not self.is_accepted:
            if self._accepted is None:
                self._accepted = self._loop.create_future()
            await asyncio.shield(self._accepted)  # others may wait, too
        if not self.is_accepted:
            raise refusal(self.reset_code, str(self.target))

    # asyncio.Transport: about it.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._streams.extra_info(self, name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol
        self._is_write_paused = False  # the next write tells it

    def get_protocol(self) -> asyncio.BaseProtocol:
        if self._protocol is None:
            raise RuntimeError("the stream has no protocol: it was not started, or is lost")
        return self._protocol

    def is_closing(self) -> bool:
        return self._is_closing

    # asyncio.Transport: reading.

    def is_reading(self) -> bool:
        return not self._is_paused and not self._is_closing

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        if self._is_paused:
            self._is_paused = False
            if self._received or self._is_eof_due or self._loss is not None:
                self._loop.call_soon(self._deliver)

    # asyncio.Transport: writing.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send `data`, now or on a later carrier. Once the stream has ended it is dropped.

        Raises:
            TypeError: `data` is not bytes, nor anything else that can be seen as bytes.
            RuntimeError: after `write_eof`.
        """
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data is bytes, not {type(data).__name__}")
            data = bytes(data)  # which nobody changes any more
        if self._is_closing:
            return
        if self.is_finished:
            raise RuntimeError("nothing can be written after write_eof()")
        if not self._streams.write(self.stream_id, data) and not self._is_write_paused:
            self._pause_writing()

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Half-close: the peer reads what was written, and then the end. Reading goes on. Twice is fine."""
        if not self._is_closing and not self.is_finished:
            self.is_finished = True
            self._streams.finish(self.stream_id)

    def get_write_buffer_size(self) -> int:
        """Bytes that are held for the peer: not sent, or sent and not acknowledged."""
        return self._streams.held_bytes(self.stream_id)

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Low and high."""
        return self._streams.write_limits(self.stream_id)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Pause the protocol above `high` bytes held, resume it at `low`. With `high` 0 `drain` waits until the peer
        has acknowledged everything. By default the tube's limits say (`stream_buffer_bytes`), which hold in any case.

        Raises:
            ValueError: not 0 ≤ low ≤ high.
        """
        if high is None and low is not None:
            high = 4 * low
        if low is None and high is not None:
            low = high // 4
        if high is not None and low is not None and not 0 <= low <= high:
            raise ValueError(f"high ({high}) must be at least low ({low}), and low at least 0")
        if not self._is_closing:
            self._streams.set_write_limits(self.stream_id, high, low)
            if not self.is_finished:
                self.write(b"")  # whether there still is room

    # asyncio.Transport: its end.

    def close(self) -> None:
        """Read no more, send what was written, and then the end. The protocol hears `connection_lost(None)` soon; the
        tube goes on delivering. As TCP does it, what the peer sends from now on, or sent and was not read, is answered
        by a reset behind what was written. Twice is fine."""
        if self._loss is not None:
            self._streams.lost(self)
            self._lose_soon(*self._loss)
        if self._is_closing:
            return
        self._is_closing = True
        self._streams.close(self, unread=bool(self._received), is_heard_out=self._is_eof_due is not None)
        self._lose_soon(None)

    def reset(self) -> None:
        """End both directions; the peer reads what was written, and then sees a reset."""
        self._reset(ResetCode.ABORTED)

    def _reset(self, code: ResetCode) -> None:
        if not self._is_lost:
            self._is_closing = True
            self._streams.reset(self, code)
            self._lose_soon(None)

    def abort(self) -> None:
        """End both directions now, also behind `close`; what has not left is dropped, and the peer sees a reset."""
        self._is_closing = True
        self._streams.abort(self, ResetCode.ABORTED)
        self._lose_soon(None)

    def _force_close(self, error: Exception | None) -> None:  # asyncio's TLS calls it
        if not self._is_lost:
            self._is_closing = True
            self._streams.abort(self, ResetCode.ABORTED)
            self._lose_soon(error)

    def _lose_soon(self, error: Exception | None) -> None:
        """Tell the protocol, never from within its own call."""
        self._received = None
        if not self._is_lost:
            self._is_lost = True
            self._settle()
            self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        protocol, self._protocol, self._loss = self._protocol, None, None
        if protocol is not None:
            self._call(protocol.connection_lost, error)

    # For Streams.

    def data_came(self, data: memoryview) -> None:
        """The next bytes, which count as unread until `Streams.consume` is told."""
        if self._protocol is not None and not self._is_paused and self._received is None:
            count = self._hand_over(data)
            if count < len(data) and not self._is_lost:
                self._received = Unread(data[count:])
                self._deliver()
        elif self._received is None:
            self._received = Unread(data)
        else:
            self._received.add(data)

    def eof_came(self) -> None:
        self._is_eof_due = True
        self._deliver()

    def was_accepted(self) -> None:
        self.is_accepted = True
        self._settle()

    def was_reset(self, code: ResetCode) -> None:
        """The stream is gone; the protocol is told behind what came."""
        self.reset_code = code
        self._settle()
        self._is_closing = True
        if not self._is_lost:
            is_whole = self._is_eof_due is not None and not self._is_write_paused
            self._loss = (None if is_whole else loss(code, str(self.target)),)
            self._deliver()
        if not self._is_lost:  # the loss waits for the reader; a writer must not wait with it
            self.has_room()

    def has_room(self) -> None:
        """What is held fell to the low limit."""
        if self._is_write_paused:
            self._is_write_paused = False
            if self._protocol is not None:
                self._call(cast(asyncio.Protocol, self._protocol).resume_writing)

    @property
    def is_idle(self) -> bool:
        """Whether the protocol was told everything."""
        return self._is_lost or not (self._received or self._is_eof_due or self._loss is not None)

    def _settle(self) -> None:
        if self._accepted is not None and not self._accepted.done():
            self._accepted.set_result(None)

    def _pause_writing(self) -> None:
        self._is_write_paused = True
        if self._protocol is not None:
            self._call(cast(asyncio.Protocol, self._protocol).pause_writing)

    # What came, to the protocol.

    def _deliver(self) -> None:
        """Hand over what waits, in order, unless the protocol pauses meanwhile. A loss with nothing before it is told
        to one that has paused, too."""
        while self._protocol is not None and not self._is_lost:
            if self._loss is not None and not self._received and not self._is_eof_due:
                self._streams.lost(self)
                self._lose_soon(*self._loss)
            elif self._is_paused:
                return
            elif self._received:
                waiting = self._received
                waiting.hand_over(self._hand_over)
                if not waiting:
                    self._received = None
            elif self._is_eof_due:
                self._is_eof_due = False
                keeps_open = self._call(cast(asyncio.Protocol, self._protocol).eof_received)
                if not keeps_open and self._loss is None:
                    self.close()
            else:
                return

    def _hand_over(self, data: memoryview) -> int:
        """How many bytes the protocol took."""
        protocol, count = self._protocol, len(data)
        if isinstance(protocol, asyncio.BufferedProtocol):
            count = self._call(fill_once, protocol, data)  # it may pause or close before it wants the rest
        else:
            whole = data.obj if isinstance(data.obj, bytes) and len(data.obj) == count else bytes(data)
            self._call(cast(asyncio.Protocol, protocol).data_received, whole)
        if not self._is_lost:
            self._streams.consume(self.stream_id, count)
        return count

    def _call(self, method: Callable[..., Any], *args: object) -> Any:
        """A protocol that raises loses its own stream, as with asyncio's transports."""
        try:
            return method(*args)
        except (Exception, asyncio.CancelledError) as error:  # nothing is awaited here: it is the protocol's own
            self._streams.user_failed(self, error)
            if not self._is_lost:
                self.abort()
            return True
