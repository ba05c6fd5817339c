"""The seam between a link and what carries it: `websockets`, or a simulation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol


class Abortable(Protocol):
    def abort(self) -> None:
        """End the connection at once."""


class Socket(Protocol):
    """As much of a WebSocket as a link needs; `websockets`' connection is one. What it raises is `OSError`, `EOFError`
    or a `WebSocketException`, and means that it has ended."""

    @property
    def local_address(self) -> tuple[Any, ...]:
        """This end's address and port."""

    @property
    def latency(self) -> float:
        """Seconds of the latest ping's round trip; 0: none was answered yet."""

    @property
    def transport(self) -> Abortable:
        """What carries it."""

    async def send(self, message: str) -> None: ...

    async def recv(self, decode: Literal[False]) -> bytes:
        """The next message, as its bytes: the frames' decoder judges them."""

    async def ping(self) -> Awaitable[float]:
        """Send a ping; what is returned comes with the pong, or raises where the connection ends."""

    async def wait_closed(self) -> None: ...


OpenSocket = Callable[[str | None], Awaitable[Socket]]
"""Connects to the rendezvous: as the routes lead, or, given its name, by one interface whatever they prefer."""
