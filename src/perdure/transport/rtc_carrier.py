"""A carrier on libwebrtc, through PyPI `wrtc`. Only this file, `engine`, `data_channel` and `statistics` import the
engine.

What the engine's behaviour asks for (measured, ../../../docs/design.md):
1. The engine's factory, and with it its list of local networks, goes only with the last reference to any of its
   objects. So the connection's handlers hold the carrier weakly, tasks end at `close`, and `close` drops every engine
   object; until then the channel holds the carrier.
   A carrier begun after the networks changed gets its connection once the factory is gone, or will not go.
2. The channel is negotiated in advance (id 0), which saves the round trip of RFC 8832's DATA_CHANNEL_OPEN.
3. One negotiation ends before the next begins: two offers of the peer taken at once leave the engine an answer too
   many. The peer's candidates wait their turn too, so that they never overtake the description they belong to.
4. A candidate's ufrag names the local description it was gathered for: around a restart, candidates of two
   descriptions may be on their way through the event loop.
5. The engine is told nothing of the peer that was not read before: of a description what `description` keeps, of
   candidates those within `reach`. A candidate whose name is looked up waits beside the negotiation, and is dropped if
   the peer has described itself anew by then.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import webrtc

from perdure.errors import CarrierError
from perdure.transport import engine
from perdure.transport.base import IceState, LossReason, OpenChannel, Path, PathStatistics
from perdure.transport.candidate import base_address
from perdure.transport.description import read_description, without_candidates
from perdure.transport.reach import local_name, protocol_of
from perdure.transport.statistics import path_statistics, selected_path
from perdure.transport.trickle import LocalCandidate, Trickle

if TYPE_CHECKING:
    from perdure.transport.base import CarrierListener
    from perdure.transport.data_channel import DataChannel
    from perdure.transport.description import PeerDescription
    from perdure.transport.gathering import Gathering
    from perdure.transport.peer_candidates import PeerCandidates

BUFFERED_HIGH_BYTES = 128 * 1024
"""The most that waits in the channel: 2 ms at 64 MB/s. Shallow, so that a keystroke does not wait behind a bulk
transfer; deep enough that the engine's thread never runs dry while Python frames the next messages."""

EventT = TypeVar("EventT")
Operation = Callable[[], Coroutine[object, object, None]]
Describe = Callable[[], Coroutine[object, object, webrtc.RTCSessionDescriptionInit]]

REFUSALS = (webrtc.PythonWebRTCExceptionBase, webrtc.RTCException, TypeError, ValueError)
"""How the engine says no; the last two are its wrapper's."""

_ICE_STATES = {
    "connected": IceState.CONNECTED,
    "completed": IceState.CONNECTED,
    "disconnected": IceState.DISCONNECTED,
    "failed": IceState.FAILED,
}


class RtcCarrier:
    """One peer connection and its channel; see `transport.base.Carrier`. It begins with `connect`."""

    def __init__(
        self, generation: int, listener: CarrierListener, candidates: PeerCandidates, gathering: Gathering
    ) -> None:
        self._generation = generation
        self._gathering = gathering
        self._candidates = candidates
        self._listener: CarrierListener | None = listener
        self._connection: webrtc.RTCPeerConnection | None = None
        self._channel: DataChannel | None = None
        self._buffer_bytes = BUFFERED_HIGH_BYTES
        self._tasks: set[asyncio.Task[None]] = set()
        self._turn = asyncio.Lock()
        self._opened = False
        self._measuring = False
        self._peer: PeerDescription | None = None
        self._negotiation = generation
        self._trickle = Trickle()
        self._measured_path: Path | None = None
        self.on_gathered: Callable[[str], bool] = lambda candidate: True
        """Told of each local candidate as the engine gathers it; whether the peer is to know it."""

    def connect(self, connection: webrtc.RTCPeerConnection, channel: DataChannel) -> None:
        """Use them, and close them in the end."""
        self._connection, self._channel = connection, channel
        self.limit_buffer(self._buffer_bytes)
        me = weakref.ref(self)
        channel.listener = self
        connection.on("icecandidate", _weakly(me, RtcCarrier._on_candidate))
        connection.on("icecandidateerror", _weakly(me, RtcCarrier._on_candidate_error))
        connection.on("iceconnectionstatechange", _weakly(me, RtcCarrier._on_ice_state))
        connection.on("connectionstatechange", _weakly(me, RtcCarrier._on_connection_state))

    def connect_after(self, renewal: engine.Renewal, configuration: Callable[[], webrtc.RTCConfiguration]) -> None:
        """Begin when `renewal` is over; what is asked for until then waits its turn."""
        self._negotiate(partial(self._connect_after, renewal, configuration), LossReason.ENGINE_FAILED)

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def can_restart(self) -> bool:
        return True

    @property
    def has_room(self) -> bool:
        return self._channel is not None and self._channel.buffered_bytes < self._buffer_bytes

    @property
    def local_address(self) -> str | None:
        if (ice := self._ice_transport) is None or (pair := ice.get_selected_candidate_pair()) is None:
            return None
        return base_address(pair.local.candidate, (found.candidate for found in ice.get_local_candidates()))

    @property
    def _ice_transport(self) -> webrtc.RTCIceTransport | None:
        if self._connection is None or (sctp := self._connection.sctp) is None:
            return None
        return sctp.transport.ice_transport

    def path(self) -> Path | None:
        if (ice := self._ice_transport) is None or (pair := ice.get_selected_candidate_pair()) is None:
            return None
        path, measured = self._gathering.shown(selected_path(pair)), self._measured_path
        return measured if measured is not None and replace(measured, rtt=None) == path else path

    def limit_buffer(self, size: int) -> None:
        self._buffer_bytes = min(size, BUFFERED_HIGH_BYTES)
        if self._channel is not None:
            self._channel.set_low_threshold(self._buffer_bytes // 2)

    def configure(self, configuration: webrtc.RTCConfiguration) -> None:
        """Gather with `configuration` from the next ICE restart on.

        Raises:
            CarrierError: the engine refuses it; the carrier goes on as before.
        """
        if self._connection is None:
            return
        try:
            self._connection.set_configuration(configuration)
        except webrtc.InvalidStateError:
            return
        except REFUSALS as error:
            raise CarrierError(
                f"the WebRTC engine refuses ICE servers: {error}", generation=self._generation
            ) from error

    def start_offer(self) -> None:
        self._negotiate(partial(self._offer, self._generation), LossReason.ENGINE_FAILED)

    def start_answer(self, sdp: str) -> None:
        self._negotiate(partial(self._answer, self._generation, sdp))

    def apply_answer(self, sdp: str) -> None:
        self._negotiate(partial(self._apply_answer, sdp))

    def restart(self, generation: int) -> None:
        if self._listener is not None and not self._opened:
            raise RuntimeError("ICE is restarted on a carrier that has not opened")
        self._negotiate(partial(self._restart, generation), LossReason.ENGINE_FAILED)

    def answer_restart(self, generation: int, sdp: str) -> None:
        self._negotiate(partial(self._answer, generation, sdp))

    def measure(self) -> None:
        if not self._measuring:
            self._measuring = True
            self._spawn(self._measure, LossReason.ENGINE_FAILED)

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._negotiate(partial(self._add_candidate, candidate, sdp_mid, sdp_mline))

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
        self._candidates.close()
        self._gathering.close()
        if connection is not None and channel is not None:
            engine.let_go(self, connection, channel)

    async def _connect_after(
        self, renewal: engine.Renewal, configuration: Callable[[], webrtc.RTCConfiguration]
    ) -> None:
        await renewal.wait()
        self.connect(*engine.connect(self, configuration()))

    async def _offer(self, generation: int) -> None:
        if (connection := self._connection) is not None:
            await self._gather(connection, connection.create_offer)
            self._describe_soon(generation, connection)

    async def _restart(self, generation: int) -> None:
        if self._connection is not None:
            self._connection.restart_ice()
            await self._offer(generation)

    async def _answer(self, generation: int, sdp: str) -> None:
        if (connection := self._connection) is not None:
            await self._apply(connection, "offer", sdp)
            await self._gather(connection, connection.create_answer)
            self._describe_soon(generation, connection)

    async def _gather(self, connection: webrtc.RTCPeerConnection, describe: Describe) -> None:
        await self._gathering.ready()
        described = await describe()
        self._gathering.begin(lambda: self.path() is not None)
        await connection.set_local_description(described)

    async def _apply_answer(self, sdp: str) -> None:
        if (connection := self._connection) is not None:
            await self._apply(connection, "answer", sdp)

    async def _apply(self, connection: webrtc.RTCPeerConnection, kind: str, sdp: str) -> None:
        peer = read_description(sdp)
        if self._peer is not None and peer.digest != self._peer.digest:
            # The engine would begin another DTLS connection, which the binding that was told does not name.
            raise ValueError("an ICE restart with another certificate")
        self._peer = peer  # before the engine has it, as the channel may open in the meantime
        wanted = webrtc.RTCSessionDescriptionInit(type=webrtc.RTCSdpType(kind), sdp=peer.sdp)
        await connection.set_remote_description(wanted)
        for candidate in peer.candidates:
            await self._add_candidate(candidate, None, 0)

    async def _measure(self) -> None:
        try:
            if (connection := self._connection) is not None:
                statistics = await self._read_statistics(connection)
                asyncio.get_running_loop().call_soon(self._tell_statistics, statistics)
        finally:
            self._measuring = False

    async def _read_first_rtt(self) -> None:
        """So that `path` has an RTT before the first `measure`, which may be minutes away."""
        if (connection := self._connection) is not None:
            await self._read_statistics(connection)

    async def _read_statistics(self, connection: webrtc.RTCPeerConnection) -> PathStatistics:
        statistics = path_statistics(await connection.get_stats())
        if (path := self.path()) is not None:
            self._measured_path = replace(path, rtt=statistics.rtt)
        return statistics

    async def _add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if (connection := self._connection) is None:
            return
        if not self._candidates.takes(candidate):
            return
        if local_name(candidate) is not None:
            look_up = partial(self._look_up, self._peer, candidate, sdp_mid, sdp_mline)
            self._spawn(look_up, LossReason.REFUSED_DESCRIPTION)
            return
        if sdp_mid is None and sdp_mline is None:
            sdp_mline = 0  # the engine asks for one of the two; there is one media line
        try:
            await connection.add_ice_candidate(
                webrtc.RTCIceCandidateInit(candidate=candidate, sdp_mid=sdp_mid, sdp_m_line_index=sdp_mline)
            )
        except REFUSALS:
            return

    async def _look_up(
        self, peer: PeerDescription | None, candidate: str, sdp_mid: str | None, sdp_mline: int | None
    ) -> None:
        found = await self._candidates.with_address(candidate)
        if found is not None and self._peer is peer:
            self.add_candidate(found, sdp_mid, sdp_mline)

    def _describe_soon(self, generation: int, connection: webrtc.RTCPeerConnection) -> None:
        # Not at once: what the listener raises must not pass for the engine's refusal.
        if (local := connection.local_description) is not None:
            asyncio.get_running_loop().call_soon(self._describe, generation, local.sdp)

    def _describe(self, generation: int, sdp: str) -> None:
        if self._listener is None:
            return
        self._negotiation = generation
        self._listener.carrier_description(generation, without_candidates(sdp))
        for candidate in self._trickle.described(sdp):
            self._tell_candidate(candidate)

    def _negotiate(self, operation: Operation, failure: LossReason = LossReason.REFUSED_DESCRIPTION) -> None:
        self._spawn(partial(self._in_turn, operation), failure)

    async def _in_turn(self, operation: Operation) -> None:
        async with self._turn:
            await operation()

    def _spawn(self, operation: Operation, failure: LossReason) -> None:
        if self._listener is not None:
            task = asyncio.get_running_loop().create_task(self._guarded(operation, failure))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _guarded(self, operation: Operation, failure: LossReason) -> None:
        try:
            await operation()
        except REFUSALS as error:
            self._lost(failure, str(error))

    def _lost(self, reason: LossReason, detail: str) -> None:
        listener = self._listener
        self.close()
        if listener is not None:
            listener.carrier_lost(self._generation, reason, detail)

    def _tell_candidate(self, found: LocalCandidate) -> None:
        if self._listener is not None and self._candidates.reach.takes_protocol(protocol_of(found.candidate)):
            self._listener.carrier_candidate(self._negotiation, found.candidate, found.sdp_mid, found.sdp_mline)

    def _tell_statistics(self, statistics: PathStatistics) -> None:
        if self._listener is not None:
            self._listener.carrier_measured(self._generation, statistics)

    # For DataChannel.

    def channel_may_open(self) -> bool:
        return self._listener is None or self.path() is not None

    def channel_opened(self) -> None:
        if self._listener is None or self._connection is None or self._peer is None:
            return
        local = self._connection.local_description
        assert local is not None  # a channel has opened
        self._opened = True
        self._spawn(self._read_first_rtt, LossReason.ENGINE_FAILED)
        channel = OpenChannel(read_description(local.sdp).digest, self._peer.digest, self._peer.max_message_bytes)
        self._listener.carrier_opened(self._generation, channel)

    def channel_message(self, message: bytes) -> None:
        if self._listener is not None:
            self._listener.carrier_message(self._generation, message)

    def channel_drained(self) -> None:
        if self._listener is not None:
            self._listener.carrier_writable(self._generation)

    def channel_closed(self) -> None:
        self._lost(LossReason.CHANNEL_CLOSED, "")

    # The engine's events.

    def _on_candidate(self, event: webrtc.RTCPeerConnectionIceEvent) -> None:
        found = event.candidate
        if found is None or not found.candidate:
            self._gathering.ended()
            return
        self._gathering.found(found.url)
        if not self.on_gathered(found.candidate):
            return
        candidate = LocalCandidate(found.username_fragment, found.candidate, found.sdp_mid, found.sdp_m_line_index)
        if self._trickle.is_due(candidate):
            self._tell_candidate(candidate)

    def _on_candidate_error(self, event: webrtc.RTCPeerConnectionIceErrorEvent) -> None:
        self._gathering.errored(event.url, event.error_code, event.error_text)

    def _on_ice_state(self, _event: object) -> None:
        if self._listener is None or self._connection is None:
            return
        state = _ICE_STATES.get(self._connection.ice_connection_state.value)
        if state is not None:
            self._listener.carrier_ice_state(self._generation, state)

    def _on_connection_state(self, _event: object) -> None:
        if self._connection is not None and self._connection.connection_state.value == "closed":
            self._lost(LossReason.ENGINE_FAILED, "the connection closed")


def _weakly(me: weakref.ref[RtcCarrier], handler: Callable[[RtcCarrier, EventT], None]) -> Callable[[EventT], None]:
    """A handler that does not keep the carrier alive: the engine keeps its handlers until its own objects go."""

    def call(event: EventT) -> None:
        if (carrier := me()) is not None:
            handler(carrier, event)

    return call
