"""The nftables ruleset of a link's router: what it swallows, and how it translates addresses. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure_lab.lab.topology import SERVICES_V4, SERVICES_V6
from perdure_lab.scenario.model import Cut, Link, Nat

if TYPE_CHECKING:
    from perdure_lab.lab.topology import Place

_PORT_RANGES = ("1024-9999", "10000-19999", "20000-29999")
"""Public ports of a NAT. None is in Linux' ephemeral range (32768 up): a lost mapping's successor has another port."""


def ruleset(place: Place, link: Link, losses: int) -> str:
    """Replaces the router's whole ruleset; `losses` is how often its NAT has lost its mappings."""
    lines = ["flush ruleset", "table inet lab {", "chain swallow {", "type filter hook forward priority 0"]
    lines += [_CUTS[link.cut], "}"]
    lines += ["chain silence {", "type filter hook output priority 0"]
    lines += ["icmp type destination-unreachable drop", "icmpv6 type destination-unreachable drop", "}"]
    if link.nat is not Nat.NONE:
        lines += _translation(place, link.nat, _PORT_RANGES[losses % len(_PORT_RANGES)])
    return "\n".join([*lines, "}", ""])


_BETWEEN_PEERS = "ip saddr != {v4} ip daddr != {v4} {what}drop\nip6 saddr != {v6} ip6 daddr != {v6} {what}drop"

_CUTS = {
    Cut.NONE: "",
    Cut.ALL: "drop",
    Cut.OUTGOING: 'iifname "lan" drop',
    Cut.INCOMING: 'oifname "lan" drop',
    Cut.PEERS: _BETWEEN_PEERS.format(v4=SERVICES_V4, v6=SERVICES_V6, what=""),
    Cut.PEERS_UDP: _BETWEEN_PEERS.format(v4=SERVICES_V4, v6=SERVICES_V6, what="meta l4proto udp "),
}


def _translation(place: Place, nat: Nat, ports: str) -> list[str]:
    """netfilter gives one source the same port towards everybody, unless it is told to be random.

    What comes in unasked is dropped, as home routers do it: mapping by endpoint or not, filtering is by port.
    """
    random = " fully-random" if nat is Nat.SYMMETRIC else ""
    rules = [
        f'oifname "wan" meta l4proto {{ tcp, udp }} snat ip to {place.public_v4}:{ports}{random}',
        f'oifname "wan" meta l4proto {{ tcp, udp }} snat ip6 to [{place.public_v6}]:{ports}{random}',
    ]
    return [
        "chain translate {",
        "type nat hook postrouting priority srcnat",
        *rules,
        "}",
        "chain unasked {",
        "type filter hook input priority 0",
        'iifname "wan" meta l4proto { tcp, udp } drop',
        "}",
    ]
