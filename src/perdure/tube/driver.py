"""Drives one tube's core: feeds it what happens, and carries out what it decides.

1. One waking for the core and the session together: by a timer handle, or by the wheel where it is far away.
2. Evidence before deadlines: what the session knows is fed before a due timeout.
3. Nothing is decided here.
4. What one action raises is logged, and the next is carried out: a tube always comes to its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import (
    Action,
    AnswerRestart,
    ApplyAnswer,
    ApplyCandidate,
    CloseCarrier,
    CloseNow,
    KeepAlive,
    MakeAnswer,
    MakeOffer,
    MeasureHealth,
    Probe,
    RenewNetworks,
    RestartIce,
    SayGoodbye,
    StateChanged,
    WarnOfTimeout,
)
from perdure.core.connection import Connection
from perdure.core.decision import Decision, Trigger
from perdure.core.events import (
    AnswerReceived,
    CandidateReceived,
    CarrierLost,
    Event,
    NetworkChanged,
    OfferReceived,
    PeerLeft,
    PeerRestarted,
    SignalingChanged,
    Started,
)
from perdure.core.state import Reason, State
from perdure.eventlog import log_event
from perdure.signaling.messages import Answer, Bye, Candidate, Message, Offer, short_reason
from perdure.tube.clock import clock
from perdure.tube.link import Link
from perdure.tube.log import log, log_negotiation_begun
from perdure.tube.wheel import FAR_SECONDS
from perdure.wire import CloseCode, printable

if TYPE_CHECKING:
    from random import Random

    from perdure.config import ResourceLimits, RestartPolicy, SessionLimits
    from perdure.session import ByteBudget
    from perdure.signaling.base import SignalingChannel
    from perdure.transport.base import Transport
    from perdure.tube.link import OpenStream
    from perdure.tube.wheel import Wheel

Told = StateChanged | Decision | KeepAlive | WarnOfTimeout
"""What the core decides that the application hears of."""

_CLOSE_CODES = {
    Reason.SESSION_TIMEOUT: CloseCode.TIMED_OUT,
    Reason.SESSION_LIMIT: CloseCode.TIMED_OUT,
    Reason.SHUT_DOWN: CloseCode.SHUT_DOWN,
}


class Driver:
    """One tube's core, its link, and its signaling.

    Args:
        session_id: 16 random bytes, shared with the peer.
        key: the session's key where this end begins the session; `None` at the end that accepts it.
        on_told: hears what the application is to hear of, in the order of the core's decisions.
        on_described: hears each offer and answer of this end, after it was sent.
        on_carrier_gone: hears why a carrier (its generation) was given up, after the core was told.
        on_stream: the peer opened a stream.
    """

    __slots__ = (
        "__weakref__",
        "_cause",
        "_due_actions",
        "_is_closing",
        "_is_running",
        "_on_carrier_gone",
        "_on_described",
        "_on_told",
        "_timer",
        "_wakes_at",
        "_wheel",
        "channel",
        "core",
        "ice_restarts",
        "link",
        "rebuilds",
        "restarted_at",
        "tick",
        "tube_id",
    )

    def __init__(
        self,
        tube_id: str,
        transport: Transport,
        channel: SignalingChannel,
        *,
        session_id: bytes,
        key: bytes | None,
        policy: RestartPolicy,
        session_limits: SessionLimits,
        limits: ResourceLimits,
        budget: ByteBudget,
        random: Random,
        wheel: Wheel,
        on_told: Callable[[Told], None],
        on_described: Callable[[Offer | Answer], None],
        on_carrier_gone: Callable[[int, str], None],
        on_stream: OpenStream,
    ) -> None:
        self.tube_id = tube_id
        self.channel = channel
        self.core = Connection(policy, session_limits, polite=key is None, random=random, now=clock())
        self.link = Link(self, transport, on_stream, session_id=session_id, key=key, limits=limits, budget=budget)
        self.ice_restarts = 0
        """ICE restarts that this end began."""
        self.rebuilds = 0
        """Carriers that this end began after a loss."""
        self.restarted_at: float | None = None
        """When the last of either began."""
        self._on_told = on_told
        self._on_described = on_described
        self._on_carrier_gone = on_carrier_gone
        self._cause: Trigger | None = None
        """What the last offer of this end answers."""
        self._due_actions: list[Action] | None = None
        self.tick = 0
        """The wheel's tick that wakes this tube; 0 where none does."""
        self._wheel = wheel
        self._timer: asyncio.TimerHandle | None = None
        """What wakes it sooner than the wheel could."""
        self._wakes_at = math.inf
        self._is_running = False
        self._is_closing = False

    @property
    def is_closing(self) -> bool:
        """Whether the farewell is said, or was."""
        return self._is_closing

    @property
    def is_running(self) -> bool:
        return self._is_running

    @property
    def is_recovering(self) -> bool:
        """Whether a sign of life would end a recovery."""
        return self.core.state is State.RECONNECTING

    def run(self, *, connect: bool) -> None:
        """Let the timers run; with `connect`, also begin. Twice is fine."""
        if self._is_running:
            return
        self._is_running = True
        self.feed(SignalingChanged(self.channel.available))
        if connect:
            self.feed(Started())
        self.channel.attach(self)

    def network_changed(self, event: NetworkChanged) -> None:
        """`feed`, behind a look at what a sleep has done to the timers."""
        if event.slept_seconds:
            self._wheel.set_right()
        self.feed(event)

    def feed(self, event: Event) -> None:
        """Tell the core, and do what it decides."""
        self._carry_out(self.core.handle_event(event, clock()))
        self.rearm()

    # Signaling.

    def signaling_message(self, message: Message) -> None:
        match message:
            case Offer(generation, sdp, restarts, cause):
                log_negotiation_begun(self.tube_id, generation, "restart" if restarts else "carrier", "the peer")
                self.feed(OfferReceived(generation, sdp, restarts, printable(cause)))
            case Answer(generation, sdp):
                self.feed(AnswerReceived(generation, sdp))
            case Candidate(generation, candidate, sdp_mid, sdp_mline_index):
                self.feed(CandidateReceived(generation, candidate, sdp_mid, sdp_mline_index))
            case Bye(reason):
                self.feed(PeerLeft(printable(reason)))
            case _:
                assert_never(message)

    def signaling_available(self, available: bool) -> None:
        if available:
            # Evidence first: a path that survived meanwhile needs no recovery.
            self.feed(self.link.evidence(self.core.carrier))
        self.feed(SignalingChanged(available))

    def signaling_peer_restarted(self) -> None:
        self.feed(PeerRestarted())

    # The link.

    def described(self, generation: int, sdp: str) -> None:
        """The carrier's offer or answer is to be sent."""
        core = self.core
        if generation != core.generation:
            return
        message: Offer | Answer
        if core.offered_here:
            restarts = core.carrier if core.carrier != generation else 0
            message = Offer(generation, sdp, restarts, self._cause.value if self._cause is not None else "")
        else:
            message = Answer(generation, sdp)
        self.channel.send(message)
        self._on_described(message)

    def carrier_gone(self, generation: int, why: str) -> None:
        """The engine, or the session, gave a carrier up."""
        self.feed(CarrierLost(generation, why))
        self._on_carrier_gone(generation, why)

    def candidate_found(self, generation: int, candidate: str, sdp_mid: str | None, sdp_mline: int | None) -> None:
        """A candidate is to be sent."""
        self.channel.send(Candidate(generation, candidate, sdp_mid, sdp_mline))

    # Carrying out.

    def _carry_out(self, actions: list[Action]) -> None:
        """In the order of the core's decisions, also where carrying one out leads to the next."""
        if not actions:
            return
        if self._due_actions is not None:
            self._due_actions.extend(actions)
            return
        self._due_actions = due = actions
        try:
            while due:
                action = due.pop(0)
                try:
                    self._carry_out_one(action)
                except Exception as error:
                    self._log_failed(type(action).__name__, error)
        finally:
            self._due_actions = None

    def _carry_out_one(self, action: Action) -> None:
        link = self.link
        match action:  # the frequent ones first
            case MeasureHealth():
                link.measure()
            case Probe():
                link.probe()
            case KeepAlive():
                link.keep_alive()
                self._on_told(action)
            case Decision() | WarnOfTimeout():
                self._on_told(action)
            case MakeOffer(generation, cause):
                self._begin(generation, "carrier", cause)
                self.rebuilds += cause is not None
                link.offer(generation)
            case RestartIce(generation, _, cause):
                self._begin(generation, "restart", cause)
                self.ice_restarts += 1
                link.restart(generation)
            case MakeAnswer(generation, sdp):
                link.answer(generation, sdp)
            case AnswerRestart(generation, sdp):
                link.answer_restart(generation, sdp)
            case ApplyAnswer(_, sdp):
                link.apply_answer(sdp)
            case ApplyCandidate(_, candidate, sdp_mid, sdp_mline):
                link.add_candidate(candidate, sdp_mid, sdp_mline)
            case RenewNetworks():
                link.renew_networks()
            case CloseCarrier():
                link.close_carrier()
            case SayGoodbye(reason, detail):
                self._is_closing = True
                link.say_goodbye(_CLOSE_CODES.get(reason, CloseCode.DONE), short_reason(detail or reason.value))
            case CloseNow():
                link.close_now()
            case StateChanged():
                if action.after.is_final:
                    self._is_closing = True
                    self._wind_up(action)
                self._on_told(action)
            case _:
                assert_never(action)

    def _begin(self, generation: int, what: str, cause: Trigger | None) -> None:
        self._cause = cause
        if cause is not None:
            self.restarted_at = clock()
        log_negotiation_begun(self.tube_id, generation, what, "us")

    def _wind_up(self, change: StateChanged) -> None:
        self._is_running = False
        self._disarm()
        if change.reason is not Reason.CLOSED_BY_PEER:
            with self._survived("Bye"):
                self.channel.send(Bye(short_reason(change.detail or change.reason.value)))
        with self._survived("SignalingChannel.close"):
            self.channel.close()
        with self._survived("Link.wind_up"):
            self.link.wind_up()

    @contextlib.contextmanager
    def _survived(self, what: str) -> Iterator[None]:
        """What is done within may fail: that is logged, with its traceback."""
        try:
            yield
        except Exception as error:
            self._log_failed(what, error)

    def _log_failed(self, what: str, error: Exception) -> None:
        log_event(log, logging.ERROR, "action-failed", error, tube=self.tube_id, action=what)

    # Waking.

    def rearm(self, now: float | None = None) -> None:
        """For the earliest deadline. One that has moved away is noticed at the next waking, unless that is the wheel's:
        leaving it costs less than being woken for nothing."""
        if not self._is_running:
            return
        at, link_at = self.core.next_deadline(), self.link.next_deadline()
        if at is None or (link_at is not None and link_at < at):
            at = link_at
        if at is None or (at >= self._wakes_at and (not self.tick or at < self._wakes_at + FAR_SECONDS)):
            return
        self._disarm()
        self._wakes_at = at
        if now is None:
            now = clock()
        if at - now > FAR_SECONDS:
            self.tick = self._wheel.sleep(self, at)
        else:
            self._timer = asyncio.get_running_loop().call_later(max(0.0, at - now), self.wake)

    def wake(self) -> None:
        """A deadline may have come. Evidence first: what the session knows and the core does not."""
        self._timer, self.tick, self._wakes_at = None, 0, math.inf
        core, link, now = self.core, self.link, clock()
        core_at = core.next_deadline()
        if core_at is not None and core_at <= now:
            if link.has_news:
                self._carry_out(core.handle_event(link.evidence(core.carrier), now))
                now = clock()  # what that led to took its time, which the core has seen
            self._carry_out(core.handle_timeout(now))
        link_at = link.next_deadline()
        if link_at is not None and link_at <= now:
            link.handle_timeout(now)
        self.rearm(now)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        elif self.tick:
            self._wheel.forget(self, self.tick)
        self._timer, self.tick, self._wakes_at = None, 0, math.inf
