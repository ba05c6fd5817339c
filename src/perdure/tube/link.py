"""A tube's link to its peer: the session over one carrier after another.

1. Nothing is decided here: what happens is told to the driver, and what the core decides is done.
2. A stream's user that raises loses that stream, and harms no other.
3. Sending is pulled: a message is framed when the carrier has room for it, so that its buffer stays shallow.
4. A stream that has ended both ways lets go of its user: it is told nothing more, also not of the tube's end.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, assert_never

from perdure.core.connection import FAREWELL_SECONDS
from perdure.core.events import CloseSent, HealthMeasured, IceUnhealthy, PathEvidence, SessionEnded
from perdure.core.events import RttMeasured as CoreRttMeasured
from perdure.core.events import SessionResumed as CoreSessionResumed
from perdure.core.state import Reason
from perdure.errors import CarrierError
from perdure.eventlog import log_event
from perdure.session import (
    CarrierUnusable,
    RttMeasured,
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
from perdure.transport.base import IceState
from perdure.tube.arguments import SINK_METHODS, check_methods, check_type
from perdure.tube.clock import clock
from perdure.tube.log import log, log_ice_state, log_resumed, log_user_failed
from perdure.tube.seams import StreamSink
from perdure.wire import CloseCode, ResetCode

if TYPE_CHECKING:
    from perdure.config import ResourceLimits
    from perdure.session import ByteBudget
    from perdure.transport.base import Carrier, LossReason, PathStatistics, Transport
    from perdure.tube.driver import Driver

SinkMethod = Literal["stream_accepted", "stream_data", "stream_finished", "stream_reset", "stream_writable"]

_CLOSE_REASONS = {
    CloseCode.DONE: Reason.CLOSED_BY_PEER,
    CloseCode.TIMED_OUT: Reason.CLOSED_BY_PEER,
    CloseCode.SHUT_DOWN: Reason.CLOSED_BY_PEER,
    CloseCode.UNKNOWN_SESSION: Reason.UNKNOWN_SESSION,
    CloseCode.PROTOCOL: Reason.PROTOCOL,
    CloseCode.VERSION: Reason.PROTOCOL,
}

OpenStream = Callable[[int, bytes], StreamSink | None]
"""The peer opened a stream (its id, the target): its sink, which may hear bytes at once, or `None` to refuse it."""


class Link:
    """One tube's session, its carrier while there is one, and its streams' users.

    Args:
        session_id: 16 random bytes, shared with the peer.
        key: the session's key where this end begins the session; `None` at the end that accepts it.
    """

    __slots__ = (
        "__weakref__",
        "_ack_at",
        "_carrier",
        "_driver",
        "_has_ended",
        "_has_news",
        "_is_turn_scheduled",
        "_is_watching",
        "_loop",
        "_message_bytes",
        "_on_stream",
        "_sinks",
        "_transport",
        "_watches_only_ping",
        "session",
    )

    def __init__(
        self,
        driver: Driver,
        transport: Transport,
        on_stream: OpenStream,
        *,
        session_id: bytes,
        key: bytes | None,
        limits: ResourceLimits,
        budget: ByteBudget,
    ) -> None:
        self.session = Session(session_id=session_id, initiator=key is not None, key=key, limits=limits, budget=budget)
        self._driver = driver
        self._on_stream = on_stream
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._carrier: Carrier | None = None
        self._sinks: dict[int, StreamSink] | None = None
        self._message_bytes = 0
        self._is_turn_scheduled = False
        self._is_watching = False
        self._watches_only_ping = False
        """Whether the core believes that nothing waits but an idle path's ping."""
        self._ack_at: float | None = None
        """When the session wants to be woken, so that an idle tube's waking does not ask the session."""
        self._has_news = False
        """Whether anything came or went since the core was told."""
        self._has_ended = False

    # What the core decides.

    def renew_networks(self) -> None:
        self._transport.renew()

    def offer(self, generation: int) -> None:
        try:
            self._carrier = self._transport.offer(generation, self)
        except CarrierError as error:
            self._loop.call_soon(self._driver.carrier_gone, generation, str(error))
        except Exception as error:
            self._carrier_failed(generation, error)

    def answer(self, generation: int, sdp: str) -> None:
        try:
            self._carrier = self._transport.answer(generation, sdp, self)
        except CarrierError as error:
            self._loop.call_soon(self._driver.carrier_gone, generation, str(error))
        except Exception as error:
            self._carrier_failed(generation, error)

    def restart(self, generation: int) -> None:
        if self._carrier is not None:
            self._carrier.restart(generation)

    def answer_restart(self, generation: int, sdp: str) -> None:
        if self._carrier is not None:
            self._carrier.answer_restart(generation, sdp)

    def apply_answer(self, sdp: str) -> None:
        if self._carrier is not None:
            self._carrier.apply_answer(sdp)

    def add_candidate(self, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        if self._carrier is not None:
            self._carrier.add_candidate(candidate, sdp_mid, sdp_mline)

    def close_carrier(self) -> None:
        self.session.carrier_lost()
        carrier, self._carrier = self._carrier, None
        if carrier is not None:
            carrier.close()

    def probe(self) -> None:
        self.session.ping()
        self._pump()

    def keep_alive(self) -> None:
        """Like `probe`, where the core knows already that this ping waits for its answer: it is no news."""
        had_news = self._has_news
        self._is_watching = self._watches_only_ping = True
        self.probe()
        self._has_news = had_news

    def measure(self) -> None:
        if self._carrier is not None:
            self._carrier.measure()

    def say_goodbye(self, code: CloseCode, reason: str) -> None:
        self.session.close(code, reason)
        self._pump()

    def close_now(self) -> None:
        self.session.close_now()
        self._pump()

    def wind_up(self) -> None:
        """The tube has ended: every stream that had not is reset, and what was held is given back. Never raises."""
        self._has_ended = True
        self.session.abandon()
        sinks, self._sinks = self._sinks or {}, None
        for stream_id in self.session.take_forgotten():
            if (sink := sinks.pop(stream_id, None)) is not None:  # it may be about to hear its last words
                self._sink_table()[stream_id] = sink
        for stream_id, sink in sinks.items():
            self._tell(stream_id, sink, "stream_reset", ResetCode.SESSION_LOST)
        self._schedule_turn()

    def kill_carrier(self) -> None:
        if self._carrier is not None:
            self._carrier.kill()

    # What the core asks.

    def evidence(self, carrier: int) -> PathEvidence:
        """What the session knows of its path, for the core."""
        session = self.session
        awaiting_since = session.awaiting_since()
        self._is_watching = awaiting_since is not None
        self._watches_only_ping = session.awaits_only_ping
        self._has_news = False
        return PathEvidence(
            carrier, session.last_heard_at, awaiting_since, self._watches_only_ping, session.last_data_at
        )

    @property
    def has_news(self) -> bool:
        """Whether `evidence` would say anything that it has not said before."""
        return self._is_watching or self._has_news

    @property
    def local_address(self) -> str | None:
        """This machine's address on the path in use; see `Carrier.local_address`."""
        if self._carrier is None:
            return None
        try:
            return self._carrier.local_address
        except Exception as error:  # one tube's, which must not keep the news of a change from the others
            log_event(log, logging.ERROR, "no-local-address", error, tube=self._driver.tube_id)
            return None

    def next_deadline(self) -> float | None:
        return self._ack_at

    def handle_timeout(self, now: float) -> None:
        self.session.handle_timeout(now)
        self._ack_at = self.session.next_deadline()
        self._pump()

    # Streams. A call for one that has ended, or whose tube has, does nothing: it may have crossed the news of that.
    # An id that never was one of this tube's streams is a `ValueError` in each.

    def open_stream(self, target: bytes, sink: StreamSink) -> int:
        """A new stream to `target`, which the other end's `on_stream` gets; its id. It may be written to at once.

        Args:
            target: at most 512 bytes, whose meaning is the application's.
            sink: hears what comes; the first time after this has returned.

        Raises:
            TypeError: `target` is not bytes, or `sink` lacks a method of `StreamSink`.
            ValueError: `target` is too long.
            RuntimeError: the tube has ended, or carries as many streams as it may.
        """
        check_type("target", target, bytes, "bytes")
        check_methods("a StreamSink", sink, SINK_METHODS)
        stream_id = self.session.open_stream(target)
        self._sink_table()[stream_id] = sink
        self._schedule_turn()
        return stream_id

    def accept(self, stream_id: int) -> None:
        """Take a stream that the peer opened: its sink there hears `stream_accepted`, and it may send a full window.

        From within `on_stream` or later, as when a dialled target is ready. Until then up to 64 KiB may come, which a
        sink keeps.
        """
        self._check_id(stream_id)
        self.session.accept(stream_id)
        self._schedule_turn()

    def write(self, stream_id: int, data: bytes | bytearray | memoryview) -> bool:
        """Send `data`, all of it, now or on a later carrier. True: more may be written at once.

        False: taken, but there is no room for more; wait for `stream_writable`. False also where the stream or the
        tube has ended, or `finish` was called: dropped, and nothing follows.

        Raises:
            TypeError: `data` is not bytes, nor anything else that can be seen as bytes.
        """
        if not self.session.is_writable(stream_id):
            self._check_id(stream_id)
            return False
        if type(data) is not bytes:
            check_type("data", data, (bytes, bytearray, memoryview), "bytes")
            data = bytes(data)  # which nobody changes any more
        more = self.session.write(stream_id, data)
        self._schedule_turn()
        return more

    def finish(self, stream_id: int) -> None:
        """Write no more (half-close): the peer's sink hears `stream_finished` behind the last byte. Reading goes on."""
        self._check_id(stream_id)
        self.session.finish(stream_id)
        self._schedule_turn()

    def reset(self, stream_id: int, code: ResetCode) -> None:
        """End both directions, or refuse a stream; the peer's sink hears `stream_reset` with `code`.

        What was written before is delivered first. This end's sink hears nothing more; what comes is dropped.

        Raises:
            ValueError: `code` is no `ResetCode`.
        """
        code = ResetCode(code)
        self._check_id(stream_id)
        self._let_go(stream_id)
        self.session.reset(stream_id, code)
        self._schedule_turn()

    def abort(self, stream_id: int, code: ResetCode) -> None:
        """`reset` that does not wait for the peer to read: what was written and not yet delivered is dropped.

        Also behind a `reset`, whose code stands.

        Raises:
            ValueError: `code` is no `ResetCode`.
        """
        code = ResetCode(code)
        self._check_id(stream_id)
        self._let_go(stream_id)
        self._handle_session(self.session.abort(stream_id, code))
        self._schedule_turn()

    def consume(self, stream_id: int, count: int) -> None:
        """`count` bytes of `stream_data` have gone on: the peer may send as many more.

        Without it the peer stops once a window (2 MiB; with many streams less) has come, and the stream never ends.

        Raises:
            ValueError: more than has come and was not consumed.
        """
        check_type("count", count, int, "a number of bytes")
        self._check_id(stream_id)
        self.session.consume(stream_id, count)
        self._schedule_turn()

    def _check_id(self, stream_id: int) -> None:
        if not isinstance(stream_id, int) or not self.session.was_seen(stream_id):
            raise ValueError(f"tube {self._driver.tube_id!r} has, and had, no stream {stream_id!r}")

    def _let_go(self, stream_id: int) -> None:
        if self._sinks is not None:
            self._sinks.pop(stream_id, None)

    # The carrier.

    def carrier_description(self, generation: int, sdp: str) -> None:
        self._driver.described(generation, sdp)

    def carrier_candidate(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        self._driver.candidate_found(generation, candidate, sdp_mid, sdp_mline)

    def carrier_opened(self, generation: int, binding: bytes) -> None:
        self._message_bytes = 0
        self.session.carrier_opened(generation, binding)
        self._pump()

    def carrier_message(self, generation: int, message: bytes) -> None:
        session = self.session
        events = session.receive(generation, message, clock())
        self._ack_at = session.next_deadline()
        is_idle_answer = len(events) == 1 and isinstance(events[0], RttMeasured) and not session.stream_count
        is_resumption = len(events) == 1 and isinstance(events[0], SessionResumed) and not session.stream_count
        # These two tell the core by themselves that the peer was heard.
        self._has_news = self._has_news or not (is_idle_answer or is_resumption)
        self._handle_session(events)
        if self._driver.is_recovering:
            self._driver.feed(self.evidence(generation))
        if not is_idle_answer or session.has_replies:
            self._schedule_turn()

    def carrier_writable(self, generation: int) -> None:
        self._pump()

    def carrier_ice_state(self, generation: int, state: IceState) -> None:
        log_ice_state(self._driver.tube_id, generation, state)
        if state is not IceState.CONNECTED:
            self._driver.feed(IceUnhealthy(generation))

    def carrier_measured(self, generation: int, statistics: PathStatistics) -> None:
        self._driver.feed(
            HealthMeasured(generation, statistics.rtt, statistics.checks_sent, statistics.checks_answered)
        )

    def carrier_lost(self, generation: int, reason: LossReason, detail: str) -> None:
        self._driver.carrier_gone(generation, f"{reason.value}: {detail}" if detail else reason.value)

    def _carrier_failed(self, generation: int, error: Exception) -> None:
        """A mistake of the transport's or of ours costs the carrier, and is not silent."""
        log_event(log, logging.ERROR, "carrier-failed", error, tube=self._driver.tube_id, generation=generation)
        self._loop.call_soon(self._driver.carrier_gone, generation, f"an error here: {type(error).__qualname__}")

    # The session.

    def _handle_session(self, events: list[SessionEvent]) -> None:
        for event in events:
            match event:
                case StreamData(stream_id, data):
                    if (sink := self._sink(stream_id)) is not None:
                        self._tell(stream_id, sink, "stream_data", data)
                case StreamWritable(stream_id):
                    if (sink := self._sink(stream_id)) is not None:
                        self._tell(stream_id, sink, "stream_writable")
                case StreamAccepted(stream_id):
                    if (sink := self._sink(stream_id)) is not None:
                        self._tell(stream_id, sink, "stream_accepted")
                case StreamFinished(stream_id):
                    if (sink := self._sink(stream_id)) is not None:
                        self._tell(stream_id, sink, "stream_finished")
                case StreamReset(stream_id, code):
                    if (sink := self._sink(stream_id)) is not None:
                        self._let_go(stream_id)
                        self._tell(stream_id, sink, "stream_reset", code)
                case StreamOpened(stream_id, target):
                    self._open(stream_id, target)
                case RttMeasured(seconds):
                    is_idle = not self.session.stream_count
                    self._is_watching = self._is_watching and not is_idle
                    self._driver.feed(CoreRttMeasured(self._generation, seconds, is_idle))
                case SessionResumed(generation):
                    log_resumed(self._driver.tube_id, event)
                    self._is_watching = False
                    self._driver.feed(CoreSessionResumed(generation))
                case CarrierUnusable(generation, reason):
                    self._driver.carrier_gone(generation, f"protocol error: {reason}")
                case SessionClosed(code, reason, by_peer):
                    self._pump()
                    farewell = 0.0 if by_peer else FAREWELL_SECONDS
                    self._loop.call_later(farewell, self._driver.feed, SessionEnded(_CLOSE_REASONS[code], reason))
                case _:
                    assert_never(event)

    def _open(self, stream_id: int, target: bytes) -> None:
        sink = None
        try:
            returned = self._on_stream(stream_id, target)
            if inspect.iscoroutine(returned):
                returned.close()  # nobody awaits it
            if returned is not None:
                check_methods("what on_stream returns, a StreamSink,", returned, SINK_METHODS)
            sink = returned
        except (Exception, asyncio.CancelledError) as error:
            log_user_failed(self._driver.tube_id, stream_id, error)
        if sink is None:
            self.reset(stream_id, ResetCode.NOT_ALLOWED)
        elif not self._has_ended:
            self._sink_table()[stream_id] = sink
        else:
            self._tell(stream_id, sink, "stream_reset", ResetCode.SESSION_LOST)

    def _tell(self, stream_id: int, sink: StreamSink, method: SinkMethod, *args: object) -> None:
        """A user that raises loses its own stream, and no other."""
        try:
            getattr(sink, method)(*args)
        except (Exception, asyncio.CancelledError) as error:  # nothing is awaited here: it is the user's own
            log_user_failed(self._driver.tube_id, stream_id, error)
            self.reset(stream_id, ResetCode.ABORTED)

    @property
    def _generation(self) -> int:
        return self._carrier.generation if self._carrier is not None else 0

    def _sink(self, stream_id: int) -> StreamSink | None:
        return None if self._sinks is None else self._sinks.get(stream_id)

    def _sink_table(self) -> dict[int, StreamSink]:
        if self._sinks is None:
            self._sinks = {}
        return self._sinks

    def _schedule_turn(self) -> None:
        """Pump once the loop's ready callbacks have run: their small writes share a message."""
        if not self._is_turn_scheduled:
            self._is_turn_scheduled = True
            self._loop.call_soon(self._turn)

    def _turn(self) -> None:
        """Never from within a call of a user: one that has ended may not have heard its last words yet."""
        self._is_turn_scheduled = False
        for stream_id in self.session.take_forgotten():
            self._let_go(stream_id)
        if self._has_ended or not self._sinks:
            self._sinks = None
        self._pump()

    def _pump(self) -> None:
        carrier, session = self._carrier, self.session
        if carrier is None:
            return
        sent = False
        try:
            if session.message_bytes != self._message_bytes:
                self._message_bytes = session.message_bytes
                carrier.limit_buffer(2 * self._message_bytes)
            now = clock()
            while carrier.has_room and (message := session.next_message(now)) is not None:
                carrier.send(message)
                sent = self._has_news = True
        except Exception as error:
            self._carrier_failed(carrier.generation, error)
            return
        self._ack_at = session.next_deadline()
        if session.has_forgotten:
            self._schedule_turn()
        if sent and session.is_close_sent:
            self._driver.feed(CloseSent())
        if sent and (not self._is_watching or (self._watches_only_ping and not session.awaits_only_ping)):
            self._driver.feed(self.evidence(carrier.generation))
        else:
            self._driver.rearm()
