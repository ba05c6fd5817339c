"""One tube's asyncio side: drives its core and its session, and carries out what they decide.

1. One timer handle for the core and the session together.
2. Nothing is decided here: events go to the core, its actions are carried out in order.
3. Sending is pulled: a message is framed when the carrier has room for it, so that its buffer stays shallow.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import (
    Action,
    ApplyAnswer,
    ApplyCandidate,
    AttemptDelayed,
    ChangeState,
    CloseCarrier,
    MakeAnswer,
    MakeOffer,
    Probe,
)
from perdure.core.connection import Connection
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    CloseRequested,
    Event,
    OfferReceived,
    PathDoubted,
    PathEvidence,
    PeerLeft,
    PeerRestarted,
    RebuildRequested,
    SessionEnded,
    SignalingChanged,
    Started,
)
from perdure.core.events import SessionResumed as CoreSessionResumed
from perdure.core.state import Reason, State
from perdure.errors import CarrierError
from perdure.session import (
    CarrierUnusable,
    Session,
    SessionClosed,
    SessionEvent,
    SessionResumed,
    StreamAccepted,
    StreamData,
    StreamFinished,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, short_reason
from perdure.transport.base import IceState, LossReason
from perdure.tube.clock import clock
from perdure.tube.log import log_attempt_delayed, log_carrier_begun, log_ice_state, log_resumed, log_state_change
from perdure.wire import CloseCode, ResetCode, printable

if TYPE_CHECKING:
    from random import Random

    from perdure.config import ResourceLimits, RestartPolicy
    from perdure.signaling.base import SignalingChannel
    from perdure.transport.base import Carrier, Transport
    from perdure.tube.seams import StreamSink, TubeHandler

FAREWELL_SECONDS = 0.25
"""How long a carrier stays open behind a last message: SCTP has no flush, and closing drops what is queued."""

_CLOSE_REASONS = {
    CloseCode.DONE: Reason.CLOSED_BY_PEER,
    CloseCode.UNKNOWN_SESSION: Reason.UNKNOWN_SESSION,
    CloseCode.PROTOCOL: Reason.PROTOCOL,
    CloseCode.VERSION: Reason.PROTOCOL,
}


class Tube:
    """One logical connection to a peer; outlives its carriers.

    Args:
        session_id: 16 random bytes, shared with the peer.
        key: the session's key where this end begins the session; `None` at the end that accepts it.
        random: for the core's jitter.
    """

    def __init__(
        self,
        *,
        session_id: bytes,
        key: bytes | None,
        policy: RestartPolicy,
        limits: ResourceLimits,
        transport: Transport,
        signaling: SignalingChannel,
        handler: TubeHandler,
        random: Random,
    ) -> None:
        self.tube_id = session_id.hex()[:12]
        self._session = Session(session_id=session_id, initiator=key is not None, key=key, limits=limits)
        self._core = Connection(policy, polite=key is None, random=random, now=clock())
        self._transport = transport
        self._signaling = signaling
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._carrier: Carrier | None = None
        self._sinks: dict[int, StreamSink] = {}
        self._due_actions: deque[Action] = deque()
        self._is_carrying_out = False
        self._message_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._pump_scheduled = False
        self._watching = False
        self._lost_at = clock()
        self._ended = asyncio.Event()
        self._final: ChangeState | None = None

    @property
    def state(self) -> State:
        return self._core.state

    @property
    def sent_bytes(self) -> int:
        """Streams' bytes framed for sending, those sent again after a loss included."""
        return self._session.sent_bytes

    @property
    def received_bytes(self) -> int:
        """Streams' bytes received, each once."""
        return self._session.received_bytes

    @property
    def stream_count(self) -> int:
        return self._session.stream_count

    def start(self) -> None:
        """Begin; state changes follow through the handler."""
        self._feed(Started())
        self._signaling.attach(self)
        self._feed(SignalingChanged(self._signaling.available))

    def rebuild(self) -> None:
        """Build a new carrier now, where one works. Streams go on."""
        self._feed(RebuildRequested())

    def kill_carrier(self) -> None:
        """Tear the current carrier down as a crash would. For tests and the demo."""
        if self._carrier is not None:
            self._carrier.kill()

    async def close(self, reason: str = "done") -> None:
        """End the tube: the peer is told, streams are reset, the carrier closed. Twice is fine.

        Cancelling this leaves the tube ended, only without the farewell's delay.
        """
        if self.state.is_final:
            return
        try:
            if self._session.is_resumed:
                self._session.close(CloseCode.DONE, reason)
                self._pump()
                await asyncio.sleep(FAREWELL_SECONDS)
        finally:
            self._feed(CloseRequested(reason))

    async def wait_ended(self) -> ChangeState:
        """Wait until the tube has FAILED or is CLOSED."""
        await self._ended.wait()
        if self._final is None:
            raise RuntimeError("the tube ended without a last state")
        return self._final

    # Streams.

    def open_stream(self, target: bytes, sink: StreamSink) -> int:
        """Open a stream to `target`; bytes may be written at once. Raises `RuntimeError` where there can be none."""
        if self.state.is_final:
            raise RuntimeError(f"the tube is {self.state.value}")
        stream_id = self._session.open_stream(target)
        self._sinks[stream_id] = sink
        self._schedule_pump()
        return stream_id

    def accept(self, stream_id: int) -> None:
        """Tell the peer that its stream goes where it wanted."""
        self._session.accept(stream_id)
        self._schedule_pump()

    def write(self, stream_id: int, data: bytes) -> bool:
        """Send `data`. False: no room for more until `stream_writable`."""
        more = self._session.write(stream_id, data)
        self._schedule_pump()
        return more

    def finish(self, stream_id: int) -> None:
        """Half-close: the peer sees the end behind what was written."""
        self._session.finish(stream_id)
        self._schedule_pump()

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End a stream both ways; its sink hears nothing more."""
        self._sinks.pop(stream_id, None)
        self._handle_session(self._session.reset(stream_id, code))
        self._schedule_pump()

    def consume(self, stream_id: int, count: int) -> None:
        """`count` bytes of `stream_data` have gone on."""
        self._session.consume(stream_id, count)
        self._schedule_pump()

    def detach_sink(self, stream_id: int) -> None:
        """The stream has ended both ways; nothing more is delivered."""
        self._sinks.pop(stream_id, None)

    # Signaling.

    def signaling_message(self, message: Message) -> None:
        match message:
            case Offer(generation, sdp):
                self._feed(OfferReceived(generation, sdp))
            case Answer(generation, sdp):
                self._feed(AnswerReceived(generation, sdp))
            case Candidate(generation, candidate, sdp_mid, sdp_mline_index):
                self._feed(CandidateReceived(generation, candidate, sdp_mid, sdp_mline_index))
            case Bye(reason):
                self._feed(PeerLeft(printable(reason)))
            case _:
                assert_never(message)

    def signaling_available(self, available: bool) -> None:
        self._feed(SignalingChanged(available))

    def signaling_peer_restarted(self) -> None:
        self._feed(PeerRestarted())

    # The carrier.

    def carrier_description(self, generation: int, sdp: str) -> None:
        self._signaling.send(Offer(generation, sdp) if self._core.offered_here else Answer(generation, sdp))

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._signaling.send(Candidate(generation, candidate, sdp_mid, sdp_mline))

    def carrier_opened(self, generation: int, binding: bytes) -> None:
        self._message_bytes = 0
        self._session.carrier_opened(generation, binding)
        self._pump()

    def carrier_message(self, generation: int, message: bytes) -> None:
        self._handle_session(self._session.receive(generation, message, clock()))
        if self.state is State.RECONNECTING:
            self._show_evidence()
        self._schedule_pump()

    def carrier_writable(self, generation: int) -> None:
        self._pump()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        log_ice_state(self.tube_id, generation, state)
        if state is not IceState.CONNECTED:
            self._feed(PathDoubted(generation))

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        self._feed(CarrierLost(generation, f"{reason.value}: {detail}" if detail else reason.value))

    # Carrying out.

    def _feed(self, event: Event) -> None:
        self._carry_out(self._core.handle_event(event, clock()))
        self._arm()

    def _carry_out(self, actions: list[Action]) -> None:
        """In the order of the core's decisions, also where carrying one out leads to the next."""
        self._due_actions.extend(actions)
        if self._is_carrying_out:
            return
        self._is_carrying_out = True
        try:
            while self._due_actions:
                self._carry_out_one(self._due_actions.popleft())
        finally:
            self._is_carrying_out = False

    def _carry_out_one(self, action: Action) -> None:
        match action:
            case MakeOffer() | MakeAnswer():
                self._make_carrier(action)
            case ApplyAnswer(_, sdp):
                if self._carrier is not None:
                    self._carrier.apply_answer(sdp)
            case ApplyCandidate(_, candidate, sdp_mid, sdp_mline):
                if self._carrier is not None:
                    self._carrier.add_candidate(candidate, sdp_mid, sdp_mline)
            case CloseCarrier():
                self._session.carrier_lost()
                carrier, self._carrier = self._carrier, None
                if carrier is not None:
                    carrier.close()
            case Probe():
                self._session.ping()
                self._pump()
            case ChangeState():
                self._changed(action)
            case AttemptDelayed():
                log_attempt_delayed(self.tube_id, action, action.next_attempt_at - clock())
            case _:
                assert_never(action)

    def _make_carrier(self, action: MakeOffer | MakeAnswer) -> None:
        log_carrier_begun(self.tube_id, action)
        try:
            match action:
                case MakeOffer(generation):
                    self._carrier = self._transport.offer(generation, self)
                case MakeAnswer(generation, sdp):
                    self._carrier = self._transport.answer(generation, sdp, self)
                case _:
                    assert_never(action)
        except CarrierError as error:
            self._loop.call_soon(self._feed, CarrierLost(action.generation, str(error)))

    def _changed(self, change: ChangeState) -> None:
        outage = None
        if change.after is State.RECONNECTING:
            self._lost_at = clock()
        elif change.before is State.RECONNECTING and change.after is State.CONNECTED:
            outage = clock() - self._lost_at
        log_state_change(self.tube_id, change, self._core.generation, outage)
        if change.after.is_final:
            self._final = change
            self._wind_up(change)
        self._handler.tube_state_changed(self, change)

    def _wind_up(self, change: ChangeState) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if change.reason is not Reason.CLOSED_BY_PEER:
            self._signaling.send(Bye(short_reason(change.detail or change.reason.value)))
        self._signaling.close()
        sinks, self._sinks = self._sinks, {}
        for sink in sinks.values():
            sink.stream_reset(ResetCode.SESSION_LOST)
        self._ended.set()

    def _handle_session(self, events: list[SessionEvent]) -> None:
        for event in events:
            match event:
                case StreamData(stream_id, data):
                    if (sink := self._sinks.get(stream_id)) is not None:
                        sink.stream_data(data)
                case StreamWritable(stream_id):
                    if (sink := self._sinks.get(stream_id)) is not None:
                        sink.stream_writable()
                case StreamAccepted(stream_id):
                    if (sink := self._sinks.get(stream_id)) is not None:
                        sink.stream_accepted()
                case StreamFinished(stream_id):
                    if (sink := self._sinks.get(stream_id)) is not None:
                        sink.stream_finished()
                case StreamReset(stream_id, code):
                    if (sink := self._sinks.pop(stream_id, None)) is not None:
                        sink.stream_reset(code)
                case StreamOpened(stream_id, target):
                    opened = self._handler.tube_stream_opened(self, stream_id, target)
                    if opened is None:
                        self.reset(stream_id, ResetCode.NOT_ALLOWED)
                    else:
                        self._sinks[stream_id] = opened
                case SessionResumed(generation):
                    log_resumed(self.tube_id, event)
                    self._watching = False
                    self._feed(CoreSessionResumed(generation))
                case CarrierUnusable(generation, reason):
                    self._feed(CarrierLost(generation, f"protocol error: {reason}"))
                case SessionClosed(code, reason, by_peer):
                    self._pump()
                    farewell = 0.0 if by_peer else FAREWELL_SECONDS
                    self._loop.call_later(farewell, self._feed, SessionEnded(_CLOSE_REASONS[code], reason))
                case _:
                    assert_never(event)

    def _schedule_pump(self) -> None:
        """Pump once the loop's ready callbacks have run: their small writes share a message."""
        if not self._pump_scheduled:
            self._pump_scheduled = True
            self._loop.call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_scheduled = False
        carrier, session = self._carrier, self._session
        if carrier is None:
            return
        now = clock()
        sent = False
        if session.message_bytes != self._message_bytes:
            self._message_bytes = session.message_bytes
            carrier.limit_buffer(2 * self._message_bytes)
        while carrier.has_room and (message := session.next_message(now)) is not None:
            carrier.send(message)
            sent = True
        if sent and not self._watching:
            self._show_evidence()
        self._arm()

    def _show_evidence(self) -> None:
        """Let the core know whether an answer is due; it asks again by its own timer as long as one is."""
        awaiting_since = self._session.awaiting_since()
        self._watching = awaiting_since is not None
        self._carry_out(
            self._core.handle_event(
                PathEvidence(self._core.generation, self._session.last_heard_at, awaiting_since), clock()
            )
        )

    def _arm(self) -> None:
        deadlines = [at for at in (self._core.next_deadline(), self._session.next_deadline()) if at is not None]
        if not deadlines or self.state.is_final:
            return
        at = min(deadlines)
        if self._timer is not None:
            if self._timer_at <= at:
                return
            self._timer.cancel()
        self._timer_at = at
        self._timer = self._loop.call_later(max(0.0, at - clock()), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        now = clock()
        core_at = self._core.next_deadline()
        if core_at is not None and core_at <= now:
            self._show_evidence()
            self._carry_out(self._core.handle_timeout(max(now, clock())))
        self._session.handle_timeout(now)
        self._pump()
        self._arm()
