"""What of the network counts, and what a change of it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmon.networks import interface, network, routed
from perdure.core.decision import Trigger
from perdure.netmon.state import (
    Address,
    Change,
    DefaultRoute,
    Family,
    Interface,
    Snapshot,
    canonical,
    detailed,
    diff,
    family_of,
)

ETH = interface("eth0", "10.0.0.2")
WLAN = interface("wlan0", "192.168.1.7")
LO = interface("lo", "127.0.0.1", "::1", is_loopback=True)


def ips(snapshot: Snapshot) -> set[str]:
    return {address.ip for address in snapshot.bindable}


# What counts.


def test_loopback_never_counts_even_with_a_default_route() -> None:
    assert not network(LO, lo="10.0.0.1").has_address
    assert not network(interface("lo", "10.9.9.9", is_loopback=True)).has_address


@pytest.mark.parametrize("ip", ["169.254.7.7", "fe80::1", "127.0.0.2", "::1", "0.0.0.0", "ff02::1"])
def test_an_address_that_leads_nowhere_does_not_count(ip: str) -> None:
    assert not network(interface("eth0", ip), eth0="10.0.0.1").has_address


@pytest.mark.parametrize("ip", ["10.0.0.2", "100.64.0.9", "198.51.100.4", "fd00::7", "2001:db8::7"])
def test_private_shared_and_global_addresses_count(ip: str) -> None:
    assert ips(network(interface("eth0", ip))) == {ip}


def test_an_interface_that_is_down_has_no_address_that_counts() -> None:
    assert not network(interface("eth0", "10.0.0.2", is_up=False), eth0="10.0.0.1").has_address


@pytest.mark.parametrize(
    "name",
    [
        *("docker0", "br-5f3a", "veth12ab", "cni0", "flannel.1", "cali9", "cilium_host", "lxcbr0", "lxdbr0", "podman0"),
        *("virbr0", "vnet3", "vmnet8", "vboxnet0", "vEthernet (WSL)", "VMware Network Adapter VMnet1", "bridge100"),
        *("tun0", "tap0", "utun3", "wg0", "tailscale0", "ztabcdef", "awdl0", "llw0", "dummy0"),
    ],
)
def test_containers_virtual_machines_and_tunnels_do_not_count(name: str) -> None:
    assert not network(interface(name, "172.17.0.1")).has_address


@pytest.mark.parametrize("kind", ["bridge", "tun", "wireguard", "dummy", "vxlan", "ipip"])
def test_an_interface_is_virtual_by_its_kind_too(kind: str) -> None:
    assert not network(interface("anything", "172.17.0.1", kind=kind)).has_address


@pytest.mark.parametrize(
    "name", ["eth0", "enp3s0", "wlan0", "wlp2s0", "en0", "wwan0", "ppp0", "usb0", "bond0", "Wi-Fi"]
)
def test_a_machine_s_own_interfaces_count_without_a_default_route(name: str) -> None:
    assert network(interface(name, "10.0.0.2")).has_address


@pytest.mark.parametrize(("name", "kind"), [("eth0", "veth"), ("veth0", "veth"), ("br0", "bridge"), ("tun0", "tun")])
def test_what_carries_the_default_route_counts_whatever_it_is_called(name: str, kind: str) -> None:
    assert ips(Snapshot((interface(name, "10.0.0.2", kind=kind),), (DefaultRoute(Family.IPV4, name),))) == {"10.0.0.2"}


def test_a_tentative_address_does_not_count() -> None:
    assert not network(interface("eth0", Address("2001:db8::7", is_tentative=True))).has_address


@pytest.mark.parametrize(
    "passing", [Address("2001:db8::7", is_deprecated=True), Address("2001:db8::7", is_temporary=True)]
)
def test_a_deprecated_or_temporary_address_can_be_used_and_is_no_news(passing: Address) -> None:
    snapshot = network(interface("eth0", passing))
    assert snapshot.has_address
    assert not snapshot.usable


def test_addresses_have_one_text() -> None:
    assert canonical("2001:DB8:0:0::1") == "2001:db8::1"
    assert canonical("fe80::1%eth0") == "fe80::1"
    assert canonical("0123abcd.local") == "0123abcd.local"
    assert (family_of("10.0.0.1"), family_of("::1")) == (Family.IPV4, Family.IPV6)


# Changes.

TOLD = (
    "default_interface_changed",
    "default_gateway_changed",
    "address_added",
    "address_lost",
    "all_addresses_lost",
    "first_address",
    "family_gained",
    "family_lost",
)


def told(change: Change) -> set[str]:
    return {name for name in TOLD if getattr(change, name)}


def test_the_standby_takes_over() -> None:
    change = diff(network(LO, ETH, WLAN, eth0="10.0.0.1"), network(LO, WLAN, wlan0="192.168.1.1"))
    assert told(change) == {"default_interface_changed", "address_lost"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.reasons == (
        "IPv4 default route moved eth0 -> wlan0",
        "eth0 went",
        "10.0.0.2 lost from eth0",
    )
    assert change.invalidates("10.0.0.2")
    assert not change.invalidates("192.168.1.7")
    assert (change.before.leads_by("10.0.0.2"), change.before.leads_by("192.168.1.7")) == (True, False)
    assert (change.after.leads_by("10.0.0.2"), change.after.leads_by("192.168.1.7")) == (False, True)
    assert not change.after.leads_by("2001:db8::1"), "there is no such address, nor a route of its family"


def test_the_default_route_moves_while_both_interfaces_stay() -> None:
    change = diff(network(ETH, WLAN, wlan0="192.168.1.1"), network(ETH, WLAN, eth0="10.0.0.1"))
    assert told(change) == {"default_interface_changed"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.invalidates("192.168.1.7")
    assert not change.invalidates("10.0.0.2")


def test_an_address_is_renewed_on_the_same_interface() -> None:
    change = diff(network(ETH, eth0="10.0.0.1"), network(interface("eth0", "10.0.0.9"), eth0="10.0.0.1"))
    assert told(change) == {"address_lost", "address_added"}
    assert change.trigger is Trigger.IP_ADDRESS_CHANGE
    assert change.reasons == ("10.0.0.2 lost from eth0", "10.0.0.9 new on eth0")
    assert change.invalidates("10.0.0.2")


def test_the_only_network_goes_and_another_comes() -> None:
    nothing = network(LO)
    gone = diff(network(LO, ETH, eth0="10.0.0.1"), nothing)
    assert told(gone) == {"default_interface_changed", "address_lost", "all_addresses_lost", "family_lost"}
    assert gone.trigger is Trigger.INTERFACE_CHANGE
    come = diff(nothing, network(LO, WLAN, wlan0="192.168.1.1"))
    assert told(come) == {"default_interface_changed", "address_added", "first_address", "family_gained"}
    assert come.trigger is Trigger.INTERFACE_CHANGE


def test_a_cable_is_pulled_and_its_route_stays() -> None:
    """So Linux does it where no daemon tends the routes."""
    change = diff(
        network(ETH, WLAN, eth0="10.0.0.1"),
        network(interface("eth0", "10.0.0.2", is_up=False), WLAN, eth0="10.0.0.1"),
    )
    assert told(change) == {"address_lost"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.invalidates("10.0.0.2")


def test_another_network_gives_the_same_address() -> None:
    change = diff(network(ETH, eth0="10.0.0.1"), network(ETH, eth0="10.0.0.254"))
    assert told(change) == {"default_gateway_changed"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.reasons == ("IPv4 gateway on eth0 changed 10.0.0.1 -> 10.0.0.254",)
    assert change.invalidates("10.0.0.2")


def test_ipv6_routers_that_take_turns_do_not_matter() -> None:
    eth = interface("eth0", "2001:db8::7")
    change = diff(network(eth, eth0="fe80::1"), network(eth, eth0="fe80::2"))
    assert told(change) == {"default_gateway_changed"}
    assert change.trigger is None
    assert not change.is_nothing
    assert not change.invalidates("2001:db8::7")


def test_a_gateway_that_is_not_known_has_not_changed() -> None:
    known = network(ETH, eth0="10.0.0.1")
    unknown = routed(known, Family.IPV4, "eth0")
    assert diff(known, unknown).is_nothing
    assert diff(unknown, known).is_nothing


def test_ipv6_comes_some_seconds_after_ipv4() -> None:
    before = network(ETH, eth0="10.0.0.1")
    both = interface("eth0", "10.0.0.2", "2001:db8::7")
    change = diff(before, routed(network(both, eth0="10.0.0.1"), Family.IPV6, "eth0", "fe80::1"))
    assert told(change) == {"default_interface_changed", "address_added", "family_gained"}
    assert change.trigger is Trigger.IP_ADDRESS_CHANGE
    assert not change.invalidates("10.0.0.2")


def test_a_family_s_default_route_that_goes_invalidates_what_used_it() -> None:
    both = network(interface("eth0", "10.0.0.2", "2001:db8::7"), eth0="10.0.0.1")
    change = diff(routed(both, Family.IPV6, "eth0", "fe80::1"), both)
    assert told(change) == {"default_interface_changed"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.invalidates("2001:db8::7")
    assert not change.invalidates("10.0.0.2")


def test_a_container_that_comes_and_goes_is_nothing() -> None:
    alone = network(ETH, eth0="10.0.0.1")
    with_docker = network(ETH, interface("docker0", "172.17.0.1", kind="bridge"), interface("veth1"), eth0="10.0.0.1")
    assert diff(alone, with_docker).is_nothing
    assert diff(with_docker, alone).is_nothing


def test_a_standby_that_comes_invalidates_nothing() -> None:
    change = diff(network(ETH, eth0="10.0.0.1"), network(ETH, WLAN, eth0="10.0.0.1"))
    assert told(change) == {"address_added"}
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert change.reasons == ("wlan0 came", "192.168.1.7 new on wlan0")
    assert not change.invalidates("10.0.0.2")


def test_a_path_s_address_returns_where_it_was_away() -> None:
    at_home, away = network(ETH, eth0="10.0.0.1"), network(interface("eth0", "10.0.0.2", is_up=False))
    assert diff(away, at_home).returns("10.0.0.2")
    assert not diff(at_home, away).returns("10.0.0.2")
    elsewhere = diff(away, network(interface("eth0", "10.7.0.2"), eth0="10.7.0.1"))
    assert not elsewhere.returns("10.0.0.2")
    assert elsewhere.returns("10.7.0.2")


def test_an_address_that_stayed_while_others_came_and_went_does_not_return() -> None:
    alone, beside = network(ETH, eth0="10.0.0.1"), network(ETH, WLAN, eth0="10.0.0.1")
    for change in diff(alone, beside), diff(beside, alone):
        assert not change.returns("10.0.0.2")


def test_an_address_returns_when_it_may_be_used_again_and_however_it_is_written() -> None:
    away = network(interface("eth0", "10.0.0.2"))
    tentative = network(interface("eth0", "10.0.0.2", Address("2001:db8::7", is_tentative=True)))
    usable = network(interface("eth0", "10.0.0.2", "2001:db8::7"))
    assert not diff(away, tentative).returns("2001:db8::7")
    assert diff(tentative, usable).returns("2001:DB8:0::7")


def test_a_vpn_that_takes_the_default_route() -> None:
    tunnel = interface("tun0", "10.8.0.6", kind="tun")
    up = diff(network(ETH, tunnel, eth0="10.0.0.1"), network(ETH, tunnel, tun0="10.8.0.1"))
    assert up.trigger is Trigger.INTERFACE_CHANGE
    assert up.invalidates("10.0.0.2")
    down = diff(network(ETH, tunnel, tun0="10.8.0.1"), network(ETH, eth0="10.0.0.1"))
    assert down.invalidates("10.8.0.6")
    assert not down.invalidates("10.0.0.2")


def test_a_privacy_address_is_replaced_without_a_word_until_the_old_one_goes() -> None:
    stable = "2001:db8::7"
    old, new = (Address(f"2001:db8::{it}", is_temporary=True) for it in ("a1", "b2"))
    old_is_deprecated = Address(old.ip, is_temporary=True, is_deprecated=True)
    before = network(interface("eth0", stable, old))
    between = network(interface("eth0", stable, old_is_deprecated, new))
    after = network(interface("eth0", stable, new))
    assert diff(before, between).is_nothing
    assert not diff(before, between).invalidates(old.ip)
    change = diff(between, after)
    assert told(change) == {"address_lost"}
    assert change.trigger is Trigger.IP_ADDRESS_CHANGE
    assert change.invalidates(old.ip)
    assert not change.invalidates(stable)


def test_an_address_that_is_proven_unique_is_news() -> None:
    tentative = network(interface("eth0", Address("2001:db8::7", is_tentative=True)))
    change = diff(tentative, network(interface("eth0", "2001:db8::7")))
    assert change.first_address
    assert not change.invalidates("2001:db8::7")


def test_an_address_that_moves_with_the_default_route_invalidates_nothing() -> None:
    change = diff(network(ETH, eth0="10.0.0.1"), network(interface("wlan0", "10.0.0.2"), wlan0="10.0.0.1"))
    assert change.trigger is Trigger.INTERFACE_CHANGE
    assert not change.invalidates("10.0.0.2")


def test_an_address_that_an_earlier_change_took_is_still_gone_when_the_new_network_comes() -> None:
    """The old network often goes some milliseconds before the new one comes: each is a change of its own."""
    away = network()
    comes = diff(away, network(interface("wlan0", "192.168.1.7"), wlan0="192.168.1.1"))
    assert diff(network(ETH, eth0="10.0.0.1"), away).invalidates("10.0.0.2")
    assert comes.invalidates("10.0.0.2")
    assert not comes.invalidates("192.168.1.7")
    assert not diff(away, network(ETH, eth0="10.0.0.1")).invalidates("10.0.0.2")


def test_an_address_is_understood_in_any_spelling_and_a_name_is_never_invalidated() -> None:
    change = diff(network(ETH, interface("eth1", "2001:db8::7"), eth0="10.0.0.1"), network())
    assert change.invalidates("2001:DB8:0::7")
    assert not change.invalidates("0123abcd.local")


def test_an_address_on_an_interface_that_does_not_count_is_invalidated_when_it_goes() -> None:
    docker = interface("docker0", "172.17.0.1", kind="bridge")
    assert diff(network(ETH, docker), network(ETH)).invalidates("172.17.0.1")


def test_an_address_without_a_default_route_is_half_a_change() -> None:
    assert diff(network(), network(ETH)).is_half
    assert not diff(network(), network(ETH, eth0="10.0.0.1")).is_half
    assert not diff(network(ETH, eth0="10.0.0.1"), network()).is_half
    assert not diff(network(ETH), network(WLAN)).is_half


# Seen by another source.


def test_the_same_network_seen_with_less_detail_is_no_change() -> None:
    temporary = Address("2001:db8::a1", is_temporary=True, is_deprecated=True)
    bridge = interface("office7", "172.17.0.1", kind="bridge")
    before = network(interface("eth0", "10.0.0.2", temporary), bridge, eth0="10.0.0.1")
    shown = routed(
        network(interface("eth0", "10.0.0.2", temporary.ip), interface("office7", "172.17.0.1")), Family.IPV4, "eth0"
    )
    assert not diff(before, shown).is_nothing
    assert diff(before, detailed(shown, before)).is_nothing


def test_another_network_seen_with_less_detail_is_a_change() -> None:
    before = network(ETH, eth0="10.0.0.1")
    change = diff(before, detailed(routed(network(WLAN), Family.IPV4, "wlan0"), before))
    assert change == diff(before, routed(network(WLAN), Family.IPV4, "wlan0"))


def test_an_address_whose_flags_are_no_longer_shown_counts() -> None:
    tentative = network(interface("eth0", Address("2001:db8::7", is_tentative=True)))
    assert diff(tentative, detailed(network(interface("eth0", "2001:db8::7")), tentative)).first_address


# What holds for any two networks.

IPS = st.sampled_from(["10.0.0.2", "10.0.0.9", "169.254.1.1", "2001:db8::7", "fe80::7", "fd00::1", "127.0.0.1"])
ADDRESSES = st.frozensets(st.builds(Address, IPS, st.booleans(), st.booleans(), st.booleans()), max_size=3)
NAMES = ["lo", "eth0", "wlan0", "docker0", "tun0"]


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    kinds = st.sampled_from(["", "veth", "bridge"])
    interfaces = [Interface(it, draw(st.booleans()), draw(ADDRESSES), draw(kinds), it == "lo") for it in names]
    gateways = st.sampled_from([None, "10.0.0.1", "fe80::1"])
    families = draw(st.lists(st.sampled_from(Family), unique=True)) if names else []
    routes = [DefaultRoute(family, draw(st.sampled_from(names)), draw(gateways)) for family in families]
    return Snapshot(tuple(interfaces), tuple(routes))


@given(snapshots())
def test_nothing_changes_from_a_network_to_itself(snapshot: Snapshot) -> None:
    change = diff(snapshot, snapshot)
    assert change.is_nothing
    assert change.trigger is None
    assert told(change) == set()
    assert not any(change.invalidates(address.ip) for address in snapshot.bindable)


@given(snapshots(), snapshots())
def test_the_names_agree_with_the_sets(before: Snapshot, after: Snapshot) -> None:
    change = diff(before, after)
    assert change.address_lost == bool(before.bindable - after.bindable)
    assert change.address_added == bool(after.usable - before.bindable)
    assert change.all_addresses_lost == (bool(before.bindable) and not after.bindable)
    assert change.first_address == (bool(after.bindable) and not before.bindable)
    assert change.family_lost == (not before.families <= after.families)
    assert change.family_gained == (not after.families <= before.families)
    assert before.usable <= before.bindable
    assert change.is_nothing == (not change.reasons)
    if change.trigger is not None or told(change) - {"family_gained", "first_address"}:
        assert change.reasons
    if change.address_lost or change.address_added or change.default_interface_changed:
        assert change.trigger is not None


def test_an_address_that_loopback_has_too_stays_where_it_was() -> None:
    # Found by hypothesis: the interface that came last held it.
    address = Address("10.0.0.2", False, False, False)
    ethernet = Interface("eth0", True, frozenset({address}), "", False)
    routes = (DefaultRoute(Family.IPV4, "eth0", None),)
    before = Snapshot((ethernet, Interface("lo", False, frozenset(), "", True)), routes)
    after = Snapshot((ethernet, Interface("lo", True, frozenset({address}), "", True)), routes)
    assert not diff(before, after).invalidates("10.0.0.2")


@given(snapshots(), snapshots())
def test_what_invalidates_an_address_is_told(before: Snapshot, after: Snapshot) -> None:
    change = diff(before, after)
    for address in before.bindable:
        if change.invalidates(address.ip):
            assert change.trigger is not None
