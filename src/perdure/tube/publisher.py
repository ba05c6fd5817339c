"""Tells whoever listens what happens to one tube: the log, the signal handler, the callbacks, the iterators."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, assert_never

from perdure.core.actions import KeepAlive, WarnOfTimeout
from perdure.core.decision import Decision
from perdure.core.state import State
from perdure.delivery import Callbacks, SignalQueue
from perdure.signals import (
    ChannelClosed,
    ConnectionStateChanged,
    IceCandidate,
    IceRestartOffer,
    Keepalive,
    NetworkChangeDetected,
    SessionTimeoutWarning,
    Signal,
    TurnCredentialsFailed,
    TurnCredentialsRefreshed,
    TurnServerFailed,
)
from perdure.tube.clock import clock
from perdure.tube.log import log_decision, log_state_change, log_timeout_warning

if TYPE_CHECKING:
    from perdure.core.actions import StateChanged
    from perdure.core.decision import RecoveryAction
    from perdure.delivery import SignalHandler, SignalIterator
    from perdure.ice_server import IceServer
    from perdure.signaling.messages import Candidate

LAST_SIGNALS_TIMEOUT = 30.0
"""Seconds after a tube's end in which a slow handler may still take its last signals."""


class EventPublisher:
    """One tube's signals and callbacks."""

    __slots__ = (
        "_decision_callbacks",
        "_iterators",
        "_lost_at",
        "_signals",
        "_state_callbacks",
        "conversation_id",
        "tube_id",
    )

    def __init__(self, tube_id: str, conversation_id: str | None, handler: SignalHandler | None) -> None:
        self.tube_id = tube_id
        self.conversation_id = conversation_id
        self._signals = SignalQueue(handler) if handler is not None else None
        self._iterators: tuple[weakref.ref[SignalIterator], ...] = ()
        self._state_callbacks: Callbacks[StateChanged] | None = None
        self._decision_callbacks: Callbacks[Decision] | None = None
        self._lost_at = 0.0

    @property
    def handler(self) -> SignalHandler | None:
        return None if self._signals is None else self._signals.handler

    @property
    def dropped(self) -> int:
        """Signals that the handler never got."""
        return self._signals.dropped if self._signals is not None else 0

    @property
    def failed(self) -> int:
        """Signals at which the handler raised."""
        return self._signals.failed if self._signals is not None else 0

    def add_iterator(self, iterator: SignalIterator) -> None:
        """Give each signal to `iterator` too, as long as somebody holds it."""
        self._iterators = (*(other for other in self._iterators if other() is not None), weakref.ref(iterator))

    def add_state_callback(self, callback: Callable[[StateChanged], object]) -> Callable[[], None]:
        if self._state_callbacks is None:
            self._state_callbacks = Callbacks()
        return self._state_callbacks.add(callback)

    def add_decision_callback(self, callback: Callable[[Decision], object]) -> Callable[[], None]:
        if self._decision_callbacks is None:
            self._decision_callbacks = Callbacks()
        return self._decision_callbacks.add(callback)

    def state_changed(self, change: StateChanged, generation: int) -> None:
        outage = None
        if change.after is State.RECONNECTING:
            self._lost_at = clock()
        elif change.before is State.RECONNECTING and change.after is State.CONNECTED:
            outage = clock() - self._lost_at
        log_state_change(self.tube_id, change, generation, outage)
        reason, after = change.reason.value, change.after.value
        self._emit(ConnectionStateChanged(*self._about, change.before.value, after, reason, change.detail, outage))
        if change.after.is_final:
            self._emit(ChannelClosed(*self._about, reason, change.detail, after))
        if self._state_callbacks is not None:
            self._state_callbacks.call(change)

    def told(self, action: Decision | KeepAlive | WarnOfTimeout, rtt: float | None) -> None:
        """What the core says besides changes of state; `rtt` in seconds, where it is known."""
        match action:
            case Decision():
                self._decided(action)
            case KeepAlive(idle_seconds):
                self._emit(Keepalive(*self._about, idle_seconds, rtt))
            case WarnOfTimeout(idle_seconds, remaining_seconds):
                log_timeout_warning(self.tube_id, action)
                self._emit(SessionTimeoutWarning(*self._about, idle_seconds, remaining_seconds))
            case _:
                assert_never(action)

    def _decided(self, decision: Decision) -> None:
        log_decision(self.tube_id, decision)
        if decision.trigger is None:
            return
        self._emit(
            NetworkChangeDetected(
                *self._about,
                decision.trigger.value,
                decision.action.value,
                decision.reason.value,
                decision.attempt,
                None if decision.next_attempt_at is None else decision.next_attempt_at - decision.at,
                decision.detail,
            )
        )
        if self._decision_callbacks is not None:
            self._decision_callbacks.call(decision)

    def offered(self, sdp: str, generation: int, action: RecoveryAction) -> None:
        self._emit(IceRestartOffer(*self._about, sdp, generation, action.value))

    def candidate_found(self, found: Candidate) -> None:
        self._emit(IceCandidate(*self._about, found.candidate, found.sdp_mid, found.sdp_mline_index, found.generation))

    def ice_servers_changed(self, servers: Sequence[IceServer], expires_in: float | None) -> None:
        urls = tuple(server.url for server in servers)
        username = next((server.username for server in servers if server.username), None)
        self._emit(TurnCredentialsRefreshed(*self._about, urls, username, expires_in))

    def turn_credentials_failed(self, reason: str, retry_in: float, expires_in: float | None) -> None:
        self._emit(TurnCredentialsFailed(*self._about, reason, retry_in, expires_in))

    def turn_server_failed(self, url: str, code: int, reason: str) -> None:
        self._emit(TurnServerFailed(*self._about, url, code, reason))

    def close(self) -> None:
        """Take nothing more; what waits is still told, unless the handler is too slow."""
        for each in self._iterators:
            if (iterator := each()) is not None:
                iterator.source_ended()
        self._iterators = ()
        if self._signals is not None:
            self._signals.close()
            if not self._signals.is_idle:
                asyncio.get_running_loop().call_later(LAST_SIGNALS_TIMEOUT, self._signals.abandon)

    async def drain(self, timeout: float) -> None:
        """Wait until the handler has had what waits, at most `timeout` seconds."""
        if self._signals is not None:
            await self._signals.drain(timeout)

    @property
    def _about(self) -> tuple[str, str | None]:
        return self.tube_id, self.conversation_id

    def _emit(self, signal: Signal) -> None:
        if self._signals is not None:
            self._signals.emit(signal)
        for each in self._iterators:
            if (iterator := each()) is not None:
                iterator.add(signal)
