"""The streams of a session: which there are, which there were, and how much they hold together.

Rules of room:
1. A stream that holds less than `SMALLEST_SHARE_BYTES` never waits, however full the session or the process is.
2. A stream that waits is told once it holds no more than half of what it may hold now. That is at least half of the
   smallest share, so the acknowledgements of its own bytes always suffice: nobody needs to be told that another
   session, or new limits, made room.
3. What is held beyond a limit is kept, and what was granted is not taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.config import SMALLEST_SHARE_BYTES
from perdure.session.events import SessionEvent, StreamWritable
from perdure.session.stream import Stream
from perdure.wire import (
    MAX_HELLO_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_POSITION_BYTES,
    MAX_RESUME_OVERHEAD_BYTES,
    MAX_TARGET_BYTES,
    OUR_ACK_DELAY_MS,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.config import ResourceLimits
    from perdure.session.budget import ByteBudget
    from perdure.wire import Parameters, ResetCode


class StreamTable:
    """Streams by id. The initiator's ids are odd, the acceptor's even, and both only rise."""

    __slots__ = (
        "_budget",
        "_forgotten",
        "_highest_peer_id",
        "_next_id",
        "_streams",
        "_waiting",
        "buffered_bytes",
        "initial_credit_bytes",
        "is_closing",
        "late_ack_delay",
        "limits",
        "max_message_bytes",
        "under_way_bytes",
    )

    def __init__(self, limits: ResourceLimits, budget: ByteBudget | None, *, initiator: bool) -> None:
        self.limits = limits
        """May be replaced. What is in use beyond new ones stays; nothing is added until it has become less."""
        self.buffered_bytes = 0
        """Unacknowledged and unsent bytes of every stream."""
        self.initial_credit_bytes = 0
        """What may be sent on a stream that is opened here before the peer accepts it; unknown before its RESUME."""
        self.max_message_bytes = MAX_MESSAGE_BYTES
        """The longest message that the peer takes on the current carrier."""
        self.late_ack_delay = 0.0
        """Seconds that the peer takes to acknowledge, beyond what this end would take."""
        self.is_closing = False
        """Whether no stream and no bytes are taken any more."""
        self.under_way_bytes = 0
        """What was sent and is not acknowledged, over all streams."""
        self._budget = budget
        self._streams: dict[int, Stream] = {}
        self._next_id = 1 if initiator else 2
        self._highest_peer_id = 0
        self._waiting: dict[int, None] | None = None
        """The streams that wait for room; `None`: none has waited yet."""
        self._forgotten: list[int] | None = None

    def __len__(self) -> int:
        return len(self._streams)

    def __iter__(self) -> Iterator[Stream]:
        return iter(self._streams.values())

    def in_order(self) -> list[Stream]:
        """By id, which is the order in which a peer must hear of them."""
        return sorted(self._streams.values(), key=lambda stream: stream.stream_id)

    @property
    def window_bytes(self) -> int:
        """The credit to grant a stream: all of its limit, or an equal share of the session's where there are many."""
        share = self.limits.session_buffer_bytes // max(1, len(self._streams))
        return min(self.limits.stream_window_bytes, max(SMALLEST_SHARE_BYTES, share))

    @property
    def credit_bytes(self) -> int:
        """What the peer may have sent and is not read, over all streams."""
        return sum(stream.credit_bytes for stream in self._streams.values())

    @property
    def max_streams(self) -> int:
        """As many as a RESUME can list in a message that the peer takes, both ends' together."""
        room = self.max_message_bytes - MAX_HELLO_BYTES - MAX_RESUME_OVERHEAD_BYTES
        return min(self.limits.max_streams, room // MAX_POSITION_BYTES // 2)

    @property
    def is_full(self) -> bool:
        return len(self._streams) >= self.max_streams

    def _grant_initial_credit(self, credit: int) -> None:
        """The peer's, for each stream that is opened here from now on. What it granted before stays granted."""
        self.initial_credit_bytes = credit
        for stream in self._streams.values():
            if stream.mine:
                stream.receive_window(credit)

    def learn(self, peer: Parameters) -> list[Stream]:
        """What the peer says of itself; the streams that are gone for it."""
        self._grant_initial_credit(peer.initial_credit_bytes)
        more = peer.max_ack_delay_ms - OUR_ACK_DELAY_MS
        self.late_ack_delay = more / 1000 if more > 0 else 0.0
        return self._take_unlisted()

    def _take_unlisted(self) -> list[Stream]:
        """The streams that the peer has not heard of, and that are more than a RESUME to it can list; they are gone."""
        count = len(self._streams) - self.max_streams
        unlisted = [stream for stream in reversed(self.in_order()) if not stream.open_told][: max(0, count)]
        for stream in unlisted:
            self.forget(stream)
        return unlisted

    def get(self, stream_id: int) -> Stream | None:
        return self._streams.get(stream_id)

    def is_sparse(self, stream_id: int) -> bool:
        """Whether the stream has nothing under way."""
        stream = self._streams.get(stream_id)
        return stream is None or not stream.buffer.under_way

    def is_repeating(self, stream_id: int) -> bool:
        """Whether the stream's next bytes were sent before, on a carrier that was left."""
        stream = self._streams.get(stream_id)
        return stream is not None and stream.buffer.sent < stream.buffer.furthest

    def get_open(self, stream_id: int) -> Stream | None:
        """The stream, unless it is gone or was reset here."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and stream.reset_code is None else None

    def get_writable(self, stream_id: int) -> Stream | None:
        """The stream, if bytes are taken for it."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and not stream.is_finished and not self.is_closing else None

    def open(self, target: bytes) -> Stream:
        """A new stream of this end to `target`. Raises `RuntimeError` at the limit of streams."""
        if self.is_full:
            raise RuntimeError(f"the session carries {len(self)} streams already, its limit")
        if len(target) > MAX_TARGET_BYTES:
            raise ValueError(f"a target has at most {MAX_TARGET_BYTES} bytes, not {len(target)}")
        stream_id, self._next_id = self._next_id, self._next_id + 2
        return self.add(stream_id, target, mine=True, send_limit=self.initial_credit_bytes)

    def add(self, stream_id: int, target: bytes, *, mine: bool, send_limit: int) -> Stream:
        """A new stream."""
        stream = Stream(stream_id, target, mine=mine, window_bytes=self.window_bytes, send_limit=send_limit)
        self._streams[stream_id] = stream
        return stream

    def forget(self, stream: Stream) -> None:
        """The stream is gone, and so is what it held; `tell_writable` tells the others."""
        if self._streams.pop(stream.stream_id, None) is not None:
            self._let_go(stream)
            self.stop_waiting(stream)
            self._note_forgotten(stream)
        if not self._streams:
            self._streams.clear()  # An emptied dict keeps its table: 200 bytes, in each of many idle sessions.

    @property
    def has_forgotten(self) -> bool:
        """Whether `take_forgotten` has something to say."""
        return self._forgotten is not None

    def take_forgotten(self) -> list[int]:
        """The ids that were forgotten since this was asked last, and those that had ended when all were cleared."""
        forgotten, self._forgotten = self._forgotten or [], None
        return forgotten

    def take_no_more(self) -> None:
        """Neither streams nor bytes are taken any more; streams that wait for room are not told of any."""
        self.is_closing = True
        self._waiting = None

    def clear(self) -> None:
        for stream in self._streams.values():
            if stream.has_ended:
                self._note_forgotten(stream)
        self._streams.clear()
        self._waiting = None
        self.under_way_bytes = 0
        self._hold(-self.buffered_bytes)

    # Ids.

    def is_ours(self, stream_id: int) -> bool:
        """Whether it is this end that opens streams with this id."""
        return stream_id % 2 == self._next_id % 2

    def was_seen(self, stream_id: int) -> bool:
        """Whether there is, or once was, such a stream."""
        if stream_id <= 0:
            return False
        return stream_id < self._next_id if self.is_ours(stream_id) else stream_id <= self._highest_peer_id

    def see(self, stream_id: int) -> None:
        """The peer opened this id."""
        self._highest_peer_id = stream_id

    # Room.

    def grew(self, stream: Stream, count: int) -> bool:
        """`count` more bytes are held for `stream`: whether it may go on, or waits for `StreamWritable`."""
        self.buffered_bytes += count
        if (budget := self._budget) is not None:
            budget.held_bytes += count
        if len(stream.buffer) <= self.write_limits(stream)[1]:
            return True
        if self._waiting is None:
            self._waiting = {}
        self._waiting[stream.stream_id] = None
        return False

    def write_limits(self, stream: Stream | None) -> tuple[int, int]:
        """At how few held bytes a stream that waits is told, and above how many it waits: low and high."""
        high = self._room() - 1
        low = high // 2
        if stream is not None and stream.write_limits is not None:
            own_low, own_high = stream.write_limits
            return min(low, own_low), min(high, own_high)
        return low, high

    def write_limits_of(self, stream_id: int) -> tuple[int, int]:
        """The same by id."""
        return self.write_limits(self.get(stream_id))

    def set_write_limits(self, stream_id: int, high: int | None, low: int | None) -> None:
        """Lower them for one stream; `None`: the tube's own."""
        if (stream := self.get(stream_id)) is not None:
            stream.write_limits = None if high is None or low is None else (low, high)

    def held_bytes(self, stream_id: int) -> int:
        """Bytes of the stream that are held: not sent, or sent and not acknowledged."""
        stream = self.get(stream_id)
        return 0 if stream is None else len(stream.buffer)

    def freed(self, count: int, events: list[SessionEvent]) -> None:
        """`count` held bytes of a stream that stays are gone."""
        if count:
            self._hold(-count)
            self.tell_writable(events)

    def abort(self, stream: Stream, code: ResetCode) -> None:
        """Drop what `stream` holds, which makes room; nobody is told of it: see rule 2."""
        self._let_go(stream)
        stream.abort(code)

    def tell_writable(self, events: list[SessionEvent]) -> None:
        """Tell the streams that wait and have room."""
        if not self._waiting:
            return
        ready = [each for each in self._waiting if self._has_room_again(self._streams[each])]
        for stream_id in ready:
            del self._waiting[stream_id]
            events.append(StreamWritable(stream_id))

    def _has_room_again(self, stream: Stream) -> bool:
        return len(stream.buffer) <= self.write_limits(stream)[0]

    def stop_waiting(self, stream: Stream) -> None:
        """`stream` writes no more."""
        if self._waiting:
            self._waiting.pop(stream.stream_id, None)

    def _note_forgotten(self, stream: Stream) -> None:
        if self._forgotten is None:
            self._forgotten = []
        self._forgotten.append(stream.stream_id)

    def _let_go(self, stream: Stream) -> None:
        """What `stream` holds is held no more, and none of it is under way."""
        self._hold(-len(stream.buffer))
        self.under_way_bytes -= stream.buffer.under_way

    def _hold(self, count: int) -> None:
        self.buffered_bytes += count
        if self._budget is not None:
            self._budget.held_bytes += count

    def _room(self) -> int:
        """What each stream may hold now: all of its limit, or its smallest share where session or process is full."""
        if self.buffered_bytes >= self.limits.session_buffer_bytes:
            return SMALLEST_SHARE_BYTES
        if self._budget is not None and self._budget.is_full:
            return SMALLEST_SHARE_BYTES
        return self.limits.stream_buffer_bytes
