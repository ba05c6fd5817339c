"""Which candidates of a peer the engine is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.transport.reach import MAX_ADDRESSES, MAX_ENDPOINTS, Reach


def candidate(address: str, port: int | str = 5000, protocol: str = "udp", more: str = "") -> str:
    return f"candidate:1 1 {protocol} 2122260223 {address} {port} typ host{more}"


def refusal(text: str, *, loopback: bool = False, tcp: bool = False) -> str | None:
    return Reach(loopback=loopback, tcp=tcp).refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        candidate("192.0.2.1"),
        candidate("2001:db8::1", protocol="UDP"),
        candidate("10.0.0.1", more=" generation 0 ufrag abcd network-id 1 network-cost 10"),
        "candidate:842163049 1 udp 1677729535 203.0.113.9 40000 typ srflx raddr 10.0.0.1 rport 40000",
        candidate("::ffff:192.0.2.1"),
        candidate("192.0.2.1", more="  generation 0 "),
    ],
)
def test_a_usual_candidate_is_within_reach(text: str) -> None:
    assert refusal(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (candidate("10.0.0.5", 22, "tcp", " tcptype passive"), "not for UDP"),
        (candidate("10.0.0.5", 9, "TCP", " tcptype active"), "not for UDP"),
        (candidate("10.0.0.5", 22, "ssltcp"), "not for UDP"),
        (candidate("internal.example"), "no literal address"),
        (candidate("localhost"), "no literal address"),
        (candidate("2130706433"), "no literal address"),
        (candidate("0x7f.1"), "no literal address"),
        (candidate("127.1"), "no literal address"),
        (candidate("010.0.0.1"), "no literal address"),
        (candidate("127.0.0.1"), "loopback"),
        (candidate("127.255.0.3"), "loopback"),
        (candidate("::1"), "loopback"),
        (candidate("::ffff:127.0.0.1"), "loopback"),
        (candidate("::ffff:7f00:1"), "loopback"),
        (candidate("::127.0.0.1"), "loopback"),
        (candidate("64:ff9b::7f00:1"), "loopback"),
        (candidate("64:ff9b::a9fe:a9fe"), "link-local"),
        (candidate("169.254.169.254"), "link-local"),
        (candidate("fe80::1"), "link-local"),
        (candidate("fe80::1%eth0"), "no candidate"),
        (candidate("2001:db8::1%x.example.com"), "no candidate"),
        (candidate("2002:7f00:1::1"), "loopback"),
        (candidate("2002:a9fe:a9fe::1"), "link-local"),
        (candidate("64:ff9b:1::a9fe:a9fe"), "link-local"),
        (candidate("::ffff:0:169.254.169.254"), "link-local"),
        (candidate("2001:0:7f00:1::80ff:fffe"), "loopback"),
        (candidate("fec0::1"), "no usual host's"),
        (candidate("0.1.2.3"), "no usual host's"),
        (candidate("240.0.0.1"), "no usual host's"),
        (candidate("224.0.0.251"), "no usual host's"),
        (candidate("ff02::fb"), "no usual host's"),
        (candidate("0.0.0.0"), "no usual host's"),
        (candidate("::"), "no usual host's"),
        (candidate("255.255.255.255"), "no usual host's"),
        (candidate("192.0.2.1", 0), "no port"),
        (candidate("192.0.2.1", 65536), "no port"),
        (candidate("192.0.2.1", "１２"), "no candidate"),
        ("", "no candidate"),
        ("candidate:1 1 udp", "no candidate"),
        (candidate("192.0.2.1") + "\r\na=candidate:1 1 tcp 1 10.0.0.1 22 typ host", "no candidate"),
        (candidate("192.0.2.1", more=" x" * 300), "no candidate"),
    ],
)
def test_what_a_peer_has_no_business_with_is_out_of_reach(text: str, why: str) -> None:
    assert why in (refusal(text) or "")


def test_loopback_and_tcp_are_in_reach_where_they_are_asked_for() -> None:
    assert refusal(candidate("127.0.0.1"), loopback=True) is None
    assert refusal(candidate("fe80::1"), loopback=True) is None
    assert refusal(candidate("224.0.0.1"), loopback=True) is not None
    assert refusal(candidate("192.0.2.1", protocol="tcp"), tcp=True) is None


def test_a_peer_names_so_many_addresses_and_ports_and_no_more() -> None:
    reach = Reach(loopback=False, tcp=False)
    ports = [reach.refusal(candidate("192.0.2.1", port)) for port in range(1, MAX_ENDPOINTS + 2)]
    assert ports[:-1] == [None] * MAX_ENDPOINTS
    assert ports[-1] is not None
    assert reach.refusal(candidate("192.0.2.1", 1)) is None, "one that was named before"
    reach = Reach(loopback=False, tcp=False)
    addresses = [reach.refusal(candidate(f"192.0.2.{number}")) for number in range(MAX_ADDRESSES + 1)]
    assert addresses[:-1] == [None] * MAX_ADDRESSES
    assert addresses[-1] is not None


@given(st.text(max_size=200))
def test_garbage_is_refused_and_raises_nothing(text: str) -> None:
    assert refusal(text) is not None
