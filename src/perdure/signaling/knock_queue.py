"""Knocks that wait until the gateway has time for them: each costs key exchanges, and anybody can send one. Pure.

1. A knock that was opened before is told by its ephemeral key, at the cost of a look into a table.
2. Each peer id has one place. A newer knock takes the place of one that waits there: its client reads the answer to its
   latest knock only.
3. Peer ids under which a client has proved itself, and the others, take turns, so that no flood of either shuts out the
   others. Within each it goes round.
4. All together take no more than `KNOCKS_PER_SECOND`, `KNOCKS_AT_ONCE` after a pause: the time of the event loop is
   the tubes'.
"""

from __future__ import annotations

from perdure.signaling.rate import TokenBucket

KNOCKS_PER_SECOND = 50.0
"""A knock costs 0.5 ms, so that they take 3 % of the time. Those of strangers are answered by one frame each, of the 80
that a link writes in a second; who has proved itself is a guest, for whom it may write more."""

KNOCKS_AT_ONCE = 64
"""One in each turn of the event loop, so that a small gateway's clients are back at once where it was restarted."""

MAX_WAITING_KNOCKS = 1024
"""Peer ids, of each kind: the strangers of a room. A rendezvous with other limits, or one that invents peers, may name
more. At most 1 KiB each."""

MAX_KNOCK_BYTES = 1024
"""A knock has some 250."""

MAX_OPENED_KNOCKS = 4096
"""Remembered, 0.1 KiB each: those of 80 s of a flood. An older one is opened again, and its number tells."""

_SHORTEST_DELAY = 0.001
"""Seconds. Added to the clock's time, a shorter delay may be rounded away: the timer would fire before its time."""


class KnockQueue:
    """Which knock is answered next, and when."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(KNOCKS_PER_SECOND, KNOCKS_AT_ONCE, now=0.0)
        self._proved: dict[str, bytes] = {}
        self._others: dict[str, bytes] = {}
        self._is_turn_of_others = False
        self._opened: dict[bytes, None] = {}
        """The oldest first."""

    def was_opened(self, ephemeral: bytes) -> bool:
        """Whether a knock with this ephemeral key was `opened` before."""
        return ephemeral in self._opened

    def opened(self, ephemeral: bytes) -> None:
        """A knock with this ephemeral key was opened, so that its sender has made the key. No other knock has it."""
        self._opened[ephemeral] = None
        if len(self._opened) > MAX_OPENED_KNOCKS:
            del self._opened[next(iter(self._opened))]

    def add(self, peer_id: str, knock: bytes, *, is_proved: bool) -> bool:
        """Have a knock wait for its turn.

        Args:
            is_proved: whether a client has proved itself under this peer id.

        Returns:
            Whether no knock was dropped for it, nor itself for want of a place.
        """
        for line in (self._proved, self._others):
            if peer_id in line:
                line[peer_id] = knock
                return False
        line = self._proved if is_proved else self._others
        if len(line) >= MAX_WAITING_KNOCKS:
            return False
        line[peer_id] = knock
        return True

    def drop(self, peer_id: str) -> None:
        """The peer has gone: nobody reads an answer."""
        self._proved.pop(peer_id, None)
        self._others.pop(peer_id, None)

    def clear(self) -> None:
        """All peers have gone."""
        self._proved.clear()
        self._others.clear()

    def take(self, now: float) -> tuple[str, bytes] | None:
        """The knock whose turn it is, with its peer id, if there is one and it may be answered now."""
        line = self._others if self._is_turn_of_others else self._proved
        line = line or self._proved or self._others
        if not line or not self._bucket.take(now):
            return None
        self._is_turn_of_others = line is self._proved
        peer_id = next(iter(line))
        return peer_id, line.pop(peer_id)

    def delay(self, now: float) -> float | None:
        """Seconds from `now` until `take` has one; `None`: none waits."""
        if not self._proved and not self._others:
            return None
        delay = self._bucket.delay(now)
        return max(delay, _SHORTEST_DELAY) if delay > 0 else 0.0
