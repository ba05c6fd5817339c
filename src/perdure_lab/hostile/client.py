"""A client that is hostile: it proves its sessions as perdure does, and attacks on every carrier that it gets.

It wastes no time: where its carrier is cut it begins the next at once, and where its session ends, another one.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.client import Tunnel
from perdure.config import RestartPolicy, TransportConfig
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.messages import Bye, Message, Offer
from perdure.transport.rtc import RtcTransport
from perdure_lab.hostile.attacks import ATTACKS, WAIT, Kind, Script, Targets
from perdure_lab.hostile.tap import Tap, TappedTransport

if TYPE_CHECKING:
    from random import Random

    from perdure.manager import TunnelConnectionManager
    from perdure.ticket import Ticket
    from perdure.wire import Frame

HASTY = RestartPolicy(
    max_restart_attempts=1000,
    restart_backoff_base=0.01,
    restart_backoff_max=0.01,
    attempt_timeout=5.0,
    handover_grace=0.0,
    max_restarts_per_minute=1000,
)
"""A policy that spares nobody: another carrier at once, as often as it takes."""

MESSAGES_A_TURN = 16
TURN_PAUSE = 0.0005
"""Messages after which the client's other work has its turn, and for how many seconds: what it hears, and signaling.
A pause of 0 would hold up the engine, which waits for callbacks that are ready."""

OFFER_INTERVAL = 0.005
"""Seconds between two offers: 200 a second are more than the rendezvous lets through."""

CARRIER_PATIENCE = 1.0
"""Seconds that a carrier is waited for, before another session begins: where both ends offer at once it may take 5.
Also seconds that a carrier may take nothing, before another one begins: the gateway may have closed it unheard."""


class SilentSignaling(ClientSignaling):
    """Never tells the gateway that a session has ended."""

    def send(self, message: Message) -> None:
        if not isinstance(message, Bye):
            super().send(message)


@dataclass(slots=True)
class Cost:
    """What was done to the gateway so far."""

    messages: int = 0
    frames: int = 0
    bytes: int = 0
    carriers: int = 0
    """On which the session was proved."""
    offers: int = 0
    sessions: int = 0


class HostileClient:
    """Does `kind` to the gateway of `ticket` until `run` is cancelled. A `Speaker`."""

    def __init__(self, ticket: Ticket, kind: Kind, targets: Targets, dice: Random) -> None:
        self.cost = Cost()
        self._ticket = ticket
        self._kind = kind
        self._targets = targets
        self._dice = dice
        self._script = Script(targets, dice)
        self._carrier: Tap | None = None
        """The one to speak on, while there is one."""
        self._sdp = ""
        self._news = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; the last session is ended politely, where it can be."""
        while True:
            self.cost.sessions += 1
            self._script = Script(self._targets, self._dice)
            transport = TappedTransport(RtcTransport(TransportConfig(loopback=True)), self)
            async with Tunnel(
                self._ticket,
                wait=False,
                transport=transport,
                policy=HASTY,
                make_signaling=SilentSignaling if self._kind is Kind.SESSIONS else ClientSignaling,
            ) as tunnel:
                await self._do(tunnel.manager)

    # Speaker.

    def described(self, sdp: str) -> None:
        self._sdp = sdp
        self._news.set()

    def begun(self, carrier: Tap, hello: bytes, greeting: bytes) -> None:
        self.cost.carriers += 1
        self._carrier = carrier
        self._script.hello = hello or self._script.hello
        self._script.carrier_begun(greeting)
        self._news.set()

    def heard(self, frame: Frame) -> None:
        self._script.heard(frame)
        self._news.set()

    def writable(self) -> None:
        self._news.set()

    def gone(self, carrier: Tap) -> None:
        if self._carrier is carrier:
            self._carrier = None
        self._news.set()

    # What it does with a session, until that ends.

    async def _do(self, manager: TunnelConnectionManager) -> None:
        match self._kind:
            case Kind.BUSY:
                while manager.end is None:  # noqa: ASYNC110 — to wait would not be busy
                    await asyncio.sleep(0)
            case Kind.CARRIERS:
                await self._rebuild(manager)
            case Kind.OFFERS:
                await self._offer(manager)
            case Kind.SESSIONS:
                await self._abandon(manager)
            case _:
                await self._attack(manager)

    async def _attack(self, manager: TunnelConnectionManager) -> None:
        ended = asyncio.ensure_future(manager.wait_ended())
        ended.add_done_callback(lambda _: self._news.set())
        try:
            while not ended.done():
                if self._carrier is not None:
                    await self._speak(self._carrier)
                elif not await self._has_carrier():
                    return
        finally:
            ended.cancel()

    async def _speak(self, carrier: Tap) -> None:
        """Until the carrier is gone."""
        cost = self.cost
        for message in ATTACKS[self._kind](self._script):
            while not carrier.is_gone and not carrier.has_room:
                if not await self._hears(CARRIER_PATIENCE):
                    carrier.kill()
            if carrier.is_gone:
                return
            if message == WAIT:
                await self._wait()
                continue
            carrier.say(message.data)
            cost.messages += 1
            cost.frames += message.frames
            cost.bytes += len(message.data)
            if not cost.messages % MESSAGES_A_TURN:
                await asyncio.sleep(TURN_PAUSE)

    async def _rebuild(self, manager: TunnelConnectionManager) -> None:
        while manager.end is None:
            await self._wait()
            manager.rebuild()

    async def _abandon(self, manager: TunnelConnectionManager) -> None:
        await self._has_carrier()
        manager.tube.kill_carrier()

    async def _offer(self, manager: TunnelConnectionManager) -> None:
        """Each offer displaces the one before it."""
        await manager.wait_connected()
        driver = manager.tube.driver
        generation = driver.core.generation
        while manager.end is None:
            generation += 2
            driver.channel.send(Offer(generation, self._sdp, 0, ""))
            self.cost.offers += 1
            await asyncio.sleep(OFFER_INTERVAL)

    async def _has_carrier(self) -> bool:
        """Whether one is there, or comes soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CARRIER_PATIENCE):
                while self._carrier is None:
                    await self._wait()
        return self._carrier is not None

    async def _wait(self) -> None:
        """Until something happens."""
        self._news.clear()
        await self._news.wait()

    async def _hears(self, seconds: float) -> bool:
        """Whether something happens within so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wait()
                return True
        return False
