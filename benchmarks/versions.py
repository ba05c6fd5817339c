"""Two versions of perdure in turns: throughput, small requests and round trips through real `serve` and `connect`.

    python -m benchmarks.versions before=VENV/bin/python now=VENV/bin/python [--turns 9] [--only requests]

Each NAME=PYTHON is a Python in which that version is installed. CPU is that of both ends together (Linux), which a
busy machine disturbs less than time. The first version is what the others are compared with.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import socket
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.latency import Target
from benchmarks.report import load_average, print_head, print_row
from benchmarks.throughput import BLOCK_BYTES

MIB = 64
REQUESTS = 300
ROUND_TRIPS = 500
MESSAGE = os.urandom(64)


@dataclass
class Version:
    """The three processes of one version, and the local port that leads to the target."""

    name: str
    port: int
    ends: tuple[int, int]
    """Process ids of the gateway and the client."""

    def connect(self, purpose: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(purpose)
        return connection

    def cpu_seconds(self) -> float:
        """Of both ends so far, to the nanosecond (`/proc/…/schedstat`)."""
        files = (file for end in self.ends for file in Path(f"/proc/{end}/task").glob("*/schedstat"))
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9


def download(version: Version) -> None:
    with version.connect(b"D") as connection:
        read(connection, MIB << 20)


def requests(version: Version) -> None:
    for _ in range(REQUESTS):
        with version.connect(b"E" + MESSAGE) as connection:
            read(connection, len(MESSAGE))


def round_trips(version: Version) -> None:
    with version.connect(b"E") as connection:
        for _ in range(ROUND_TRIPS):
            connection.sendall(MESSAGE)
            read(connection, len(MESSAGE))


def read(connection: socket.socket, count: int) -> None:
    buffer = bytearray(BLOCK_BYTES)
    while count:
        got = connection.recv_into(buffer, min(count, len(buffer)))
        if not got:
            raise SystemExit("the target, or the tunnel, ended")
        count -= got


WORK: dict[str, tuple[Callable[[Version], None], int]] = {
    "download, a MiB": (download, MIB),
    "requests, each": (requests, REQUESTS),
    "round trips, each": (round_trips, ROUND_TRIPS),
}


@contextlib.contextmanager
def running(name: str, python: str, target: str) -> Iterator[Version]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen[str]:
            command = (python, "-m", "perdure", *arguments)
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
            return process

        def said(verb: str, process: subprocess.Popen[str], word: str) -> str:
            assert process.stdout is not None
            for line in process.stdout:
                if word in line:
                    return line.strip()
            raise SystemExit(f"{name}: `perdure {verb}` did not say {word!r}")

        url = said("rendezvous", start("rendezvous", "--listen", "127.0.0.1:0"), "ws://").split()[-1]
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ticket = folder / "ticket"
        os.environ["XDG_STATE_HOME"] = str(folder)  # where a version keeps its keys, if it does
        gateway = start("serve", "--rendezvous", url, "--allow", target, "--loopback", "--ticket-file", str(ticket))
        while not ticket.exists():
            time.sleep(0.05)
            if gateway.poll() is not None:
                raise SystemExit(f"{name}: `perdure serve` ended")
        client = start("connect", f"@{ticket}", "-L", f"0:{target}", "--loopback")
        port = int(said("connect", client, "listening").partition(" -> ")[0].rpartition(":")[2])
        said("connect", client, "ready")
        yield Version(name, port, (gateway.pid, client.pid))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("versions", nargs="+", metavar="NAME=PYTHON")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--only", default="", help="words in the name of the work")
    arguments = parser.parse_args()
    target = Target()
    with contextlib.ExitStack() as stack:
        versions = [
            stack.enter_context(running(name, python, "{}:{}".format(*target.address)))
            for name, _, python in (each.partition("=") for each in arguments.versions)
        ]
        print(f"{load_average()}\n")
        print_head("", "", "median", f"of {versions[0].name}, median of turns")
        for what, (work, parts) in WORK.items():
            if arguments.only in what:
                report(
                    what,
                    versions,
                    [[turn(version, work, parts) for version in versions] for _ in range(arguments.turns)],
                )
    target.close()


def turn(version: Version, work: Callable[[Version], None], parts: int) -> tuple[float, float]:
    """Milliseconds of time and of CPU for one part."""
    cpu_before, began_at = version.cpu_seconds(), time.perf_counter()
    work(version)
    took = time.perf_counter() - began_at
    time.sleep(0.02)  # what an end does behind the last byte is its cost, too
    return took / parts * 1000, (version.cpu_seconds() - cpu_before) / parts * 1000


def report(what: str, versions: list[Version], turns: list[list[tuple[float, float]]]) -> None:
    for number, kind in enumerate(("time", "CPU")):
        for index, version in enumerate(versions):
            median = statistics.median(each[index][number] for each in turns)
            ratio = statistics.median(each[index][number] / each[0][number] for each in turns)
            print_row(what, f"{version.name}, {kind}", f"{median:.3f} ms", f"{ratio:.2f}")


if __name__ == "__main__":
    main()
