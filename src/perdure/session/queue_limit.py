"""How much may be under way at once, so that a keystroke does not wait behind bulk. Pure.

SCTP sends until a router drops something, and a slow path's routers have queues of half a second and more. So a
session keeps less under way. It measures the path, much as BBR does:

1. The path's rate is what was acknowledged between a byte's framing and the ACK that covers it, over that time. The
   highest counts of the time since the probe before the last: a round trip that takes longer for another reason than a
   queue finds a lower one.
2. Under way is at most what that rate carries in `GAIN` times the round trip and `SLACK`: a little more than the path
   holds, so that a rate that has grown is found.
3. In the beginning, and after `IDLE` seconds without bulk, it is `FIRST_GAIN` times, as long as each round trip finds
   a rate that is a quarter higher: as fast as SCTP's slow start. A probe follows, as that has filled a queue.
4. The round trip is measured by probes: for the time of one, half as much is under way as the path holds, so that no
   queue of ours is in it. The longer of the last two counts: on Wi-Fi they differ.
5. A probe comes every `PROBE_INTERVAL` of bulk, and sooner where an answer takes much longer than it should: the path
   has become slower, or longer.
6. It is never less than `LEAST_BYTES`, also in a probe: a path that holds less has some queue.
"""

from __future__ import annotations

GAIN = 1.125
"""With 1.0 the rate stuck at a third of the path's, with 1.25 the queue was longer."""

FIRST_GAIN = 2.5
SLACK = 0.012
"""Seconds: the ACK of bulk waits for 5 ms, and a busy end takes some more."""

GROWS = 1.25
"""Times the rate before: it still grows."""

IDLE = 10.0

PROBE_INTERVAL = 5.0
PROBE_ROUND_TRIPS = 40
LONGEST_PROBE_INTERVAL = 15.0
"""Seconds, round trips, and seconds, between two probes. One takes a round trip, and the path idles for half of it."""

SHORTEST_PROBE_INTERVAL = 1.0
LATE = 1.5
"""An answer that took so many times what it should asks for a probe, so many seconds after the last."""

LEAST_BYTES = 32 * 1024
"""Never less: where packets are lost, SCTP needs twice what the path holds. With 1 % lost and 50 ms of round trip, bulk
was slower by 22 % with 16 KiB."""

MESSAGES = 16
"""A message is at most this part of what is allowed: its ACK comes when all of it is there."""

SHORT_MESSAGE_BYTES = 1024
SPARSE = 8
"""Beyond what is allowed goes this part of it, in short messages."""


class QueueLimit:
    """One carrier's, made with the first measurement.

    Args:
        seconds: from a byte's framing to its ACK.
        delivered_bytes: what was acknowledged in that time.
    """

    __slots__ = (
        "_full_at",
        "_grows",
        "_probe_at",
        "_probed_at",
        "_probed_rtt",
        "_probing_since",
        "_rate",
        "_rate_before",
        "_rtt",
        "allowed_bytes",
    )

    def __init__(self, seconds: float, delivered_bytes: int, now: float) -> None:
        self._rtt = seconds
        self._probed_rtt = 0.0
        """That of the last probe."""
        self._rate = self._rate_before = delivered_bytes / seconds
        """The highest since the last probe, and between the two before."""
        self._grows = True
        self._full_at = self._probed_at = now
        """When as much as is allowed was last under way, and the last probe's end."""
        self._probe_at = now + PROBE_INTERVAL
        self._probing_since: float | None = None
        self.allowed_bytes = 0
        """What may be under way."""
        self._allow()

    def measured(self, seconds: float, delivered_bytes: int, now: float, *, is_full: bool) -> None:
        """One more measurement, of more than 0 seconds. `is_full`: at least half of what is allowed was under way."""
        rate = delivered_bytes / seconds
        if self._probing_since is not None:
            if now - seconds < self._probing_since:  # framed before
                return
            if is_full:
                self._probed(seconds, rate, now)
            self._probing_since = None  # bulk is over: the next one is probed
        elif is_full:
            self._full_at = now
            if self._grows and rate < GROWS * self._rate:
                self._grows, self._probe_at = False, now
                self._rate = self._rate_before = rate
        elif now - self._full_at > IDLE:
            self._grows = True
        self._rate = max(self._rate, rate)
        if self._grows:
            self._rtt = min(self._rtt, seconds)
        elif is_full and self._wants_probe(seconds, now):
            self._probing_since = now
            self.allowed_bytes = max(LEAST_BYTES, int(rate * self._rtt / 2))
            return
        self._allow()

    def allows(self, under_way_bytes: int) -> int:
        """How long the next message may be, with as much under way; 0 or less: it waits. A short one may be longer."""
        return min(self.allowed_bytes - under_way_bytes, self.allowed_bytes // MESSAGES)

    def is_exceeded_by(self, under_way_bytes: int) -> bool:
        """Whether more is under way than one short message more than is allowed."""
        return under_way_bytes > self.allowed_bytes + SHORT_MESSAGE_BYTES

    def bears_sparse(self, under_way_bytes: int) -> bool:
        """Whether a stream with nothing under way may send beyond what is allowed."""
        return under_way_bytes <= self.allowed_bytes + self.allowed_bytes // SPARSE

    @property
    def _best_rate(self) -> float:
        return max(self._rate, self._rate_before)

    def _wants_probe(self, seconds: float, now: float) -> bool:
        is_late = seconds > LATE * (GAIN * self._rtt + SLACK)
        return now >= self._probe_at or (is_late and now >= self._probed_at + SHORTEST_PROBE_INTERVAL)

    def _probed(self, seconds: float, rate: float, now: float) -> None:
        self._rtt, self._probed_rtt = max(self._probed_rtt, seconds), seconds
        self._rate_before, self._rate = self._rate, rate
        self._probed_at = now
        interval = max(PROBE_INTERVAL, PROBE_ROUND_TRIPS * self._rtt)
        self._probe_at = now + min(LONGEST_PROBE_INTERVAL, interval)

    def _allow(self) -> None:
        gain = FIRST_GAIN if self._grows else GAIN
        self.allowed_bytes = max(LEAST_BYTES, int(self._best_rate * (gain * self._rtt + SLACK)))
