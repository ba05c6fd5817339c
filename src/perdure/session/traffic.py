"""What moved over a session, and how long the peer took to answer it.

Rules:
1. A byte is the user's traffic once; sent again after a loss it counts as resent, and as nobody's activity.
2. A round trip is timed from a byte's first framing to the ACK that covers it, so the carrier's queue and the ACK's own
   delay are within; what was sent more than once is not timed (Karn's rule, RFC 6298 §3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.session.queue_limit import LEAST_BYTES, QueueLimit

if TYPE_CHECKING:
    from perdure.session.stream_table import StreamTable

RTT_SAMPLE_INTERVAL = 0.01
"""Seconds between two offsets that are timed: RFC 7323 §4.2 finds that more samples a round trip than a few only
shorten an estimator's memory, and an interactive stream is still measured at each keystroke."""

_ALWAYS = float("-inf")


class Traffic:
    """The counters and the clock of one session."""

    __slots__ = (
        "_streams",
        "_timed",
        "_untimed_until",
        "delivered_bytes",
        "last_data_at",
        "queue_limit",
        "received_bytes",
        "resent_bytes",
        "rtt",
        "sent_bytes",
    )

    def __init__(self, streams: StreamTable) -> None:
        self.sent_bytes = 0
        self.resent_bytes = 0
        self.received_bytes = 0
        self.last_data_at: float | None = None
        """When a stream was opened, or a byte of it moved for the first time, either way."""
        self.rtt: float | None = None
        """Seconds of the last sample."""
        self._streams = streams
        self.delivered_bytes = 0
        """What the peer acknowledged."""
        self.queue_limit: QueueLimit | None = None
        """What may be under way; `None`: nothing says."""
        self._timed: tuple[int, int, float, int, int] | None = None
        """The stream and the offset whose ACK is timed, since when; and what was delivered and under way then."""
        self._untimed_until = _ALWAYS

    def opened(self, now: float) -> None:
        """A stream's OPEN was said for the first time, by either end."""
        self.last_data_at = now

    def received(self, count: int, now: float) -> None:
        """`count` bytes came that were not here before."""
        self.received_bytes += count
        self.last_data_at = now

    def sent(self, stream_id: int, end: int, *, fresh: int, again: int, now: float) -> None:
        """A DATA frame up to offset `end` was framed, `fresh` of its bytes for the first time."""
        if again:
            self.resent_bytes += again
        if fresh:
            self.sent_bytes += fresh
            self.last_data_at = now
            if now >= self._untimed_until and self._times_nothing and not self._is_beyond_limit:
                self._timed = stream_id, end, now, self.delivered_bytes, self._streams.under_way_bytes
                self._untimed_until = now + RTT_SAMPLE_INTERVAL

    def acknowledged(self, stream_id: int, position: int, now: float) -> float | None:
        """The round trip in seconds, if an ACK of `position` covers the timed offset."""
        if self._timed is None:
            return None
        timed_stream_id, end, sent_at, delivered_before, under_way = self._timed
        if stream_id != timed_stream_id or position < end:
            return None
        self._timed = None
        if (seconds := now - sent_at) > 0:
            self._limit(seconds, self.delivered_bytes - delivered_before, under_way, now)
        return seconds

    def _limit(self, seconds: float, delivered_bytes: int, under_way: int, now: float) -> None:
        """Nothing is limited before there was bulk on the carrier."""
        if (limit := self.queue_limit) is not None:
            limit.measured(seconds, delivered_bytes, now, is_full=under_way >= limit.allowed_bytes // 2)
        elif under_way >= LEAST_BYTES:
            self.queue_limit = QueueLimit(seconds, delivered_bytes, now)

    def forget_under_way(self) -> None:
        """The carrier is gone: what is timed will be sent again."""
        self._timed = self.queue_limit = None

    @property
    def _is_beyond_limit(self) -> bool:
        """Whether what was framed last has bulk before it that would wait."""
        return self.queue_limit is not None and self.queue_limit.is_exceeded_by(self._streams.under_way_bytes)

    @property
    def _times_nothing(self) -> bool:
        """Whether no offset is timed, or one of a stream that is gone."""
        return self._timed is None or self._streams.get_open(self._timed[0]) is None
