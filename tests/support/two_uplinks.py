"""The world of tests of a machine with two uplinks: started in private namespaces, by `lab.tools.isolated`.

    client ── eth0  10.1.0.2 ─┬─ 10.1.0.1 ── far (203.0.113.10)
       └───── wlan0 10.2.0.2 ─┴─ 10.2.0.1 ───┘

Without policy routes, as most machines are: what the routes prefer leaves by eth0, whatever address it comes from.
"""

from __future__ import annotations

from perdure_lab.lab.namespaces import add_namespaces, command_in, configure, make_private_world

CLIENT, FAR = "client", "far"
FAR_ADDRESS = "203.0.113.10"
ETH, WLAN = "10.1.0.2", "10.2.0.2"


def build() -> None:
    make_private_world({})
    add_namespaces([CLIENT, FAR])
    client, far = [], [f"addr add {FAR_ADDRESS}/32 dev lo"]
    for name, network, metric in ("eth0", "10.1.0", 100), ("wlan0", "10.2.0", 600):
        far += [
            f"link add {name} type veth peer name {name} netns {CLIENT}",
            f"addr add {network}.1/24 dev {name}",
            f"link set {name} up",
        ]
        client += [
            f"addr add {network}.2/24 dev {name}",
            f"link set {name} up",
            f"route add default via {network}.1 dev {name} metric {metric}",
        ]
    configure(FAR, far)
    configure(CLIENT, client)


SILENCE = (
    'table inet silent { chain i { type filter hook input priority 0; iifname "eth0" drop; }; '
    'chain o { type filter hook output priority 0; oifname "eth0" drop; }; }'
)


def silence() -> list[str]:
    """The command that swallows all that goes by eth0, both ways, while its carrier stays."""
    return command_in(FAR, "nft", SILENCE)
