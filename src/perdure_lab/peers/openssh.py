"""OpenSSH's `-L` with keepalives, started again whenever it ends, as autossh does.

    python -m perdure_lab.peers.openssh gateway FOLDER HOST:PORT
    python -m perdure_lab.peers.openssh client FOLDER PORT

Each start asks the gateway beside the network for its present addresses, as from a name service that never fails.
TCP connections end with the SSH connection that carried them: what SSH cannot do is not made up for.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from functools import partial
from pathlib import Path

from perdure_lab.peers import exchange, words
from perdure_lab.peers.exchange import Exchange
from perdure_lab.peers.words import Words

SSH_PORT = 2222

KEEPALIVE = 1
"""Seconds: the shortest there is. After three without an answer, either end gives up."""

CONNECT_TIMEOUT = 3
RESTART_DELAY = 0.1
"""Seconds between the end of one `ssh` and the next; autossh waits longer after failures."""

_PACKAGES = {"ssh": "openssh-client", "ssh-keygen": "openssh-client", "sshd": "openssh-server", "ip": "iproute2"}

_SSHD_FOLDER = Path("/run/sshd")
"""Into which sshd locks its unprivileged part; Debian's package makes it, and /run is the run's own."""


def main() -> None:
    given = words.parsed(__doc__)
    words.require_programs("ssh", _PACKAGES)
    if given.is_gateway:
        _prepare(given.folder)
        asyncio.run(_gateway(given))
    else:
        asyncio.run(_client(given))


def _prepare(folder: Path) -> None:
    for path in (folder / "host_key", folder / "client_key"):
        if not path.exists():  # a gateway that is started anew keeps its keys
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    _SSHD_FOLDER.mkdir(mode=0o755, exist_ok=True)


async def _gateway(given: Words) -> None:
    folder = given.folder
    options = {
        "Port": SSH_PORT,
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "client_key.pub",
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "UseDNS": "no",
        "PermitRootLogin": "prohibit-password",
        "ClientAliveInterval": KEEPALIVE,
        "ClientAliveCountMax": 3,
    }
    sshd = shutil.which("sshd") or "sshd"  # it wants its full path
    server = await asyncio.create_subprocess_exec(sshd, "-D", "-e", "-f", "none", *_options(options))
    telling = asyncio.create_task(exchange.serve(folder, partial(_tell, given)))
    code = await server.wait()
    telling.cancel()
    words.refuse(f"sshd ended with code {code}")


async def _tell(given: Words, joined: Exchange) -> None:
    joined.send(addresses=" ".join(await _own_addresses()), target=f"{given.host}:{given.port}")
    async for _ in joined.messages():
        pass


async def _own_addresses() -> list[str]:
    process = await asyncio.create_subprocess_exec(
        *("ip", "-j", "address", "show", "up", "scope", "global"), stdout=asyncio.subprocess.PIPE
    )
    found = json.loads((await process.communicate())[0])
    every = (address for interface in found for address in interface.get("addr_info", ()))
    return [str(address["local"]) for address in every if "local" in address]  # others are shown as empty objects


async def _client(given: Words) -> None:
    options = {
        "Port": SSH_PORT,
        "IdentityFile": given.folder / "client_key",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "LogLevel": "ERROR",
        "ExitOnForwardFailure": "yes",
        "ConnectTimeout": CONNECT_TIMEOUT,
        "ServerAliveInterval": KEEPALIVE,
        "ServerAliveCountMax": 3,
    }
    while True:
        addresses, target = await _ask(given)
        for address in addresses:
            forward = f"{given.host}:{given.port}:{target}"
            command = ["ssh", "-N", "-F", "none", *_options(options), "-L", forward, f"root@{address}"]
            code = await (await asyncio.create_subprocess_exec(*command)).wait()
            words.complain(f"ssh to {address} ended with code {code}")
            await asyncio.sleep(RESTART_DELAY)


async def _ask(given: Words) -> tuple[list[str], str]:
    joined = await exchange.join(given.folder)
    try:
        async for message in joined.messages():
            return message["addresses"].split(), message["target"]
    finally:
        joined.close()
    return [], ""


def _options(options: dict[str, object]) -> list[str]:
    return [word for name, value in options.items() for word in ("-o", f"{name}={value}")]


if __name__ == "__main__":
    main()
