"""How much is under way on a path with a deep queue: enough for its rate, and little more than it holds."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.session.message_length import USUAL_MESSAGE_BYTES
from perdure.session.outbox import BULK_ACK_DELAY
from perdure.session.queue_limit import LEAST_BYTES, PROBE_INTERVAL, QueueLimit
from perdure.session.traffic import RTT_SAMPLE_INTERVAL

FIRST_FLIGHT = 12_000


@dataclass
class Bulk:
    """A sender that always has more, and a path whose queue never ends. Instants are seconds."""

    rate: float
    rtt: float
    limit: QueueLimit | None = None
    now: float = 0.0
    under_way: int = 0
    delivered: int = 0
    acks: list[tuple[float, int]] = field(default_factory=list)
    line_free_at: float = 0.0
    timed: tuple[float, int, int] | None = None
    untimed_until: float = 0.0
    sent: int = 0

    def run(self, seconds: float) -> tuple[float, float]:
        """The share of the path's rate that was used, and how long the queue was in the end, in seconds."""
        ends_at, before = self.now + seconds, self.delivered
        self.send()
        while self.acks and self.acks[0][0] <= ends_at:
            self.now, count = heapq.heappop(self.acks)
            self.acknowledged(count)
            self.send()
        self.now = ends_at
        return (self.delivered - before) / seconds / self.rate, max(0.0, self.line_free_at - self.now)

    def send(self) -> None:
        while (room := self.limit.allows(self.under_way) if self.limit else FIRST_FLIGHT - self.under_way) > 0:
            size = max(1024, min(room, USUAL_MESSAGE_BYTES))
            self.under_way += size
            self.sent += size
            if self.timed is None and self.now >= self.untimed_until:
                self.timed = self.now, self.sent, self.delivered
                self.untimed_until = self.now + RTT_SAMPLE_INTERVAL
            self.line_free_at = max(self.line_free_at, self.now) + size / self.rate
            heapq.heappush(self.acks, (self.line_free_at + self.rtt + BULK_ACK_DELAY, size))

    def acknowledged(self, count: int) -> None:
        self.under_way -= count
        self.delivered += count
        if self.timed is None or self.delivered < self.timed[1]:
            return
        (sent_at, _, before), self.timed = self.timed, None
        if self.limit is None:
            self.limit = QueueLimit(self.now - sent_at, self.delivered - before, self.now)
        else:
            self.limit.measured(self.now - sent_at, self.delivered - before, self.now, is_full=True)


@settings(max_examples=60)
@given(st.sampled_from([0.5e6, 2.5e6, 12.5e6]), st.floats(0.01, 0.3))
def test_the_path_is_used_and_its_queue_is_short(rate: float, rtt: float) -> None:
    bulk = Bulk(rate, rtt)
    bulk.run(100 * rtt + 2)
    used, queue = bulk.run(2 * PROBE_INTERVAL)
    assert used > 0.9
    assert queue < 0.75 * rtt + 0.02 + LEAST_BYTES / rate


@given(st.floats(0.02, 0.2), st.sampled_from([0.1, 0.3, 3.0, 10.0]))
def test_it_follows_the_paths_rate(rtt: float, times: float) -> None:
    bulk = Bulk(2.5e6, rtt)
    bulk.run(100 * rtt + 2)
    bulk.rate *= times
    bulk.run(100 * rtt + 6 * PROBE_INTERVAL)
    used, queue = bulk.run(2 * PROBE_INTERVAL)
    assert used > 0.9
    assert queue < 0.75 * rtt + 0.02 + LEAST_BYTES / bulk.rate


@given(st.floats(0.01, 0.2), st.sampled_from([0.25, 4.0]))
def test_it_follows_the_paths_length(rtt: float, times: float) -> None:
    bulk = Bulk(2.5e6, rtt)
    bulk.run(100 * rtt + 2)
    bulk.rtt *= times
    bulk.run(3 * PROBE_INTERVAL + 100 * bulk.rtt)
    used, queue = bulk.run(2 * PROBE_INTERVAL)
    assert used > 0.9
    assert queue < 0.75 * bulk.rtt + 0.02 + LEAST_BYTES / bulk.rate


def test_what_ran_dry_says_only_that_the_path_is_at_least_so_fast() -> None:
    limit = QueueLimit(0.1, 100_000, 0.0)
    limit.measured(0.1, 110_000, 1.0, is_full=True)
    allowed = limit.allowed_bytes
    limit.measured(0.1, 1000, 2.0, is_full=False)
    assert limit.allowed_bytes == allowed
    limit.measured(0.1, 220_000, 3.0, is_full=False)
    assert limit.allowed_bytes == pytest.approx(2 * allowed, rel=0.01)


def test_a_probe_waits_for_what_was_framed_behind_its_beginning() -> None:
    limit = QueueLimit(0.1, 1_000_000, 0.0)
    limit.measured(0.1, 1_000_000, 1.0, is_full=True)
    allowed = limit.allowed_bytes
    limit.measured(0.12, 1_200_000, PROBE_INTERVAL, is_full=True)
    assert limit.allowed_bytes == pytest.approx(500_000, rel=0.01)
    limit.measured(0.12, 1_200_000, PROBE_INTERVAL + 0.05, is_full=True)
    assert limit.allowed_bytes == pytest.approx(500_000, rel=0.01)
    limit.measured(0.2, 1_000_000, PROBE_INTERVAL + 0.3, is_full=True)
    assert limit.allowed_bytes > 1.8 * allowed
