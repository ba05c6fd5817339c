"""A peer in JavaScript, written from docs/protocol.md alone, keeps a stream through the loss of its carriers.

`npm ci` in its folder, `node_peer`, gets its two packages; without them, or without Node, these tests are skipped.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import perdure
from perdure.gateway import Gateway
from perdure.signaling.gateway_peer import GatewaySignaling
from perdure.signaling.messages import RTCIceServer
from support.tunnels import rendezvous

FOLDER = Path(__file__).resolve().parent / "node_peer"
NODE = shutil.which("node")
SENT_BYTES = 6 * 1024 * 1024


def _can_run_the_peer() -> bool:
    if NODE is None:
        return False
    # The native part is loaded too: a package that was installed for another platform counts as missing.
    program = (
        "Promise.all([import('node-datachannel'), import('ws')]).then(() => process.exit(0), () => process.exit(1))"
    )
    asked = subprocess.run([NODE, "-e", program], cwd=FOLDER, capture_output=True, timeout=60, check=False)
    return asked.returncode == 0


pytestmark = pytest.mark.skipif(
    not _can_run_the_peer(), reason="Node or the peer's packages are missing: `npm ci` gets them"
)


@contextlib.asynccontextmanager
async def _program(*arguments: str, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    environment = os.environ | {"XDG_STATE_HOME": str(folder / "state"), "PYTHONUNBUFFERED": "1"}
    with (folder / f"{arguments[0]}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "perdure", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            await process.communicate()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
        await writer.drain()
    writer.close()


async def _serve_bytes(content: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        writer.write(content)
        await writer.drain()
        writer.write_eof()
        await reader.read()
    writer.close()


async def _peer(*arguments: str, sends: bytes = b"") -> tuple[int, bytes, str]:
    assert NODE is not None
    process = await asyncio.create_subprocess_exec(
        NODE,
        str(FOLDER / "peer.mjs"),
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(90):
            received, said = await process.communicate(sends)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, received, said.decode()


@contextlib.asynccontextmanager
async def _gateway(folder: Path, *, allowed_port: int) -> AsyncIterator[str]:
    """Runs a rendezvous and a gateway, and gives the ticket."""
    ticket = folder / "ticket"
    async with _program("rendezvous", "--listen", "127.0.0.1:0", folder=folder) as rendezvous:
        assert rendezvous.stdout is not None
        url = (await rendezvous.stdout.readline()).decode().strip()
        arguments = [
            "--rendezvous",
            url,
            "--allow",
            f"127.0.0.1:{allowed_port}",
            "--loopback",
            "--ticket-file",
            str(ticket),
        ]
        async with _program("serve", *arguments, folder=folder) as gateway:
            async with asyncio.timeout(30):
                while not ticket.exists() or not ticket.read_text().strip():
                    assert gateway.returncode is None, (folder / "serve.log").read_text()
                    await asyncio.sleep(0.05)
            yield ticket.read_text().strip()


async def test_every_byte_comes_back_though_three_carriers_are_lost(tmp_path: Path) -> None:
    sent = os.urandom(SENT_BYTES)
    async with await asyncio.start_server(_echo, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _gateway(tmp_path, allowed_port=port) as ticket:
            code, received, said = await _peer(ticket, f"127.0.0.1:{port}", "--kills", "3", sends=sent)

    assert code == 0, said
    assert len(received) == len(sent), said
    assert hashlib.sha256(received).digest() == hashlib.sha256(sent).digest()
    assert said.count("killed, as --kills asks") >= 3
    assert len(re.findall(r"carrier \d+ works", said)) >= 4


async def test_a_download_goes_on_though_three_carriers_are_lost(tmp_path: Path) -> None:
    content = os.urandom(SENT_BYTES)
    async with await asyncio.start_server(lambda *ends: _serve_bytes(content, *ends), "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        async with _gateway(tmp_path, allowed_port=port) as ticket:
            code, received, said = await _peer(ticket, f"127.0.0.1:{port}", "--kills", "3")

    assert code == 0, said
    assert hashlib.sha256(received).digest() == hashlib.sha256(content).digest()
    assert len(re.findall(r"carrier \d+ works", said)) >= 4


async def test_what_is_not_allowed_is_said(tmp_path: Path) -> None:
    async with _gateway(tmp_path, allowed_port=1) as ticket:
        code, received, said = await _peer(ticket, "127.0.0.1:2")
        wrong_code, _, said_of_the_wrong_one = await _peer(ticket[:-1], "127.0.0.1:1")

    assert (code, received) == (1, b"")
    assert "not allowed" in said
    assert wrong_code == 2
    assert "this is no ticket" in said_of_the_wrong_one


async def test_its_next_carrier_asks_the_ice_servers_that_the_gateway_told_meanwhile() -> None:
    asked = asyncio.Event()
    signaling: list[GatewaySignaling] = []

    class StunServer(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, addr: object) -> None:
            asked.set()

    def make_signaling(*given: Any, **more: Any) -> GatewaySignaling:
        signaling.append(GatewaySignaling(*given, **more))
        return signaling[-1]

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        signaling[-1].set_ice_servers([RTCIceServer(f"stun:127.0.0.1:{stun_port}")])  # to clients alone
        await _echo(reader, writer)

    store, sent = perdure.TicketStore(), os.urandom(SENT_BYTES)
    store.create("default", now=0)
    stun, _ = await asyncio.get_running_loop().create_datagram_endpoint(StunServer, local_addr=("127.0.0.1", 0))
    stun_port = stun.get_extra_info("sockname")[1]
    with contextlib.closing(stun):
        async with (
            rendezvous() as url,
            Gateway(
                url,
                perdure.parse_allow([]),
                tickets=store,
                handler=echo,
                transport=perdure.TransportConfig(loopback=True),
                make_signaling=make_signaling,
            ) as gateway,
        ):
            code, received, said = await _peer(gateway.ticket.encode(), "echo:7", "--kills", "3", sends=sent)

    assert code == 0, said
    assert received == sent
    assert asked.is_set()


def test_it_agrees_with_the_vectors() -> None:
    assert NODE is not None
    done = subprocess.run(
        [NODE, "vectors_check.mjs"], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


THROUGH_THE_CARRIER = [
    "offer-through-the-carrier",
    "offer-every-way-at-once",
    "signals-that-change-nothing",
    "signal-without-a-message",
    "signal-too-long",
]
"""The peer has one carrier at a time, so nobody sends it signaling through one."""


def test_an_acceptor_in_javascript_passes_every_case_of_the_conformance_peer() -> None:
    assert NODE is not None
    command = [sys.executable, "-m", "perdure", "conformance", "--jobs", "4", "--", NODE, str(FOLDER / "acceptor.mjs")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout
    left_out = [line.split()[2] for line in done.stdout.splitlines() if line.startswith("not applicable")]
    assert left_out == ["ice-restart", *THROUGH_THE_CARRIER]
