"""PyPI `iroh` 1.2 as a peer: the lab's two programs, on loopback.

One QUIC connection, and a stream of it for each TCP connection, without a relay, on uvloop where it is installed. Its
Python glue copies what is sent byte by byte (3 MB/s); the lab's program puts one copy in its place.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import AsyncIterator

from benchmarks.peers import child
from benchmarks.peers.programs import ProgramTunnel, free_port, listening, start

_MODULE = "perdure_lab.peers.iroh_streams"


@contextlib.asynccontextmanager
async def tunnel(target: child.Address, *, processes: int = 2) -> AsyncIterator[ProgramTunnel]:
    """Forwards a port of 127.0.0.1 to `target`."""
    if processes != 2:
        raise ValueError("the lab's programs are a process an end")
    child.require("iroh")
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        port = free_port()
        gateway = await start(stack, sys.executable, "-m", _MODULE, "gateway", folder, f"{target[0]}:{target[1]}")
        client = await start(stack, sys.executable, "-m", _MODULE, "client", folder, str(port))
        await listening(port)
        yield ProgramTunnel(("127.0.0.1", port), (gateway, client))
