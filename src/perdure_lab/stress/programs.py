"""The real programs that stress tests use: a rendezvous, a gateway, and processes of clients."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec
import psutil

from perdure_lab.lab.apart import Worker
from perdure_lab.lab.children import Child
from perdure_lab.lab.tools import LabError
from perdure_lab.stress.talkers import Heard, Talk, Told

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@dataclass(slots=True)
class House:
    """A rendezvous, a gateway, and an echo beside it, each a process."""

    rendezvous: Child
    gateway: Child
    url: str
    ticket_file: Path
    echo_port: int

    async def restart_rendezvous(self) -> None:
        """Killed, and started again at the same address."""
        await self.rendezvous.kill()
        self.rendezvous = _perdure("rendezvous", "rendezvous", "--listen", self.url.removeprefix("ws://"), "--faults")
        await self.rendezvous.start()
        await self.rendezvous.first_line("ws://")


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    """Real `perdure rendezvous` and `perdure serve`, each a process, on loopback.

    Raises:
        LabError: one did not start.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        rendezvous = _perdure("rendezvous", "rendezvous", "--listen", "127.0.0.1:0", "--faults")
        stack.push_async_callback(rendezvous.stop)
        await rendezvous.start()
        url = await rendezvous.first_line("ws://")
        ticket = folder / "stress.ticket"
        gateway = _perdure(
            *("gateway", "serve", "--rendezvous", url, "--allow", "127.0.0.1:*", "--state-dir", str(folder / "state")),
            *("--ticket-file", str(ticket), "--print-ticket", "--loopback", "--faults"),
        )
        stack.push_async_callback(gateway.stop)
        await gateway.start()
        await gateway.first_line("perdure2-")
        echoes = await stack.enter_async_context(Worker([sys.executable, "-m", "perdure_lab.stress.echoes"]))
        port = await echoes.told(int)
        if port is None:
            raise LabError("the echo did not start")
        made = House(rendezvous, gateway, url, ticket, port)
        stack.push_async_callback(lambda: made.rendezvous.stop())
        yield made


class Clients:
    """A process of tunnels that talk; a context manager."""

    def __init__(self, house: House, tunnels: int, *, interval: float = 0.5, talks: bool = True) -> None:
        self._worker = Worker([sys.executable, "-m", "perdure_lab.stress.talkers"])
        self._talk = Talk(str(house.ticket_file), tunnels, "127.0.0.1", house.echo_port, interval=interval, talks=talks)

    async def __aenter__(self) -> Clients:
        await self._worker.__aenter__()
        self._worker.say(msgspec.json.encode(self._talk))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._worker.__aexit__(None, None, None)

    async def connected(self, on_count: Callable[[int], None] = lambda count: None) -> None:
        """Wait until all tunnels work.

        Raises:
            LabError: one does not.
        """
        while True:
            told = await self._next()
            if told.connected is not None:
                on_count(told.connected)
            if told.connected == self._talk.tunnels:
                return

    async def heard(self) -> Heard:
        """Let them end, and say what came of it.

        Raises:
            LabError: they ended without a word.
        """
        self._worker.say(b"end")
        while (told := await self._next()).heard is None:
            pass
        return told.heard

    async def _next(self) -> Told:
        told = await self._worker.told(Told)
        if told is None:
            raise LabError("the process of the clients ended")
        if told.problem is not None:
            raise LabError(f"the clients: {told.problem}")
        return told


def cpu_seconds(process: psutil.Process) -> float:
    """That it has taken so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def _perdure(name: str, *words: str) -> Child:
    return Child(name, None, [sys.executable, "-m", "perdure", *words, "--json-logs"], driven=True)
