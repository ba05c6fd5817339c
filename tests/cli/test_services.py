"""The three commands as services: what systemd hears of them, and the units."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from support.processes import running_python
from support.tickets import ticket_for

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = sorted((Path(__file__).parents[2] / "packaging" / "systemd").glob("*.service"))

MAX_EXPOSURE = 2.0
"""Of `systemd-analyze security`: 10 is a service that may do anything; below 2 it says "OK"."""

TIMEOUT = 30.0

COMMANDS = {
    "rendezvous": ("rendezvous", "--listen", "127.0.0.1:0"),
    "serve": ("serve", "--rendezvous", "ws://127.0.0.1:1", "--allow", "h:1"),
    "connect": ("connect", ticket_for("ws://127.0.0.1:1").encode(), "-L", "0:h:1"),
}


@pytest.fixture
def manager() -> Iterator[socket.socket]:
    """systemd's socket."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(f"{folder}/notify")
        bound.settimeout(TIMEOUT)
        yield bound


def heard(manager: socket.socket, wanted: bytes) -> bool:
    """Whether `wanted` comes, at last."""
    while manager.recv(1024) != wanted:
        pass
    return True


@pytest.mark.parametrize("verb", COMMANDS)
async def test_a_command_is_ready_though_the_other_end_is_not_and_says_that_it_lives_and_stops(
    verb: str, manager: socket.socket
) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "300000"}
    async with running_python("-m", "perdure", *COMMANDS[verb], "--json-logs", **environment) as program:
        assert heard(manager, b"READY=1")
        assert heard(manager, b"WATCHDOG=1")
        assert heard(manager, b"WATCHDOG=1")
        program.process.terminate()
        assert heard(manager, b"STOPPING=1")
        assert await program.ended() == 0


async def test_a_watchdog_of_another_process_is_not_fed(manager: socket.socket) -> None:
    environment = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}
    async with running_python("-m", "perdure", *COMMANDS["rendezvous"], **environment) as program:
        assert manager.recv(1024) == b"READY=1"
        program.process.terminate()
        assert manager.recv(1024) == b"STOPPING=1"
        assert await program.ended() == 0


async def test_a_manager_that_is_not_there_harms_nobody() -> None:
    async with running_python("-m", "perdure", *COMMANDS["rendezvous"], NOTIFY_SOCKET="/nonexistent/notify") as program:
        await program.says("ws://")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_a_unit_is_understood_and_may_do_little(unit: Path, tmp_path: Path) -> None:
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace("/usr/local/bin/perdure", shutil.which("true") or "/bin/true"))
    verified = subprocess.run(["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False)
    assert unit.name not in verified.stderr
    command = ["systemd-analyze", "security", "--offline=true", f"--threshold={MAX_EXPOSURE * 10:.0f}", str(copy)]
    judged = subprocess.run(command, capture_output=True, text=True, check=False)
    assert judged.returncode == 0, judged.stdout + judged.stderr


def test_there_is_a_unit_for_each_role() -> None:
    assert [unit.name for unit in UNITS] == [
        "perdure-client@.service",
        "perdure-gateway.service",
        "perdure-rendezvous.service",
    ]
    for unit in UNITS:
        assert "\nType=notify\n" in unit.read_text()
