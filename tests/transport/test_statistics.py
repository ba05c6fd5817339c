"""What a carrier reads in the engine's statistics."""

from __future__ import annotations

import webrtc

from perdure.transport.base import PathStatistics
from perdure.transport.statistics import path_statistics


def test_of_several_nominated_pairs_the_selected_one_is_read() -> None:
    def pair(name: str, checks: int) -> webrtc.RTCIceCandidatePairStats:
        return webrtc.RTCIceCandidatePairStats(
            id=name,
            timestamp=0.0,
            type=webrtc.RTCStatsType.candidate_pair,
            transport_id="T",
            local_candidate_id="L",
            remote_candidate_id="R",
            state=webrtc.RTCStatsIceCandidatePairState.succeeded,
            nominated=True,
            requests_sent=checks,
            responses_received=checks - 1,
            current_round_trip_time=0.02,
        )

    def transport(selected: str | None) -> webrtc.RTCTransportStats:
        return webrtc.RTCTransportStats(
            id="T",
            timestamp=0.0,
            type=webrtc.RTCStatsType.transport,
            dtls_state=webrtc.RTCDtlsTransportState.connected,
            selected_candidate_pair_id=selected,
            bytes_sent=7,
            bytes_received=8,
        )

    def report(selected: str | None) -> webrtc.RTCStatsReport:
        return webrtc.RTCStatsReport({"old": pair("old", 9), "new": pair("new", 3), "T": transport(selected)})

    assert path_statistics(report("new")) == PathStatistics(0.02, 3, 2, 7, 8)
    assert path_statistics(report(None)) == PathStatistics(None, None, None, 7, 8)
    assert path_statistics(webrtc.RTCStatsReport({})) == PathStatistics(None, None, None, None, None)
