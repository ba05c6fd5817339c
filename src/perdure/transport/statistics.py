"""What the engine's statistics say of a carrier's path.

The pairs of earlier ICE restarts stay, and stay nominated, as long as they work: the transport's statistics say which
pair is used.
"""

from __future__ import annotations

import webrtc

from perdure.transport.base import PathStatistics


def path_statistics(report: webrtc.RTCStatsReport) -> PathStatistics:
    """What `report` says of the selected candidate pair; no RTT and no checks where none is selected."""
    transport = next((found for found in report.values() if isinstance(found, webrtc.RTCTransportStats)), None)
    if transport is None:
        return PathStatistics(None, 0, 0, 0, 0)
    sent, received = transport.bytes_sent or 0, transport.bytes_received or 0
    pair = report.get(transport.selected_candidate_pair_id or "")
    if not isinstance(pair, webrtc.RTCIceCandidatePairStats):
        return PathStatistics(None, 0, 0, sent, received)
    return PathStatistics(
        pair.current_round_trip_time, pair.requests_sent or 0, pair.responses_received or 0, sent, received
    )
