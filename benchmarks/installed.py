"""What a run's figures depend on: the versions of what is measured, and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

PACKAGES = ("perdure", "wrtc", "uvloop", "keeper-pam-webrtc-rs", "iroh")

PROGRAMS: dict[str, tuple[str, ...]] = {
    "OpenSSH": ("ssh", "-V"),
    "PostgreSQL": ("postgres", "--version"),
    "Redis": ("redis-server", "--version"),
    "wireguard-go": ("wireguard-go", "--version"),
    "coturn": ("turnserver", "--version"),
}
"""How each is asked for its version."""

MISSING = "not installed"
_ASK_TIMEOUT = 10.0


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "kernel": platform.release(), "cores": str(os.cpu_count())}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = MISSING
    found["event loop"] = "asyncio" if found["uvloop"] == MISSING else "uvloop"
    return found | {name: _asked(*command) for name, command in PROGRAMS.items()}


def shown(found: Mapping[str, str], uses: Sequence[str]) -> str:
    """Those of Python, perdure and `uses`: `Python 3.11.2, perdure 0.2.0, OpenSSH 9.2p1`."""
    wanted = ["python", "perdure", *uses]
    names = {"python": "Python"}
    return ", ".join(f"{names.get(name, name)} {found[name]}" for name in wanted if name in found)


def _asked(program: str, option: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    own = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    command = shutil.which(program, path=os.pathsep.join([*own, path]))
    if command is None:
        return MISSING
    try:
        asked = subprocess.run([command, option], capture_output=True, text=True, timeout=_ASK_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "of an unknown version"
    version = re.search(r"\d+(\.\d+)+\w*", asked.stdout + asked.stderr)
    return version[0] if version else "of an unknown version"
