"""What a scenario becomes: namespaces, addresses, `ip` commands, and the routers' rules."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from perdure_lab.lab.router import ruleset
from perdure_lab.lab.topology import Batches, Topology
from perdure_lab.scenario.model import Cut, Link, LinkName, Nat, Scenario
from perdure_lab.scenario.parse import parse_scenario

ETH, WLAN = LinkName("client", "eth"), LinkName("client", "wlan")

SCENARIO = parse_scenario(
    'title = "t"\ntext = "x."\nseconds = 9\n[client.eth]\n[client.wlan]\nup = false\n'
    '[[step]]\nat = 3\nclient.eth.addresses = ["10.7.7.7", "2001:db8:7::7"]\n',
    source="own.toml",
    name="own",
)


def change(before: Link, after: Link, scenario: Scenario = SCENARIO) -> Batches:
    return Topology(scenario).change(ETH, before, after)


def test_each_site_and_each_links_router_has_a_namespace() -> None:
    assert Topology(SCENARIO).namespaces == [
        *("internet", "services", "client", "gateway", "client-eth", "client-wlan", "gateway-eth"),
    ]


def test_interfaces_are_called_as_real_ones_are() -> None:
    assert [place.interface for place in Topology(SCENARIO).places.values()] == ["eth0", "wlan0", "eth0"]


def test_a_link_knows_every_network_that_it_will_ever_have() -> None:
    assert list(Topology(SCENARIO).places[ETH].networks) == ["192.168.10.0/24", "10.7.7.0/24", "2001:db8:7::/64"]


def test_switching_off_is_left_to_the_kernel() -> None:
    link = SCENARIO.links[ETH]
    assert change(link, replace(link, up=False)) == [("client", ["link set eth0 down"])]


def test_an_interface_is_switched_on_before_it_gets_its_routes_so_that_the_other_end_is_ready() -> None:
    link = SCENARIO.links[ETH]
    switched_on, configured = change(replace(link, up=False), link)
    assert switched_on == ("client", ["link set eth0 up"])
    assert configured[1][0] == "addr replace 192.168.10.10/24 dev eth0"


def test_who_is_unplugged_loses_the_carrier_and_then_the_addresses() -> None:
    link = SCENARIO.links[ETH]
    (router, carrier), (site, lines) = change(link, replace(link, plugged=False))
    assert (router, carrier) == ("client-eth", ["link set lan down"])
    assert (site, lines[-1]) == ("client", "addr flush dev eth0 scope global")


def test_an_address_is_replaced_and_the_default_route_with_it() -> None:
    link = SCENARIO.links[ETH]
    ((site, lines),) = change(link, replace(link, addresses=("10.7.7.7", "2001:db8:7::7")))
    assert site == "client"
    assert lines[2:] == [
        "addr del 192.168.10.10/24 dev eth0",
        "addr replace 10.7.7.7/24 dev eth0",
        "addr replace 2001:db8:7::7/64 dev eth0 nodad",
        "route replace default via 10.7.7.1 dev eth0 proto static metric 100",
        "route replace default via 10.7.7.1 dev eth0 proto static table 1002",
        "route replace default via 2001:db8:7::1 dev eth0 proto static metric 100",
        "route replace default via 2001:db8:7::1 dev eth0 proto static table 1003",
    ]


def test_without_policy_routes_what_comes_from_an_address_leaves_by_the_default_route() -> None:
    link, scenario = SCENARIO.links[ETH], replace(SCENARIO, policy_routes=False)
    lines = [line for _, batch in Topology(scenario).construction(scenario.links) for line in batch]
    assert "route replace default via 192.168.10.1 dev eth0 proto static metric 100" in lines
    assert not [line for line in lines if "rule add" in line or "table" in line]
    ((_, renewed),) = change(link, replace(link, addresses=("10.7.7.7",)), scenario)
    assert renewed[-1] == "route replace default via 10.7.7.1 dev eth0 proto static metric 100"


FLUSH = "addr flush dev eth0 scope global"


def site_lines(*states: Link) -> list[str]:
    """What happens in the client's namespace as the link goes through its states."""
    batches = [batch for before, after in pairwise(states) for batch in change(before, after)]
    return [line for namespace, lines in batches if namespace == "client" for line in lines]


def test_an_address_that_changes_while_the_link_is_off_is_gone_when_it_comes_up() -> None:
    link = SCENARIO.links[ETH]
    off, renewed = replace(link, up=False), replace(link, addresses=("10.7.7.7",))
    with_it = ["link set eth0 up", "addr replace 10.7.7.7/24 dev eth0"]
    off_and_renewed = replace(renewed, up=False)
    assert site_lines(link, off, renewed)[:4] == ["link set eth0 down", FLUSH, *with_it]
    assert site_lines(link, off_and_renewed, renewed)[:4] == ["link set eth0 down", FLUSH, *with_it]
    assert site_lines(link, off, off_and_renewed, renewed)[:4] == ["link set eth0 down", FLUSH, *with_it]


def test_who_comes_up_unplugged_has_no_address() -> None:
    link = SCENARIO.links[ETH]
    off, unplugged = replace(link, up=False), replace(link, plugged=False)
    assert site_lines(link, off, unplugged) == ["link set eth0 down", FLUSH, "link set eth0 up"]


def test_who_comes_up_with_the_same_address_keeps_it() -> None:
    link = SCENARIO.links[ETH]
    assert FLUSH not in site_lines(link, replace(link, up=False), link)


@pytest.mark.parametrize("late_running", [False, True])
def test_an_interface_that_runs_late_has_the_number_of_its_other_end(late_running: bool) -> None:
    scenario = replace(SCENARIO, late_running=late_running)
    lines = [line for _, batch in Topology(scenario).construction(scenario.links) for line in batch]
    added = [line.split() for line in lines if line.startswith("link add") and " lan " in line]
    numbers = [[int(after) for before, after in pairwise(words) if before == "index"] for words in added]
    assert len(numbers) == len(scenario.links)
    assert all((one == other) is late_running for one, other in numbers)


def test_what_only_a_router_swallows_changes_nothing_on_the_machine() -> None:
    link = SCENARIO.links[ETH]
    assert change(link, replace(link, cut=Cut.ALL, delay=0.1)) == []


def test_a_router_swallows_what_it_is_told_to_and_never_says_so() -> None:
    place = Topology(SCENARIO).places[WLAN]
    whole, cut = ruleset(place, Link(), 0), ruleset(place, Link(cut=Cut.PEERS_UDP), 0)
    assert "icmp type destination-unreachable drop" in whole
    assert "203.0.113.10" not in whole
    assert "ip saddr != 203.0.113.10 ip daddr != 203.0.113.10 meta l4proto udp drop" in cut
    assert "snat" not in whole


@pytest.mark.parametrize(("cut", "rule"), [(Cut.OUTGOING, 'iifname "lan" drop'), (Cut.INCOMING, 'oifname "lan" drop')])
def test_a_router_may_swallow_one_direction_only(cut: Cut, rule: str) -> None:
    assert f"priority 0\n{rule}\n}}" in ruleset(Topology(SCENARIO).places[WLAN], Link(cut=cut), 0)


def test_a_nat_that_lost_its_mappings_gives_other_ports() -> None:
    place = Topology(SCENARIO).places[ETH]
    first, second = (ruleset(place, Link(nat=Nat.SYMMETRIC), losses) for losses in (0, 1))
    assert "snat ip to 100.64.0.2:1024-9999 fully-random" in first
    assert "snat ip to 100.64.0.2:10000-19999 fully-random" in second
    assert "fully-random" not in ruleset(place, Link(nat=Nat.ENDPOINT_INDEPENDENT), 0)
