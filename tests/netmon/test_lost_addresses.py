"""Whether the address that a path has lost comes back."""

from __future__ import annotations

from netmon.networks import interface, network
from perdure.netmon.lost_addresses import MOST_LOST, RETURNS_WITHIN, Lost, LostAddress, after
from perdure.netmon.state import diff

ETH_IP, WLAN_IP = "10.0.0.2", "192.168.1.7"
ETH = network(interface("eth0", ETH_IP), eth0="10.0.0.1")
WLAN = network(interface("wlan0", WLAN_IP), wlan0="192.168.1.1")
BOTH = network(interface("eth0", ETH_IP), interface("wlan0", WLAN_IP), eth0="10.0.0.1")
BOTH_BY_WLAN = network(interface("eth0", ETH_IP), interface("wlan0", WLAN_IP), wlan0="192.168.1.1")
NOTHING = network()

AWAY = (LostAddress(ETH_IP, 100.0),)


def test_an_address_that_goes_and_comes_back_within_seconds_returns_once() -> None:
    gone = after((), diff(ETH, NOTHING), ETH_IP, 100.0)
    assert gone == Lost(AWAY)
    back = after(gone.addresses, diff(NOTHING, ETH), ETH_IP, 100.0 + RETURNS_WITHIN)
    assert back == Lost((), is_return=True)


def test_it_returns_also_where_its_carrier_was_lost_meanwhile() -> None:
    assert after(AWAY, diff(NOTHING, ETH), None, 103.0).is_return


def test_one_that_was_away_for_long_is_new() -> None:
    assert after(AWAY, diff(NOTHING, ETH), ETH_IP, 100.1 + RETURNS_WITHIN) == Lost()


def test_it_is_away_since_it_went_whatever_happens_meanwhile() -> None:
    docker = network(interface("docker0", "172.17.0.1", kind="bridge"))
    assert after(AWAY, diff(NOTHING, docker), ETH_IP, 104.0) == Lost(AWAY)


def test_an_address_that_the_path_never_had_does_not_return() -> None:
    assert after((), diff(ETH, NOTHING), None, 100.0) == Lost()
    assert after((), diff(NOTHING, ETH), None, 101.0) == Lost()
    assert after(AWAY, diff(NOTHING, WLAN), None, 101.0) == Lost(AWAY)


def test_no_path_returns_that_works_on_another_address() -> None:
    assert after(AWAY, diff(WLAN, BOTH), WLAN_IP, 103.0) == Lost(), "its address is as it was"
    assert after(AWAY, diff(WLAN, BOTH_BY_WLAN), WLAN_IP, 103.0) == Lost()


def test_two_networks_that_take_turns_return_in_turn() -> None:
    lost = after(AWAY, diff(WLAN, ETH), WLAN_IP, 102.5)
    assert lost == Lost((LostAddress(WLAN_IP, 102.5),), is_return=True)
    assert after(lost.addresses, diff(ETH, WLAN), ETH_IP, 105.0).is_return


def test_a_path_whose_default_route_has_moved_has_lost_no_address() -> None:
    assert after((), diff(BOTH, BOTH_BY_WLAN), ETH_IP, 100.0) == Lost()


def test_only_the_last_few_are_remembered() -> None:
    lost: tuple[LostAddress, ...] = ()
    for number in range(20):
        there = network(interface("eth0", f"10.0.0.{number + 2}"), eth0="10.0.0.1")
        lost = after(lost, diff(there, NOTHING), f"10.0.0.{number + 2}", 100.0).addresses
    assert len(lost) == MOST_LOST
    assert lost[-1].ip == "10.0.0.21"


def test_an_address_is_the_same_however_it_is_written() -> None:
    six = network(interface("eth0", "2001:db8::7"), eth0="fe80::1")
    lost = after((), diff(six, NOTHING), "2001:DB8:0::7", 100.0)
    assert after(lost.addresses, diff(NOTHING, six), None, 101.0).is_return


def test_a_name_in_an_addresss_place_is_nobodys() -> None:
    assert after((), diff(ETH, NOTHING), "2f0e.local", 100.0).addresses == ()
