"""The transport on libwebrtc, through PyPI `wrtc`. The only file that imports the engine.

What the engine's behaviour asks for (measured, ../../../docs/design.md):
1. The engine's factory, and with it its list of local networks, goes only with the last reference to any of its
   objects. So handlers hold the carrier weakly, tasks end at `close`, and `close` drops every engine object.
2. The channel is negotiated in advance (id 0), which saves the round trip of RFC 8832's DATA_CHANNEL_OPEN.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import weakref
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import webrtc

from perdure.errors import CarrierError
from perdure.transport.base import IceState, LossReason

if TYPE_CHECKING:
    from perdure.config import TransportConfig
    from perdure.transport.base import CarrierListener

BUFFERED_HIGH_BYTES = 128 * 1024
"""The most that waits in the channel: 2 ms at 64 MB/s. Shallow, so that a keystroke does not wait behind a bulk
transfer; deep enough that the engine's thread never runs dry while Python frames the next messages."""

EventT = TypeVar("EventT")

_FINGERPRINT = re.compile(r"^a=fingerprint:(\S+ \S+)\s*$", re.MULTILINE)

_ICE_STATES = {
    "connected": IceState.CONNECTED,
    "completed": IceState.CONNECTED,
    "disconnected": IceState.DISCONNECTED,
    "failed": IceState.FAILED,
}


class RtcTransport:
    """Makes carriers on libwebrtc. Needs a running event loop.

    Raises:
        RuntimeError: loopback candidates are asked for after the process has made a connection without them; the
            engine decides that once, for the process.
    """

    _loopback_allowed = False

    def __init__(self, config: TransportConfig) -> None:
        if config.loopback and not RtcTransport._loopback_allowed:
            try:
                webrtc.allow_loopback()
            except webrtc.InvalidStateError as error:
                raise RuntimeError("loopback candidates must be asked for before the first connection") from error
            RtcTransport._loopback_allowed = True
        self._configuration = webrtc.RTCConfiguration(
            ice_servers=[
                webrtc.RTCIceServer(urls=[server.url], username=server.username, credential=server.credential)
                for server in config.ice_servers
            ]
        )

    def offer(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        carrier = self._carrier(generation, listener)
        carrier.start_offer()
        return carrier

    def answer(self, generation: int, sdp: str, listener: CarrierListener) -> RtcCarrier:
        carrier = self._carrier(generation, listener)
        carrier.start_answer(sdp)
        return carrier

    def _carrier(self, generation: int, listener: CarrierListener) -> RtcCarrier:
        try:
            connection = webrtc.RTCPeerConnection(self._configuration)
            channel = connection.create_data_channel("perdure", webrtc.RTCDataChannelInit(negotiated=True, id=0))
        except (webrtc.PythonWebRTCExceptionBase, webrtc.RTCException, ValueError, TypeError) as error:
            raise CarrierError(f"the WebRTC engine refuses a new connection: {error}", generation=generation) from error
        return RtcCarrier(generation, listener, connection, channel)


class RtcCarrier:
    """One peer connection and its channel; see `transport.base.Carrier`."""

    def __init__(
        self,
        generation: int,
        listener: CarrierListener,
        connection: webrtc.RTCPeerConnection,
        channel: webrtc.RTCDataChannel,
    ) -> None:
        self._generation = generation
        self._listener: CarrierListener | None = listener
        self._connection: webrtc.RTCPeerConnection | None = connection
        self._channel: webrtc.RTCDataChannel | None = channel
        self._tasks: set[asyncio.Task[None]] = set()
        self._described = False
        self._candidates: list[tuple[str, str | None, int | None]] = []
        self.limit_buffer(BUFFERED_HIGH_BYTES)
        me = weakref.ref(self)
        channel.on("open", _weakly(me, RtcCarrier._on_open))
        channel.on("message", _weakly(me, RtcCarrier._on_message))
        channel.on("bufferedamountlow", _weakly(me, RtcCarrier._on_writable))
        channel.on("close", _weakly(me, RtcCarrier._on_channel_closed))
        connection.on("icecandidate", _weakly(me, RtcCarrier._on_candidate))
        connection.on("iceconnectionstatechange", _weakly(me, RtcCarrier._on_ice_state))
        connection.on("connectionstatechange", _weakly(me, RtcCarrier._on_connection_state))

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def has_room(self) -> bool:
        return self._channel is not None and self._channel.buffered_amount < self._buffer_bytes

    def limit_buffer(self, size: int) -> None:
        self._buffer_bytes = min(size, BUFFERED_HIGH_BYTES)
        if self._channel is not None:
            self._channel.buffered_amount_low_threshold = self._buffer_bytes // 2

    def start_offer(self) -> None:
        self._spawn(self._offer)

    def start_answer(self, sdp: str) -> None:
        self._spawn(partial(self._answer, sdp))

    def apply_answer(self, sdp: str) -> None:
        self._spawn(partial(self._apply_answer, sdp))

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._spawn(partial(self._add_candidate, candidate, sdp_mid, sdp_mline))

    def send(self, message: bytes) -> None:
        if self._channel is None:
            return
        try:
            self._channel.send(message)
        except webrtc.InvalidStateError:
            return
        except (webrtc.PythonWebRTCExceptionBase, webrtc.RTCException, TypeError) as error:
            self._lost(LossReason.ENGINE_FAILED, f"send: {error}")

    def kill(self) -> None:
        self._lost(LossReason.KILLED, "")

    def close(self) -> None:
        self._listener = None
        channel, self._channel = self._channel, None
        connection, self._connection = self._connection, None
        for task in self._tasks:
            task.cancel()
        if channel is not None:
            channel.off()
        if connection is not None:
            connection.off()
            connection.close()

    async def _offer(self) -> None:
        if (connection := self._connection) is not None:
            await connection.set_local_description(await connection.create_offer())
            asyncio.get_running_loop().call_soon(self._describe)

    async def _answer(self, sdp: str) -> None:
        if (connection := self._connection) is not None:
            await connection.set_remote_description(_description("offer", sdp))
            await connection.set_local_description(await connection.create_answer())
            asyncio.get_running_loop().call_soon(self._describe)

    async def _apply_answer(self, sdp: str) -> None:
        if (connection := self._connection) is not None:
            await connection.set_remote_description(_description("answer", sdp))

    async def _add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if (connection := self._connection) is None:
            return
        try:
            await connection.add_ice_candidate(
                webrtc.RTCIceCandidateInit(candidate=candidate, sdp_mid=sdp_mid, sdp_m_line_index=sdp_mline)
            )
        except (webrtc.PythonWebRTCExceptionBase, webrtc.RTCException, TypeError, ValueError):
            return

    def _describe(self) -> None:
        local = self._connection.local_description if self._connection is not None else None
        if self._listener is None or local is None:
            return
        self._described = True
        self._listener.carrier_description(self._generation, _without_candidates(local.sdp))
        waiting, self._candidates = self._candidates, []
        for candidate in waiting:
            self._tell_candidate(*candidate)

    def _spawn(self, operation: Callable[[], Coroutine[object, object, None]]) -> None:
        task = asyncio.get_running_loop().create_task(self._guarded(operation))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _guarded(self, operation: Callable[[], Coroutine[object, object, None]]) -> None:
        try:
            await operation()
        except (webrtc.PythonWebRTCExceptionBase, webrtc.RTCException, TypeError, ValueError) as error:
            self._lost(LossReason.REFUSED_DESCRIPTION, str(error))

    def _lost(self, reason: LossReason, detail: str) -> None:
        listener = self._listener
        self.close()
        if listener is not None:
            listener.carrier_lost(self._generation, reason, detail)

    def _tell_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if self._listener is not None:
            self._listener.carrier_candidate(self._generation, candidate, sdp_mid, sdp_mline)

    # Engine events.

    def _on_open(self, _event: object) -> None:
        if self._listener is None or self._connection is None:
            return
        local, remote = self._connection.local_description, self._connection.remote_description
        try:
            binding = channel_binding(local.sdp if local else "", remote.sdp if remote else "")
        except ValueError as error:
            self._lost(LossReason.REFUSED_DESCRIPTION, str(error))
            return
        self._listener.carrier_opened(self._generation, binding)

    def _on_message(self, event: webrtc.MessageEvent) -> None:
        if self._listener is not None and isinstance(event.data, bytes):
            self._listener.carrier_message(self._generation, event.data)

    def _on_writable(self, _event: object) -> None:
        if self._listener is not None:
            self._listener.carrier_writable(self._generation)

    def _on_channel_closed(self, _event: object) -> None:
        self._lost(LossReason.CHANNEL_CLOSED, "")

    def _on_candidate(self, event: webrtc.RTCPeerConnectionIceEvent) -> None:
        found = event.candidate
        if found is None or not found.candidate:
            return
        candidate = (found.candidate, found.sdp_mid, found.sdp_m_line_index)
        if self._described:
            self._tell_candidate(*candidate)
        else:
            self._candidates.append(candidate)

    def _on_ice_state(self, _event: object) -> None:
        if self._listener is None or self._connection is None:
            return
        state = _ICE_STATES.get(self._connection.ice_connection_state.value)
        if state is not None:
            self._listener.carrier_ice_state(self._generation, state)

    def _on_connection_state(self, _event: object) -> None:
        if self._connection is not None and self._connection.connection_state.value == "closed":
            self._lost(LossReason.ENGINE_FAILED, "the connection closed")


def channel_binding(local_sdp: str, remote_sdp: str) -> bytes:
    """32 bytes that name the DTLS connection between two descriptions: a hash of both certificates' fingerprints.

    The same at both ends; different for any other pair of certificates (the engine makes new ones for each
    connection). Raises `ValueError` where a description has no fingerprint.
    """
    fingerprints = sorted(found.lower() for sdp in (local_sdp, remote_sdp) for found in _FINGERPRINT.findall(sdp)[:1])
    if len(fingerprints) != 2:
        raise ValueError("a session description without a certificate's fingerprint")
    return hashlib.sha256("\n".join(fingerprints).encode()).digest()


def _weakly(me: weakref.ref[RtcCarrier], handler: Callable[[RtcCarrier, EventT], None]) -> Callable[[EventT], None]:
    """A handler that does not keep the carrier alive: the engine keeps its handlers until its own objects go."""

    def call(event: EventT) -> None:
        if (carrier := me()) is not None:
            handler(carrier, event)

    return call


def _description(kind: str, sdp: str) -> webrtc.RTCSessionDescriptionInit:
    return webrtc.RTCSessionDescriptionInit(type=webrtc.RTCSdpType(kind), sdp=sdp)


def _without_candidates(sdp: str) -> str:
    """The description alone; its candidates are trickled, and would be sent twice."""
    return "".join(
        line for line in sdp.splitlines(keepends=True) if not line.startswith(("a=candidate:", "a=end-of-candidates"))
    )
