"""Scripts that run in private namespaces of their own, which end with them."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from perdure_lab.lab.tools import LabError, check, check_platform, isolated

TIMEOUT = 60.0
"""Seconds that a script may take; a hang is a failure."""


def _reason_against() -> str:
    try:
        check_platform()
        check()
    except LabError as error:
        return str(error)
    return ""


needs_namespaces = pytest.mark.skipif(bool(_reason_against()), reason=_reason_against() or "it runs here")


async def said_by(script: Path, *arguments: str) -> Any:
    """What `script` prints last, as JSON."""
    tests = Path(__file__).parents[1]
    process = await asyncio.create_subprocess_exec(
        *isolated(sys.executable, str(script), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tests), os.environ.get("PYTHONPATH", "")])},
    )
    async with asyncio.timeout(TIMEOUT):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return json.loads(out.splitlines()[-1])
