"""perdure as a peer of its own benchmarks: both roles as `serve` and `connect` run them, rendezvous included.

python -m benchmarks.peers.perdure_peer --target 127.0.0.1:9000 --processes 2
"""

import asyncio
import contextlib
import os
from contextlib import AbstractAsyncContextManager

from benchmarks.peers import child

from perdure.client import TunnelClient
from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
from perdure.streams.target import AllowList, Forward, Target
from perdure.gateway import Gateway
from perdure.signaling.server import RendezvousServer
from perdure.ticket import SECRET_BYTES, Ticket, parse_ticket

MODULE = "benchmarks.peers.perdure_peer"


def tunnel(target: child.Address, *, processes: int = 1) -> AbstractAsyncContextManager[child.Tunnel]:
    """Forwards a port of 127.0.0.1 to `target`, with both ends in one child process or in two."""
    return child.tunnel(MODULE, target, processes)


class PerdureEntry:
    """The client, and the rendezvous. Its "offer" is the ticket."""

    def __init__(self, target: child.Address) -> None:
        self._target = Target(*target)
        self._rendezvous = RendezvousServer()
        self._ticket: Ticket | None = None
        self._running: asyncio.Task[None] | None = None

    async def offer(self) -> str:
        await self._rendezvous.start()
        self._ticket = Ticket(f"ws://127.0.0.1:{self._rendezvous.port}", os.urandom(SECRET_BYTES))
        return self._ticket.encode()

    async def accept(self, answer: str) -> child.Line:
        assert self._ticket is not None
        ports: list[int] = []
        ready = asyncio.Event()
        client = TunnelClient(
            self._ticket,
            [Forward("127.0.0.1", 0, self._target)],
            policy=RestartPolicy(),
            session_limits=SessionLimits(),
            limits=ResourceLimits(),
            transport=TransportConfig(loopback=True),
            on_listening=lambda forwards: ports.append(forwards[0].port),
            on_ready=ready.set,
        )
        self._running = asyncio.ensure_future(client.run())
        await ready.wait()
        return {"host": "127.0.0.1", "port": ports[0]}

    async def close(self) -> None:
        await _cancel(self._running)
        await self._rendezvous.close()


class PerdureExit:
    """The gateway."""

    def __init__(self, target: child.Address) -> None:
        self._target = Target(*target)
        self._running: asyncio.Task[None] | None = None

    async def answer(self, offer: str) -> str:
        gateway = Gateway(
            parse_ticket(offer, now=0),
            AllowList(frozenset({self._target})),
            policy=RestartPolicy(),
            session_limits=SessionLimits(),
            limits=ResourceLimits(),
            transport=TransportConfig(loopback=True),
        )
        self._running = asyncio.ensure_future(gateway.run())
        return ""

    async def close(self) -> None:
        await _cancel(self._running)


async def _cancel(task: asyncio.Task[None] | None) -> None:
    if task is not None:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


if __name__ == "__main__":
    arguments = child.parser(__doc__).parse_args()
    asyncio.run(
        child.serve(
            MODULE,
            arguments.only_exit,
            arguments.processes,
            lambda: PerdureEntry(arguments.target),
            lambda: PerdureExit(arguments.target),
        )
    )
