"""What counts as clean."""

from __future__ import annotations

from perdure_lab.demo.report import FaultResult, Report


def report(**changes: object) -> Report:
    good: dict[str, object] = {"connections": 4, "connections_kept": 4, "bytes_sent": 10, "bytes_received": 10}
    return Report(**(good | changes))  # type: ignore[arg-type]


def test_a_report_is_clean_only_if_nothing_at_all_went_wrong() -> None:
    assert report().is_clean
    assert report(faults=[FaultResult("f", 1.0, 0.1, recovered=True)]).is_clean
    assert report(faults=[FaultResult("cut short by Ctrl-C", 1.0)]).is_clean
    assert not report(faults=[FaultResult("f", 1.0, 9.0, recovered=False)]).is_clean
    assert not report(bytes_lost_or_wrong=1).is_clean
    assert not report(connections_kept=3).is_clean
    assert not report(bytes_sent=0).is_clean


def test_the_median_is_of_the_faults_whose_silence_is_known() -> None:
    ended = [FaultResult("f", 1.0, silence, recovered=True) for silence in (0.1, 0.3, 0.2)]
    measured = report(faults=[*ended, FaultResult("f", 9.0)])
    assert (measured.recovery_median, measured.recovery_max) == (0.2, 0.3)
    assert report().recovery_median is report().recovery_max is None
