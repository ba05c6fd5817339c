"""A TURN server (coturn) on loopback, which relays to loopback and knows one user; and servers that are none."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from perdure import IceServer
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

TURNSERVER = shutil.which("turnserver", path="/usr/bin:/usr/local/bin:/usr/sbin")

BINDING_REQUEST = bytes.fromhex("0001 0000 2112a442") + bytes(12)
"""RFC 8489 §5: who answers it is a STUN server that is ready."""


class Unchecked(IceServer):
    """One that perdure has not looked at: what the engine says of it is tried."""

    def __post_init__(self) -> None:
        pass


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def turn_server(
    folder: Path, port: int, user: str, password: str, *options: str, tls: bool = False
) -> AsyncIterator[IceServer]:
    """It runs, and answers; how its user reaches it. The test is skipped where there is no coturn.

    Args:
        options: more of coturn's.
        tls: whether it speaks TLS, on the same port, with the certificate in `folder` (`support.certificates`).
    """
    async with coturn(folder, port, "--lt-cred-mech", "--user", f"{user}:{password}", *options, tls=tls):
        yield IceServer(f"turn:127.0.0.1:{port}", user, password)


@contextlib.asynccontextmanager
async def coturn(folder: Path, port: int, *options: str, tls: bool = False) -> AsyncIterator[None]:
    """It runs, and answers; `options` say whom it serves. The test is skipped where there is none."""
    if TURNSERVER is None:
        pytest.skip("no coturn")
    certificate = str(folder / "server.pem")
    encryption = ("--cert", certificate, "--pkey", certificate) if tls else ("--no-tls", "--no-dtls")
    process = await asyncio.create_subprocess_exec(
        TURNSERVER,
        *("-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", str(port)),
        *("--realm", "test", "--allow-loopback-peers", *options, *encryption),
        *("--no-cli", "--no-stdout-log", "--log-file", "/dev/null"),
        *("--pidfile", str(folder / "pid"), "--userdb", str(folder / "db")),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            await _answers(process, port)
        yield
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _answers(process: asyncio.subprocess.Process, port: int) -> None:
    """Wait until it does: what was sent before is lost, or refused."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        asking.setblocking(False)
        asking.connect(("127.0.0.1", port))
        while True:
            assert process.returncode is None, "the TURN server ended"
            try:
                await loop.sock_sendall(asking, BINDING_REQUEST)
                async with asyncio.timeout(0.1):  # it may be lost
                    await loop.sock_recv(asking, 2048)
                    return
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
            except TimeoutError:
                continue
