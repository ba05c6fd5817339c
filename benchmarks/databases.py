"""Programs of others through a tunnel: `pgbench -S -c4` against PostgreSQL, `redis-benchmark` GET with 50 clients.

    python -m benchmarks.databases [--rounds 5] [--seconds 3] [--peers perdure ssh]

Directly, and through each peer, in turns; each end of a tunnel is a process of its own, and so are server and client,
all on loopback. Needs Debian's postgresql and redis-server; the servers are this run's own.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers import child, perdure_peer, ssh
from benchmarks.peers.programs import ProgramTunnel, free_port, listening, start
from benchmarks.report import load_average, print_beside_perdure, print_head

CLIENTS_OF_REDIS = 50
CLIENTS_OF_POSTGRES = 4
ROWS_SCALE = 1
"""pgbench's: 100,000 rows, 16 MB."""

USER = "postgres"
"""Who PostgreSQL's server runs as, which root may not."""

ANSWER_TIMEOUT = 120.0


@contextlib.asynccontextmanager
async def direct(target: child.Address, *, processes: int = 2) -> AsyncIterator[ProgramTunnel]:
    """No tunnel at all."""
    yield ProgramTunnel(target, ())


PEERS: dict[str, child.TunnelFactory] = {"direct": direct, "perdure": perdure_peer.tunnel, "ssh -L": ssh.tunnel}


@dataclass(frozen=True, slots=True)
class Work:
    """A program that asks a server as fast as it can."""

    name: str
    unit: str
    target: child.Address
    command: Callable[[child.Address], Sequence[str]]
    figure: re.Pattern[str]

    async def run(self, address: child.Address) -> float:
        said = await _output(*self.command(address))
        if (found := self.figure.search(said)) is None:
            raise SystemExit(f"{self.name} says no figure: {said[-400:]}")
        return float(found[1])


async def _output(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            said, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise SystemExit(f"{command[0]} had no end within {ANSWER_TIMEOUT:.0f} s") from None
    text = said.decode("utf-8", "replace")
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {text[-400:]}")
    return text


def _found(program: str, package: str) -> str:
    """Its path; where there are several of PostgreSQL's, that of the newest."""
    own = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), key=lambda path: int(path.parts[4]))
    found = str(own[-1]) if own else shutil.which(program)
    if found is None:
        raise SystemExit(f"this benchmark needs {program}: apt install {package}")
    return found


def _folder_of_postgres(folder: Path) -> Path:
    data = folder / "postgres"
    data.mkdir()
    if os.geteuid() == 0:
        shutil.chown(data, USER, USER)
        folder.chmod(0o711)
    return data


async def postgres(stack: contextlib.AsyncExitStack, folder: Path, seconds: float) -> Work:
    as_user = [_found("setpriv", "util-linux"), f"--reuid={USER}", f"--regid={USER}", "--clear-groups"]
    as_user = as_user if os.geteuid() == 0 else []
    data, port = _folder_of_postgres(folder), free_port()
    await _output(
        *as_user, _found("initdb", "postgresql"), "-D", str(data), "-A", "trust", "-U", USER, "--no-sync", "-E", "UTF8"
    )
    words = ("-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=")
    await start(stack, *as_user, _found("postgres", "postgresql"), *words, "-c", "log_min_messages=fatal")
    await listening(port)
    pgbench = _found("pgbench", "postgresql")
    there = ("-h", "127.0.0.1", "-U", USER, "postgres")
    await _output(pgbench, "-i", "-q", "-s", str(ROWS_SCALE), "-p", str(port), *there)

    def command(address: child.Address) -> Sequence[str]:
        work = ("-S", "-n", "-c", str(CLIENTS_OF_POSTGRES), "-T", f"{seconds:.0f}", "-p", str(address[1]))
        return (pgbench, *work, *there)

    name = f"pgbench -S -c{CLIENTS_OF_POSTGRES}"
    return Work(name, "transactions a second", ("127.0.0.1", port), command, re.compile(r"tps = ([\d.]+)"))


async def redis(stack: contextlib.AsyncExitStack, folder: Path, seconds: float) -> Work:
    port = free_port()
    words = ("--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder), "--logfile", "redis.log")
    await start(stack, _found("redis-server", "redis-server"), *words)
    await listening(port)
    benchmark = _found("redis-benchmark", "redis-tools")

    def command(address: child.Address) -> Sequence[str]:
        count = int(seconds * 10_000)
        work = ("-t", "get", "-c", str(CLIENTS_OF_REDIS), "-n", str(count), "--csv")
        return (benchmark, "-h", address[0], "-p", str(address[1]), *work)

    name = f"redis-benchmark GET, {CLIENTS_OF_REDIS} clients"
    return Work(name, "a second", ("127.0.0.1", port), command, re.compile(r'"GET","([\d.]+)"'))


async def run(rounds: int, seconds: float, peers: list[str]) -> None:
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        works = [await postgres(stack, folder, seconds), await redis(stack, folder, seconds)]
        print_head("what", "through", "median (lowest to highest)", "perdure's as a ratio, median of the rounds")
        for work in works:
            found: dict[str, list[float]] = {peer: [] for peer in peers}
            for _ in range(rounds):
                for peer in peers:
                    async with PEERS[peer](work.target, processes=2) as tunnel:
                        found[peer].append(await work.run(tunnel.address))
            print_beside_perdure(work.name, work.unit, found, less_is_better=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    arguments = parser.parse_args()
    print(load_average())
    asyncio.run(run(arguments.rounds, arguments.seconds, arguments.peers))


if __name__ == "__main__":
    main()
