"""The world of tests of a machine with two uplinks: started in private namespaces, by `lab.tools.isolated`.

    client ── eth0  10.1.0.2 ── 10.1.0.1 ─┬─ router ── far (203.0.113.10)
       └───── wlan0 10.2.0.2 ── 10.2.0.1 ─┘

Without policy routes, as most machines are: what the routes prefer leaves by eth0, whatever address it comes from.
"""

from __future__ import annotations

from perdure_lab.lab.namespaces import add_namespaces, command_in, configure, let_forward, make_private_world

CLIENT, FAR = "client", "far"
FAR_ADDRESS = "203.0.113.10"
ETH, WLAN = "10.1.0.2", "10.2.0.2"

_ROUTER = "router"


def build() -> None:
    make_private_world({})
    add_namespaces([CLIENT, _ROUTER, FAR])
    let_forward(_ROUTER)
    client, router, far = [], ["link add far0 type veth peer name eth0 netns far"], ["link set eth0 up"]
    for name, network, metric in ("eth0", "10.1.0", 100), ("wlan0", "10.2.0", 600):
        router.append(f"link add {name} type veth peer name {name} netns {CLIENT}")
        router += [*_addresses(name, f"{network}.1/24", f"fd00:{metric}::1/64")]
        client += [*_addresses(name, f"{network}.2/24", f"fd00:{metric}::2/64")]
        client.append(f"route add default via {network}.1 dev {name} metric {metric}")
        client.append(f"-6 route add default via fd00:{metric}::1 dev {name} metric {metric}")
    router += [*_addresses("far0", "203.0.113.1/24", "fd00:f::1/64")]
    far += [*_addresses("eth0", f"{FAR_ADDRESS}/24", f"{FAR_ADDRESS_V6}/64")]
    far += ["route add default via 203.0.113.1", "-6 route add default via fd00:f::1"]
    for namespace, lines in (_ROUTER, router), (CLIENT, client), (FAR, far):
        configure(namespace, lines)


def silence() -> list[str]:
    """The command that has the router swallow all that goes by the client's eth0, both ways; its carrier stays."""
    chain = "chain c { type filter hook forward priority 0; iifname eth0 drop; oifname eth0 drop; }"
    return command_in(_ROUTER, "nft", f"table inet silent {{ {chain}; }}")


FAR_ADDRESS_V6 = "fd00:f::10"
ETH_V6, WLAN_V6 = "fd00:100::2", "fd00:600::2"


def _addresses(name: str, v4: str, v6: str) -> list[str]:
    return [f"addr add {v4} dev {name}", f"addr add {v6} dev {name} nodad", f"link set {name} up"]
