"""Two managers in one process on the real engine, their signaling joined directly."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from perdure.config import ResourceLimits, RestartPolicy, SessionLimits, TransportConfig
from perdure.core.state import State
from perdure.registry import TubeRegistry
from perdure.tube import Endpoint
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.actions import StateChanged
    from perdure.manager import TunnelConnectionManager
    from perdure.signaling.base import SignalingListener
    from perdure.signaling.messages import Message
    from perdure.streams.streams import Incoming
    from perdure.streams.transport import StreamTransport


class DirectSignaling:
    """One end's signaling: what it sends reaches the other end with the event loop's next turn."""

    def __init__(self) -> None:
        self.available = True
        self.other: DirectSignaling | None = None
        self.sent: list[Message] = []
        self._sent_more = asyncio.Event()
        self._unheard: list[Message] = []
        self._listener: SignalingListener | None = None
        self._closed = False

    def attach(self, listener: SignalingListener) -> None:
        self._listener = listener
        for message in self._unheard:
            listener.signaling_message(message)

    def send(self, message: Message) -> None:
        self.sent.append(message)
        self._sent_more.set()
        if self.other is not None and self.available:
            asyncio.get_running_loop().call_soon(self.other.deliver, message)

    async def said(self, kind: type[Message]) -> None:
        """Wait until a message of `kind` was sent."""
        while not any(isinstance(message, kind) for message in self.sent):
            self._sent_more.clear()
            await self._sent_more.wait()

    def deliver(self, message: Message) -> None:
        if self._listener is None:
            self._unheard.append(message)
        elif not self._closed:
            self._listener.signaling_message(message)

    def set_available(self, available: bool) -> None:
        self.available = available
        if self._listener is not None:
            self._listener.signaling_available(available)

    def tell_peer_restarted(self) -> None:
        if self._listener is not None:
            self._listener.signaling_peer_restarted()

    def doubt(self) -> None:
        pass

    def close(self) -> None:
        self._closed = True


def refuse(stream: StreamTransport) -> None:
    stream.refuse(ResetCode.NOT_ALLOWED)


class End:
    """One manager and what it told."""

    def __init__(self, registry: TubeRegistry, signaling: DirectSignaling, *, session_id: bytes, key: bytes | None):
        self.changes: list[StateChanged] = []
        self.on_loss: Callable[[], None] = lambda: None
        self.incoming: Incoming = refuse
        self.signaling = signaling
        self.registry = registry
        self._waiters: list[tuple[State, asyncio.Future[None]]] = []
        self.manager = registry.create_tube(
            "client" if key else "gateway",
            endpoint=Endpoint(session_id, key, signaling),
            incoming=lambda stream: self.incoming(stream),
        )
        self.manager.add_state_change_callback(self._changed)

    def _changed(self, change: StateChanged) -> None:
        self.changes.append(change)
        if change.after is State.RECONNECTING:
            self.on_loss()
        for state, waiter in self._waiters:
            if state is change.after and not waiter.done():
                waiter.set_result(None)

    async def next(self, state: State, timeout: float = 10.0) -> None:
        """Wait for the next change to `state`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((state, waiter))
        async with asyncio.timeout(timeout):
            await waiter


class ManagerPair:
    """`client` begins the session, `gateway` accepts it; each in a registry of its own."""

    def __init__(
        self,
        policy: RestartPolicy | None = None,
        session_limits: SessionLimits | None = None,
        limits: ResourceLimits | None = None,
    ) -> None:
        self._session_id = os.urandom(16)
        self._make_registry: Callable[[], TubeRegistry] = lambda: TubeRegistry(
            policy, session_limits, limits, transport=TransportConfig(loopback=True)
        )
        here, there = DirectSignaling(), DirectSignaling()
        here.other, there.other = there, here
        self.client_end = self._end(os.urandom(32), here)
        self.gateway_end = self._end(None, there)
        self._earlier: list[TunnelConnectionManager] = []

    @property
    def client(self) -> TunnelConnectionManager:
        return self.client_end.manager

    @property
    def gateway(self) -> TunnelConnectionManager:
        return self.gateway_end.manager

    def restart_gateway(self) -> TunnelConnectionManager:
        """A gateway that knows nothing of the session takes the place of the one before, which hears nothing more."""
        self._earlier.append(self.gateway)
        self.gateway_end.signaling.close()
        there = DirectSignaling()
        self.client_end.signaling.other, there.other = there, self.client_end.signaling
        self.gateway_end = self._end(None, there)
        return self.gateway

    def _end(self, key: bytes | None, signaling: DirectSignaling) -> End:
        return End(self._make_registry(), signaling, session_id=self._session_id, key=key)

    async def connect(self) -> None:
        waits = [self.client_end.next(State.CONNECTED), self.gateway_end.next(State.CONNECTED)]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(0)
        self.gateway.start()
        self.client.start()
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        for manager in (self.client, self.gateway, *self._earlier):
            await manager.shutdown()
