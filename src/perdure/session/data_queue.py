"""Which streams have bytes to send, and how many of them go out with a message.

Rules:
1. Data goes round-robin, each ready stream an equal share of a message, so that a keystroke goes out with the next
   message whatever else is being sent.
2. No more is under way than `QueueLimit` allows. Beyond that, streams with nothing under way send 1 KiB each, and all
   of them together an eighth of it: the few bytes of a keystroke do not wait for bulk.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from perdure.session.message_length import FIRST_MESSAGE_BYTES
from perdure.session.queue_limit import SHORT_MESSAGE_BYTES
from perdure.wire import MAX_DATA_OVERHEAD_BYTES, MAX_MESSAGE_FRAMES, Fin, Reset, encode_data_header, encode_frame

if TYPE_CHECKING:
    from perdure.session.stream import Stream
    from perdure.session.stream_table import StreamTable
    from perdure.session.traffic import Traffic

Parts = list[bytes | memoryview]

_MAX_DATA_STREAMS = MAX_MESSAGE_FRAMES // 2 // 3
"""Of one message. A stream adds at most four control frames, and DATA, FIN and RESET."""

_SMALLEST_SHARE = SHORT_MESSAGE_BYTES
"""Bytes below which a message is not divided further: the header's share of the carrier stays near 1 %."""

_LEAST_ROOM = 256
"""Room at the end of a message that is not worth another frame's header and parsing."""

_MOST_SPARSE = 32
"""Streams that are looked at for those with nothing under way: the ones that became ready last."""


class DataQueue:
    """The part of the `Outbox` that sends streams' bytes. A stream is in it once."""

    __slots__ = ("_sendable", "_streams", "_traffic")

    def __init__(self, streams: StreamTable, traffic: Traffic) -> None:
        self._streams = streams
        self._traffic = traffic
        self._sendable: dict[int, None] = {}

    @property
    def may_send_data(self) -> bool:
        """Whether there is data, and it may go out now."""
        return bool(self._sendable) and (self._allowed_bytes > 0 or bool(self._sparse()))

    def add_data(self, parts: Parts, room: int, now: float) -> list[Stream]:
        """Append what may go out, at most `room` bytes. Returns the streams whose RESET is due behind theirs."""
        resets: list[Stream] = []
        if not self._sendable:
            return resets
        if self._streams.is_repeating(next(iter(self._sendable))):
            room = min(room, FIRST_MESSAGE_BYTES)
        if (allowed := self._allowed_bytes) <= 0:
            for stream_id in self._sparse():
                if room < _SMALLEST_SHARE:
                    break
                del self._sendable[stream_id]
                room -= self._add_stream_data(parts, stream_id, _SMALLEST_SHARE, resets, now)
            return resets
        room, left = min(room, max(_SMALLEST_SHARE, allowed)), _MAX_DATA_STREAMS
        while self._sendable and room >= _LEAST_ROOM and left:
            ready = min(len(self._sendable), left)
            share = max(_SMALLEST_SHARE, room // ready)
            for _ in range(ready):
                if room < _LEAST_ROOM:
                    break
                left -= 1
                room -= self._add_stream_data(parts, pop_first(self._sendable), min(room, share), resets, now)
        return resets

    @property
    def _allowed_bytes(self) -> int:
        """How long the next message may be."""
        limit = self._traffic.queue_limit
        return self._streams.max_message_bytes if limit is None else limit.allows(self._streams.under_way_bytes)

    def _sparse(self) -> list[int]:
        """Streams that may send beyond the limit."""
        limit = self._traffic.queue_limit
        if limit is None or not limit.bears_sparse(self._streams.under_way_bytes):
            return []
        newest = islice(reversed(self._sendable), _MOST_SPARSE)
        return [stream_id for stream_id in newest if self._streams.is_sparse(stream_id)]

    def _add_stream_data(self, parts: Parts, stream_id: int, room: int, resets: list[Stream], now: float) -> int:
        """Of a stream that was taken out of the queue; how many bytes it took."""
        if (stream := self._streams.get(stream_id)) is None:
            return 0
        size = self._add_bytes(parts, stream, room, now)
        if stream.has_data:
            self._sendable[stream_id] = None
        elif stream.reset_code is not None:
            resets.append(stream)
        return size

    def _add_bytes(self, parts: Parts, stream: Stream, room: int, now: float) -> int:
        size = 0
        furthest = stream.buffer.furthest
        offset, payload = stream.take_data(room - MAX_DATA_OVERHEAD_BYTES, now)
        if payload:
            length = sum(map(len, payload))
            fresh = stream.buffer.furthest - furthest
            parts.append(encode_data_header(stream.stream_id, offset, length))
            size += len(parts[-1]) + length
            parts.extend(payload)
            self._streams.under_way_bytes += length
            self._traffic.sent(stream.stream_id, offset + length, fresh=fresh, again=length - fresh, now=now)
        if room - size >= MAX_DATA_OVERHEAD_BYTES and (end := stream.take_fin(now)) is not None:
            parts.append(encode_frame(Fin(stream.stream_id, end)))
            size += len(parts[-1])
        if stream.reset_code is None or room - size < MAX_DATA_OVERHEAD_BYTES:
            return size
        if (code := stream.take_reset(now)) is not None:
            parts.append(encode_frame(Reset(stream.stream_id, code)))
            size += len(parts[-1])
        return size


def pop_first(queue: dict[int, None]) -> int:
    first = next(iter(queue))
    if len(queue) > 1:
        del queue[first]
    else:
        queue.clear()  # An emptied dict keeps its table: 200 bytes, in each of many idle sessions.
    return first
