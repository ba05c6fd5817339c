"""The engine's sockets send by the interface of their own address: two uplinks, and no policy routes."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from perdure.transport.candidate import host_endpoint
from perdure.transport.endpoint import SOCKADDR_BYTES, Endpoint, key_of
from perdure.transport.own_interface import OwnInterfaces
from support.private_namespaces import needs_namespaces, said_by
from support.two_uplinks import ETH, ETH_V6, WLAN, WLAN_V6

if TYPE_CHECKING:
    from perdure.netmon.state import Snapshot

STANDBY, OWN_SOCKETS, OWN_ENGINE, APART = (
    Path(__file__).with_name(name) for name in ("standby.py", "own_sockets.py", "own_engine.py", "apart.py")
)


@needs_namespaces
async def test_messages_go_on_by_the_standby_after_the_active_uplink_fell_silent() -> None:
    assert await said_by(STANDBY, "own") == {"before": ETH, "after": WLAN}


@needs_namespaces
async def test_the_engine_s_sockets_send_so_unless_they_are_left_to_the_routes() -> None:
    assert await said_by(OWN_ENGINE, "own") == {ETH: "eth0", WLAN: "wlan0"}
    assert await said_by(OWN_ENGINE, "routes") == {ETH: None, WLAN: None}


@needs_namespaces
async def test_a_carrier_keeps_off_the_link_of_another_and_goes_on_when_that_falls_silent() -> None:
    found = json.loads(json.dumps(await said_by(APART)))
    links = {ETH: {ETH, ETH_V6}, ETH_V6: {ETH, ETH_V6}, WLAN: {WLAN, WLAN_V6}, WLAN_V6: {WLAN, WLAN_V6}}
    assert found["apart"]
    assert links[found["first"]].isdisjoint(links[found["second"]])
    assert set(found["told"]) <= links[found["second"]], "the peer knows no address of the link in use"
    if found["first"] in links[ETH]:
        assert found["carry"] == [5]


@needs_namespaces
async def test_each_socket_sends_by_its_address_s_uplink_and_others_as_the_routes_lead() -> None:
    assert await said_by(OWN_SOCKETS) == {
        ETH: "eth0",
        WLAN: "wlan0",
        ETH_V6: "eth0",
        WLAN_V6: "wlan0",
        "127.0.0.1": None,
        "::1": None,
        "10.3.0.2": None,  # on both interfaces
        "172.17.0.2": None,  # of containers
        "no host candidate": None,
        "TCP": None,
    }


@pytest.mark.parametrize(
    ("candidate", "endpoint"),
    [
        ("candidate:1 1 udp 2122260223 10.1.0.2 42243 typ host generation 0", Endpoint("10.1.0.2", 42243)),
        ("candidate:1 1 UDP 1 2001:DB8:0::2 9 typ host", Endpoint("2001:db8::2", 9)),
        ("candidate:1 1 tcp 1 10.1.0.2 9 typ host tcptype active", None),
        ("candidate:1 1 udp 1 10.1.0.2 9 typ srflx raddr 10.1.0.2 rport 9", None),
        ("candidate:1 1 udp 1 0123abcd.local 9 typ host", None),
        ("candidate:1 1 udp 1 10.1.0.2 x typ host", None),
        ("candidate:1 1 udp", None),
        ("", None),
    ],
)
def test_a_host_candidate_for_udp_names_its_socket(candidate: str, endpoint: Endpoint | None) -> None:
    assert host_endpoint(candidate) == endpoint


def test_a_socket_is_known_by_what_the_kernel_says_of_it() -> None:
    v4 = struct.pack("=H", socket.AF_INET) + struct.pack("!H4s", 4711, socket.inet_aton("10.1.0.2"))
    v6 = struct.pack("=H", socket.AF_INET6) + struct.pack(
        "!H4x16s", 9, socket.inet_pton(socket.AF_INET6, "2001:db8::2")
    )
    assert key_of(v4.ljust(SOCKADDR_BYTES, b"\xff")) == Endpoint("10.1.0.2", 4711).key
    assert key_of(v6.ljust(SOCKADDR_BYTES, b"\xff")) == Endpoint("2001:db8::2", 9).key
    assert key_of(v4.ljust(SOCKADDR_BYTES, b"\0")) != Endpoint("10.1.0.2", 4712).key
    assert key_of(struct.pack("=H", socket.AF_UNIX).ljust(SOCKADDR_BYTES, b"/")) is None


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a socket choose its interface")
async def test_a_system_that_does_not_permit_it_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Forbidden:
        def look(self) -> Snapshot:
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("perdure.transport.own_interface.NetlinkSource", Forbidden)
    own = OwnInterfaces()
    for port in 1, 2:
        own.gathered(f"candidate:1 1 udp 1 10.1.0.2 {port} typ host")
        await asyncio.sleep(0.01)
    [record] = caplog.records
    assert "no socket may choose its interface here" in record.getMessage()
    assert "Operation not permitted" in record.getMessage()
