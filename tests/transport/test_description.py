"""What a carrier reads in a session description."""

from __future__ import annotations

import pytest

from perdure.session import channel_binding
from perdure.transport.description import read_description, without_candidates

DIGITS = ":".join(["Ab"] * 32)
SHA256 = f"a=fingerprint:sha-256 {DIGITS}\r\n"
TOLD = "v=0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:0\r\n"


def test_the_binding_names_both_certificates_whoever_asks() -> None:
    mine, yours = b"\1" * 32, b"\2" * 32
    assert channel_binding(mine, yours) == channel_binding(yours, mine) == mine + yours


def test_the_sha_256_fingerprint_counts_and_the_engine_hears_of_no_other() -> None:
    # aiortc writes three lines; libwebrtc would hold DTLS to the last.
    others = f"a=fingerprint:sha-384 {DIGITS}:{DIGITS[:47]}\r\n", f"a=fingerprint:SHA-512 {DIGITS}:{DIGITS}\r\n"
    read = read_description(TOLD + SHA256 + others[0] + others[1])
    assert read.digest == b"\xab" * 32
    assert read.sdp == TOLD + SHA256


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ("", "no SHA-256 fingerprint"),
        (f"a=fingerprint:sha-512 {DIGITS}:{DIGITS}\r\n", "no SHA-256 fingerprint"),
        (SHA256 + SHA256.replace("Ab:", "00:", 1), "2 SHA-256 fingerprints"),
        ("a=fingerprint:sha-256 AA:BB\r\n", "cannot be one"),
        (f"a=fingerprint:sha-256 \xa0{DIGITS}\r\n", "cannot be one"),
        (SHA256 + "a=max-message-size:many\r\n", "no number"),
        (SHA256 + f"a=max-message-size:{'9' * 5000}\r\n", "no number"),
        (SHA256 + "a=max-message-size:\xa016384\r\n", "no number"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused_with_its_reason(lines: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_description(TOLD + lines)


def test_a_certificate_may_be_named_twice() -> None:
    assert read_description(SHA256 + TOLD + SHA256.lower()).digest == b"\xab" * 32


@pytest.mark.parametrize(
    ("line", "size"), [("", 65536), ("a=max-message-size:16384\r\n", 16384), ("a=max-message-size:0\r\n", 2**53 - 1)]
)
def test_the_longest_message_is_as_the_peer_says(line: str, size: int) -> None:
    assert read_description(TOLD + SHA256 + line).max_message_bytes == size


def test_candidates_that_come_with_a_description_are_told_apart() -> None:
    candidate = "candidate:1 1 udp 1 192.0.2.1 9 typ host"
    read = read_description(f"{TOLD}{SHA256}a={candidate}\r\na=end-of-candidates\r\n")
    assert read.candidates == (candidate,)
    assert read.sdp == TOLD + SHA256


def test_candidates_are_left_out_of_a_description_and_nothing_else() -> None:
    assert without_candidates(f"{TOLD}a=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\na=end-of-candidates\r\n") == TOLD
