"""Chromium, where it is installed: the names that it gives its addresses are found."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import shutil
import socket
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from websockets.asyncio.client import connect

from perdure.transport.mdns import Resolver
from perdure.transport.reach import local_name
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

CHROMIUM = shutil.which("chromium")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")

GATHER = """
new Promise((found) => {
  window.connection = new RTCPeerConnection();
  window.connection.createDataChannel("any");
  const candidates = [];
  window.connection.onicecandidate = (event) =>
    event.candidate === null ? found(candidates) : candidates.push(event.candidate.candidate);
  window.connection.setLocalDescription();
})
"""
"""The connection stays, and its names with it."""


@contextlib.asynccontextmanager
async def chromium(profile: Path) -> AsyncIterator[str]:
    """Runs while the block does; the URL by which its page is steered."""
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", f"--user-data-dir={profile}"]
    assert CHROMIUM is not None
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *flags, "about:blank", stderr=asyncio.subprocess.PIPE, limit=2**20
    )
    try:
        assert process.stderr is not None
        async for line in process.stderr:
            if b"DevTools listening on " in line:
                yield line.decode().split()[-1]
                break
    finally:
        process.terminate()
        await process.communicate()


async def evaluate(browser: str, expression: str) -> Any:
    """What `expression` comes to on the browser's first page."""

    async def call(method: str, session: str | None = None, **arguments: object) -> Any:
        request = {"id": 1, "method": method, "params": arguments} | ({"sessionId": session} if session else {})
        await link.send(json.dumps(request))
        while (answer := json.loads(await link.recv())).get("id") != 1:
            pass
        assert "result" in answer, answer
        return answer["result"]

    async with connect(browser, max_size=2**20) as link:
        targets = (await call("Target.getTargets"))["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        session = (await call("Target.attachToTarget", targetId=page, flatten=True))["sessionId"]
        result = await call("Runtime.evaluate", session, expression=expression, awaitPromise=True, returnByValue=True)
        return result["result"]["value"]


async def test_each_name_of_chromiums_candidates_leads_to_an_address_of_this_machine(tmp_path: Path) -> None:
    async with asyncio.timeout(TIMEOUT), chromium(tmp_path) as browser:
        names = list(filter(None, map(local_name, await evaluate(browser, GATHER))))
        if not names:
            pytest.skip("this machine has no address besides loopback")
        resolver = Resolver(loopback=False)
        found = [await resolver.resolve(name) for name in names]
    families = (socket.AF_INET, socket.AF_INET6)
    own = {
        ipaddress.ip_address(each.address.partition("%")[0])
        for known in psutil.net_if_addrs().values()
        for each in known
        if each.family in families
    }
    assert None not in found
    assert set(found) <= own
