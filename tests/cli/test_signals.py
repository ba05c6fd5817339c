"""Ctrl-C and SIGTERM end every command promptly, cleanly, and with exit code 0, whatever it is doing.

`support.processes` ends every process of every test by SIGTERM and insists on the same.
"""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from support.processes import (
    running,
    running_gateway,
    running_python,
    running_rendezvous,
    running_tunnel,
    starting_client,
)
from support.signaling import eventually
from support.targets import connected, echo, serving
from support.tickets import ticket_for

SIGNALS = [signal.SIGINT, signal.SIGTERM]
NOBODY = "ws://127.0.0.1:1"


async def signals_caught(pid: int) -> None:
    """Wait until the process has a handler of its own for SIGTERM."""
    status = Path(f"/proc/{pid}/status")

    def is_caught() -> bool:
        line = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt:"))
        return bool(int(line.split()[1], 16) & 1 << (signal.SIGTERM - 1))

    await eventually(is_caught)


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_rendezvous_ends(number: signal.Signals) -> None:
    async with running_rendezvous() as (rendezvous, _):
        assert await rendezvous.stop(number) == 0


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_gateway_ends_the_moment_it_has_printed_its_ticket(number: signal.Signals) -> None:
    quiet = ("--print-ticket", "--log-level", "error")
    async with running("serve", "--rendezvous", NOBODY, "--allow", "127.0.0.1:9", *quiet) as gateway:
        await gateway.says("perdure2-")
        assert await gateway.stop(number) == 0
        assert gateway.stderr.text == ""


@pytest.mark.parametrize("number", SIGNALS)
async def test_both_ends_stop_while_they_wait_for_a_rendezvous(number: signal.Signals) -> None:
    async with running_gateway(NOBODY) as (gateway, ticket), starting_client(ticket, "127.0.0.1:9") as client:
        await gateway.warns(f"waiting for the rendezvous at {NOBODY}")
        await client.program.warns(f"waiting for the rendezvous at {NOBODY}")
        assert await client.program.stop(number) == 0
        assert await gateway.stop(number) == 0


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_client_stops_while_its_rendezvous_does_not_answer(number: signal.Signals) -> None:
    """The connection is made by the kernel, but nobody accepts it."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}"
        ticket = ticket_for(url, bytes(32)).encode()
        async with starting_client(ticket, "127.0.0.1:9") as client:
            assert await client.program.stop(number) == 0


@pytest.mark.parametrize("number", SIGNALS)
async def test_a_client_stops_while_it_waits_for_a_gateway(number: signal.Signals) -> None:
    async with running_rendezvous() as (_, url):
        ticket = ticket_for(url, bytes(32)).encode()
        async with starting_client(ticket, "127.0.0.1:9") as client:
            await client.program.warns("waiting for the gateway")
            assert await client.program.stop(number) == 0


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="/proc tells when the process has begun")
@pytest.mark.parametrize("number", SIGNALS)
async def test_a_client_stops_while_it_waits_for_its_ticket(number: signal.Signals) -> None:
    async with running("connect", "-", "-L", "0:127.0.0.1:9") as client:
        client.write("perdure2-and no end of line")
        # Nothing tells from outside that Python has started but the handlers it has installed.
        await signals_caught(client.process.pid)
        assert await client.stop(number) == 0
        assert client.stderr.text == ""


async def test_a_connected_client_stops_and_its_programs_see_it() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        since = tunnel.gateway.mark
        assert await tunnel.client.program.stop(signal.SIGINT) == 0
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await tunnel.gateway.logs("tube-state", since=since, after="closed", reason="the other end closed the tube")


async def test_a_connected_gateway_stops_and_its_clients_are_told() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"
        assert await tunnel.gateway.stop(signal.SIGINT) == 0
        await tunnel.client.program.logs("tube-state", after="closed", reason="the other end closed the tube")
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_both_ends_stop_in_the_middle_of_an_outage() -> None:
    async with serving(echo) as target, running_tunnel(target) as tunnel:
        await tunnel.rendezvous.kill()
        await tunnel.client.program.warns("waiting for the rendezvous")
        await tunnel.client.program.inject("kill")
        await tunnel.client.program.logs("tube-state", after="reconnecting")
        assert await tunnel.client.program.stop(signal.SIGINT) == 0
        assert await tunnel.gateway.stop(signal.SIGINT) == 0


async def test_a_rendezvous_with_peers_stops_and_they_go_on() -> None:
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (reader, writer),
    ):
        assert await tunnel.rendezvous.stop(signal.SIGINT) == 0
        await tunnel.client.program.warns("waiting for the rendezvous")
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"hello"


def is_closed(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0


async def test_a_second_signal_does_not_wait_for_the_farewell() -> None:
    # Found by review: it ended by SIGKILL, so with 137, as if the kernel had run out of memory.
    async with (
        serving(echo) as target,
        running_tunnel(target) as tunnel,
        connected(tunnel.port()) as (_, writer),
    ):
        client, gateway = tunnel.client.program, tunnel.gateway.process
        gateway.send_signal(signal.SIGSTOP)
        try:
            writer.write(b"never acknowledged")
            client.process.send_signal(signal.SIGTERM)
            await eventually(lambda: is_closed(tunnel.port()))
            assert await client.stop(signal.SIGINT) == 130
        finally:
            gateway.send_signal(signal.SIGCONT)
        client.check_for_bugs()
        await tunnel.gateway.logs("tube-state", before="connected")


FAREWELLS = {"waits": "await asyncio.sleep(3600)", "holds the event loop up": "time.sleep(3600)"}


@pytest.mark.parametrize("farewell", FAREWELLS.values(), ids=FAREWELLS.keys())
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
async def test_a_second_signal_ends_what_would_never_end(farewell: str, number: signal.Signals, code: int) -> None:
    program = f"""
import asyncio, signal, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a suite that runs under nohup hands its deafness on
from perdure.cli.running import run_until_stopped, say
async def start():
    say("ready")
    try:
        await asyncio.sleep(3600)
    finally:
        say("farewell")
        {farewell}
run_until_stopped(start)
"""
    async with running_python("-c", program) as process:
        await process.says("ready")
        process.process.send_signal(signal.SIGTERM)
        await process.says("farewell")
        assert await process.stop(number) == code
        assert process.stderr.text == ""
