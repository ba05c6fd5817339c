"""`perdure connect -W` and `perdure ssh`: standard input and output as one connection."""

from __future__ import annotations

import asyncio
import getpass
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from streams.test_ssh import ssh_server
from support.processes import running_gateway, running_rendezvous
from support.targets import echo, random_bytes, reset, serving, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.processes import Program

TIMEOUT = 60.0


class Home:
    """A gateway that allows 127.0.0.1, and its ticket's file."""

    def __init__(self, gateway: Program, file: Path) -> None:
        self.gateway = gateway
        self.ticket = f"@{file}"


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[Home]:
    async with (
        running_rendezvous() as (_, url),
        running_gateway(url, allow=("127.0.0.1:*", str(tmp_path / "target"))) as (
            gateway,
            ticket,
        ),
    ):
        file = tmp_path / "home.ticket"
        file.write_text(ticket)
        file.chmod(0o600)
        yield Home(gateway, file)


@asynccontextmanager
async def perdure(
    *arguments: str, stdin: int = asyncio.subprocess.PIPE, stdout: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "perdure", *arguments), stdin=stdin, stdout=stdout, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_bytes_go_both_ways_until_both_have_ended_while_the_carrier_is_killed(home: Home) -> None:
    data, _ = random_bytes(5_000_000)

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()  # it has nothing to say, and listens on
        swallowed.set_result(await reader.read())

    swallowed: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    async with serving(echo) as target, perdure("connect", home.ticket, "-W", target, "--loopback") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"begin")
        assert await process.stdout.readexactly(5) == b"begin"
        await home.gateway.inject("kill")
        process.stdin.write(data)
        process.stdin.write_eof()
        assert await process.stdout.read() == data
        assert await process.wait() == 0
    async with serving(swallow) as target, perdure("connect", home.ticket, "-W", target, "--loopback") as process:
        await process.communicate(data)
        assert await swallowed == data
        assert process.returncode == 0


async def test_a_file_can_be_standard_input_and_a_unix_socket_the_target(home: Home, tmp_path: Path) -> None:
    data, _ = random_bytes(1_000_000)
    (tmp_path / "input").write_bytes(data)
    with (tmp_path / "input").open("rb") as file:
        async with (
            serving(echo, path=tmp_path / "target") as target,
            perdure("connect", home.ticket, "-W", target, "--loopback", stdin=file.fileno()) as process,
        ):
            out, _ = await process.communicate()
            assert (process.returncode, out) == (0, data)


@pytest.mark.parametrize(
    ("target", "code", "why"),
    [
        ("127.0.0.1:9", 4, "perdure: 127.0.0.1:9: the target refused the connection"),
        ("192.0.2.1:9", 5, "perdure: 192.0.2.1:9: the gateway refuses it: it is not in its allow list"),
    ],
)
async def test_a_target_that_cannot_be_had_ends_it_and_is_told(home: Home, target: str, code: int, why: str) -> None:
    async with perdure("connect", home.ticket, "-W", target, "--loopback", "--log-level", "error") as process:
        out, err = await process.communicate()
        assert (process.returncode, out, err.decode().strip()) == (code, b"", why)


async def test_it_ends_when_the_target_breaks_off(home: Home) -> None:
    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        reset(writer)

    async with serving(break_off) as target, perdure("connect", home.ticket, "-W", target, "--loopback") as process:
        assert process.stdin is not None
        process.stdin.write(b"xy")
        _, err = await process.communicate()
        assert process.returncode == 4
        assert err.decode().splitlines()[-1] == f"perdure: {target}: the other end broke the connection off"


async def test_it_ends_when_nobody_reads_its_output(home: Home) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(bytes(65536))
            await writer.drain()

    reading, writing = os.pipe()
    os.close(reading)
    async with (
        serving(talk) as target,
        perdure("connect", home.ticket, "-W", target, "--loopback", stdout=writing) as process,
    ):
        os.close(writing)
        assert await process.wait() == 0


async def test_ssh_runs_a_command_without_a_port_and_knows_the_host_by_its_gateway(home: Home, tmp_path: Path) -> None:
    async with ssh_server(tmp_path) as server:
        known = tmp_path / "known_hosts"
        options = {
            "IdentityFile": tmp_path / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": known,
            "StrictHostKeyChecking": "accept-new",
            "BatchMode": "yes",
        }
        own = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        port = server.rpartition(":")[2]
        arguments = ("-F", "/dev/null", "-p", port, *own, f"{getpass.getuser()}@127.0.0.1", "cat; exit 7")
        async with perdure("ssh", "--loopback", home.ticket, *arguments) as process:
            out, err = await process.communicate(b"through ssh")
            assert (process.returncode, out) == (7, b"through ssh"), err
        assert known.read_text().startswith(f"127.0.0.1-{port}.")
        assert ".perdure " in known.read_text()


async def test_ssh_says_what_it_lacks(home: Home) -> None:
    assert tool("ssh")
    async with perdure("ssh", "-", "host") as process:
        _, err = await process.communicate()
        assert process.returncode == 2
        assert b"cannot come from standard input" in err
    async with perdure("ssh", "--loopback", home.ticket, "-oBatchMode=yes", "-F", "/dev/null", "192.0.2.1") as process:
        _, err = await process.communicate()
        assert process.returncode == 255
        assert b"192.0.2.1:22: the gateway refuses it" in err
