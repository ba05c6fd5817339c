"""A process that watches its network and says what it is told: one JSON line an event, with CLOCK_MONOTONIC's time.

Run by the tests inside a network namespace; a line on stdin asks for a report. Not a test.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import sys
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from perdure.netmon import netlink
from perdure.netmon.monitor import NetworkMonitor
from perdure.netmon.netlink import NetlinkSource
from perdure.netmon.polling import PollingSource
from perdure.netmon.wakeup import SleepWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.netmon.monitor import NetworkMoved
    from perdure.netmon.source import Source
    from perdure.netmon.state import Snapshot


class CountedSource:
    """Counts the hints and looks of `source`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.name = source.name
        self.hints = 0
        self.looks = 0

    def watch(self, hint: Callable[[], None], failed: Callable[[OSError], None]) -> None:
        def counted() -> None:
            self.hints += 1
            hint()

        self.source.watch(counted, failed)

    def look(self) -> Snapshot:
        self.looks += 1
        return self.source.look()

    def close(self) -> None:
        self.source.close()


class CountedSocket(socket.socket):
    """Counts what is asked of the kernel, and the datagrams of its answers."""

    questions = answers = 0

    def send(self, data: Any, flags: int = 0) -> int:
        CountedSocket.questions += 1
        return super().send(data, flags)

    def recv(self, size: int, flags: int = 0) -> bytes:
        CountedSocket.answers += size > 1  # a hint is not read
        return super().recv(size, flags)


def say(what: str, **fields: object) -> None:
    sys.stdout.write(json.dumps({"what": what, "at": time.monotonic(), **fields}) + "\n")
    sys.stdout.flush()


def say_moved(moved: NetworkMoved) -> None:
    say(
        "moved",
        trigger=moved.trigger.name,
        has_address=moved.has_address,
        is_new_address=moved.is_new_address,
        slept_seconds=moved.slept_seconds,
        detail=moved.detail,
    )


async def watch(options: argparse.Namespace) -> None:
    source = CountedSource(
        PollingSource() if options.poll else NetlinkSource(receive_buffer_bytes=options.receive_buffer)
    )
    sleep_watch = SleepWatch(options.tick, shortest_stop=options.shortest_stop)
    monitor = NetworkMonitor(source, tick_interval=options.tick, sleep_watch=sleep_watch)
    async with monitor:
        monitor.subscribe(say_moved)
        say(
            "ready", addresses=sorted(monitor.snapshot.bindable), defaults=[str(it) for it in monitor.snapshot.defaults]
        )
        while await asyncio.to_thread(sys.stdin.readline):
            say(
                "report",
                hints=source.hints,
                looks=source.looks,
                questions=CountedSocket.questions,
                answers=CountedSocket.answers,
                descriptors=len(os.listdir("/proc/self/fd")),
                addresses=sorted(monitor.snapshot.bindable),
                default_routes=[str(it) for it in monitor.snapshot.defaults],
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--poll", action="store_true")
    parser.add_argument("--receive-buffer", type=int)
    parser.add_argument("--tick", type=float, default=3600.0)
    parser.add_argument("--shortest-stop", type=float, default=2.0)
    vars(netlink)["socket"] = SimpleNamespace(**vars(socket) | {"socket": CountedSocket})
    asyncio.run(watch(parser.parse_args()))
