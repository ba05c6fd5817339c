"""The bytes of one stream that the peer has not acknowledged: kept, sent, and sent again from any offset."""

from __future__ import annotations

_COALESCE_BYTES = 4 * 1024
"""Writes below this are joined, so that a million keystrokes are not a million objects."""


class SendBuffer:
    """A queue of bytes with three offsets: `acknowledged` ≤ `sent` ≤ `end`. `furthest` is where `sent` was at most, and
    one more where the end was sent too."""

    __slots__ = ("_chunks", "_first_at", "_next_chunk", "_next_chunk_at", "acknowledged", "end", "furthest", "sent")

    def __init__(self) -> None:
        self.acknowledged = 0
        self.sent = 0
        self.furthest = 0
        self.end = 0
        self._chunks: list[bytes] = []
        """Not a deque: that has 600 bytes before it holds anything, and most streams of a gateway are idle."""
        self._first_at = 0
        self._next_chunk = 0
        self._next_chunk_at = 0

    def __len__(self) -> int:
        """Bytes held: unacknowledged and unsent."""
        return self.end - self.acknowledged

    @property
    def under_way(self) -> int:
        """Bytes that were sent and are not acknowledged."""
        return self.sent - self.acknowledged

    def append(self, data: bytes) -> None:
        """Add `data` at the end."""
        if not data:
            return
        chunks = self._chunks
        if chunks and len(chunks[-1]) + len(data) <= _COALESCE_BYTES:
            chunks[-1] += data
        else:
            chunks.append(data)
        self.end += len(data)
        self._step()

    def take(self, most_bytes: int) -> list[memoryview]:
        """The next unsent bytes, at most `most_bytes`, as views in order; `sent` moves behind them."""
        parts = []
        while most_bytes > 0 and self.sent < self.end:
            chunk = self._chunks[self._next_chunk]
            start = self.sent - self._next_chunk_at
            part = memoryview(chunk)[start : start + most_bytes]
            parts.append(part)
            self.sent += len(part)
            most_bytes -= len(part)
            self._step()
        if self.sent > self.furthest:
            self.furthest = self.sent
        return parts

    def acknowledge(self, offset: int) -> None:
        """Forget everything below `offset`, which is at most `end`. Older offsets change nothing."""
        if offset <= self.acknowledged:
            return
        if offset > self.end:
            raise ValueError(f"offset {offset} is beyond the end {self.end}")
        self.acknowledged = offset
        if offset > self.sent:
            self.sent = offset
        chunks, passed = self._chunks, 0
        while passed < len(chunks) and self._first_at + len(chunks[passed]) <= offset:
            self._first_at += len(chunks[passed])
            passed += 1
        del chunks[:passed]
        self._next_chunk -= passed
        if self._next_chunk < 0:
            self._next_chunk = 0
            self._next_chunk_at = self._first_at
        self._step()

    def rewind(self) -> None:
        """Send again from the first unacknowledged byte."""
        self.sent = self.acknowledged
        self._next_chunk = 0
        self._next_chunk_at = self._first_at

    def clear(self) -> None:
        """Drop what is held; the offsets stay."""
        self._chunks.clear()
        self.acknowledged = self.sent = self._first_at = self._next_chunk_at = self.end
        self.furthest = max(self.furthest, self.end)
        self._next_chunk = 0

    def _step(self) -> None:
        """Keep the cursor on the chunk that holds `sent`, where there is one."""
        chunks = self._chunks
        while self._next_chunk < len(chunks):
            behind = self._next_chunk_at + len(chunks[self._next_chunk])
            if self.sent < behind:
                return
            if self._next_chunk == len(chunks) - 1 and len(chunks[-1]) < _COALESCE_BYTES:
                return
            self._next_chunk += 1
            self._next_chunk_at = behind
