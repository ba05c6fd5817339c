"""The internet's own networks, which a scenario's links cannot have, are those that the lab builds."""

from __future__ import annotations

import re
from ipaddress import ip_interface, ip_network

import pytest

from perdure_lab.lab.topology import INTERNET, SERVICES, SERVICES_V4, SERVICES_V6, Topology
from perdure_lab.scenario.model import INTERNET_NETWORKS, SITES
from perdure_lab.scenario.parse import MAX_LINKS, parse_scenario

TABLES = "".join(f"[{site}.{'abcdefgh'[number]}]\n" for site in SITES for number in range(MAX_LINKS))
LARGEST = parse_scenario(
    f'title = "t"\ntext = "x."\nseconds = 9\n{TABLES}',
    source="own.toml",
    name="own",
)


def the_internets_addresses() -> list[str]:
    """All that the lab gives to the internet, its services and the routers' side towards it."""
    found = [SERVICES_V4, SERVICES_V6]
    for namespace, lines in Topology(LARGEST).construction(LARGEST.links):
        for line in lines:
            added = re.match(r"addr add (\S+) dev (\S+)", line)
            if added and (namespace in (INTERNET, SERVICES) or added[2] == "wan"):
                found.append(added[1])
    return found


def test_the_lab_builds_its_internet_in_them_also_with_the_most_links() -> None:
    addresses = the_internets_addresses()
    assert len(addresses) == 2 + 4 + 2 * MAX_LINKS * 4
    for address in addresses:
        network = ip_interface(address).network
        assert any(
            network.version == own.version and network[0] in own and network[-1] in own
            for own in map(ip_network, INTERNET_NETWORKS)
        ), address


@pytest.mark.parametrize("network", INTERNET_NETWORKS)
def test_a_link_cannot_have_an_address_in_them(network: str) -> None:
    address = ip_network(network)[-6]
    with pytest.raises(ValueError, match=rf"^own\.toml:5: {address} is in {network}, "):
        parse_scenario(
            f'title = "t"\ntext = "x."\nseconds = 9\n[gateway.eth]\naddresses = ["{address}"]\n',
            source="own.toml",
            name="own",
        )
