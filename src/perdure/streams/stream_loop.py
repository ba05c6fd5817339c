"""The event loop as asyncio's `StreamWriter` wants it, so that its `start_tls` works on uvloop, too."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any, cast


def stream_loop() -> asyncio.AbstractEventLoop:
    """The loop to give to a `StreamWriter` and its protocol: the running one, or a stand-in for it."""
    loop = asyncio.get_running_loop()
    return loop if isinstance(loop, asyncio.BaseEventLoop) else cast(asyncio.AbstractEventLoop, _StandIn(loop))


async def start_tls(
    transport: asyncio.WriteTransport, protocol: asyncio.BaseProtocol, context: ssl.SSLContext, **options: Any
) -> asyncio.Transport:
    """`BaseEventLoop`'s own, whatever loop runs: uvloop's takes only its own transports."""
    loop = cast(asyncio.BaseEventLoop, asyncio.get_running_loop())
    return cast(
        asyncio.Transport,
        await asyncio.base_events.BaseEventLoop.start_tls(loop, transport, protocol, context, **options),
    )


class _StandIn:
    """Another loop, but for its `start_tls`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.start_tls = start_tls

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)
