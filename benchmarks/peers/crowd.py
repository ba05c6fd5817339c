"""Many managers, each connected to a stand-in of the engine, whose peer answers handshake and pings; and many cores.

Of a manager everything but the engine is real: core, session, the application's signaling, signals, one timer.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from random import SystemRandom
from typing import TYPE_CHECKING, Any, TypeVar, cast

from perdure.config import ResourceLimits, RestartPolicy, SessionLimits
from perdure.core.connection import Connection
from perdure.core.events import (
    AnswerReceived,
    HealthMeasured,
    IceUnhealthy,
    PathEvidence,
    RttMeasured,
    SessionResumed,
    SignalingChanged,
    Started,
)
from perdure.core.state import State
from perdure.registry import TubeRegistry
from perdure.session import channel_binding
from perdure.session.handshake import ownership_proof
from perdure.signaling.application import describe, read_description
from perdure.signaling.messages import Answer
from perdure.transport.base import OpenChannel, PathStatistics
from perdure.tube import clock
from perdure.wire import MAX_MESSAGE_BYTES, FrameType, Hello, Resume, decode_message, encode_frame

if TYPE_CHECKING:
    from perdure.ice_server import IceServer
    from perdure.manager import TunnelConnectionManager
    from perdure.signals import Signal
    from perdure.transport.base import CarrierListener, Path
    from perdure.tube.carrier_session import CarrierSession

BATCH = 100
"""Managers that are connected at a time."""

ROUND_TRIP = 0.012
"""Seconds, as the stand-in's statistics say."""

TURNS = 8
"""Of the event loop, within which the stand-in has answered everything."""

NOT_CONNECTED = "a tube of the crowd is not CONNECTED"

CHANNEL = OpenChannel(os.urandom(32), os.urandom(32), MAX_MESSAGE_BYTES)
BINDING = channel_binding(CHANNEL.local_certificate, CHANNEL.remote_certificate)

SDP = (
    "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n"
    "a=ice-ufrag:{}\r\na=ice-pwd:0123456789abcdefghijkl\r\n"
)
"""What is read of a description, for a user-name fragment."""

KEPT_DECISIONS = 64
"""`core.recovery.MAX_DECISIONS`"""

ToldT = TypeVar("ToldT")


class StandInCarrier:
    """A carrier that opens at once, and the peer behind it. It knows nothing but its listener."""

    __slots__ = ("_transport", "generation", "listener")

    def __init__(self, transport: StandInTransport) -> None:
        self.generation = 0
        self.listener: CarrierListener | None = None
        self._transport = transport

    def begin(self, generation: int, listener: CarrierListener) -> None:
        self.generation, self.listener = generation, listener
        self._later(listener.carrier_description, SDP.format(self._transport.fresh_ufrag()))

    @property
    def can_restart(self) -> bool:
        return False

    @property
    def has_room(self) -> bool:
        return True

    @property
    def local_address(self) -> str | None:
        return None

    def path(self) -> Path | None:
        return None

    def limit_buffer(self, size: int) -> None:
        pass

    def apply_answer(self, sdp: str) -> None:
        if self.listener is not None:
            self._later(self.listener.carrier_opened, CHANNEL)

    def restart(self, generation: int) -> None:
        raise NotImplementedError

    def answer_restart(self, generation: int, sdp: str) -> None:
        raise NotImplementedError

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        pass

    def measure(self) -> None:
        if self.listener is not None:
            self._later(self.listener.carrier_measured, self._transport.statistics())

    def send(self, message: bytes) -> None:
        if self.listener is None:
            return
        if message[0] == FrameType.PING:
            self._transport.pings += 1
            self._later(self.listener.carrier_message, bytes([FrameType.PONG]) + message[1:])
            return
        match list(decode_message(message)):
            case [Hello(session_id, key), Resume()]:
                proof = ownership_proof(key, session_id, self.generation, BINDING, by_initiator=False)
                resume = Resume(session_id, self.generation, proof, ())
                self._later(self.listener.carrier_message, encode_frame(resume))

    def kill(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        self.listener = None

    def _later(self, call: Callable[[int, ToldT], None], what: ToldT) -> None:
        self._transport.later(call, self.generation, what)


class StandInTransport:
    """Hands out carriers that were made beforehand, so that their memory is not counted as the managers'."""

    def __init__(self, count: int) -> None:
        self.pings = 0
        self.measures = 0
        self._ufrags = 0
        self._due: list[tuple[Callable[[int, Any], None], int, object]] = []
        self._began_at = time.monotonic()
        self._made = [StandInCarrier(self) for _ in range(count)]
        self._unused = iter(self._made)

    def sessions(self) -> Iterator[CarrierSession]:
        """Those that have a carrier."""
        for carrier in self._made:
            if carrier.listener is not None:
                yield cast("CarrierSession", carrier.listener)

    def offer(self, generation: int, listener: CarrierListener) -> StandInCarrier:
        carrier = next(self._unused)
        carrier.begin(generation, listener)
        return carrier

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> StandInCarrier:
        raise NotImplementedError

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        raise NotImplementedError

    def renew(self) -> None:
        raise NotImplementedError

    def statistics(self) -> PathStatistics:
        """A good path, a check each 2.5 s, as the engine makes them."""
        self.measures += 1
        checks = 1000 + int((time.monotonic() - self._began_at) / 2.5)
        return PathStatistics(fresh_float(ROUND_TRIP), checks, checks - 1, 10_000, 10_000)

    def later(self, call: Callable[[int, ToldT], None], generation: int, what: ToldT) -> None:
        """Call it with the event loop's next turn; those of one turn share a handle, to cost little themselves."""
        if not self._due:
            asyncio.get_running_loop().call_soon(self._call_due)
        self._due.append((call, generation, what))

    def _call_due(self) -> None:
        due, self._due = self._due, []
        for call, generation, what in due:
            call(generation, what)

    def fresh_ufrag(self) -> str:
        self._ufrags += 1
        return f"{self._ufrags:08x}"


class Crowd:
    """Connected managers, in one or several registries, with a signal handler that counts."""

    def __init__(self, count: int, policy: RestartPolicy, limits: Sequence[SessionLimits], *, handler: bool) -> None:
        self.transport = StandInTransport(count)
        self.signals: Counter[str] = Counter()
        room = ResourceLimits(max_tubes=count, max_concurrent_creates=count)
        self._registries = [TubeRegistry(policy, each, room, transport=self.transport) for each in limits]
        self._handler = self._heard if handler else None

    async def _heard(self, signal: Signal) -> None:
        self.signals[signal.kind] += 1

    def managers(self) -> Iterator[TunnelConnectionManager]:
        for registry in self._registries:
            yield from registry

    async def connect(self, numbers: Sequence[int], registry: int = 0) -> None:
        """Connect the tubes of these numbers, as an application with its own signaling does."""
        create = self._registries[registry].create_tube
        managers = [create(f"tube-{each}", f"conversation-{each}", signal_handler=self._handler) for each in numbers]
        offers = await asyncio.gather(*(each.signaling.create_offer() for each in managers))
        for manager, sdp in zip(managers, offers, strict=True):
            session_id, offer = read_description(sdp, "offer")
            answer = Answer(offer.generation, SDP.format(self.transport.fresh_ufrag()))
            await manager.signaling.set_remote_description(describe(session_id, answer), "answer")
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if any(manager.state is not State.CONNECTED for manager in managers):
            raise RuntimeError(NOT_CONNECTED)

    async def age(self) -> None:
        """Let each manager have made a health check and a keepalive: what they leave behind counts too."""
        for number, session in enumerate(self.transport.sessions()):
            session.held.measure()
            session.probe()
            if number % BATCH == 0:
                await asyncio.sleep(0)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        if any(manager.metrics.rtt is None for manager in self.managers()):
            raise RuntimeError("a keepalive had no answer")

    def check(self) -> None:
        """Raises `RuntimeError` unless every tube is CONNECTED."""
        if any(manager.state is not State.CONNECTED for manager in self.managers()):
            raise RuntimeError(NOT_CONNECTED)


class CoreMaker:
    """Cores by themselves, CONNECTED, with one round trip and one health check behind them."""

    def __init__(self) -> None:
        self._policy = RestartPolicy()
        self._limits = SessionLimits()
        self._random = SystemRandom()
        self._made = 0

    def connected(self) -> Connection:
        self._made += 1
        core = Connection(self._policy, self._limits, initiator=True, random=self._random, now=clock())
        core.handle_event(SignalingChanged(True), clock())
        core.handle_event(Started(), clock())
        core.handle_event(AnswerReceived(core.generation, SDP.format(f"{self._made:08x}")), clock())
        core.handle_event(SessionResumed(core.carrier), clock())
        core.handle_event(PathEvidence(core.carrier, clock(), None, False, None), clock())
        core.handle_event(RttMeasured(core.carrier, fresh_float(ROUND_TRIP)), clock())
        core.handle_event(HealthMeasured(core.carrier, fresh_float(ROUND_TRIP), 1000, 999), clock())
        if core.state is not State.CONNECTED:
            raise RuntimeError("a core did not connect")
        return core


def fill_log(core: Connection) -> None:
    for _ in range(KEPT_DECISIONS):
        core.handle_event(IceUnhealthy(core.carrier), clock())


def fresh_float(value: float) -> float:
    """`value` in an object of its own, as measurements are."""
    return value * (1 + 1e-9)
