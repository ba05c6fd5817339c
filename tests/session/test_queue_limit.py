"""How much is under way on a path with a deep queue: enough for its rate, and little more than it holds."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.session.message_length import USUAL_MESSAGE_BYTES
from perdure.session.outbox import BULK_ACK_DELAY
from perdure.session.queue_limit import GAIN, IDLE, LEAST_BYTES, PROBE_INTERVAL, SLACK, QueueLimit
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


def steady() -> QueueLimit:
    """At 10 MB/s and 0.1 s, behind the first probe."""
    limit = QueueLimit(0.1, 1_000_000, 0.0)
    limit.measured(0.1, 1_000_000, 0.5, is_full=True)
    limit.measured(0.1, 500_000, 1.0, is_full=True)
    return limit


def test_where_little_was_under_way_the_path_is_at_least_so_fast() -> None:
    limit = steady()
    allowed = limit.allowed_bytes
    assert allowed == pytest.approx(10e6 * (GAIN * 0.1 + SLACK), rel=0.01)
    limit.measured(0.1, 1000, 2.0, is_full=False)
    assert limit.allowed_bytes == allowed
    limit.measured(0.1, 2_000_000, 3.0, is_full=False)
    assert limit.allowed_bytes == pytest.approx(2 * allowed, rel=0.01)


def test_a_probe_follows_the_beginning_and_waits_for_what_was_framed_in_it() -> None:
    limit = QueueLimit(0.1, 1_000_000, 0.0)
    limit.measured(0.12, 1_200_000, 0.5, is_full=True)
    assert limit.allowed_bytes == pytest.approx(500_000, rel=0.01)
    limit.measured(0.12, 1_200_000, 0.55, is_full=True)
    assert limit.allowed_bytes == pytest.approx(500_000, rel=0.01)
    limit.measured(0.2, 1_000_000, 0.8, is_full=True)
    assert limit.allowed_bytes == pytest.approx(10e6 * (GAIN * 0.2 + SLACK), rel=0.01)


def test_a_probe_ends_with_the_bulk_and_measures_nothing() -> None:
    limit = steady()
    allowed = limit.allowed_bytes
    limit.measured(0.1, 1_000_000, 1.0 + PROBE_INTERVAL, is_full=True)
    assert limit.allowed_bytes < allowed / 2
    limit.measured(0.02, 100, 60.0, is_full=False)
    assert limit.allowed_bytes == allowed


@pytest.mark.parametrize(("seconds", "is_probed"), [(0.12, False), (0.5, True)])
def test_a_late_answer_asks_for_a_probe(seconds: float, is_probed: bool) -> None:
    limit = steady()
    allowed = limit.allowed_bytes
    limit.measured(seconds, 1_000_000, 2.5, is_full=True)
    assert (limit.allowed_bytes < allowed / 2) == is_probed


def test_the_rate_of_two_probes_ago_counts_no_more() -> None:
    limit = steady()
    for number in range(1, 4):
        at = 1.0 + number * (PROBE_INTERVAL + 1)
        limit.measured(0.1, 200_000, at, is_full=True)
        limit.measured(0.1, 100_000, at + 0.2, is_full=True)
    assert limit.allowed_bytes == pytest.approx(2e6 * (GAIN * 0.1 + SLACK), rel=0.01)


def test_behind_a_pause_the_rate_is_sought_as_in_the_beginning() -> None:
    limit = steady()
    allowed = limit.allowed_bytes
    limit.measured(0.1, 1000, 1.0 + IDLE + 1, is_full=False)
    assert limit.allowed_bytes > 2 * allowed


@settings(max_examples=30)
@given(st.floats(0.005, 0.04), st.sampled_from([0.1, 0.5, 2.0]), st.integers(0, 1000))
def test_a_round_trip_that_varies_costs_little(jitter: float, every: float, seed: int) -> None:
    bulk, random = Bulk(2.5e6, 0.05), Random(seed)
    used = []
    for _ in range(int(40 / every)):
        bulk.rtt = 0.05 + random.uniform(0, jitter)
        used.append(bulk.run(every)[0])
    assert sum(used[len(used) // 4 :]) / len(used[len(used) // 4 :]) > 0.85
