"""A tunnel that has nothing but a strict TURN server, while its credentials expire or are revoked under traffic.

    python -m benchmarks.turn_rotation [--seconds 600] [--lifetime 60] [--longest-silence 0.25]
    python -m benchmarks.turn_rotation --revocations 20

Needs coturn (`turnserver`). A proxy before it refuses expired credentials (`perdure_lab.lab.strict_turn`). A line is
echoed each 10 ms. Prints JSON. The first form exits with 1 where a silence was longer than asked for, the server saw
fewer user names than 0.8 a lifetime, or a line was lost. In the second one the server refuses credentials that last, as
one whose secret was changed: the path ends with the next refresh of an allocation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import shutil
import socket
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.report import MISSED, load_average, measured, print_head, print_row, spread, verdict

import perdure
from perdure.client import Tunnel
from perdure.gateway import Gateway
from perdure.signaling.server import RendezvousServer
from perdure_lab.lab.relay import answers
from perdure_lab.lab.strict_turn import StrictTurn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

TRANSPORT = perdure.TransportConfig(loopback=True, relay_only=True)
LINE_INTERVAL = 0.01
"""Seconds."""

WARM_UP = 2.0
"""Seconds of traffic that are not measured."""

SHORT_SILENCE = 0.05
"""Seconds: shorter ones are the machine's."""

REFRESHED_LIFETIME = 4
"""Seconds that an allocation lasts where credentials are revoked: the engine refreshes it at half of them."""

UNPLANNED_LIFETIME = 3600
"""Seconds, of those credentials: no renewal of them is planned."""

LAST_LINES_TIMEOUT = 60.0


@contextlib.asynccontextmanager
async def coturn() -> AsyncIterator[int]:
    """Its port on 127.0.0.1; its secret is `north`."""
    command = shutil.which("turnserver")
    if command is None:
        raise SystemExit("turn_rotation: needs coturn's turnserver")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            command,
            *("-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", str(port)),
            *("--realm", "test", "--allow-loopback-peers", "--use-auth-secret", "--static-auth-secret", "north"),
            *("--no-tls", "--no-dtls", "--no-cli", "--no-stdout-log", "--log-file", "/dev/null"),
            *("--pidfile", f"{folder}/pid", "--userdb", f"{folder}/db"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
                asking.setblocking(False)
                asking.connect(("127.0.0.1", port))
                await answers(asking)
            yield port
        finally:
            process.kill()
            await process.wait()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


class Traffic:
    """Numbered lines to an echo, and how long nothing came back."""

    def __init__(self) -> None:
        self.sent = self.echoed = 0
        self.silences: list[float] = []
        """Seconds, of those over `SHORT_SILENCE`."""
        self._is_measured = False

    async def flow(self, tunnel: Tunnel, events: Coroutine[Any, Any, object]) -> None:
        """Until `events` have happened."""
        reader, writer = await tunnel.open_connection("echo", 7)
        talking = asyncio.create_task(self._talk(writer))
        listening = asyncio.create_task(self._listen(reader))
        await asyncio.sleep(WARM_UP)
        self._is_measured = True
        happening = asyncio.create_task(events)
        await asyncio.wait({talking, listening, happening}, return_when=asyncio.FIRST_COMPLETED)
        self._is_measured = False
        happening.cancel()
        talking.cancel()
        await asyncio.wait({talking})
        writer.write_eof()
        async with asyncio.timeout(LAST_LINES_TIMEOUT):
            await listening

    async def _talk(self, writer: asyncio.StreamWriter) -> None:
        for number in itertools.count(1):
            writer.write(b"%d\n" % number)
            self.sent = number
            await writer.drain()
            await asyncio.sleep(LINE_INTERVAL)

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        heard_at = time.monotonic()
        while line := await reader.readline():
            now = time.monotonic()
            if self._is_measured and now - heard_at > SHORT_SILENCE:
                self.silences.append(now - heard_at)
            heard_at = now
            self.echoed += 1
            if line != b"%d\n" % self.echoed:
                raise AssertionError(f"line {self.echoed} is {line!r}")


@dataclass(frozen=True, slots=True)
class Result:
    seconds: float
    lifetime: int
    usernames: int
    """That the server saw."""
    refused: dict[str, int]
    """Requests with expired credentials, by method."""
    lines_sent: int
    lines_echoed: int
    longest_silence_ms: int
    silences_over_50_ms: int
    silences_over_100_ms: int
    decisions: dict[str, int]
    """Of the client, but for the set-up."""
    outages_ms: list[int]
    """Where credentials were revoked: the longest silence after each time."""
    load: str
    """At the end, this run's own included."""


async def revoke(strict: StrictTurn, traffic: Traffic, times: int, outages: list[float]) -> None:
    """Again and again, those that were used so far."""
    for _ in range(times):
        before = len(traffic.silences)
        strict.revoked.update(strict.usernames)
        await asyncio.sleep(REFRESHED_LIFETIME + 4.0)
        outages.append(max(traffic.silences[before:], default=0.0))


async def measure(seconds: float, lifetime: int, revocations: int) -> Result:
    store = perdure.TicketStore()
    store.create("default", now=0)
    async with coturn() as port, RendezvousServer(host="127.0.0.1", port=0) as rendezvous:
        longest = REFRESHED_LIFETIME if revocations else lifetime
        strict = StrictTurn(port, b"north", longest_lifetime=longest)
        async with strict.running() as strict_port:
            provider = perdure.SharedSecret("north", [f"turn:127.0.0.1:{strict_port}"], lifetime=lifetime)
            async with (
                Gateway(
                    f"ws://127.0.0.1:{rendezvous.port}",
                    perdure.parse_allow([]),
                    tickets=store,
                    handler=echo,
                    transport=TRANSPORT,
                    ice_server_provider=provider,
                ) as gateway,
                Tunnel(gateway.ticket, transport=TRANSPORT) as tunnel,
            ):
                traffic, outages, began_at = Traffic(), list[float](), time.monotonic()
                revoking = revoke(strict, traffic, revocations, outages)
                await traffic.flow(tunnel, revoking if revocations else asyncio.sleep(seconds))
                took = time.monotonic() - began_at
                decided = [each for each in tunnel.decisions if each.trigger is not None]
    return Result(
        seconds=round(took, 1),
        lifetime=lifetime,
        usernames=len(strict.usernames),
        refused=dict(strict.refused),
        lines_sent=traffic.sent,
        lines_echoed=traffic.echoed,
        longest_silence_ms=round(1000 * max(traffic.silences, default=SHORT_SILENCE)),
        silences_over_50_ms=len(traffic.silences),
        silences_over_100_ms=sum(each > 0.1 for each in traffic.silences),
        decisions=dict(Counter(f"{each.action.value}: {each.reason.value}" for each in decided)),
        outages_ms=[round(1000 * each) for each in outages],
        load=load_average(),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0, help="of measured traffic (default: 600)")
    parser.add_argument("--lifetime", type=int, default=60, help="seconds, of the credentials (default: 60)")
    parser.add_argument("--longest-silence", type=float, default=0.25, help="seconds (default: 0.25)")
    parser.add_argument("--revocations", type=int, default=0, help="instead: so often the credentials are revoked")
    wanted = parser.parse_args()
    lifetime = UNPLANNED_LIFETIME if wanted.revocations else wanted.lifetime
    found = asyncio.run(measure(wanted.seconds, lifetime, wanted.revocations))
    print(json.dumps(asdict(found), indent=2))
    print_head("what", "measured", "asked for", "")
    if wanted.revocations:
        print_row("credentials revoked: silence until the path is back", spread(found.outages_ms, ".0f", "ms"), "", "")
        measured("silence where credentials are revoked", "perdure", "ms", found.outages_ms, less_is_better=True)
        return
    names, most_ms = int(0.8 * wanted.seconds / wanted.lifetime), 1000 * wanted.longest_silence
    lost, longest_ms = found.lines_sent - found.lines_echoed, found.longest_silence_ms
    rows = [
        ("the longest silence", f"{longest_ms} ms", f"at most {most_ms:.0f} ms", longest_ms <= most_ms),
        ("silences over 100 ms", f"{found.silences_over_100_ms}", "", None),
        ("user names that the server saw", f"{found.usernames}", f"at least {names}", found.usernames >= names),
        ("requests refused", f"{sum(found.refused.values())}", "", None),
        (f"lines lost, of {found.lines_sent:,}", f"{lost:,}", "none", not lost),
    ]
    for what, value, asked, is_met in rows:
        print_row(what, value, asked, "" if is_met is None else verdict(is_met=is_met))
    measured("the longest silence", "perdure", "ms", [longest_ms], less_is_better=True)
    sys.exit(MISSED if any(is_met is False for *_, is_met in rows) else 0)


if __name__ == "__main__":
    main()
