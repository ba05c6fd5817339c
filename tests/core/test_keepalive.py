"""When a path counts as suspect, as silent, and as idle."""

from __future__ import annotations

import pytest

from perdure.config import RestartPolicy
from perdure.core.events import PathEvidence
from perdure.core.keepalive import LOST_AFTER, MAX_PATIENCE, Liveness, Verdict

POLICY = RestartPolicy()
FAST = 1.2
"""Seconds: three of the floor's timeouts."""


def liveness(policy: RestartPolicy = POLICY, *, rtt: float = 0.05) -> Liveness:
    path = Liveness(policy)
    for _ in range(60):
        path.rtt.sample(rtt)
    path.start(0.0)
    return path


def tell(path: Liveness, *, heard: float | None = None, awaiting: float | None = None, ping: bool = False) -> None:
    path.evidence(PathEvidence(3, heard, awaiting, ping))


def verdicts(path: Liveness, *, until: float) -> list[tuple[float, str]]:
    """What is judged at each check, with its instant to the microsecond."""
    found: list[tuple[float, str]] = []
    for _ in range(100):
        at = path.next_check()
        if at is None or at > until:
            return found
        verdict = path.judge(at)
        found.append((round(at, 6), verdict.name))
        if verdict in (Verdict.SILENT, Verdict.STALLED):
            return found
    raise AssertionError("the liveness spins")


def test_an_overdue_answer_is_probed_after_the_floor_and_silence_follows_two_more_timeouts() -> None:
    path = liveness()
    tell(path, awaiting=10.0)
    assert verdicts(path, until=99.0) == [(10.2, "SUSPECT"), (11.2, "SILENT")]


def test_a_slow_path_is_granted_its_own_timeout() -> None:
    path = liveness(rtt=0.5)
    tell(path, awaiting=10.0)
    timeout = path.rtt.timeout
    assert timeout > 0.5
    assert verdicts(path, until=99.0) == [
        (round(10.0 + timeout, 6), "SUSPECT"),
        (round(10.0 + LOST_AFTER * timeout, 6), "SILENT"),
    ]


def test_without_a_sample_the_timeout_is_rfc_6298s_second() -> None:
    path = Liveness(POLICY)
    path.start(0.0)
    tell(path, awaiting=10.0)
    assert verdicts(path, until=99.0) == [(11.0, "SUSPECT"), (13.0, "SILENT")]


def test_no_silence_is_longer_than_the_threshold() -> None:
    path = liveness(rtt=60.0)
    tell(path, awaiting=10.0)
    assert verdicts(path, until=99.0) == [(40.0, "SILENT")]


def test_a_word_of_the_peer_starts_the_silence_over() -> None:
    path = liveness()
    tell(path, awaiting=10.0)
    assert path.judge(10.2) is Verdict.SUSPECT
    tell(path, heard=10.5, awaiting=10.0)
    assert path.judge(10.65) is Verdict.FINE
    assert verdicts(path, until=99.0) == [(10.7, "SUSPECT"), (11.7, "SILENT")]


def test_nothing_that_is_due_is_no_silence() -> None:
    path = liveness()
    assert path.silent_for(200.0) == 0.0
    tell(path, awaiting=200.0)
    assert path.silent_for(200.4) == pytest.approx(0.4)


def test_an_idle_path_is_asked_at_the_interval_and_its_ping_has_thirty_seconds() -> None:
    path = liveness()
    assert verdicts(path, until=300.0) == [(300.0, "KEEPALIVE")]
    tell(path, awaiting=300.0, ping=True)
    assert verdicts(path, until=999.0)[-1] == (330.0, "SILENT")


def test_a_doubted_path_has_no_thirty_seconds() -> None:
    path = liveness()
    path.doubt(50.0)
    tell(path, awaiting=50.0, ping=True)
    assert verdicts(path, until=999.0) == [(50.2, "SUSPECT"), (50.0 + FAST, "SILENT")]


def test_a_path_that_is_doubted_while_a_ping_waits_is_judged_from_the_doubt() -> None:
    path = liveness()
    tell(path, awaiting=300.0, ping=True)
    path.judge(300.3)
    path.doubt(310.0)
    assert path.judge(310.0) is Verdict.FINE
    path.doubt(310.5)
    assert verdicts(path, until=999.0) == [(310.2, "SUSPECT"), (310.0 + FAST, "SILENT")]


def test_a_word_of_the_peer_ends_the_doubt() -> None:
    path = liveness()
    path.doubt(50.0)
    tell(path, heard=50.1, awaiting=None)
    tell(path, awaiting=350.1, ping=True)
    assert verdicts(path, until=999.0)[-1] == (380.1, "SILENT")


def test_without_keepalives_an_idle_path_is_never_judged_and_a_waiting_answer_still_is() -> None:
    path = liveness(RestartPolicy(ice_keepalive_enabled=False))
    assert path.next_check() is None
    assert path.judge(1e6) is Verdict.FINE
    tell(path, awaiting=1e6)
    assert verdicts(path, until=2e6)[-1] == (1e6 + FAST, "SILENT")


def test_a_keepalive_awaits_its_answer_without_the_sessions_word() -> None:
    path = liveness()
    assert verdicts(path, until=329.0) == [(300.0, "KEEPALIVE")]
    assert verdicts(path, until=400.0)[0] == (330.0, "SILENT")


def test_silence_that_this_process_slept_through_counts_from_now() -> None:
    path = liveness()
    tell(path, awaiting=10.0)
    path.excuse(5000.0)
    assert path.silent_for(5000.0) == 0.0
    assert verdicts(path, until=9999.0) == [(5000.2, "SUSPECT"), (5000.0 + FAST, "SILENT")]


def test_each_silent_carrier_doubles_the_patience_up_to_the_threshold() -> None:
    path, waits = liveness(), []
    for _ in range(8):
        path.start(0.0)
        tell(path, awaiting=10.0)
        waits.append(verdicts(path, until=99.0)[-1][0])
    assert waits == [11.2, 12.4, 14.8, 19.6, 29.2, 40.0, 40.0, 40.0]


def test_an_acknowledgement_ends_the_patience() -> None:
    path = liveness()
    for _ in range(3):
        path.start(0.0)
        tell(path, awaiting=10.0)
        verdicts(path, until=99.0)
    path.start(0.0)
    tell(path, awaiting=10.0)
    tell(path, heard=11.0, awaiting=11.0)
    assert verdicts(path, until=99.0)[-1] == (12.2, "SILENT")


def test_patience_is_bounded() -> None:
    path = liveness(RestartPolicy(timeout_threshold=3600.0, silence_floor=0.05), rtt=0.001)
    for _ in range(50):
        path.start(0.0)
        tell(path, awaiting=10.0)
        verdicts(path, until=1e9)
    path.start(0.0)
    tell(path, awaiting=10.0)
    assert verdicts(path, until=1e9)[-1][0] == pytest.approx(10.0 + LOST_AFTER * 0.05 * MAX_PATIENCE)


def test_a_peer_that_talks_and_never_acknowledges_stalls() -> None:
    path = liveness()
    for tenth in range(1, 299):
        tell(path, heard=10.0 + tenth / 10, awaiting=10.0)
        assert path.judge(10.0 + tenth / 10) in (Verdict.FINE, Verdict.PROBE)
    path.gets_there(10.3)
    assert verdicts(path, until=999.0) == [(40.0, "STALLED")]


def test_a_peer_that_talks_on_a_path_which_carries_one_way_only_is_not_stalled_but_out_of_reach() -> None:
    # Found by the simulator: on a network that came and went, what was sent was lost, and the session ended for it.
    path = liveness()
    path.gets_there(9.0)
    for tenth in range(1, 299):
        tell(path, heard=10.0 + tenth / 10, awaiting=10.0)
        path.judge(10.0 + tenth / 10)
    tell(path, heard=39.95, awaiting=10.0)
    assert verdicts(path, until=999.0) == [(40.0, "PROBE"), (40.15, "SUSPECT"), (41.15, "SILENT")]


def test_a_stall_is_known_by_the_answer_to_the_question() -> None:
    path = liveness()
    tell(path, heard=10.1, awaiting=10.0)
    for tenth in range(1, 300):
        tell(path, heard=10.0 + tenth / 10, awaiting=10.0)
    assert path.judge(40.0) is Verdict.PROBE
    path.gets_there(40.0)
    tell(path, heard=40.2, awaiting=10.0)
    assert verdicts(path, until=999.0) == [(40.0, "STALLED")]


def test_a_peer_that_acknowledges_something_after_all_is_asked_again_at_the_next_stall() -> None:
    path = liveness()
    tell(path, heard=39.9, awaiting=10.0)
    assert path.judge(40.0) is Verdict.PROBE
    tell(path, heard=40.1, awaiting=39.0)
    for tenth in range(401, 690):
        tell(path, heard=tenth / 10, awaiting=39.0)
    tell(path, heard=68.95, awaiting=39.0)
    assert path.judge(69.0) is Verdict.PROBE


def test_a_peer_that_says_nothing_is_silent_and_not_stalled_however_long_it_is_granted() -> None:
    path = liveness(RestartPolicy(timeout_threshold=120.0, stall_timeout=10.0))
    tell(path, awaiting=10.0, ping=True)
    assert verdicts(path, until=999.0)[-1] == (130.0, "SILENT")


@pytest.mark.parametrize("begin", [0.1, 1 / 3, 12345.678, 1.7e9 + 0.1])
def test_a_check_is_never_due_again_at_its_own_instant(begin: float) -> None:
    # Found by review: begin + wait, less begin, may round to less than wait; the verdict was then put off by nothing.
    path = liveness(rtt=0.123)
    tell(path, awaiting=begin)
    assert [verdict for _, verdict in verdicts(path, until=begin + 99)] == ["SUSPECT", "SILENT"]


def test_a_late_verdict_waits_a_moment_while_data_does_and_not_on_an_idle_path() -> None:
    idle, busy = liveness(), liveness()
    tell(idle, awaiting=10.0, ping=True)
    assert not idle.put_off(40.4), "the driver rounds its deadlines"
    tell(busy, awaiting=10.0)
    assert busy.put_off(10.9)
    assert busy.judge(10.9) is Verdict.FINE
    at, verdict = verdicts(busy, until=99.0)[0]
    assert (round(at, 6), verdict) == (10.95, "SUSPECT")


def test_a_late_verdict_on_a_suspect_path_is_put_off_by_as_little() -> None:
    path = liveness()
    tell(path, awaiting=10.0)
    suspected_at = path.next_check()
    assert suspected_at is not None
    assert path.judge(suspected_at) is Verdict.SUSPECT
    silent_at = path.next_check()
    assert silent_at is not None
    assert path.put_off(silent_at + 0.15)
    assert path.next_check() == pytest.approx(silent_at + 0.2)


def test_a_verdict_that_was_put_off_is_not_due_again_at_once() -> None:
    # Found by review: the path was found suspect once more, at the same instant, and nothing had been read.
    path = liveness()
    tell(path, awaiting=10.0)
    path.judge(10.2)
    assert path.put_off(11.5)
    assert [(at, verdict) for at, verdict in verdicts(path, until=99.0)] == [(11.55, "SILENT")]


def test_a_busy_process_gives_a_peer_that_stalls_no_more_time() -> None:
    # Found by review: each verdict on its silence that was late began the stall's 30 s anew.
    path = liveness()
    for tenth in range(1, 300):
        if tenth % 4 == 1:  # it says something each 0.4 s, and acknowledges nothing
            tell(path, heard=10.0 + tenth / 10, awaiting=10.0)
        elif tenth % 4 == 0:
            assert path.put_off(10.0 + tenth / 10)
    tell(path, heard=39.95, awaiting=10.0)
    assert not path.put_off(40.2), "its verdict waits for nothing that could be read"
    assert path.judge(40.2) is Verdict.PROBE
