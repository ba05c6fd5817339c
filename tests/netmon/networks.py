"""Networks in a few words, for the tests of what is decided from them."""

from __future__ import annotations

from perdure.netmon.state import Address, DefaultRoute, Family, Interface, Snapshot, family_of


def interface(
    name: str, *ips: str | Address, is_up: bool = True, kind: str = "", is_loopback: bool = False
) -> Interface:
    addresses = frozenset(Address(ip) if isinstance(ip, str) else ip for ip in ips)
    return Interface(name, is_up, addresses, kind, is_loopback)


def network(*interfaces: Interface, **defaults: str) -> Snapshot:
    """`network(eth0, eth0="10.0.0.1")`: eth0 has the default route, by the gateway 10.0.0.1."""
    routes = [DefaultRoute(family_of(gateway), name, gateway) for name, gateway in defaults.items()]
    return Snapshot(interfaces, tuple(routes))


def routed(snapshot: Snapshot, family: Family, name: str, gateway: str | None = None) -> Snapshot:
    """`snapshot` with the family's default route on the interface `name`."""
    others = tuple(route for route in snapshot.defaults if route.family is not family)
    return Snapshot(snapshot.interfaces, (*others, DefaultRoute(family, name, gateway)))
