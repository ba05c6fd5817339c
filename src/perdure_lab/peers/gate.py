"""While a peer is set up: it has the default route's network only, and nobody connects to its port too early.

For a peer that takes any of a machine's networks by chance, and whose port accepts connections which it then drops.
Afterwards it has everything.
"""

from __future__ import annotations

import asyncio
import json

TABLE = "inet perdure_peer"


class Gate:
    """Closed within, until it is opened. In the namespace of this process.

    Args:
        refused_port: of TCP, which refuses meanwhile.
    """

    def __init__(self, refused_port: int | None = None) -> None:
        self._refused_port = refused_port
        self._is_open = True

    async def __aenter__(self) -> Gate:
        rules = []
        if interfaces := await _default_interfaces():
            rules.append(f"oifname != {{ lo, {', '.join(interfaces)} }} meta l4proto udp drop")
        if self._refused_port is not None:
            rules.append(f"tcp dport {self._refused_port} reject with tcp reset")
        chain = "\n".join(["type filter hook output priority 0;", *rules])
        await _run(
            "nft", f"add table {TABLE}\ndelete table {TABLE}\ntable {TABLE} {{\nchain output {{\n{chain}\n}}\n}}\n"
        )
        self._is_open = False
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.open()

    async def open(self) -> None:
        if not self._is_open:
            self._is_open = True
            await _run("nft", f"delete table {TABLE}")


async def _default_interfaces() -> list[str]:
    """Of each address family the one that new packets leave by."""
    found = []
    for family in ("-4", "-6"):
        routes = json.loads(await _run("ip", family, "-j", "route", "show", "default") or "[]")
        if routes:
            found.append(min(routes, key=lambda route: int(route.get("metric", 0)))["dev"])
    return list(dict.fromkeys(found))


async def _run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    if process.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed with code {process.returncode}")
    return out.decode()
