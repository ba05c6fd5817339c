"""What a carrier reads in a session description."""

from __future__ import annotations

import pytest

from perdure.transport.description import certificates, channel_binding, without_candidates


def test_the_binding_names_both_certificates_whoever_asks() -> None:
    mine, yours = "v=0\r\na=fingerprint:sha-256 AA:BB\r\n", "v=0\r\na=fingerprint:sha-256 CC:DD\r\n"
    assert channel_binding(mine, yours) == channel_binding(yours, mine)
    assert channel_binding(mine, yours) != channel_binding(mine, mine)
    with pytest.raises(ValueError, match="fingerprint"):
        channel_binding(mine, "v=0\r\n")


def test_the_certificates_are_those_of_the_whole_description() -> None:
    assert certificates("v=0\r\na=fingerprint:sha-256 AA:BB\r\nm=x\r\na=fingerprint:sha-256 CC:DD\r\n") == [
        "sha-256 AA:BB",
        "sha-256 CC:DD",
    ]


def test_candidates_are_left_out_of_a_description_and_nothing_else() -> None:
    told = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n"
    assert without_candidates(f"{told}a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n") == told
