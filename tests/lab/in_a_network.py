"""Started in private namespaces by `test_network`: builds a scenario's network and says what it does to UDP, as JSON.

`python in_a_network.py SCENARIO.toml COUNT`: COUNT datagrams go from the client to the gateway and back.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import threading
from pathlib import Path
from time import monotonic, sleep

from perdure_lab.lab.namespaces import entered
from perdure_lab.lab.network import Network
from perdure_lab.lab.tools import search_path
from perdure_lab.scenario.model import Link, LinkName, Nat, Scenario
from perdure_lab.scenario.parse import parse_scenario

CLIENT, GATEWAY, SERVICE = "192.168.10.10", "192.168.20.10", "203.0.113.10"
INTERVAL = 0.002


def udp(namespace: str, address: str) -> socket.socket:
    with entered(namespace):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind((address, 45000))
    opened.settimeout(1.0)
    return opened


def round_trips(client: socket.socket, gateway: socket.socket, count: int, delay: float) -> dict[str, object]:
    """Their durations, and how many datagrams arrived at the gateway and came back."""
    sent_at: list[float] = []
    durations: list[float] = []
    arrived = 0

    def echo() -> None:
        nonlocal arrived
        while True:
            try:
                data, source = gateway.recvfrom(100)
            except TimeoutError:
                continue
            arrived += 1
            gateway.sendto(data, source)

    def listen() -> None:
        while True:
            try:
                data = client.recv(100)
            except TimeoutError:
                continue
            durations.append(monotonic() - sent_at[int(data)])

    for work in (echo, listen):
        threading.Thread(target=work, daemon=True).start()
    for number in range(count):
        sent_at.append(monotonic())
        client.sendto(b"%d" % number, (GATEWAY, 45000))
        sleep(INTERVAL)
    sleep(2 * delay + 0.5)
    return {"durations": sorted(durations), "arrived": arrived}


def mapped(client: socket.socket, servers: list[socket.socket]) -> list[tuple[str, int]]:
    """As whom each server sees the client."""
    sources = []
    for server, address in zip(servers, (GATEWAY, SERVICE), strict=True):
        client.sendto(b"?", (address, 45000))
        _, source = server.recvfrom(100)
        sources.append(source)
    return sources


def still_reaches(server: socket.socket, mapping: tuple[str, int], client: socket.socket) -> bool:
    server.sendto(b"!", mapping)
    try:
        client.recv(100)
    except TimeoutError:
        return False
    return True


async def main(scenario: Scenario, count: int) -> dict[str, object]:
    network = Network(scenario, seed=1)
    await network.build()
    client, gateway, service = udp("client", CLIENT), udp("gateway", GATEWAY), udp("services", SERVICE)
    name, servers = LinkName("client", "eth"), [gateway, service]
    link: Link = scenario.links[name]
    if link.nat is Nat.NONE:
        return round_trips(client, gateway, count, link.delay)
    before, again = mapped(client, servers), mapped(client, servers)
    reached = still_reaches(gateway, before[0], client)
    await network.forget_mappings(name)
    lost = not still_reaches(gateway, before[0], client)
    return {"before": before, "again": again, "reached": reached, "lost": lost, "after": mapped(client, servers)}


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    text = Path(sys.argv[1]).read_text()
    print(json.dumps(asyncio.run(main(parse_scenario(text, source="x", name="x"), int(sys.argv[2])))))  # noqa: T201
    sys.stdout.flush()
    os._exit(0)  # the namespaces' other processes end with this one
