"""The streams of a session: which there are, which there were, and how much they hold together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.config import SMALLEST_SHARE_BYTES
from perdure.session.events import SessionEvent, StreamWritable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from perdure.config import ResourceLimits
    from perdure.session.stream import Stream


class StreamTable:
    """Streams by id. The initiator's ids are odd, the acceptor's even, and both only rise."""

    __slots__ = ("_buffered_bytes", "_highest_peer_id", "_limits", "_next_id", "_starved", "_streams")

    def __init__(self, limits: ResourceLimits, *, initiator: bool) -> None:
        self._limits = limits
        self._streams: dict[int, Stream] = {}
        self._next_id = 1 if initiator else 2
        self._highest_peer_id = 0
        self._buffered_bytes = 0
        self._starved: dict[int, None] = {}

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
        share = self._limits.session_buffer_bytes // max(1, len(self._streams))
        return min(self._limits.stream_window_bytes, max(SMALLEST_SHARE_BYTES, share))

    @property
    def is_full(self) -> bool:
        return len(self._streams) >= self._limits.max_streams

    def get(self, stream_id: int) -> Stream | None:
        return self._streams.get(stream_id)

    def get_open(self, stream_id: int) -> Stream | None:
        """The stream, unless it is gone or was reset here."""
        stream = self._streams.get(stream_id)
        return stream if stream is not None and stream.reset_code is None else None

    def add(self, stream: Stream) -> None:
        self._streams[stream.stream_id] = stream

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.stream_id, None)
        self.stop_waiting(stream)

    def clear(self) -> None:
        self._streams.clear()
        self._starved.clear()
        self._buffered_bytes = 0

    # Ids.

    def take_id(self) -> int:
        """The id of a new stream of this end."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        return stream_id

    def is_ours(self, stream_id: int) -> bool:
        """Whether it is this end that opens streams with this id."""
        return stream_id % 2 == self._next_id % 2

    def was_seen(self, stream_id: int) -> bool:
        """Whether there is, or once was, such a stream."""
        return stream_id < self._next_id if self.is_ours(stream_id) else stream_id <= self._highest_peer_id

    def see(self, stream_id: int) -> None:
        """The peer opened this id."""
        self._highest_peer_id = stream_id

    # Room.

    def grew(self, stream: Stream, count: int) -> bool:
        """`count` more bytes are held for `stream`: whether it may go on, or waits for `StreamWritable`."""
        self._buffered_bytes += count
        if len(stream.buffer) < self._room():
            return True
        self._starved[stream.stream_id] = None
        return False

    def stop_waiting(self, stream: Stream) -> None:
        """`stream` writes no more."""
        self._starved.pop(stream.stream_id, None)

    def freed(self, count: int, events: list[SessionEvent]) -> None:
        """`count` held bytes are gone; the streams that wait are told once half of their room is free."""
        if count == 0:
            return
        self._buffered_bytes -= count
        room = self._room()
        for stream_id in list(self._starved):
            if len(self._streams[stream_id].buffer) <= room // 2:
                del self._starved[stream_id]
                events.append(StreamWritable(stream_id))

    def _room(self) -> int:
        """What each stream may hold now: all of its limit, or its smallest share where the session is full."""
        if self._buffered_bytes < self._limits.session_buffer_bytes:
            return self._limits.stream_buffer_bytes
        return SMALLEST_SHARE_BYTES
