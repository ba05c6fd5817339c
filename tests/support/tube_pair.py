"""Two tubes in one process on the real engine, their signaling joined directly."""

from __future__ import annotations

import asyncio
import os
from random import Random
from typing import TYPE_CHECKING

from perdure.config import ResourceLimits, RestartPolicy, TransportConfig
from perdure.core.state import State
from perdure.transport.rtc import RtcTransport
from perdure.tube import Tube

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.core.actions import ChangeState
    from perdure.signaling.base import SignalingListener
    from perdure.signaling.messages import Message
    from perdure.tube import StreamSink


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

    def close(self) -> None:
        self._closed = True


class Handler:
    """Records state changes; hands streams of the peer to `on_stream`."""

    def __init__(self) -> None:
        self.changes: list[ChangeState] = []
        self.on_loss: Callable[[], None] = lambda: None
        self.on_stream: Callable[[Tube, int, bytes], StreamSink | None] = lambda tube, stream_id, target: None
        self._waiters: list[tuple[State, asyncio.Future[None]]] = []

    def tube_state_changed(self, tube: Tube, change: ChangeState) -> None:
        self.changes.append(change)
        if change.after is State.RECONNECTING:
            self.on_loss()
        for state, waiter in self._waiters:
            if state is change.after and not waiter.done():
                waiter.set_result(None)

    def tube_stream_opened(self, tube: Tube, stream_id: int, target: bytes) -> StreamSink | None:
        return self.on_stream(tube, stream_id, target)

    async def next(self, state: State, timeout: float = 10.0) -> None:
        """Wait for the next change to `state`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append((state, waiter))
        async with asyncio.timeout(timeout):
            await waiter


class TubePair:
    """`client` begins the session, `gateway` accepts it."""

    def __init__(self, policy: RestartPolicy | None = None, limits: ResourceLimits | None = None) -> None:
        self._policy, self._limits = policy or RestartPolicy(), limits or ResourceLimits()
        self._transport = RtcTransport(TransportConfig(loopback=True))
        self._session_id = os.urandom(16)
        self.client_signaling, self.gateway_signaling = DirectSignaling(), DirectSignaling()
        self.client_signaling.other, self.gateway_signaling.other = self.gateway_signaling, self.client_signaling
        self.client_handler, self.gateway_handler = Handler(), Handler()
        self.client = self._tube(os.urandom(32), self.client_signaling, self.client_handler)
        self.gateway = self._tube(None, self.gateway_signaling, self.gateway_handler)
        self._earlier: list[Tube] = []

    def restart_gateway(self) -> Tube:
        """A gateway that knows nothing of the session takes the place of the one before, which hears nothing more."""
        self._earlier.append(self.gateway)
        self.gateway_signaling.close()
        self.gateway_signaling = DirectSignaling()
        self.client_signaling.other, self.gateway_signaling.other = self.gateway_signaling, self.client_signaling
        self.gateway = self._tube(None, self.gateway_signaling, self.gateway_handler)
        return self.gateway

    def _tube(self, key: bytes | None, signaling: DirectSignaling, handler: Handler) -> Tube:
        return Tube(
            session_id=self._session_id,
            key=key,
            policy=self._policy,
            limits=self._limits,
            transport=self._transport,
            signaling=signaling,
            handler=handler,
            random=Random(1),
        )

    async def connect(self) -> None:
        waits = [self.client_handler.next(State.CONNECTED), self.gateway_handler.next(State.CONNECTED)]
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        await asyncio.sleep(0)
        self.gateway.start()
        self.client.start()
        await asyncio.gather(*tasks)

    async def close(self) -> None:
        for tube in (self.client, self.gateway, *self._earlier):
            await tube.close()
