"""A `Transport` on aiortc: a second engine, so that the seam asks nothing that only libwebrtc can do.

What aiortc cannot, and the seam lets it say: it restarts no ICE (`can_restart`), counts no checks and tells no selected
pair. It closes asynchronously, and its candidates stand in its descriptions: nothing is trickled from it.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from aiortc import (
    InvalidStateError,
    RTCConfiguration,
    RTCIceServer,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import InternalError, OperationError
from aiortc.sdp import candidate_from_sdp

from perdure.transport.base import IceState, LossReason, OpenChannel, PathStatistics
from perdure.transport.description import read_description

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from perdure.ice_server import IceServer
    from perdure.transport.base import CarrierListener, Path
    from perdure.transport.description import PeerDescription

BUFFERED_BYTES = 128 * 1024
"""As perdure's own carrier: `transport.rtc_carrier.BUFFERED_HIGH_BYTES`."""

REFUSALS = (ValueError, InvalidStateError, InternalError, OperationError, ConnectionError)
"""How aiortc says no."""

_ICE_STATES = {"completed": IceState.CONNECTED, "failed": IceState.FAILED}


class AiortcTransport:
    def __init__(self) -> None:
        self.carriers: list[AiortcCarrier] = []
        """Every one that was begun, in order."""
        self._configuration = RTCConfiguration(iceServers=[])

    def offer(self, generation: int, listener: CarrierListener) -> AiortcCarrier:
        carrier = self._begin(generation, listener)
        carrier.start_offer()
        return carrier

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> AiortcCarrier:
        carrier = self._begin(generation, listener)
        carrier.start_answer(sdp)
        return carrier

    def set_ice_servers(self, servers: Sequence[IceServer]) -> None:
        converted = [RTCIceServer(server.url, server.username, server.credential) for server in servers]
        self._configuration = RTCConfiguration(iceServers=converted)

    def renew(self) -> None:
        """Each connection lists the networks for itself."""

    def _begin(self, generation: int, listener: CarrierListener) -> AiortcCarrier:
        self.carriers.append(AiortcCarrier(generation, listener, self._configuration))
        return self.carriers[-1]


class AiortcCarrier:
    def __init__(self, generation: int, listener: CarrierListener, configuration: RTCConfiguration) -> None:
        self.is_gone = False
        """Whether it has been closed all the way."""
        self._generation = generation
        self._listener: CarrierListener | None = listener
        self._buffer_bytes = BUFFERED_BYTES
        self._peer: PeerDescription | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._connection = RTCPeerConnection(configuration)
        self._channel = self._connection.createDataChannel("perdure", negotiated=True, id=0)
        self._channel.on("open", self._on_open)
        self._channel.on("message", self._on_message)
        self._channel.on("bufferedamountlow", self._on_writable)
        self._channel.on("close", partial(self._lost, LossReason.CHANNEL_CLOSED, ""))
        self._connection.on("iceconnectionstatechange", self._on_ice_state)
        self.limit_buffer(BUFFERED_BYTES)

    # Carrier.

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def can_restart(self) -> bool:
        return False

    @property
    def has_room(self) -> bool:
        return self._channel.readyState == "open" and self._channel.bufferedAmount < self._buffer_bytes

    @property
    def local_address(self) -> str | None:
        return None

    def path(self) -> Path | None:
        return None

    def limit_buffer(self, size: int) -> None:
        self._buffer_bytes = min(size, BUFFERED_BYTES)
        self._channel.bufferedAmountLowThreshold = self._buffer_bytes // 2

    def apply_answer(self, sdp: str) -> None:
        self._spawn(lambda: self._apply("answer", sdp))

    def restart(self, generation: int) -> None:
        raise NotImplementedError

    def answer_restart(self, generation: int, sdp: str) -> None:
        raise NotImplementedError

    def measure(self) -> None:
        if self._listener is not None:
            unknown = PathStatistics(None, None, None, None, None)
            asyncio.get_running_loop().call_soon(self._listener.carrier_measured, self._generation, unknown)

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._spawn(lambda: self._add_candidate(candidate, sdp_mid, sdp_mline))

    def send(self, message: bytes) -> None:
        if self._channel.readyState == "open":
            self._channel.send(message)

    def kill(self) -> None:
        self._lost(LossReason.KILLED, "")

    def close(self) -> Awaitable[None]:
        self._listener = None
        return self._close()

    # Negotiating.

    def start_offer(self) -> None:
        self._spawn(self._describe)

    def start_answer(self, sdp: str) -> None:
        self._spawn(lambda: self._answer(sdp))

    async def _answer(self, sdp: str) -> None:
        await self._apply("offer", sdp)
        await self._describe()

    async def _describe(self) -> None:
        await self._connection.setLocalDescription()
        if self._listener is not None:
            self._listener.carrier_description(self._generation, self._connection.localDescription.sdp)

    async def _apply(self, kind: str, sdp: str) -> None:
        self._peer = read_description(sdp)
        await self._connection.setRemoteDescription(RTCSessionDescription(sdp, kind))

    async def _add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        parsed = candidate_from_sdp(candidate.partition(":")[2])
        parsed.sdpMid, parsed.sdpMLineIndex = sdp_mid, sdp_mline
        await self._connection.addIceCandidate(parsed)

    def _spawn(self, operation: Callable[[], Coroutine[object, object, None]]) -> None:
        """In order: what is asked for waits for what was asked for before."""
        if self._listener is not None:
            task = asyncio.get_running_loop().create_task(self._in_turn(operation))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _in_turn(self, operation: Callable[[], Coroutine[object, object, None]]) -> None:
        async with self._turn:
            try:
                if self._listener is not None:
                    await operation()
            except REFUSALS as error:
                self._lost(LossReason.REFUSED_DESCRIPTION, str(error))

    async def _close(self) -> None:
        if self._tasks:  # not cancelled: aioice would lose a socket that it is just making
            await asyncio.wait(self._tasks)
        await self._connection.close()
        self.is_gone = True

    # What aiortc says.

    def _on_open(self) -> None:
        if self._listener is not None and self._peer is not None:
            local = read_description(self._connection.localDescription.sdp)
            channel = OpenChannel(local.digest, self._peer.digest, self._peer.max_message_bytes)
            self._listener.carrier_opened(self._generation, channel)

    def _on_message(self, message: str | bytes) -> None:
        if self._listener is not None and isinstance(message, bytes):
            self._listener.carrier_message(self._generation, message)

    def _on_writable(self) -> None:
        if self._listener is not None:
            self._listener.carrier_writable(self._generation)

    def _on_ice_state(self) -> None:
        state = _ICE_STATES.get(self._connection.iceConnectionState)
        if self._listener is not None and state is not None:
            self._listener.carrier_ice_state(self._generation, state)

    def _lost(self, reason: LossReason, detail: str) -> None:
        """The tube closes it then."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.carrier_lost(self._generation, reason, detail)
