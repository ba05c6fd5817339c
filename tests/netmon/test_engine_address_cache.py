"""An address that the engine cannot know yet is told from one that it knows."""

from __future__ import annotations

from netmon.networks import interface, network
from perdure.netmon.engine_address_cache import EngineAddressCache

NOTHING = network()
ETH = network(interface("eth0", "10.0.0.2"), eth0="10.0.0.1")
WLAN = network(interface("wlan0", "192.168.1.7"), wlan0="192.168.1.1")
BOTH_ON_ETH = network(interface("eth0", "10.0.0.2"), interface("wlan0", "192.168.1.7"), eth0="10.0.0.1")


def watching_since(now: float) -> EngineAddressCache:
    cache = EngineAddressCache()
    cache.saw(ETH, now)
    return cache


def test_what_the_first_snapshot_holds_is_known() -> None:
    assert not watching_since(100.0).is_new(ETH, 100.0)


def test_an_address_is_new_until_the_engine_has_surely_read_it() -> None:
    cache = watching_since(100.0)
    cache.saw(WLAN, 200.0)
    assert cache.is_new(WLAN, 200.0)
    assert cache.is_new(WLAN, 202.4)
    assert not cache.is_new(WLAN, 202.5)


def test_a_standby_that_has_been_there_is_known_when_it_takes_over() -> None:
    cache = watching_since(100.0)
    cache.saw(BOTH_ON_ETH, 200.0)
    cache.saw(WLAN, 210.0)
    assert not cache.is_new(WLAN, 210.0)


def test_an_address_that_comes_back_is_new() -> None:
    cache = watching_since(100.0)
    cache.saw(NOTHING, 200.0)
    cache.saw(ETH, 200.5)
    assert cache.is_new(ETH, 200.5)


def test_the_same_address_on_another_interface_is_new() -> None:
    cache = watching_since(100.0)
    moved = network(interface("wlan0", "10.0.0.2"), wlan0="10.0.0.1")
    cache.saw(moved, 200.0)
    assert cache.is_new(moved, 200.0)


def test_only_the_interfaces_with_the_default_routes_are_asked() -> None:
    cache = watching_since(100.0)
    both_on_wlan = network(interface("eth0", "10.0.0.2"), interface("wlan0", "192.168.1.7"), wlan0="192.168.1.1")
    cache.saw(both_on_wlan, 200.0)
    assert cache.is_new(both_on_wlan, 200.0)


def test_one_known_address_is_enough() -> None:
    cache = watching_since(100.0)
    more = network(interface("eth0", "10.0.0.2", "2001:db8::7"), eth0="10.0.0.1")
    cache.saw(more, 200.0)
    assert not cache.is_new(more, 200.0)


def test_without_a_default_route_any_address_will_do() -> None:
    cache = watching_since(100.0)
    isolated = network(interface("eth1", "10.5.0.2"))
    cache.saw(isolated, 200.0)
    assert cache.is_new(isolated, 200.0)
    assert not cache.is_new(isolated, 203.0)


def test_without_any_address_there_is_no_new_one() -> None:
    cache = watching_since(100.0)
    cache.saw(NOTHING, 200.0)
    assert not cache.is_new(NOTHING, 200.0)


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    cache = watching_since(100.0)
    cache.saw(WLAN, 200.0)
    cache.stopped(30.0)  # from 201 to 231: the engine did not run either
    assert cache.is_new(WLAN, 231.0)
    assert not cache.is_new(WLAN, 232.5)


def test_what_was_known_before_a_stop_is_known_after_it() -> None:
    cache = watching_since(100.0)
    cache.saw(WLAN, 200.0)
    cache.stopped(30.0)  # from 203 to 233
    assert not cache.is_new(WLAN, 233.0)
