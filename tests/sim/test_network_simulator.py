"""The basic validation, as a user runs it."""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from perdure.session.send_buffer import SendBuffer

SCRIPT = Path(__file__).parents[1] / "network_simulator.py"


def test_it_tells_of_each_history_and_passes() -> None:
    ran = subprocess.run(
        [sys.executable, SCRIPT, "--seeds", "1"], capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stdout
    told = ran.stdout.splitlines()
    assert [line for line in told if line.startswith("  passed")] == ["  passed"] * 5
    assert told[-1] == "all 5 passed"
    assert "Ethernet to Wi-Fi (ethernet-to-wifi, 14 s)" in told
    assert "      6.000 s  client eth: off" in told
    assert any(line.endswith("the client is RECONNECTING") for line in told)


def test_a_reader_who_has_gone_changes_nothing() -> None:
    command = f"set -o pipefail; {sys.executable} {SCRIPT} --seeds 1 | head -1"
    ran = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("Ethernet to Wi-Fi")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="/dev/full stands for a full disk")
def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        ran = subprocess.run(
            [sys.executable, SCRIPT, "--seeds", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    message = "perdure: standard output cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (1, message)


def test_it_fails_where_bytes_are_lost(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(SendBuffer, "rewind", lambda self: None)
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--seeds", "1"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code == 1
    said = capsys.readouterr().out
    assert "  FAILED\n" in said
    assert "bytes lost" in said or "other bytes than were sent" in said
