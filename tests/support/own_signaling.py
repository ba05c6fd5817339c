"""An application's own link between two tubes: one queue each way, which may be lost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from perdure import State, TransportConfig, TubeRegistry
from support.recorder import TIMEOUT, accept_echo
from support.signaling import eventually

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from perdure import RestartPolicy, TunnelConnectionManager
    from perdure.transport.base import Transport


_END = object()


class Way:
    """One direction of a link: its texts, in order."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        """Also what was lost."""
        self.loses = False
        """Whether what is sent goes nowhere."""
        self._texts: asyncio.Queue[Any] = asyncio.Queue()
        self._sent_more = asyncio.Event()

    async def send(self, text: str) -> None:
        self.sent.append(text)
        self._sent_more.set()
        if not self.loses:
            self._texts.put_nowait(text)

    def put(self, *texts: Any) -> None:
        """Texts of somebody else."""
        for text in texts:
            self._texts.put_nowait(text)

    @property
    def is_read(self) -> bool:
        """Whether the receiver has had all of it."""
        return self._texts.empty()

    async def said(self, part: str) -> str:
        """Wait until a text that contains `part` was sent."""
        async with asyncio.timeout(TIMEOUT):
            while True:
                for text in self.sent:
                    if part in text:
                        return text
                self._sent_more.clear()
                await self._sent_more.wait()

    def cut(self) -> None:
        """What is under way is lost, and the receiver hears of the end."""
        self.loses = True
        while not self._texts.empty():
            self._texts.get_nowait()
        self._texts.put_nowait(_END)

    async def messages(self) -> AsyncIterator[str]:
        while (text := await self._texts.get()) is not _END:
            yield text


class ApplicationLink:
    """Both directions of a link."""

    def __init__(self) -> None:
        self.there_wards, self.here_wards = Way(), Way()

    def run(self, here: TunnelConnectionManager, there: TunnelConnectionManager) -> list[asyncio.Future[None]]:
        """Both ends' calls."""
        return [
            asyncio.ensure_future(here.run_signaling(self.there_wards.send, self.here_wards.messages())),
            asyncio.ensure_future(there.run_signaling(self.here_wards.send, self.there_wards.messages())),
        ]

    async def lose(self, calls: Iterable[asyncio.Future[None]]) -> None:
        """Both ends' calls return."""
        for way in (self.there_wards, self.here_wards):
            way.cut()
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(*calls)


class OwnEnds:
    """`here` begins a tube, `there` takes it; each in a registry of its own, which echoes every stream."""

    def __init__(
        self, policy: RestartPolicy | None = None, *, here: Transport | None = None, there: Transport | None = None
    ) -> None:
        """`here`, `there`: an end's engine, where it is not perdure's own."""
        self._policy = policy
        self._transports = here, there
        self.registries = [self._make_registry(0), self._make_registry(1)]
        """`here`'s and `there`'s; behind them those that were restarted."""
        self.here = self.registries[0].create_tube("tube")
        self.there = self.registries[1].create_tube("tube", initiator=False)
        self._calls: list[asyncio.Future[None]] = []

    def run(self, link: ApplicationLink) -> list[asyncio.Future[None]]:
        """Both ends' calls, over `link`."""
        calls = link.run(self.here, self.there)
        self._calls += calls
        return calls

    def restart_acceptor(self) -> None:
        """As a new process, which knows nothing of the tube: in a registry of its own."""
        self._restart(1)
        self.there = self.registries[1].create_tube("tube", initiator=False)

    def restart_initiator(self) -> None:
        self._restart(0)
        self.here = self.registries[0].create_tube("tube")

    def _make_registry(self, end: int) -> TubeRegistry:
        transport = self._transports[end] or TransportConfig(loopback=True)
        return TubeRegistry(self._policy, transport=transport, incoming=accept_echo)

    def _restart(self, end: int) -> None:
        self.registries.append(self.registries[end])
        self.registries[end] = self._make_registry(end)

    async def connected(self) -> None:
        async with asyncio.timeout(TIMEOUT):
            await asyncio.gather(self.here.wait_connected(), self.there.wait_connected())

    async def lost(self) -> None:
        """Wait until both ends know that the carrier is gone."""
        ends = self.here, self.there
        await eventually(lambda: all(end.state is State.RECONNECTING for end in ends), seconds=TIMEOUT)

    async def __aenter__(self) -> OwnEnds:
        return self

    async def __aexit__(self, *_: object) -> None:
        for registry in self.registries:
            await registry.close_all()
        for call in self._calls:
            call.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self._calls, return_exceptions=True)
