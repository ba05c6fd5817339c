"""The examples do what their pages say, run as a reader would run them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_two_processes_talk_through_an_ice_restart_and_part_with_a_reason() -> None:
    program = [sys.executable, str(EXAMPLES / "two_processes.py")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr  # the engine itself may say something there
    assert "Warning" not in done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "answering: closed: the other end closed the tube (all is said)",
        "offering: after (ICE restarts: 1)",
        "offering: before (ICE restarts: 0)",
        "offering: closed: closed here (all is said)",
        "offering: during (ICE restarts: 1)",
    ]
