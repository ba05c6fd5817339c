"""A process that was forked from one with a tunnel, where WebRTC's threads are not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, sys, warnings
from perdure import TransportConfig, TubeRegistry

warnings.simplefilter("ignore")  # Python 3.12 warns of a fork with threads

async def main():
    async with TubeRegistry(transport=TransportConfig(loopback=True)) as registry:
        if sys.argv[1] == "used":
            await registry.create_tube("tube").signaling.create_offer()
        if (child := os.fork()) == 0:
            try:
                TubeRegistry(transport=TransportConfig(loopback=True))
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        os.waitpid(child, 0)

asyncio.run(main())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_is_told_that_the_engine_is_not_there() -> None:
    for used, said in (("used", "this process was forked from one that has a tunnel"), ("unused", "")):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM, used], capture_output=True, text=True, timeout=60, check=True
        )
        assert ran.stdout.startswith(said)
        assert bool(ran.stdout) is bool(said), ran.stdout
