"""perdure as a peer of its own benchmarks: both roles as `serve` and `connect` run them, rendezvous included, on uvloop
where it is installed.

python -m benchmarks.peers.perdure_peer --target 127.0.0.1:9000 --processes 2
"""

import asyncio
from contextlib import AbstractAsyncContextManager

from benchmarks.peers import child

import perdure
from perdure.cli.running import loop_factory
from perdure.signaling.server import RendezvousServer

MODULE = "benchmarks.peers.perdure_peer"


def tunnel(target: child.Address, *, processes: int = 1) -> AbstractAsyncContextManager[child.Tunnel]:
    """Forwards a port of 127.0.0.1 to `target`, with both ends in one child process or in two."""
    return child.tunnel(MODULE, target, processes)


class PerdureEntry:
    """The client, and the rendezvous. Its "offer" is the rendezvous' URL, and the answer the gateway's ticket."""

    def __init__(self, target: child.Address) -> None:
        self._target = target
        self._rendezvous = RendezvousServer()
        self._tunnel: perdure.Tunnel | None = None

    async def offer(self) -> str:
        await self._rendezvous.start()
        return f"ws://127.0.0.1:{self._rendezvous.port}"

    async def accept(self, answer: str) -> child.Line:
        self._tunnel = await perdure.connect(answer, loopback=True).__aenter__()
        server = await self._tunnel.listen("127.0.0.1", 0, to=self._target)
        return {"host": "127.0.0.1", "port": server.sockets[0].getsockname()[1]}

    async def close(self) -> None:
        if self._tunnel is not None:
            await self._tunnel.close()
        await self._rendezvous.close()


class PerdureExit:
    """The gateway."""

    def __init__(self, target: child.Address) -> None:
        self._allow = ["{}:{}".format(*target)]
        self._gateway: perdure.Gateway | None = None

    async def answer(self, offer: str) -> str:
        self._gateway = await perdure.serve(offer, allow=self._allow, loopback=True).__aenter__()
        return self._gateway.ticket.encode()

    async def close(self) -> None:
        if self._gateway is not None:
            await self._gateway.close()


if __name__ == "__main__":
    arguments = child.parser(__doc__).parse_args()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(
            child.serve(
                MODULE,
                arguments.only_exit,
                arguments.processes,
                lambda: PerdureEntry(arguments.target),
                lambda: PerdureExit(arguments.target),
            )
        )
