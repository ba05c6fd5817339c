"""`perdure demo` as a person runs it, in a network of its own and on 127.0.0.1."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from perdure_lab.lab.tools import LabError, check, check_platform
from support.families import descendants, gone

pytestmark = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for child processes in /proc")


def reason_against() -> str:
    try:
        check_platform()
        check()
    except LabError as error:
        return str(error)
    return ""


OBSTACLE = reason_against()
PRIVATE = pytest.param((), marks=pytest.mark.skipif(bool(OBSTACLE), reason=OBSTACLE or "it runs here"), id="private")
LOOPBACK = pytest.param(("--loopback",), id="loopback")
both_forms = pytest.mark.parametrize("form", [PRIVATE, LOOPBACK])


@contextlib.asynccontextmanager
async def started(*arguments: str, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
    demo = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "perdure",
        "demo",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | environment,
    )
    try:
        async with asyncio.timeout(90):
            yield demo
    finally:
        if demo.returncode is None:
            demo.kill()
            await demo.wait()


async def first_line(demo: asyncio.subprocess.Process) -> str:
    """After the first fault is over."""
    assert demo.stdout is not None
    return (await demo.stdout.readline()).decode()


@both_forms
async def test_it_breaks_the_network_loses_nothing_and_says_so(form: tuple[str, ...], tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    async with started("--seconds", "9", "--json", str(result), *form) as demo:
        out, err = await demo.communicate()
    assert demo.returncode == 0, out.decode() + err.decode()
    assert "nothing was lost" in out.decode()
    assert err == b""
    report = json.loads(result.read_text())
    assert report["clean"]
    assert report["network"] == ("loopback" if form else "private")
    assert report["connections_kept"] == report["connections"] == 4
    assert report["bytes_lost_or_wrong"] == 0
    assert report["bytes_sent"] == report["bytes_received"] > 10_000_000
    assert len(report["faults"]) >= 3
    assert all(fault["recovered"] for fault in report["faults"])
    assert report["recovery_median"] <= report["recovery_max"] < 10


@both_forms
async def test_ctrl_c_ends_it_with_the_table_so_far_and_leaves_nobody_behind(form: tuple[str, ...]) -> None:
    async with started("--seconds", "600", *form) as demo:
        first = await first_line(demo)
        family = list(descendants(demo.pid))
        assert len(family) >= 4
        demo.send_signal(signal.SIGINT)
        out, err = await demo.communicate()
        for pid in family:
            await gone(pid)
    assert "killed" in first if form else "Ethernet is switched off, Wi-Fi takes over" in first
    assert "4 of 4" in out.decode()
    assert "nothing was lost" in out.decode()
    assert err == b""
    assert demo.returncode == 130


@both_forms
async def test_nobody_outlives_it_even_when_it_is_killed(form: tuple[str, ...]) -> None:
    async with started("--seconds", "600", *form) as demo:
        await first_line(demo)
        family = list(descendants(demo.pid))
        assert len(family) >= 4
        os.kill(demo.pid, signal.SIGKILL)
        await demo.communicate()
        for pid in family:
            await gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="what is missing there is Linux")
async def test_where_a_tool_is_missing_it_names_the_package_and_goes_on_without() -> None:
    async with started("--seconds", "5", PATH="/nonexistent") as demo:
        first = await first_line(demo)
        out, err = await demo.communicate()
    assert first.startswith("On 127.0.0.1, without a network of its own: the lab needs ")
    assert "apt install util-linux" in first
    assert "nothing was lost" in out.decode()
    assert err == b""
    assert demo.returncode == 0


async def test_a_result_that_cannot_be_written_is_refused_before_anything_starts(tmp_path: Path) -> None:
    async with started("--seconds", "600", "--json", str(tmp_path / "no" / "such" / "folder.json")) as demo:
        _, err = await demo.communicate()
    assert demo.returncode == 2
    assert "there is no such" in err.decode()
