"""`perdure demo` as a person runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for child processes in /proc")


async def start_demo(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perdure",
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_alive(pid: int) -> bool:
    try:
        return "Z (zombie)" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def gone(pid: int) -> None:
    for _ in range(400):
        if not is_alive(pid):
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"process {pid} is still there")


async def test_it_breaks_the_carrier_loses_nothing_and_says_so(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    demo = await start_demo("--seconds", "9", "--json", str(result))
    async with asyncio.timeout(60):
        out, err = await demo.communicate()
    assert demo.returncode == 0, out.decode() + err.decode()
    assert "nothing was lost" in out.decode()
    assert err == b""
    report = json.loads(result.read_text())
    assert report["clean"]
    assert report["connections_kept"] == report["connections"] == 4
    assert report["bytes_lost_or_wrong"] == 0
    assert report["bytes_sent"] == report["bytes_received"] > 10_000_000
    assert len(report["faults"]) >= 3
    assert all(fault["recovered"] for fault in report["faults"])
    assert report["recovery_median"] <= report["recovery_max"] < 10


async def test_ctrl_c_ends_it_with_the_table_so_far_and_leaves_nobody_behind() -> None:
    demo = await start_demo("--seconds", "600")
    assert demo.stdout is not None
    async with asyncio.timeout(60):
        first = await demo.stdout.readline()
        assert demo.pid is not None
        children = children_of(demo.pid)
        assert len(children) == 3
        demo.send_signal(signal.SIGINT)
        out, err = await demo.communicate()
        for child in children:
            await gone(child)
    assert b"killed" in first
    assert "connections kept" in out.decode()
    assert "4 of 4" in out.decode()
    assert "Traceback" not in err.decode()
    assert demo.returncode == 130


async def test_its_children_do_not_outlive_it_even_when_it_is_killed() -> None:
    demo = await start_demo("--seconds", "600")
    assert demo.stdout is not None
    async with asyncio.timeout(60):
        await demo.stdout.readline()
        children = children_of(demo.pid)
        assert len(children) == 3
        os.kill(demo.pid, signal.SIGKILL)
        await demo.communicate()
        for child in children:
            await gone(child)


async def test_a_result_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    demo = await start_demo("--seconds", "600", "--json", str(tmp_path / "no" / "such" / "folder.json"))
    async with asyncio.timeout(30):
        _, err = await demo.communicate()
    assert demo.returncode == 2
    assert "there is no such" in err.decode()
