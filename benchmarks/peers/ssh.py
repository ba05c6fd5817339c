"""OpenSSH's `-L` as a peer: an `sshd` of its own on 127.0.0.1, with a key of its own, and one `ssh` to it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from benchmarks.peers import child
from benchmarks.peers.programs import ProgramTunnel, free_port, listening, start


@contextlib.asynccontextmanager
async def tunnel(target: child.Address, *, processes: int = 2) -> AsyncIterator[ProgramTunnel]:
    """Forwards a port of 127.0.0.1 to `target`. Its ends are two processes always."""
    if processes != 2:
        raise ValueError("ssh's ends are two processes")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        sshd, ssh = _prepared(folder)
        ssh_port, port = free_port(), free_port()
        server = _options(
            Port=ssh_port, ListenAddress="127.0.0.1", HostKey=folder / "host_key",
            AuthorizedKeysFile=folder / "client_key.pub", PidFile="none", StrictModes="no", UsePAM="no", UseDNS="no",
        )  # fmt: skip
        client = _options(
            Port=ssh_port, IdentityFile=folder / "client_key", IdentitiesOnly="yes", BatchMode="yes",
            StrictHostKeyChecking="no", UserKnownHostsFile="/dev/null", LogLevel="ERROR", ExitOnForwardFailure="yes",
        )  # fmt: skip
        forward = f"127.0.0.1:{port}:{target[0]}:{target[1]}"
        began = [await start(stack, sshd, "-D", "-f", "none", *server)]
        await listening(ssh_port)
        user = getpass.getuser()
        began.append(await start(stack, ssh, "-N", "-F", "none", *client, "-L", forward, f"{user}@127.0.0.1"))
        await listening(port)
        yield ProgramTunnel(("127.0.0.1", port), tuple(began))


def _prepared(folder: Path) -> tuple[str, str]:
    """Keys in `folder`; the paths of `sshd`, which wants its full one, and `ssh`."""
    sshd, ssh = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"), shutil.which("ssh")
    if sshd is None or ssh is None:
        raise SystemExit("this peer needs OpenSSH: apt install openssh-server openssh-client")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    for key in ("host_key", "client_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    return sshd, ssh


def _options(**options: object) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
