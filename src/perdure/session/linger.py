"""How long a stream that was reset may wait for credit before the rest of its bytes is dropped.

Rules:
1. The time counts only while streams flow on a carrier, all that the credit allows was sent, and bytes are left. Each
   further credit, and each carrier, begins it anew.
2. After `LINGER_TIMEOUT` the rest is dropped, and RESET is sent. So a reader that hangs learns of the reset, as it
   would from TCP, and a peer cannot fill `max_streams` with streams that have ended here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from perdure.session.stream import Stream
    from perdure.session.stream_table import StreamTable

LINGER_TIMEOUT = 300.0
"""Seconds. Linux lets an orphaned connection wait some minutes for a reader (tcp_orphan_retries). One minute would cut
off a slow reader: credit comes by quarters of a window, and 512 KiB take 5 minutes at 1.7 kB/s."""


class Linger:
    """The reset streams of one session that still hold bytes. Made for the first, and dropped once it is empty."""

    __slots__ = ("_streams", "_waits", "due_at")

    def __init__(self, streams: StreamTable) -> None:
        self.due_at: float | None = None
        """When the first of them has waited long enough."""
        self._streams = streams
        self._waits: dict[int, tuple[int, float] | None] = {}
        """The credit that each waits beyond, and since when; `None` while it has credit."""

    @property
    def is_empty(self) -> bool:
        return not self._waits

    def watch(self, stream: Stream) -> None:
        """`stream` was reset, and holds bytes."""
        self._waits[stream.stream_id] = None

    def look(self, now: float) -> None:
        """See who waits, once what may be sent was sent."""
        for stream_id, wait in list(self._waits.items()):
            stream = self._streams.get(stream_id)
            if stream is None or not stream.buffer:
                del self._waits[stream_id]
            elif not stream.waits_for_credit:
                self._waits[stream_id] = None
            elif wait is None or wait[0] != stream.send_limit:
                self._waits[stream_id] = stream.send_limit, now
        self._arm()

    def take_due(self, now: float) -> list[Stream]:
        """Those that have waited long enough, which are watched no longer."""
        self.look(now)  # credit may have come this instant
        due = [each for each, wait in self._waits.items() if wait is not None and now >= wait[1] + LINGER_TIMEOUT]
        for stream_id in due:
            del self._waits[stream_id]
        self._arm()
        return [stream for each in due if (stream := self._streams.get(each)) is not None]

    def carrier_lost(self) -> None:
        """Nobody waits for credit that could not come."""
        self._waits = dict.fromkeys(self._waits)
        self._arm()

    def _arm(self) -> None:
        since = [wait[1] for wait in self._waits.values() if wait is not None]
        self.due_at = min(since) + LINGER_TIMEOUT if since else None
