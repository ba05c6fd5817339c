"""A run's programs: whatever becomes of them, their logs and children of their own, the run is told and goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from perdure_lab.lab.children import Child, Helper
from perdure_lab.lab.tools import LabError
from support.families import gone

TALKS = "import sys\nfor _ in range(3000): sys.stderr.write('x' * 100 + '\\n')\nsys.exit('enough')"
"""More than a pipe holds."""

LEAVES_A_CHILD = """
import subprocess, sys
left = subprocess.Popen(["sleep", "60"])
sys.stderr.write(f'{{"left": {left.pid}}}\\n')
sys.stderr.flush()
"""
WAITS = "import time\ntime.sleep(60)"


async def ended(child: Child, problems: asyncio.Queue[str]) -> list[str]:
    """Everything that was told of the child until its end."""
    told = []
    async with asyncio.timeout(30):
        await child.start()
        while "ended" not in (problem := await problems.get()):
            told.append(problem)
        await child.stop()
    return [*told, problem]


@pytest.mark.parametrize(
    ("path", "reason"), [("/dev/full", "No space left on device"), ("/no/such.log", "No such file or directory")]
)
async def test_a_log_that_cannot_be_written_is_told_once_and_holds_nobody_up(path: str, reason: str) -> None:
    problems: asyncio.Queue[str] = asyncio.Queue()
    command = [sys.executable, "-c", TALKS]
    child = Child(
        "client",
        None,
        command,
        log_file=Path(path),
        on_end=problems.put_nowait,
        on_log_lost=problems.put_nowait,
    )
    lost, end = await ended(child, problems)
    assert lost == f"the client's log {path} cannot be written: {reason}"
    assert end.startswith("the client ended with code 1: ")
    assert end.endswith("enough")


async def test_the_log_has_what_was_written_by_the_time_it_is_heard(tmp_path: Path) -> None:
    log, heard = tmp_path / "client.log", asyncio.Event()
    program = "import sys, time\nprint('{}', file=sys.stderr, flush=True)\ntime.sleep(60)"
    child = Child("client", None, [sys.executable, "-c", program], log_file=log, on_log=lambda line: heard.set())
    async with asyncio.timeout(30):
        await child.start()
        await heard.wait()
        assert log.read_bytes() == b"{}\n"
        await child.kill()


async def test_a_program_that_ends_is_told_although_a_child_of_its_own_lives_on() -> None:
    left: list[object] = []
    problems: asyncio.Queue[str] = asyncio.Queue()
    child = Child(
        "gateway",
        None,
        [sys.executable, "-c", f"{LEAVES_A_CHILD}\nimport os\nos._exit(3)"],
        on_log=lambda line: left.append(line["left"]),
        on_end=problems.put_nowait,
    )
    try:
        assert await ended(child, problems) == ["the gateway ended with code 3: it said nothing"]
    finally:
        await end_of(left)


async def test_a_program_is_killed_and_started_again_although_a_child_of_its_own_lives_on() -> None:
    heard: asyncio.Queue[object] = asyncio.Queue()
    left: list[object] = []
    child = Child(
        "gateway",
        None,
        [sys.executable, "-c", f"{LEAVES_A_CHILD}\n{WAITS}"],
        on_log=lambda line: heard.put_nowait(line["left"]),
    )
    try:
        async with asyncio.timeout(30):
            for _ in range(2):
                await child.start()
                left.append(await heard.get())
                await child.kill()
    finally:
        await end_of(left)


async def test_a_program_that_cannot_be_started_is_a_sentence() -> None:
    child = Child("client", None, ["/no/such/program"])
    with pytest.raises(LabError, match=r"the client cannot be started: .*No such file or directory"):
        await child.start()
    with pytest.raises(LabError, match="the client cannot be started: embedded null byte"):
        await Child("client", None, [sys.executable, "\0"]).start()
    child.send(signal.SIGSTOP)
    await child.stop()


async def test_a_helper_that_cannot_be_started_or_ends_at_once_is_a_sentence() -> None:
    with pytest.raises(LabError, match=r"the lab's forwarder cannot be started: .*No such file or directory"):
        await Helper("forwarder", ["/no/such/program"]).start()
    helper = Helper("forwarder", [sys.executable, "-c", "raise SystemExit('no device')"])
    async with asyncio.timeout(30):
        await helper.start()
        with pytest.raises(LabError, match="the lab's forwarder ended: no device"):
            await helper.answer()


async def test_last_words_that_are_long_are_cut_to_their_end() -> None:
    problems: asyncio.Queue[str] = asyncio.Queue()
    program = "raise SystemExit('x' * 100_000 + 'the end')"
    (end,) = await ended(Child("client", None, [sys.executable, "-c", program], on_end=problems.put_nowait), problems)
    assert len(end) < 1000
    assert end.endswith("xthe end")


async def end_of(processes: list[object]) -> None:
    for pid in processes:
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        await gone(pid)


async def test_a_helper_that_has_ended_since_it_answered_is_told_of() -> None:
    helper = Helper("forwarder", ["sh", "-c", "echo ready; echo out of sand >&2; read line"])
    await helper.start()
    await helper.answer()
    await helper.check()
    with pytest.raises(LabError, match="the lab's forwarder ended: out of sand"):
        await helper.tell("go")
    with pytest.raises(LabError, match="the lab's forwarder ended"):
        await helper.check()
