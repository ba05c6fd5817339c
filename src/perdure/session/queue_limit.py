"""How much may be under way at once, so that a keystroke does not wait behind bulk. Pure.

SCTP sends until a router drops something, and a slow path's routers have queues of half a second and more. So a
session keeps less under way. It measures the path, much as BBR does:

1. The path's rate is what was acknowledged between a byte's first framing and the ACK that covers it, over that time.
   Where there was not always more to send, the path is at least so fast.
2. Under way is at most what that rate carries in `GAIN` times the shortest round trip and `SLACK`. That is a little
   more than the path holds, so a rate that has grown is found.
3. In the beginning it is `FIRST_GAIN` times, as long as each round trip finds a rate that is a quarter higher: as
   fast as SCTP's slow start.
4. Now and then the shortest round trip is measured anew, with half as much under way as the path holds: a path may
   have become longer, and behind a queue that is always there no round trip is short.
5. What a stream says that has nothing under way does not count: a keystroke goes out at once.
"""

from __future__ import annotations

GAIN = 1.125
FIRST_GAIN = 2.5
SLACK = 0.012
"""Seconds: the ACK of bulk waits for 5 ms, and a busy end takes some more."""

GROWS = 1.25
"""Times the rate before: it still grows."""

PROBE_INTERVAL = 5.0
PROBE_ROUND_TRIPS = 40
"""Seconds, and round trips, between two probes. One takes a round trip, and the path idles for half of it."""

LENGTHENED = 1.5
"""Times the round trip before: it is another path, whose rate is sought as in the beginning."""

LEAST_BYTES = 32 * 1024
"""Never less: where packets are lost, SCTP needs twice what the path holds. With 1 % lost and 50 ms of round trip, bulk
was slower by 22 % with 16 KiB."""

MESSAGES = 16
"""In so many pieces it goes out: an ACK comes when a whole one is there."""


class QueueLimit:
    """One carrier's, made with the first measurement of a rate.

    Args:
        seconds: from a byte's framing to its ACK.
        delivered_bytes: what was acknowledged in that time.
    """

    __slots__ = ("_base_rtt", "_full_since", "_grows", "_probe_at", "_probed_since", "_rate", "allowed_bytes")

    def __init__(self, seconds: float, delivered_bytes: int, now: float) -> None:
        self._base_rtt = seconds
        """The shortest, in seconds."""
        self._rate = delivered_bytes / seconds
        self._grows = True
        self._full_since = now
        """As much as is allowed has been under way since."""
        self._probe_at = self._next_probe(now)
        self._probed_since: float | None = None
        self.allowed_bytes = 0
        """What may be under way."""
        self._allow()

    def measured(self, seconds: float, delivered_bytes: int, now: float, *, was_full: bool) -> None:
        """The same again. `was_full`: there was always more to send, and in the round trip before, too."""
        rate, framed_at = delivered_bytes / seconds, now - seconds
        if self._probed_since is None:
            self._base_rtt = min(self._base_rtt, seconds)
        elif framed_at < self._probed_since:
            return
        else:
            if seconds > LENGTHENED * self._base_rtt:
                self._grows, self._rate = True, rate
            self._base_rtt, self._probed_since = seconds, None
            self._full_since, self._probe_at = now + seconds, self._next_probe(now)
        says_rate = was_full and framed_at >= self._full_since
        if says_rate:
            self._grows = self._grows and rate >= GROWS * self._rate
        if says_rate or rate > self._rate:
            self._rate = max(rate, (rate + self._rate) / 2)
        self._allow()
        if says_rate and now >= self._probe_at and not self._grows:
            self._probed_since = now
            self.allowed_bytes = max(LEAST_BYTES, int(self._rate * self._base_rtt / 2))

    def allows(self, under_way_bytes: int) -> int:
        """How long the next message may be, with as much under way; 0 or less: it waits."""
        return min(self.allowed_bytes - under_way_bytes, self.allowed_bytes // MESSAGES)

    def _next_probe(self, now: float) -> float:
        return now + max(PROBE_INTERVAL, PROBE_ROUND_TRIPS * self._base_rtt)

    def _allow(self) -> None:
        gain = FIRST_GAIN if self._grows else GAIN
        self.allowed_bytes = max(LEAST_BYTES, int(self._rate * (gain * self._base_rtt + SLACK)))
