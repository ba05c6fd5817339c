"""Many tunnels at one gateway, with traffic on each."""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
from typing import TYPE_CHECKING

import psutil

from perdure_lab.hostile.attacks import Kind
from perdure_lab.stress.performance import percentile
from perdure_lab.stress.programs import Clients, cpu_seconds, house

if TYPE_CHECKING:
    from perdure_lab.stress.programs import House
    from perdure_lab.stress.stage import Stage
    from perdure_lab.stress.talkers import Heard

INTERVAL = 0.1
"""Seconds between two echoes of an honest tube beside a hostile one."""

SHORTEST_BASELINE = 4.0
SHORTEST_ATTACK = 3.0
"""Seconds: a hostile client needs one to begin."""

END_TIMEOUT = 5.0
"""Seconds that a hostile client has to end its session, so that the next kind is not measured beside its remains."""

MOST_ADDED_MS = 50.0
"""Milliseconds that a hostile peer may add to the 99th percentile of an honest tube's round trip."""


async def test_many_tubes(stage: Stage) -> None:
    """So many real tubes at one gateway, with an echo on each: all are set up, none is lost, no byte is wrong."""
    count = stage.sizes.gateway_tubes
    async with house() as built, Clients(built, count) as clients:
        gateway = psutil.Process(built.gateway.pid)
        before = gateway.memory_info().rss
        await clients.connected(lambda connected: stage.progress("tubes set up", connected, count))
        cpu = cpu_seconds(gateway)
        for second in range(int(stage.sizes.seconds)):
            stage.progress("seconds of echoes", second, stage.sizes.seconds)
            await asyncio.sleep(1.0)
        cores = (cpu_seconds(gateway) - cpu) / int(stage.sizes.seconds)
        per_tube = (gateway.memory_info().rss - before) / count
        heard = await clients.heard()
    _expect_whole(stage, heard)
    stage.measured("tubes", heard.connected)
    stage.measured("tubes set up a second", heard.connected / heard.set_up_seconds)
    stage.measured("gateway's memory a tube", per_tube / 1024, "KiB")
    stage.measured("gateway's CPU, two echoes a second on each", cores, "cores")
    _tell_round_trips(stage, "echo", heard)


async def test_hostile_neighbour(stage: Stage) -> None:
    """Honest tubes beside one hostile client that does every kind of attack in turn: none of theirs is lost or slow."""
    count = stage.sizes.honest_tubes
    async with house() as built:
        async with Clients(built, count, interval=INTERVAL) as clients:
            await clients.connected(lambda connected: stage.progress("honest tubes", connected, count))
            await asyncio.sleep(max(SHORTEST_BASELINE, stage.sizes.seconds / 3))
            alone = await clients.heard()
        async with Clients(built, count, interval=INTERVAL) as clients:
            await clients.connected(lambda connected: stage.progress("honest tubes again", connected, count))
            kinds = [kind for kind in Kind if kind is not Kind.BUSY]
            for number, kind in enumerate(kinds):
                stage.progress(f"beside {kind.value}", number, len(kinds))
                await _attack(stage, built, kind, max(SHORTEST_ATTACK, stage.sizes.seconds / 5))
            beside = await clients.heard()
    _expect_whole(stage, alone)
    _expect_whole(stage, beside)
    stage.expect(not beside.outages, f"{beside.outages} times an honest tube was without a path")
    _tell_round_trips(stage, "echo alone", alone)
    _tell_round_trips(stage, "echo beside attacks", beside)
    added = (percentile(beside.round_trips, 99) - percentile(alone.round_trips, 99)) * 1e3
    stage.measured("p99 added by attacks", added, "ms", at_most=MOST_ADDED_MS)


async def _attack(stage: Stage, built: House, kind: Kind, seconds: float) -> None:
    """With the lowest priority: on a machine of its own, the hostile client would take no CPU from the gateway."""
    target = f"127.0.0.1:{built.echo_port}"
    words = ("--ticket", str(built.ticket_file), "--sink", target, "--source", target, "--forbidden", "192.0.2.1:9")
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "19", sys.executable, "-m", "perdure_lab.hostile", kind.value, *words),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    last = b""
    try:
        async with asyncio.timeout(seconds):
            while line := await process.stdout.readline():
                last = line
        stage.expect(False, f"the attacker that does {kind.value} ended")
    except TimeoutError:
        cost = json.loads(last or b"{}")
        has_attacked = any(cost.get(what) for what in ("messages", "offers", "carriers"))
        stage.expect(has_attacked, f"the attacker that does {kind.value} did nothing within {seconds:.0f} s")
    finally:
        process.stdin.close()  # by which it ends, politely
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_TIMEOUT):
                await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _expect_whole(stage: Stage, heard: Heard) -> None:
    stage.expect(not heard.streams_lost, f"{heard.streams_lost} streams were lost")
    stage.expect(not heard.bytes_wrong, f"{heard.bytes_wrong} bytes were wrong")
    lost = heard.bytes_sent - heard.bytes_received
    stage.expect(not lost, f"{lost} bytes were lost")


def _tell_round_trips(stage: Stage, what: str, heard: Heard) -> None:
    stage.expect(len(heard.round_trips) > 1, f"{what}: nothing came back")
    if len(heard.round_trips) > 1:
        stage.measured(f"{what}, p50", statistics.median(heard.round_trips) * 1e3, "ms")
        stage.measured(f"{what}, p99", percentile(heard.round_trips, 99) * 1e3, "ms")
        stage.measured(f"{what}, worst", max(heard.round_trips) * 1e3, "ms")
