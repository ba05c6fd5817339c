"""The pings on one WebSocket of the simulation, and their pongs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from perdure_lab.sim.internet import Way
    from perdure_lab.sim.machine import Loop
    from perdure_lab.sim.world import World

Ways = tuple["Way | None", "Way | None"]
"""There and back."""


class Pings:
    """What a process waits for. TCP carries them: a lost one comes later, one on a dead path once that is back.

    Args:
        retransmitted_after: seconds until TCP sends a lost packet again.
    """

    def __init__(
        self, world: World, loop: Loop, ways: Callable[[], Ways], random: Random, *, retransmitted_after: float
    ) -> None:
        self.latency = 0.0
        self._world = world
        self._loop = loop
        self._ways = ways
        self._random = random
        self._retransmitted_after = retransmitted_after
        self._waiting: list[tuple[float, asyncio.Future[float]]] = []

    def send(self) -> asyncio.Future[float]:
        """What the pong completes."""
        pong: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append((self._world.now, pong))
        self.network_changed()
        return pong

    def network_changed(self) -> None:
        there, back = self._ways()
        if not self._waiting or there is None or back is None:
            return
        delay, now = there.round_trip, self._world.now
        if there.loses(self._random, now) or back.loses(self._random, now):
            delay += self._retransmitted_after
        self._loop.deliver(delay, self._answered)

    def ended(self) -> None:
        """The connection has, and its process knows."""
        for _, pong in self._take():
            pong.set_exception(ConnectionResetError("the connection is gone"))
            pong.exception()  # nobody may wait for it any more

    def _answered(self) -> None:
        if None in self._ways():
            return  # a change has taken it; the next one sends it again
        for sent_at, pong in self._take():
            self.latency = self._world.now - sent_at
            pong.set_result(self.latency)

    def _take(self) -> list[tuple[float, asyncio.Future[float]]]:
        waiting, self._waiting = self._waiting, []
        return [(sent_at, pong) for sent_at, pong in waiting if not pong.done()]
