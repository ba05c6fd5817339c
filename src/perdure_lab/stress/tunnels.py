"""Many tunnels of one process to one gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.client import Tunnel
from perdure.config import TransportConfig
from perdure.netmon.monitor import NetworkMonitor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType
    from typing import Self

    from perdure.ticket import Ticket

SIDE_BY_SIDE = 16
"""Tunnels that are set up at the same time."""

CONNECT_TIMEOUT = 300.0
"""Seconds for a tunnel that waits for its turn at the rendezvous and at the gateway."""


class Tunnels:
    """Entering waits until all work; `on_count` hears how many do. One that fails ends it."""

    def __init__(
        self,
        ticket: Ticket,
        count: int,
        *,
        loopback: bool = True,
        timeout: float = CONNECT_TIMEOUT,
        on_count: Callable[[int], None] = lambda count: None,
    ) -> None:
        self._network = NetworkMonitor()
        self._tunnels = [
            Tunnel(
                ticket,
                timeout=timeout,
                transport=TransportConfig(loopback=loopback),
                network=self._network,
            )
            for _ in range(count)
        ]
        self._entered: list[Tunnel] = []
        self._on_count = on_count

    def __iter__(self) -> Iterator[Tunnel]:
        return iter(self._entered)

    async def __aenter__(self) -> Self:
        await self._network.__aenter__()
        places = asyncio.Semaphore(SIDE_BY_SIDE)

        async def enter(tunnel: Tunnel) -> None:
            async with places:
                await tunnel.__aenter__()
            self._entered.append(tunnel)
            self._on_count(len(self._entered))

        try:
            async with asyncio.TaskGroup() as group:
                for tunnel in self._tunnels:
                    group.create_task(enter(tunnel))
        except BaseException:
            await self._leave()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        await asyncio.gather(*(tunnel.__aexit__(None, None, None) for tunnel in self._entered))
        self._network.close()
