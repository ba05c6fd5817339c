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
    def transport(self) -> Abortable:
        """What carries it."""

    async def send(self, message: str) -> None: ...

    async def recv(self, decode: Literal[False]) -> bytes:
        """The next message, as its bytes: the frames' decoder judges them."""

    async def wait_closed(self) -> None: ...


OpenSocket = Callable[[], Awaitable[Socket]]
"""Connects to the rendezvous."""
