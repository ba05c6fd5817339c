"""ICE servers as a gateway's clients are told them: what they would not read is refused where it is named."""

from __future__ import annotations

import pytest

from perdure import IceServer
from perdure.ice_server import parse_ice_server
from perdure.ice_servers import for_clients, of_gateway, out_of_reach
from perdure.signaling.channel import MAX_MESSAGE_BYTES
from perdure.signaling.messages import MAX_ICE_SERVER_BYTES, MAX_ICE_SERVERS, RTCIceServer

STUN, TURN = IceServer("stun:stun.example"), IceServer("turn:turn.example", "me", "secret")


def test_what_a_gateway_tells_is_what_its_clients_use() -> None:
    assert of_gateway(for_clients([STUN, TURN])) == (STUN, TURN)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (IceServer("stun:" + "x" * MAX_ICE_SERVER_BYTES), r"'stun:x+': a server's URL of 517 bytes is over 512"),
        (IceServer("turn:long.example", "me", "secret" * 86), r"'turn:long.example': a server's password of 516 bytes"),
    ],
)
def test_the_one_that_a_client_would_not_read_is_named(server: IceServer, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refused:
        for_clients([STUN, server, TURN])
    assert "secret" not in str(refused.value)
    assert len(str(refused.value)) < 200


def test_a_password_that_no_engine_takes_is_refused_where_it_is_named() -> None:
    of_a_command_line_that_is_no_utf8 = b"turn:me:secret\xff@turn.example".decode("utf-8", "surrogateescape")
    with pytest.raises(ValueError, match=r"'turn:turn\.example' has a password that is no UTF-8") as refused:
        parse_ice_server(of_a_command_line_that_is_no_utf8)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("port", [1, 52, 99, 1023])
def test_a_port_that_the_engine_ignores_is_refused_where_it_is_named(port: int) -> None:
    with pytest.raises(ValueError, match="has a port that WebRTC ignores: it takes 53, 80, 443 and those from 1024 on"):
        parse_ice_server(f"turn:me:secret@turn.example:{port}")
    parse_ice_server(f"turns:me:secret@turn.example:{port}")
    parse_ice_server(f"stun:stun.example:{port}")


@pytest.mark.parametrize("port", [53, 80, 443, 1024, 3478, 65535])
def test_a_port_that_the_engine_takes_is_taken(port: int) -> None:
    parse_ice_server(f"turn:me:secret@turn.example:{port}")


def test_there_are_no_more_than_a_client_reads() -> None:
    assert len(for_clients([STUN] * MAX_ICE_SERVERS)) == MAX_ICE_SERVERS
    with pytest.raises(ValueError, match="16 ICE servers at most, not 17"):
        for_clients([STUN] * 17)


def test_they_fit_into_one_message_together() -> None:
    escaped = IceServer("turn:turn.example", "me", "\x01" * MAX_ICE_SERVER_BYTES)
    with pytest.raises(ValueError, match=f"together: a message has at most {MAX_MESSAGE_BYTES} bytes"):
        for_clients([escaped] * MAX_ICE_SERVERS)


@pytest.mark.parametrize("url", ["http://a.example", "turn:me:secret@a.example", "stun:\x1b[2J", "file:///etc/passwd"])
def test_what_is_no_ice_server_is_not_taken_from_a_gateway(url: str) -> None:
    with pytest.raises(ValueError, match="ICE server") as refused:
        of_gateway([RTCIceServer("stun:stun.example"), RTCIceServer(url, "me", "secret")])
    assert str(refused.value).isprintable()
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "10.0.0.1", "[2001:db8::1]", "turn.example", "0x1.example"])
@pytest.mark.parametrize("loopback", [False, True])
def test_a_client_asks_usual_hosts_on_its_gateways_word(host: str, loopback: bool) -> None:
    assert out_of_reach(IceServer(f"stun:{host}:3478"), loopback=loopback) is None


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.8.9.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "[fe80::1]",
        "[fe80::1%eth0]",
        "localhost",
        "LocalHost.",
        "a.localhost",
    ],
)
def test_a_client_asks_its_own_machine_and_link_only_where_loopback_is_asked_for(host: str) -> None:
    server = IceServer(f"turn:{host}:9999?transport=tcp", "me", "secret")
    assert out_of_reach(server, loopback=False) is not None
    assert out_of_reach(server, loopback=True) is None


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",
        "[::]",
        "224.0.0.251",
        "[ff02::fb]",
        "255.255.255.255",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7F.1",
        "0177.0.0.1",
        "127.0.0.1.",
        "0x",
        "a.0x7f",
    ],
)
@pytest.mark.parametrize("loopback", [False, True])
def test_a_client_never_asks_what_is_no_hosts_address_or_is_one_to_some_systems_only(host: str, loopback: bool) -> None:
    assert out_of_reach(IceServer(f"stun:{host}"), loopback=loopback) is not None
