"""What the engine says of a carrier's path: its selected candidate pair and its statistics.

The pairs of earlier ICE restarts stay, and stay nominated, as long as they work: the transport's statistics say which
pair is used.
"""

from __future__ import annotations

import webrtc

from perdure.transport.base import Path, PathStatistics


def selected_path(pair: webrtc.RTCIceCandidatePair) -> Path:
    """The path that `pair` is, without its RTT."""
    protocol = pair.local.protocol.value if pair.local.protocol is not None else "udp"
    return Path(
        is_relayed=webrtc.RTCIceCandidateType.relay in (pair.local.type, pair.remote.type),
        protocol=webrtc.RTCIceServerTransportProtocol(pair.local.relay_protocol or protocol).value,
        local_address=_address(pair.local),
        remote_address=_address(pair.remote),
        rtt=None,
        relay_url=pair.local.url if pair.local.type is webrtc.RTCIceCandidateType.relay else None,
    )


def _address(candidate: webrtc.RTCIceCandidate) -> str | None:
    if not candidate.address:
        return None
    host = f"[{candidate.address}]" if ":" in candidate.address else candidate.address
    return f"{host}:{candidate.port}"


def path_statistics(report: webrtc.RTCStatsReport) -> PathStatistics:
    """What `report` says of the selected candidate pair; no RTT and no checks where none is selected, or the
    engine does not count them."""
    transport = next((found for found in report.values() if isinstance(found, webrtc.RTCTransportStats)), None)
    if transport is None:
        return PathStatistics(None, None, None, None, None)
    sent, received = transport.bytes_sent, transport.bytes_received
    pair = report.get(transport.selected_candidate_pair_id or "")
    if not isinstance(pair, webrtc.RTCIceCandidatePairStats):
        return PathStatistics(None, None, None, sent, received)
    return PathStatistics(pair.current_round_trip_time, pair.requests_sent, pair.responses_received, sent, received)
