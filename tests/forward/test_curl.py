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
RATE = "30M"
"""Bytes a second that curl takes: the download outlasts its twenty kills, whatever the machine."""

KILLS = 20


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
        async with asyncio.timeout(10):
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
        await process.wait()


async def test_curl_gets_small_files_and_errors(tmp_path: Path) -> None:
    (tmp_path / "hello.txt").write_text("hello, world\n")
    async with asyncio.timeout(30), http_server(tmp_path) as server, running_tunnel(server) as tunnel:
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

    async with asyncio.timeout(60), http_server(tmp_path) as server, running_tunnel(server) as tunnel:
        async with curl("--limit-rate", RATE, f"http://127.0.0.1:{tunnel.port()}/large") as process:
            assert process.stdout is not None
            read = hashlib.sha256()
            got_bytes = kills = 0
            while block := await process.stdout.read(1_000_000):
                read.update(block)
                got_bytes += len(block)
                if kills < KILLS and got_bytes >= DOWNLOAD_BYTES * (kills + 1) // (KILLS + 2):
                    kills += 1
                    if kills == KILLS // 2 and sys.platform == "linux":
                        await swallow_everything(tunnel)
                    await tunnel.break_carrier(tunnel.client.program if kills % 2 else tunnel.gateway)
            assert await process.wait() == 0

        assert kills == KILLS
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
        *(
            program.logs("tube-state", since=mark, before="reconnecting", after="connected", timeout=5)
            for program, mark in zip(ends, marks, strict=True)
        )
    )
