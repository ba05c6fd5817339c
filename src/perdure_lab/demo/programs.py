"""The three programs of a tunnel as child processes that obey: they take faults on request."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from tempfile import TemporaryDirectory

from perdure_lab.lab.children import Child, LogLine


class Programs:
    """A rendezvous, a gateway that allows `target`, and a client that leads to it.

    Args:
        options: further words for the gateway and the client.
        rendezvous: HOST:PORT that it listens on.
        namespace: the network namespace of "rendezvous", "gateway" or "client"; `None`: this process' own.
        on_log: hears each line that the client logs.
    """

    def __init__(
        self,
        target: str,
        *options: str,
        rendezvous: str,
        namespace: Callable[[str], str | None] = lambda program: None,
        on_log: Callable[[LogLine], None] = lambda line: None,
    ) -> None:
        self._target = target
        self._options = ("--faults", *options)
        self._namespace = namespace
        self._on_log = on_log
        self._url = ""
        self.port = 0
        """The client's, which leads to the target."""
        self.rendezvous = self._rendezvous_at(rendezvous)
        self.gateway = self.client = self.rendezvous

    async def start(self, stack: AsyncExitStack) -> None:
        """All three; the end of `stack` stops them.

        Raises:
            LabError: one did not start.
        """
        stack.push_async_callback(self._stop_rendezvous)
        await self.rendezvous.start()
        self._url = await self.rendezvous.first_line("ws://")
        self.gateway = self._child(
            *("gateway", "serve", "--rendezvous", self._url, "--allow", self._target),
            *("--state-dir", stack.enter_context(TemporaryDirectory()), "--print-ticket", *self._options),
        )
        stack.push_async_callback(self.gateway.stop)
        await self.gateway.start()
        ticket = await self.gateway.first_line("perdure2-")
        self.client = self._child(
            "client", "connect", ticket, "-L", f"0:{self._target}", *self._options, on_log=self._on_log
        )
        stack.push_async_callback(self.client.stop)
        await self.client.start()
        listening = await self.client.first_line("listening ")
        self.port = int(listening.split()[1].rpartition(":")[2])
        await self.client.first_line("ready")

    async def inject(self, fault: str, *children: Child) -> None:
        """Ask them for a fault (`perdure.faults`)."""
        for child in children:
            child.inject(fault)

    async def restart_rendezvous(self) -> None:
        """Killed, and started again at the same address."""
        await self.rendezvous.kill()
        self.rendezvous = self._rendezvous_at(self._url.removeprefix("ws://"))
        await self.rendezvous.start()
        await self.rendezvous.first_line("ws://")

    async def _stop_rendezvous(self) -> None:
        await self.rendezvous.stop()

    def _rendezvous_at(self, address: str) -> Child:
        return self._child("rendezvous", "rendezvous", "--listen", address, "--faults")

    def _child(self, name: str, *words: str, on_log: Callable[[LogLine], None] = lambda line: None) -> Child:
        command = [sys.executable, "-m", "perdure", *words, "--json-logs"]
        return Child(name, self._namespace(name), command, driven=True, on_log=on_log)
