"""The tunnels that are compared, by the names that tables have for them, and each one's event loop."""

from __future__ import annotations

import importlib.util

from benchmarks.peers import bare_wrtc, child, iroh, keeper, perdure_peer, ssh

HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None

TUNNELS: dict[str, child.TunnelFactory] = {
    "perdure": perdure_peer.tunnel,
    "ssh -L": ssh.tunnel,
    "naive TCP copy": bare_wrtc.tunnel,
    "keeper": keeper.tunnel,
    "iroh": iroh.tunnel,
}
"""perdure and iroh are on uvloop where it is installed, the naive copy on asyncio's own loop; keeper and ssh have none
of Python's."""

if HAS_UVLOOP:
    TUNNELS["naive TCP copy, uvloop"] = bare_wrtc.tunnel_on_uvloop

TWO_PROCESSES_ALONE = {"ssh -L", "iroh"}


def names(processes: int, wanted: list[str]) -> list[str]:
    """Those of `wanted` that there are with so many processes for both ends."""
    return [name for name in wanted if processes == 2 or name not in TWO_PROCESSES_ALONE]


def loops() -> str:
    """What is said above a table."""
    if not HAS_UVLOOP:
        return "all of Python's ends on asyncio: uvloop is not installed"
    return "perdure and iroh on uvloop, the naive copy on asyncio where it does not say uvloop"
