"""Both ends of signaling for tests: listeners that record, and gateways that collect their sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from perdure.admission import Holder
from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.gateway_peer import MAX_SESSIONS, GatewaySignaling
from perdure.ticket_store import DEFAULT_TICKET, TicketStore
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.messages import Message
    from perdure.ticket import Ticket

KEY = X25519PrivateKey.from_private_bytes(b"c" * 32)
"""A client's."""

T = TypeVar("T")


async def eventually(condition: Callable[[], bool], *, seconds: float = TIMEOUT) -> None:
    """Wait until `condition`, which the work of other tasks makes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 — what is awaited has no event of its own.
            await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[T], *, seconds: float = TIMEOUT) -> T:
    """`awaitable`'s result, or a failed test instead of one that hangs."""
    return await asyncio.wait_for(awaitable, seconds)


class Application:
    """An application that keeps what its tube says, and raises once at each of `failures`."""

    def __init__(self, *failures: Exception) -> None:
        self.messages: list[Message] = []
        self._failures = list(failures)

    def said(self, message: Message) -> None:
        self.messages.append(message)
        if self._failures:
            raise self._failures.pop(0)


class Listener:
    """A `SignalingListener` that records."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.availability: list[bool] = []
        self.restarts = 0

    def signaling_message(self, message: Message) -> None:
        self.messages.append(message)

    def signaling_available(self, available: bool) -> None:
        self.availability.append(available)

    def signaling_peer_restarted(self) -> None:
        self.restarts += 1

    async def until(self, condition: Callable[[list[Message]], bool]) -> None:
        await eventually(lambda: condition(self.messages))


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    session_id: bytes
    channel: SignalingChannel
    listener: Listener
    holder: Holder


def tickets(*, expires_at: int = 0) -> TicketStore:
    """A gateway's key and its one ticket, in memory."""
    store = TicketStore()
    store.create(DEFAULT_TICKET, now=0.0, expires_at=expires_at)
    return store


def ticket_at(store: TicketStore, port: int) -> Ticket:
    """That ticket, for a rendezvous on this machine."""
    return store.ticket(DEFAULT_TICKET, f"ws://127.0.0.1:{port}")


def client_of(ticket: Ticket, session_id: bytes | None = None, **more: Any) -> ClientSignaling:
    return ClientSignaling(ticket, session_id or os.urandom(16), key=KEY, **more)


class Sessions:
    """A gateway that attaches a `Listener` to each session."""

    def __init__(
        self,
        store: TicketStore,
        port: int,
        *,
        max_sessions: int = MAX_SESSIONS,
        now: Callable[[], float] = time.time,
        **more: Any,
    ) -> None:
        self.signaling = GatewaySignaling(
            f"ws://127.0.0.1:{port}", store, on_session=self._open, max_sessions=max_sessions, now=now, **more
        )
        self.opened: list[Opened] = []
        self.attaches = True

    def _open(self, session_id: bytes, channel: SignalingChannel, holder: Holder) -> None:
        listener = Listener()
        if self.attaches:
            channel.attach(listener)
        self.opened.append(Opened(session_id, channel, listener, holder))

    async def first(self) -> Opened:
        await eventually(lambda: bool(self.opened))
        return self.opened[0]

    async def open_without_listener(self, ticket: Ticket, messages: list[Message]) -> SignalingChannel:
        self.attaches = False
        count = len(self.opened)
        client = client_of(ticket)
        for message in messages:
            client.send(message)
        async with client:
            await within(client.wait_available())
            await eventually(lambda: len(self.opened) > count)
        return self.opened[-1].channel

    async def __aenter__(self) -> Self:
        self.signaling.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.signaling.close(flush_timeout=0.1)


@contextlib.asynccontextmanager
async def gateway_and_client(
    port: int, store: TicketStore | None = None
) -> AsyncIterator[tuple[Sessions, ClientSignaling, Listener]]:
    """A gateway and one client of its ticket, at the rendezvous on `port`, with what the client hears."""
    store = tickets() if store is None else store
    listener = Listener()
    async with Sessions(store, port) as sessions, client_of(ticket_at(store, port)) as client:
        client.attach(listener)
        yield sessions, client, listener
