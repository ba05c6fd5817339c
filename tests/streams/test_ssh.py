"""Real OpenSSH through a tunnel whose carrier is killed."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import hashlib
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest_asyncio

from support.processes import running_tunnel
from support.targets import random_bytes, tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.processes import Tunnel

PRIVILEGE_SEPARATION = "/run/sshd"
"""Debian's sshd insists on it when root starts it; where nothing has started sshd yet, it is missing."""


class Ssh:
    """A command line for `ssh` to the test's own sshd, by way of a tunnel."""

    def __init__(self, directory: Path, tunnel: Tunnel) -> None:
        self.tunnel = tunnel
        options = {
            "IdentityFile": directory / "user_key",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": directory / "known_hosts",
            "StrictHostKeyChecking": "accept-new",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
            "ConnectTimeout": "10",
        }
        self._command = [tool("ssh"), "-F", "/dev/null", "-p", str(tunnel.port())]
        for name, value in options.items():
            self._command += ["-o", f"{name}={value}"]
        self._command.append(f"{getpass.getuser()}@127.0.0.1")

    @asynccontextmanager
    async def run(self, command: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *self._command,
            command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


@asynccontextmanager
async def ssh_server(directory: Path) -> AsyncIterator[str]:
    """OpenSSH's sshd as the current user, with keys of its own; its `HOST:PORT`.

    sshd cannot be told to take any free port, so it serves connections that are accepted here, as inetd has it.
    """
    sshd, config = tool("sshd"), await write_configuration(directory)
    servers: list[asyncio.subprocess.Process] = []

    async def accept(listener: socket.socket) -> None:
        while True:
            connection, _ = await asyncio.get_running_loop().sock_accept(listener)
            with connection:
                connection.setblocking(True)
                servers.append(
                    await asyncio.create_subprocess_exec(
                        *(sshd, "-i", "-f", str(config), "-E", str(directory / "log")),
                        stdin=connection.fileno(),
                        stdout=connection.fileno(),
                    )
                )

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accepting = asyncio.ensure_future(accept(listener))
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            accepting.cancel()
            await asyncio.wait({accepting})
            for server in servers:
                with contextlib.suppress(ProcessLookupError):
                    server.terminate()
                await server.wait()


async def write_configuration(directory: Path) -> Path:
    """Make keys for the host and for the user, and a configuration that knows them."""
    for name in ("host_key", "user_key"):
        process = await asyncio.create_subprocess_exec(
            tool("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)
        )
        assert await process.wait() == 0
    if os.getuid() == 0:
        os.makedirs(PRIVILEGE_SEPARATION, mode=0o755, exist_ok=True)
    config = directory / "sshd_config"
    config.write_text(
        f"HostKey {directory / 'host_key'}\n"
        f"AuthorizedKeysFile {directory / 'user_key.pub'}\n"
        "PidFile none\nUsePAM no\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "StrictModes no\nPermitRootLogin prohibit-password\nPrintMotd no\nLogLevel VERBOSE\n"
    )
    return config


@pytest_asyncio.fixture
async def ssh(tmp_path: Path) -> AsyncIterator[Ssh]:
    async with ssh_server(tmp_path) as server, running_tunnel(server) as tunnel:
        yield Ssh(tmp_path, tunnel)


async def test_ssh_runs_a_command(ssh: Ssh) -> None:
    async with asyncio.timeout(60), ssh.run("echo hello; exit 7") as process:
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (7, b"hello\n", b"")


async def test_ssh_carries_bytes_both_ways_while_the_carrier_is_killed(ssh: Ssh) -> None:
    data, digest = random_bytes(20_000_000)
    kills = 0
    async with asyncio.timeout(60), ssh.run("cat") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(data)
        process.stdin.write_eof()
        found, got_bytes = hashlib.sha256(), 0
        while block := await process.stdout.read(1_000_000):
            found.update(block)
            got_bytes += len(block)
            if kills < 4 and got_bytes > len(data) * (kills + 1) // 6:
                kills += 1
                await ssh.tunnel.break_carrier(ssh.tunnel.client.program if kills % 2 else ssh.tunnel.gateway)
        assert await process.wait() == 0
    assert kills == 4
    assert (got_bytes, found.hexdigest()) == (len(data), digest)


async def test_a_shell_keeps_its_state_across_a_lost_carrier(ssh: Ssh) -> None:
    async with asyncio.timeout(60), ssh.run("sh") as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"word=kept; echo ready\n")
        assert await process.stdout.readline() == b"ready\n"
        for side in (ssh.tunnel.client.program, ssh.tunnel.gateway):
            await ssh.tunnel.break_carrier(side)
            process.stdin.write(b"echo $word\n")
            assert await process.stdout.readline() == b"kept\n"
        process.stdin.write_eof()
        assert await process.wait() == 0
