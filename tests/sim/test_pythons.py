"""The same seed is the same history on each Python that is here."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import which

import pytest

from perdure_lab.sim.course import simulate

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")
HISTORIES = [("chaos", seed) for seed in range(1, 21)] + [("rapid-changes", 1), ("mobile-hand-off", 1)]
INSTALL_TIMEOUT = 300.0
PLAY_TIMEOUT = 120.0

_PLAY = f"""
from perdure_lab.sim.course import simulate
print(*(simulate(*history).fingerprint for history in {HISTORIES}))
"""


def _candidates(version: str) -> Iterator[str]:
    if (found := which(f"python{version}")) is not None:
        yield found
    root = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(root.glob(f"versions/{version}.*/bin/python")))


def _interpreter(version: str) -> str | None:
    """One that starts, and is of that version: a shim may stand for nothing."""
    ask = ["-c", "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"]
    for candidate in _candidates(version):
        answer = subprocess.run([candidate, *ask], capture_output=True, text=True, timeout=30, check=False)
        if answer.stdout.strip() == version:
            return candidate
    return None


@pytest.fixture(scope="module")
def fingerprints() -> list[str]:
    """Of this Python."""
    return [simulate(*history).fingerprint for history in HISTORIES]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_seed_is_the_same_history_on_each_python(version: str, fingerprints: list[str], tmp_path: Path) -> None:
    if version == "{}.{}".format(*sys.version_info):
        pytest.skip("that is this one")
    if (interpreter := _interpreter(version)) is None:
        pytest.skip("it is not here")
    subprocess.run([interpreter, "-m", "venv", tmp_path], check=True, timeout=INSTALL_TIMEOUT)
    python = tmp_path / "bin" / "python"
    installed = subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT],
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT,
        check=False,
    )
    if installed.returncode and not os.environ.get("CI"):
        pytest.skip(f"perdure could not be installed there: {installed.stderr[-300:]}")
    assert not installed.returncode, installed.stderr
    played = subprocess.run([python, "-c", _PLAY], capture_output=True, text=True, timeout=PLAY_TIMEOUT, check=False)
    assert played.stdout.split() == fingerprints, played.stderr
