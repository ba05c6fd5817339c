"""Which interfaces a socket may choose among, whatever the routes prefer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from netmon.networks import interface, network
from perdure.netmon.uplinks import may_have_uplinks, uplink_of, uplinks

if TYPE_CHECKING:
    from perdure.netmon.state import Snapshot

WIRED, RADIO = interface("eth0", "10.1.0.2", "2001:db8::2"), interface("wlan0", "10.2.0.2")


def test_a_machine_may_choose_among_its_uplinks_where_it_has_several() -> None:
    assert uplinks(network(RADIO, WIRED, eth0="10.1.0.1")) == ("eth0", "wlan0")
    assert uplinks(network(WIRED, eth0="10.1.0.1")) == ()
    lo, docker = interface("lo", "127.0.0.1", is_loopback=True), interface("docker0", "172.17.0.1")
    assert uplinks(network(WIRED, lo, docker)) == ()


def test_a_machine_may_get_several_uplinks_where_it_has_the_interfaces_for_it() -> None:
    unplugged = interface("eth0", is_up=False)
    assert may_have_uplinks(network(unplugged, RADIO, wlan0="10.2.0.1"))
    assert not may_have_uplinks(
        network(RADIO, interface("docker0", "172.17.0.1"), interface("veth1"), wlan0="10.2.0.1")
    )


@pytest.mark.parametrize(("name", "kind"), [("tun0", ""), ("wg0", "wireguard"), ("corporate", "xfrm")])
def test_nothing_is_chosen_past_a_vpn_that_carries_the_default_route(name: str, kind: str) -> None:
    vpn = interface(name, "10.9.0.2", kind=kind)
    assert uplinks(network(WIRED, RADIO, vpn, **{name: "10.9.0.1"})) == ()
    assert uplinks(network(WIRED, RADIO, vpn, eth0="10.1.0.1")) == ("eth0", "wlan0")


def test_a_bridge_with_the_default_route_is_an_uplink_like_another() -> None:
    bridge = interface("br0", "10.1.0.2", kind="bridge")
    assert uplinks(network(bridge, RADIO, br0="10.1.0.1")) == ("br0", "wlan0")


@pytest.mark.parametrize(
    ("snapshot", "ip", "uplink"),
    [
        (network(WIRED, RADIO, eth0="10.1.0.1"), "10.2.0.2", "wlan0"),
        (network(WIRED, RADIO, eth0="10.1.0.1"), "2001:db8::2", "eth0"),
        (network(WIRED, RADIO, eth0="10.1.0.1"), "10.9.0.2", None),
        (network(WIRED, eth0="10.1.0.1"), "10.1.0.2", None),
        (network(WIRED, RADIO, interface("tun0", "10.9.0.2"), tun0="10.9.0.1"), "10.1.0.2", None),
        (network(WIRED, RADIO, interface("docker0", "10.2.0.2"), eth0="10.1.0.1"), "10.2.0.2", None),
    ],
    ids=["a standby", "IPv6", "nobody's", "the only uplink", "a VPN has the default route", "another has it too"],
)
def test_an_address_has_an_uplink_of_its_own_where_there_is_something_to_choose(
    snapshot: Snapshot, ip: str, uplink: str | None
) -> None:
    assert uplink_of(snapshot, ip) == uplink
