"""Both ends of signaling for tests: listeners that record, and gateways that collect their sessions."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, TypeVar

from perdure.signaling.client_peer import ClientSignaling
from perdure.signaling.gateway_peer import MAX_SESSIONS, GatewaySignaling
from support.recorder import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from perdure.signaling.base import SignalingChannel
    from perdure.signaling.messages import Message
    from perdure.ticket import Ticket

SECRET = bytes(range(32))

T = TypeVar("T")


async def eventually(condition: Callable[[], bool], *, seconds: float = TIMEOUT) -> None:
    """Wait until `condition`, which the work of other tasks makes true."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 — what is awaited has no event of its own.
            await asyncio.sleep(0.002)


async def within(awaitable: Awaitable[T], *, seconds: float = TIMEOUT) -> T:
    """`awaitable`'s result, or a failed test instead of one that hangs."""
    return await asyncio.wait_for(awaitable, seconds)


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


class Sessions:
    """A gateway that attaches a `Listener` to each session."""

    def __init__(
        self, ticket: Ticket, *, max_sessions: int = MAX_SESSIONS, now: Callable[[], float] = time.time
    ) -> None:
        self.signaling = GatewaySignaling(ticket, on_session=self._open, max_sessions=max_sessions, now=now)
        self.opened: list[Opened] = []
        self.attaches = True

    def _open(self, session_id: bytes, channel: SignalingChannel) -> None:
        listener = Listener()
        if self.attaches:
            channel.attach(listener)
        self.opened.append(Opened(session_id, channel, listener))

    async def first(self) -> Opened:
        await eventually(lambda: bool(self.opened))
        return self.opened[0]

    async def open_without_listener(self, ticket: Ticket, messages: list[Message]) -> SignalingChannel:
        self.attaches = False
        count = len(self.opened)
        client = ClientSignaling(ticket, os.urandom(16))
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
    ticket: Ticket, *, session_id: bytes | None = None
) -> AsyncIterator[tuple[Sessions, ClientSignaling, Listener]]:
    """A gateway and one client of `ticket`, with what the client hears."""
    listener = Listener()
    async with Sessions(ticket) as sessions, ClientSignaling(ticket, session_id or os.urandom(16)) as client:
        client.attach(listener)
        yield sessions, client, listener
