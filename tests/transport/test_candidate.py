"""Which of the machine's addresses a candidate sends from."""

from __future__ import annotations

import pytest

from perdure.transport.candidate import base_address

HOST = "candidate:1 1 udp 2122260223 10.1.0.2 42243 typ host generation 0 ufrag 4A5F network-id 1"
OTHER_HOST = "candidate:2 1 udp 2122194687 10.2.0.2 42244 typ host generation 0 ufrag 4A5F network-id 2"
EARLIER_HOST = "candidate:1 1 udp 2122260223 10.1.0.9 42240 typ host generation 0 ufrag 9zzz network-id 1"
MAPPED = "candidate:3 1 udp 1686052607 203.0.113.1 42243 typ {} raddr 10.1.0.2 rport 42243 generation 0 network-id 1"
RELAYED = (
    "candidate:4 1 udp 58662911 198.51.100.2 62819 typ relay raddr {} rport 42243 generation 0 ufrag 4A5F network-id 1"
)


def test_a_host_candidate_sends_from_its_own_address() -> None:
    assert base_address(HOST, []) == "10.1.0.2"
    assert base_address("candidate:1 1 udp 1 2001:db8::2 9 typ host", []) == "2001:db8::2"


@pytest.mark.parametrize("kind", ["srflx", "prflx"])
def test_a_mapped_candidate_sends_from_the_address_that_was_mapped(kind: str) -> None:
    assert base_address(MAPPED.format(kind), [OTHER_HOST]) == "10.1.0.2"


@pytest.mark.parametrize("seen_by_server", ["203.0.113.1", "0.0.0.0"])
def test_a_relayed_candidate_sends_from_the_host_candidate_of_its_network_and_gathering(seen_by_server: str) -> None:
    relayed = RELAYED.format(seen_by_server)
    assert base_address(relayed, [relayed, OTHER_HOST, EARLIER_HOST, HOST]) == "10.1.0.2"


def test_where_no_host_candidate_is_told_a_relayed_ones_address_is_not_known() -> None:
    relayed = RELAYED.format("0.0.0.0")
    assert base_address(relayed, [relayed, OTHER_HOST, EARLIER_HOST]) is None


@pytest.mark.parametrize("broken", ["", "candidate:1", "candidate:1 1 udp 1 10.1.0.2 9", "candidate:1 1 udp 1 x 9 typ"])
def test_what_is_no_candidate_has_no_address(broken: str) -> None:
    assert base_address(broken, [broken, HOST]) is None
