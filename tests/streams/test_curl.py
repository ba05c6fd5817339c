"""Real curl, a real HTTP server, and a carrier that is killed again and again."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from support.processes import running_tunnel
from support.targets import tool

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from support.processes import Tunnel

DOWNLOAD_BYTES = 200_000_000
RATE = "16M"
"""Bytes a second that curl takes, so that the download lasts a little longer than its twenty kills."""

HELD_BACK_BYTES = 20_000_000
"""These are read when the last kill is over: on a slow machine, too, all of them happen during the download."""

KILLS = 20

SILENCE_TIMEOUT = 20.0
"""Seconds to notice that a path swallows everything, and to recover: 2 where the machine has time for it. By the
longest silence, which is no way to notice it while data flows, 30."""

CARRIER_LIFE = 0.3
"""Seconds from a recovery to the next kill. After several lives below 0.25 s the core suspects that something is wrong
and waits (`core.recovery_policy`)."""


@asynccontextmanager
async def http_server(directory: Path) -> AsyncIterator[str]:
    """`python -m http.server`; its `HOST:PORT`."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "--directory", str(directory), "0"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(60):
            words = (await process.stdout.readline()).decode().split()
        yield f"127.0.0.1:{words[words.index('port') + 1]}"
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def curl(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        tool("curl"), "-sS", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_curl_gets_small_files_and_errors(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello, world\n")
    async with asyncio.timeout(60), http_server(tmp_path) as server, running_tunnel(server) as tunnel:
        base = f"http://127.0.0.1:{tunnel.port()}"
        async with curl(f"{base}/hello.txt", f"{base}/hello.txt") as process:
            out, err = await process.communicate()
            assert (process.returncode, out, err) == (0, b"hello, world\n" * 2, b"")
        async with curl("--fail", f"{base}/nothing-here") as process:
            await process.communicate()
            assert process.returncode == 22


async def test_a_download_is_whole_after_twenty_kills_and_a_path_that_swallowed_everything(tmp_path: Path) -> None:
    with (tmp_path / "large").open("wb") as file:
        written = hashlib.sha256()
        for _ in range(DOWNLOAD_BYTES // 1_000_000):
            block = os.urandom(1_000_000)
            written.update(block)
            file.write(block)

    async with asyncio.timeout(120), http_server(tmp_path) as server, running_tunnel(server) as tunnel:
        all_killed = asyncio.Event()

        async def break_carriers() -> None:
            for number in range(KILLS):
                await asyncio.sleep(CARRIER_LIFE)
                if number == KILLS // 3 and sys.platform == "linux":
                    await swallow_everything(tunnel)
                    await asyncio.sleep(CARRIER_LIFE)
                await tunnel.break_carrier(tunnel.gateway if number % 2 else tunnel.client.program)
            all_killed.set()

        async with (
            curl("--limit-rate", RATE, f"http://127.0.0.1:{tunnel.port()}/large") as process,
            asyncio.TaskGroup() as group,
        ):
            group.create_task(break_carriers())
            assert process.stdout is not None
            read, got_bytes = hashlib.sha256(), 0
            while block := await process.stdout.read(1_000_000):
                read.update(block)
                got_bytes += len(block)
                if got_bytes >= DOWNLOAD_BYTES - HELD_BACK_BYTES:
                    await all_killed.wait()
            assert await process.wait() == 0

        assert got_bytes == DOWNLOAD_BYTES
        assert read.hexdigest() == written.hexdigest()
        injected = [
            line
            for program in (tunnel.client.program, tunnel.gateway)
            for line in program.log
            if line["event"] == "fault"
        ]
        assert sum(line["fault"] == "kill" for line in injected) == KILLS
        assert not [line for line in tunnel.client.program.log if line["event"] == "stream-ended"]


async def swallow_everything(tunnel: Tunnel) -> None:
    """From now on the carrier's packets are dropped at both ends; wait for the ends to find out and to recover."""
    ends = (tunnel.client.program, tunnel.gateway)
    marks = [program.mark for program in ends]
    await asyncio.gather(*(program.inject("blackhole") for program in ends))
    await asyncio.gather(
        *(program.recovers(since=mark, timeout=SILENCE_TIMEOUT) for program, mark in zip(ends, marks, strict=True))
    )
