"""One direction of a reliable transport, SCTP or TCP, over a path that comes and goes. Pure.

1. Messages arrive in order, once. One that is lost is sent again: a round trip and a half later while others follow it
   (fast retransmission), after the retransmission timeout where none does. The engine counts the acknowledgements that
   were under way against the second try too, which therefore follows at once (measured: with 10 % lost and 400 ms of
   round trip no silence exceeds 564 ms).
2. Once nothing gets through, nothing is tried before the timeout has passed; each failed try doubles it.
3. What is on its way when the path goes is sent again. What the carrier holds when it is closed is lost.
4. Where acknowledgements do not get back, what has come counts as sent again and again, and keeps its room.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from random import Random

    from perdure_lab.sim.internet import Way
    from perdure_lab.sim.world import Entry, World

MIN_RTO = 0.4
"""Seconds: libwebrtc's dcSCTP."""

CARRIER_BUFFER_BYTES = 256 * 1024
"""What a data channel holds before it has no room: `transport.rtc`'s."""

MAX_RTO = 60.0
"""Seconds: RFC 9260 §16 (RTO.Max), and dcSCTP."""

MAX_TRIES = 10
"""Retransmissions of one message after which the association is given up: RFC 9260 §16 (Association.Max.Retrans)."""

FOLLOWERS_FOR_FAST = 3
"""Later messages that make a gap known without a timeout: RFC 9260 §7.2.4."""


class FlowEnds(Protocol):
    """What a flow connects."""

    def way(self) -> Way | None:
        """What a packet would meet now; `None`: nothing gets through."""

    @property
    def is_acknowledged(self) -> bool:
        """Whether the receiver's word gets back now."""

    def arrived(self, messages: list[bytes]) -> None:
        """They have reached the receiver's machine, all at once."""

    def drained(self) -> None:
        """Half of the buffer is free again."""

    def given_up(self) -> None:
        """The association has failed."""


class Flow:
    """From one end to the other."""

    def __init__(self, world: World, ends: FlowEnds, random: Random, *, min_rto: float = MIN_RTO) -> None:
        self.limit_bytes = CARRIER_BUFFER_BYTES
        self._min_rto = min_rto
        self._world = world
        self._ends = ends
        self._random = random
        self._waiting: deque[bytes] = deque()
        self._under_way: deque[tuple[float, bytes]] = deque()
        """Each with its instant."""
        self._is_awaited = False
        """Whether the first of them will come."""
        self._flight = 0
        """Counts the losses of all that was under way: what arrives of an earlier flight does not count."""
        self._buffered_bytes = 0
        self._was_full = False
        self._sent_at = world.now
        self._interval = min_rto
        """Seconds between messages, smoothed."""
        self._line_free_at = 0.0
        self._arrives_at = 0.0
        self._unacknowledged_bytes = 0
        """Of what has arrived."""
        self._rto = min_rto
        self._tries = 0
        self._retry: Entry | None = None
        self._is_closed = False

    @property
    def has_room(self) -> bool:
        """Whether one more message may be sent. Who hears that there is none is told by `drained`."""
        room = self._buffered_bytes < self.limit_bytes
        self._was_full = self._was_full or not room
        return room

    def send(self, message: bytes) -> None:
        now = self._world.now
        self._interval += (now - self._sent_at - self._interval) / 8
        self._sent_at = now
        self._buffered_bytes += len(message)
        self._waiting.append(message)
        if self._retry is None:
            self._transmit()

    def close(self) -> None:
        self._is_closed = True
        self._flight += 1
        if self._retry is not None:
            self._retry.cancel()

    def _transmit(self) -> None:
        way = self._ends.way()
        if way is None:
            self._back_off()
            return
        now, waiting, under_way = self._world.now, self._waiting, self._under_way
        if way.is_steady and self._line_free_at <= now:
            at = self._arrives_at = max(self._arrives_at, now + way.delay)
            while waiting:
                under_way.append((at, waiting.popleft()))
        while waiting:
            message = waiting.popleft()
            self._arrives_at = max(self._arrives_at, self._arrival(way, len(message)))
            under_way.append((self._arrives_at, message))
        if not self._is_awaited:
            self._await_first()

    def _arrival(self, way: Way, size: int) -> float:
        """When a message of `size` bytes would be there, if none before it were late."""
        random = self._random
        at = self._line_free_at = max(self._world.now, self._line_free_at) + way.on_the_line(random, size)
        word_takes = way.round_trip
        for _ in range(MAX_TRIES):
            if not way.loses(random, at):
                break
            gap_is_known_after = FOLLOWERS_FOR_FAST * self._interval + word_takes
            at += min(gap_is_known_after, max(self._min_rto, 2 * way.round_trip))
            word_takes = 0.0
        return at + way.seconds(random)

    def _await_first(self) -> None:
        if self._under_way and not self._is_awaited:
            self._is_awaited = True
            self._world.after(self._under_way[0][0] - self._world.now, self._arrive, self._flight)

    def _arrive(self, flight: int) -> None:
        """The first of those under way, and what comes at the same instant."""
        if flight != self._flight:
            return
        ends, under_way, now = self._ends, self._under_way, self._world.now
        if ends.way() is None:
            self._lost()
            return
        messages = [under_way.popleft()[1]]
        while under_way and under_way[0][0] <= now:
            messages.append(under_way.popleft()[1])
        size = sum(map(len, messages))
        if ends.is_acknowledged:
            self._rto, self._tries = self._min_rto, 0
            self._free(size)
        else:
            self._unacknowledged_bytes += size
            self._back_off()
        ends.arrived(messages)
        if flight == self._flight:
            self._is_awaited = False
            self._await_first()

    def _free(self, count: int) -> None:
        self._buffered_bytes -= count
        if self._was_full and self._buffered_bytes * 2 <= self.limit_bytes:
            self._was_full = False
            self._ends.drained()

    def _lost(self) -> None:
        """Everything that was under way."""
        self._flight += 1
        self._is_awaited = False
        self._waiting.extendleft(message for _, message in reversed(self._under_way))
        self._under_way.clear()
        self._back_off()

    def _back_off(self) -> None:
        if self._retry is None and not self._is_closed:
            self._retry = self._world.after(self._rto, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        if self._ends.way() is not None and self._ends.is_acknowledged:
            if self._unacknowledged_bytes:
                self._rto, self._tries = self._min_rto, 0
                count, self._unacknowledged_bytes = self._unacknowledged_bytes, 0
                self._free(count)
            self._transmit()
            return
        self._rto = min(MAX_RTO, 2 * self._rto)
        self._tries += 1
        if self._tries > MAX_TRIES:
            self._ends.given_up()
        else:
            self._back_off()
