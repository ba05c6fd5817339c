"""A client and a gateway on the real engine, over loopback, with an ear on what they send.

Only the client keeps the tube alive, so that each PING is one of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perdure.config import RestartPolicy, TransportConfig
from perdure.core.state import State
from perdure.manager import TunnelConnectionManager
from perdure.registry import TubeRegistry
from perdure.signaling.envelope import DataKeys
from perdure.signaling.messages import Answer, Candidate, Offer
from perdure.signaling.noise import KEY_BYTES, Keys
from perdure.signaling.reliable_channel import ReliableChannel, encode_body
from perdure.transport.rtc import RtcTransport
from perdure.tube import Endpoint
from perdure.wire import SESSION_ID_BYTES, SESSION_KEY_BYTES, FrameType

if TYPE_CHECKING:
    from perdure.core.actions import StateChanged
    from perdure.ice_server import IceServer
    from perdure.signaling.base import SignalingListener
    from perdure.signaling.messages import Message
    from perdure.transport.base import Carrier, CarrierListener, Path, PathStatistics

SETTLE_SECONDS = 1.0
"""Within which SCTP has sent the acknowledgements that it delays, and an ICE restart's candidates have come."""

PING_QUIET = 0.5
"""Seconds behind a PING after which its answer's acknowledgement has gone, and the next PING has not."""

ENGINE_CACHE_SECONDS = 0.06
"""The engine answers for statistics from a cache of 50 ms."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """What both ends said through signaling."""

    descriptions: list[Offer | Answer]
    candidates: list[Candidate]


class JoinedSignaling:
    """One end's signaling: what it sends reaches the other end with the loop's next turn, and is kept."""

    available = True

    def __init__(self, said: list[Message]) -> None:
        self.other: JoinedSignaling | None = None
        self._said = said
        self._listener: SignalingListener | None = None

    def attach(self, listener: SignalingListener) -> None:
        self._listener = listener

    def send(self, message: Message) -> None:
        self._said.append(message)
        other = self.other._listener if self.other is not None else None
        if other is not None:
            asyncio.get_running_loop().call_soon(other.signaling_message, message)

    def doubt(self) -> None:
        pass

    def close(self) -> None:
        self._listener = None


class TappedCarrier:
    """A carrier of the real engine; keeps what is sent."""

    def __init__(self, carrier: Carrier, sent: asyncio.Queue[bytes]) -> None:
        self._carrier = carrier
        self._sent = sent

    @property
    def generation(self) -> int:
        return self._carrier.generation

    @property
    def can_restart(self) -> bool:
        return self._carrier.can_restart

    @property
    def has_room(self) -> bool:
        return self._carrier.has_room

    @property
    def local_address(self) -> str | None:
        return self._carrier.local_address

    def path(self) -> Path | None:
        return self._carrier.path()

    def send(self, message: bytes) -> None:
        self._sent.put_nowait(message)
        self._carrier.send(message)

    def limit_buffer(self, size: int) -> None:
        self._carrier.limit_buffer(size)

    def apply_answer(self, sdp: str) -> None:
        self._carrier.apply_answer(sdp)

    def restart(self, generation: int) -> None:
        self._carrier.restart(generation)

    def answer_restart(self, generation: int, sdp: str) -> None:
        self._carrier.answer_restart(generation, sdp)

    def measure(self) -> None:
        self._carrier.measure()

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def kill(self) -> None:
        self._carrier.kill()

    def close(self) -> Awaitable[None] | None:
        return self._carrier.close()


@dataclass(frozen=True, slots=True)
class Sent:
    """What both ends sent: the client's and the gateway's DTLS records in bytes, and the session's messages."""

    datagram_bytes: tuple[int, int]
    messages: list[bytes]


class StatisticsTap:
    """Stands between the engine and the session, and keeps the statistics for itself."""

    def __init__(self, listener: CarrierListener, told: Callable[[PathStatistics], None]) -> None:
        self._listener = listener
        self._told = told

    def __getattr__(self, name: str) -> object:
        return getattr(self._listener, name)

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        self._told(statistics)


class TappedTransport:
    """The real engine; keeps what its one carrier sends, and tells what it measures."""

    def __init__(self, sent: asyncio.Queue[bytes]) -> None:
        self._transport = RtcTransport(TransportConfig(loopback=True))
        self._sent = sent
        self._carrier: TappedCarrier | None = None
        self._waiter: asyncio.Future[PathStatistics] | None = None

    def offer(self, generation: int, listener: CarrierListener) -> Carrier:
        return self._tap(self._transport.offer(generation, self._listening(listener)))

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> Carrier:
        return self._tap(self._transport.answer(generation, sdp, self._listening(listener)))

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        self._transport.set_ice_servers(servers)

    def renew(self) -> None:
        self._transport.renew()

    async def sent_bytes(self) -> int:
        assert self._carrier is not None
        self._waiter = asyncio.get_running_loop().create_future()
        self._carrier.measure()
        sent = (await self._waiter).sent_bytes
        assert sent is not None  # the engine counts them
        return sent

    def _tap(self, carrier: Carrier) -> Carrier:
        self._carrier = TappedCarrier(carrier, self._sent)
        return self._carrier

    def _listening(self, listener: CarrierListener) -> CarrierListener:
        return StatisticsTap(listener, self._measured)  # type: ignore[return-value]  # by __getattr__

    def _measured(self, statistics: PathStatistics) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(statistics)


class WirePair:
    """A client and a gateway on the real engine; only the client keeps the tube alive, as `policy` says."""

    def __init__(self, policy: RestartPolicy) -> None:
        self._said: list[Message] = []
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()
        self._transports = [TappedTransport(self._sent), TappedTransport(self._sent)]
        ends = [JoinedSignaling(self._said), JoinedSignaling(self._said)]
        ends[0].other, ends[1].other = ends[1], ends[0]
        session_id = os.urandom(SESSION_ID_BYTES)
        self._changes: list[asyncio.Queue[StateChanged]] = [asyncio.Queue(), asyncio.Queue()]
        self._managers: list[TunnelConnectionManager] = []
        policies = [policy, RestartPolicy(ice_keepalive_enabled=False)]
        for each, transport, signaling, key, queue in zip(
            policies, self._transports, ends, [os.urandom(SESSION_KEY_BYTES), None], self._changes, strict=True
        ):
            registry = TubeRegistry(each, transport=transport)
            manager = registry.create_tube(endpoint=Endpoint(session_id, key, signaling))
            manager.add_state_change_callback(queue.put_nowait)
            self._managers.append(manager)

    async def __aenter__(self) -> WirePair:
        for manager in reversed(self._managers):
            manager.start()
        await self._connected()
        return self

    async def __aexit__(self, *_: object) -> None:
        for manager in self._managers:
            await manager.shutdown()

    async def restart(self) -> Exchange:
        """Restart ICE; what both ends said until both are connected again."""
        await asyncio.sleep(SETTLE_SECONDS)
        self._said.clear()
        await self._managers[0].restart_ice()
        await self._connected()
        await asyncio.sleep(SETTLE_SECONDS)
        descriptions = [each for each in self._said if isinstance(each, Offer | Answer)]
        offer = descriptions[0]
        if len(descriptions) != 2 or not isinstance(offer, Offer) or not offer.restarts:
            raise RuntimeError("the path was not recovered by one ICE restart")
        return Exchange(descriptions, [each for each in self._said if isinstance(each, Candidate)])

    async def sent_within(self, seconds: float) -> tuple[int, ...]:
        """The bytes of the DTLS records that each end sends in `seconds`."""
        before = await self._sent_bytes()
        await asyncio.sleep(seconds)
        return tuple(now - then for then, now in zip(before, await self._sent_bytes(), strict=True))

    async def sent_with_pings(self, count: int) -> Sent:
        """What is sent from the quiet behind one PING to that behind the last of `count` more."""
        await self._pings(1)
        before = await self._sent_bytes()
        messages = await self._pings(count)
        client, gateway = (now - then for then, now in zip(before, await self._sent_bytes(), strict=True))
        return Sent((client, gateway), messages)

    async def one_ping(self, times: int = 5) -> int:
        """The least by which the client's counter rises as a PING goes: its own datagram, no acknowledgement yet."""
        rises = []
        await self._pings(1)
        for _ in range(times):
            before = await self._transports[0].sent_bytes()
            await self._pings(1, ENGINE_CACHE_SECONDS)
            rises.append(await self._transports[0].sent_bytes() - before)
            await asyncio.sleep(PING_QUIET)
        return min(rise for rise in rises if rise)

    async def _pings(self, count: int, quiet: float = PING_QUIET) -> list[bytes]:
        """Wait until the policy has sent `count` PINGs more, and `quiet` seconds; the messages of both ends."""
        self._take_sent()
        messages: list[bytes] = []
        while sum(message[0] == FrameType.PING for message in messages) < count:
            messages.append(await self._sent.get())
        await asyncio.sleep(quiet)
        return messages + self._take_sent()

    def _take_sent(self) -> list[bytes]:
        return [self._sent.get_nowait() for _ in range(self._sent.qsize())]

    async def _sent_bytes(self) -> list[int]:
        return [await transport.sent_bytes() for transport in self._transports]

    async def _connected(self) -> None:
        async with asyncio.timeout(20):
            for queue in self._changes:
                while (await queue.get()).after is not State.CONNECTED:
                    pass


def sealed_bytes(message: Message) -> int:
    """What the rendezvous carries of `message`, before base64."""
    keys = DataKeys(Keys(bytes(KEY_BYTES), bytes(KEY_BYTES), bytes(KEY_BYTES)))
    reliable = ReliableChannel()
    reliable.add(message)
    return sum(len(keys.seal(encode_body(body))) for body in reliable.bodies(0.0))
