"""OpenSSH's `-L` as a peer: an `sshd` of its own on 127.0.0.1, with a key of its own, and one `ssh` to it.

Its processes are those that encrypt and copy: `ssh`, and the `sshd` that serves this connection. Their CPU is read from
/proc, so on Linux alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import child

START_TIMEOUT = 10.0
_LOOK_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class SshTunnel:
    """What a benchmark connects to; see `child.Tunnel`."""

    address: child.Address
    processes: tuple[int, ...]
    """Of `ssh` and of the listening `sshd`, whose children count too."""

    async def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(each) for process in self.processes for each in (process, *_descendants(process)))


@contextlib.asynccontextmanager
async def tunnel(target: child.Address, *, processes: int = 2) -> AsyncIterator[SshTunnel]:
    """Forwards a port of 127.0.0.1 to `target`. There is no such thing as one process."""
    if processes != 2:
        raise ValueError("ssh has a process an end")
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        sshd, ssh = _prepared(folder)
        ssh_port, port = _free_port(), _free_port()
        server = _options(
            Port=ssh_port, ListenAddress="127.0.0.1", HostKey=folder / "host_key",
            AuthorizedKeysFile=folder / "client_key.pub", PidFile="none", StrictModes="no", UsePAM="no", UseDNS="no",
        )  # fmt: skip
        client = _options(
            Port=ssh_port, IdentityFile=folder / "client_key", IdentitiesOnly="yes", BatchMode="yes",
            StrictHostKeyChecking="no", UserKnownHostsFile="/dev/null", LogLevel="ERROR", ExitOnForwardFailure="yes",
        )  # fmt: skip
        forward = f"127.0.0.1:{port}:{target[0]}:{target[1]}"
        began = [await _start(stack, sshd, "-D", "-f", "none", *server)]
        await _listening(ssh_port)
        user = os.environ.get("USER", "root")
        began.append(await _start(stack, ssh, "-N", "-F", "none", *client, "-L", forward, f"{user}@127.0.0.1"))
        await _listening(port)
        yield SshTunnel(("127.0.0.1", port), tuple(began))


def _prepared(folder: Path) -> tuple[str, str]:
    """Keys in `folder`; the paths of `sshd`, which wants its full one, and `ssh`."""
    sshd, ssh = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), shutil.which("ssh")
    if sshd is None or ssh is None:
        raise SystemExit("this peer needs OpenSSH: apt install openssh-server openssh-client")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for key in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    return sshd, ssh


async def _start(stack: contextlib.ExitStack, *command: str) -> int:
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    stack.callback(_end, process)
    return process.pid


def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()


async def _listening(port: int) -> None:
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(_LOOK_INTERVAL)
            else:
                writer.close()
                return


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])


def _options(**options: object) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


def _descendants(process: int) -> list[int]:
    found = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        for each in file.read_text().split():
            found += [int(each), *_descendants(int(each))]
    return found


def _cpu_seconds(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
