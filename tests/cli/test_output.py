"""Standard output and standard error that cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FULL = Path("/dev/full")
SIMULATE = "simulate --seeds 2 --jobs 1"
UNWRITTEN = "perdure: standard output cannot be written: No space left on device\n"

needs_a_full_disk = pytest.mark.skipif(not FULL.is_char_device(), reason="/dev/full stands for a full disk")


def ran(command: str) -> subprocess.CompletedProcess[str]:
    """`perdure`, with a shell's redirections."""
    shell = ["bash", "-c", f"set -o pipefail; {command.replace('perdure', f'{sys.executable} -m perdure')}"]
    return subprocess.run(shell, capture_output=True, text=True, timeout=60, check=False)


@needs_a_full_disk
def test_a_full_disk_under_the_figures_is_told_once_and_fails() -> None:
    result = ran(f"perdure {SIMULATE} >{FULL}")
    assert (result.returncode, result.stderr) == (1, UNWRITTEN)


@needs_a_full_disk
def test_a_full_disk_under_standard_error_keeps_no_figures_back() -> None:
    result = ran(f"perdure {SIMULATE} 2>{FULL}")
    assert result.returncode == 0
    assert result.stdout.endswith("\nnothing was violated\n")


def test_without_a_terminal_standard_error_stays_empty() -> None:
    result = ran(f"perdure {SIMULATE}")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("verb", [SIMULATE, "lab list", "config show"])
def test_a_closed_standard_output_is_no_failure(verb: str) -> None:
    result = ran(f"perdure {verb} >&-")
    assert (result.returncode, result.stderr) == (0, "")


def test_a_reader_who_has_gone_is_no_failure() -> None:
    result = ran(f"perdure {SIMULATE} | head -1")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.startswith("2 histories of chaos (seeds 1 to 2), ")


def test_what_the_encoding_lacks_is_escaped() -> None:
    result = ran(f"PYTHONIOENCODING=ascii perdure {SIMULATE}")
    assert result.returncode == 0
    assert r"\xd7 rebuild" in result.stdout


def test_a_closed_standard_input_holds_no_ticket() -> None:
    result = ran("perdure connect - -L 0:h:1 <&-")
    assert (result.returncode, result.stderr) == (
        2,
        "perdure: the ticket is to come from standard input, which is closed\n",
    )
