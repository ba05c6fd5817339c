"""The padding that goes out on a spare before the session goes on there.

A new SCTP association may send 12 KB in its first round trip, and half as much again in each further one (RFC 9260
§7.2.1; measured). Traffic that moves there at once stands still for some round trips. So frames that say nothing go
first, while the session goes on on the current carrier.

Rules:
1. Only while the current carrier works. Where the peer is silent there, or something waits too long for its answer, the
   session goes on on the spare at once.
2. Only where it would be noticed: not on a short round trip, nor where the first one has room for what is under way.
3. The peer may go on on the spare meanwhile. What it says there is answered on the current carrier, and the answers are
   said again on the spare, as they may be lost with the current one. So may the last ACK of a stream that has ended and
   is forgotten here: GONE is said of it. Where the peer offers yet another carrier, the session goes on on the spare at
   once: the spare gives way to that one, and the peer may be on it.
4. A round trip after the last padding it is acknowledged, and the session goes on on the spare.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from perdure.wire import Fin, Gone, Padding, decode_message, encode_frame

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.stream_table import StreamTable
    from perdure.wire import Frame, Resume

PADDING_BYTES = 4 * 1024
"""Of one message: libwebrtc's SCTP sends at most four packets (4.7 KB) at once for each message that it is given."""

PADDING_BUFFER_BYTES = 16 * 1024
"""The most that waits in the spare's channel: four messages, so that the association never runs dry, and a session that
goes on early waits for no more."""

LEAST_UNDER_WAY_BYTES = 6 * 1024
"""Twice as much goes out in the first round trip: it is sent again, and what follows is as much. The first flight of
libwebrtc's SCTP is 12 KB."""

SHORTEST_ROUND_TRIP = 0.01
"""Seconds, below which a stop of some round trips is no longer than what a scheduler or a Wi-Fi does to any packet."""

UNDER_WAY_TIMES = 10
"""How much padding, in terms of what is under way. The window must hold that twice, and opens by half of what went out;
the rest is for what is acknowledged late. Two streams of 200 kB/s each way at a round trip of 100 ms paused for 208 ms
without padding, and for 110, 83, 45 and 20 ms with 2, 4, 6 and 10 times; their usual pause was 15 ms."""

MOST_PADDING_BYTES = 1024 * 1024
"""A bulk transfer of 9 MB/s at 100 ms, with 1 MB under way, goes on without a dip (2 and 8 MiB were no better)."""

MOST_ROUND_TRIPS = 12
"""After which the session goes on all the same: from 12 KB by halves to 1 MB. On a path that is full it must end."""

LONGEST_WAIT = 3.0
"""Seconds after which it goes on in any case: a peer that has gone on closes the current carrier after 5 s."""

PATIENCE = 0.1
PATIENCE_ROUND_TRIPS = 2
"""Seconds, and round trips, for which the current carrier may be silent, or an answer due: an acknowledgement takes one
round trip, 25 ms more by its own delay, and what a busy machine adds. A suspicion begins its spare later than that, and
the spare takes three round trips to open: by then a silent path has been so for longer."""


MOST_REPLIES = 256
"""Answers and ends of streams that are kept to be said again, before the session goes on at once. A peer has one PING
under way, and ends some streams."""


class SparePadding:
    """Made when the peer is proved on the spare.

    Args:
        resume: the peer's on the spare, which is applied when the session goes on there.
        under_way_bytes: what is sent on the current carrier and not acknowledged.
    """

    __slots__ = ("_finished", "_latest_at", "_left_bytes", "_replies", "_round_trip", "resume")

    def __init__(self, resume: Resume, under_way_bytes: int, round_trip: float, now: float) -> None:
        self.resume = resume
        self._replies: list[Frame] = []
        """To what the peer said on the spare meanwhile."""
        self._finished: list[int] = []
        """The streams that the peer finished there."""
        self._left_bytes = min(MOST_PADDING_BYTES, UNDER_WAY_TIMES * under_way_bytes)
        self._round_trip = round_trip
        self._latest_at = now + min(LONGEST_WAIT, MOST_ROUND_TRIPS * round_trip)

    def take(self, now: float) -> bytes | None:
        """The next message for the spare; `None`: there is no more."""
        if self._left_bytes <= 0:
            return None
        self._left_bytes -= PADDING_BYTES
        if self._left_bytes <= 0:
            self._latest_at = min(self._latest_at, now + self._round_trip)
        return encode_frame(Padding(PADDING_BYTES))

    def note(self, replies: Iterable[Frame], message: bytes) -> None:
        """A message of the peer on the spare was answered by `replies`. A FIN in it may have come before, elsewhere:
        what was said to that may be lost, too."""
        self._replies += replies
        self._finished += (frame.stream_id for frame in decode_message(message) if isinstance(frame, Fin))

    def owed(self, streams: StreamTable) -> list[Frame]:
        """What to say again on the spare. Of a stream that is in the peer's RESUME, GONE is said in any case."""
        listed = {position.stream_id for position in self.resume.positions}
        over = (each for each in self._finished if each not in listed and streams.get(each) is None)
        return [*self._replies, *map(Gone, over)]

    def ends_at(self, heard_at: float, awaiting_since: float | None) -> float:
        """When the session goes on on the spare.

        Args:
            heard_at: when the peer was last heard.
            awaiting_since: since when something waits for its answer.
        """
        if len(self._replies) + len(self._finished) > MOST_REPLIES:
            return -inf
        since = heard_at if awaiting_since is None else min(heard_at, awaiting_since)
        return min(self._latest_at, since + PATIENCE + PATIENCE_ROUND_TRIPS * self._round_trip)


def padding_for(resume: Resume, under_way_bytes: int, round_trip: float | None, now: float) -> SparePadding | None:
    """The padding for a spare; `None` where it would not be noticed."""
    if round_trip is None or round_trip < SHORTEST_ROUND_TRIP or under_way_bytes < LEAST_UNDER_WAY_BYTES:
        return None
    return SparePadding(resume, under_way_bytes, round_trip, now)
