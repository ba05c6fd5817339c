"""A peer that is two programs of somebody else: started, awaited, ended, and their CPU read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
from dataclasses import dataclass

import psutil
from benchmarks.peers import child

from perdure_lab.stress.programs import cpu_seconds

START_TIMEOUT = 10.0
_LOOK_INTERVAL = 0.02


@dataclass(frozen=True, slots=True)
class ProgramTunnel:
    """What a benchmark connects to; see `child.Tunnel`."""

    address: child.Address
    processes: tuple[int, ...]
    """Those that were started; their children count too."""

    async def cpu_seconds(self) -> float:
        started = map(psutil.Process, self.processes)
        return sum(cpu_seconds(each) for process in started for each in (process, *process.children(recursive=True)))


async def start(stack: contextlib.AsyncExitStack, *command: str) -> int:
    """Its process id; it ends with `stack`."""
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    stack.push_async_callback(_end, process)
    return process.pid


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


async def listening(port: int) -> None:
    """Wait until somebody takes connections there."""
    async with asyncio.timeout(START_TIMEOUT):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(_LOOK_INTERVAL)
            else:
                writer.close()
                return


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])
