"""Started in private namespaces by `test_late_link`: a link that the kernel is late to call running.

Says as JSON what a dump says of it, and what a look sees right after.
"""

from __future__ import annotations

import json
import os
import socket

from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.rtnetlink import NLMSG_DONE, Link, all_links, read_link, split
from perdure_lab.lab.namespaces import add_namespaces, configure, entered, make_private_world
from perdure_lab.lab.tools import search_path

MAX_TRIES = 50

SAME_INDEX = "link add eth0 index 77 type veth peer name far0 index 77 netns far"
"""The kernel is in no hurry with a link whose other end has the same number: it takes it for hardware."""


def running_by_a_dump() -> bool:
    asked = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    with asked:
        asked.send(all_links())
        links: list[Link] = []
        while True:
            for message in split(asked.recv(65536)):
                if message.kind == NLMSG_DONE:
                    return all(link.is_up for link in links if link.name == "eth0")
                links.append(read_link(message.body))


def is_up() -> bool:
    with entered("client"):
        return any(interface.is_up for interface in NetlinkSource().look().interfaces if interface.name == "eth0")


def main() -> dict[str, bool]:
    make_private_world({})
    add_namespaces(["client", "far"])
    configure("client", [SAME_INDEX, "link set eth0 up"])
    configure("far", ["link set far0 up"])
    for _ in range(MAX_TRIES):
        configure("client", ["link set eth0 down", "link set eth0 up"])
        with entered("client"):
            was_running = running_by_a_dump()
        if not was_running:
            return {"by a dump": was_running, "by a look": is_up()}
    return {"by a dump": True}


if __name__ == "__main__":
    os.environ["PATH"] = search_path()
    print(json.dumps(main()))  # noqa: T201
