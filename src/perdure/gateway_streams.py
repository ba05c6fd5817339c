"""The streams that a gateway's clients open: judged by the allow lists, and dialled or handed to the program."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from perdure.addresses import unmapped
from perdure.eventlog import log_event
from perdure.streams.resolver import Resolver
from perdure.streams.tcp import dial
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure.addresses import Address
    from perdure.eventlog import Field
    from perdure.streams.allow import AllowList
    from perdure.streams.streams import Incoming
    from perdure.streams.target import Target
    from perdure.streams.tcp import TcpConnections
    from perdure.streams.transport import StreamTransport

log = logging.getLogger("perdure.gateway")


class GatewayStreams:
    """Takes the streams of all clients.

    Args:
        allow: what any client may reach.
        allow_of: what the ticket of a tube's client allows besides; `None`: all that `allow` does.
        take: takes each allowed stream, instead of a connection to its target.
    """

    def __init__(
        self,
        allow: AllowList,
        allow_of: Callable[[str], AllowList | None],
        take: Incoming | None,
        *,
        tcp_connections: TcpConnections,
    ) -> None:
        self._allow = allow
        self._allow_of = allow_of
        self._dials_targets = take is None
        self._take = take or self._begin_dialling
        self._tcp_connections = tcp_connections
        self._resolver = Resolver()
        self._dials: set[asyncio.Task[None]] = set()

    def opened(self, stream: StreamTransport) -> None:
        """A client opened `stream`."""
        target, lists = stream.target, self._allow_lists(stream)
        if self._dials_targets:
            is_allowed = all(each.may_be_allowed(target) for each in lists)
        else:
            is_allowed = all(each.names(target) for each in lists)
        if is_allowed:
            self._take(stream)
        else:
            self._log_refused(stream)
            stream.refuse(ResetCode.NOT_ALLOWED)

    async def close(self) -> None:
        """Give up the connections that are being made."""
        for task in self._dials:
            task.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)

    def _begin_dialling(self, stream: StreamTransport) -> None:
        task = asyncio.get_running_loop().create_task(self._dial(stream))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, stream: StreamTransport) -> None:
        code = await dial(stream, self._tcp_connections, self._addresses)
        if code is None:
            log_event(log, logging.DEBUG, "stream-opened", **_about(stream))
        elif code is ResetCode.NOT_ALLOWED:
            self._log_refused(stream)
        else:
            why = code.name.lower().replace("_", " ")
            log_event(log, logging.WARNING, "target-failed", **_about(stream), why=why)

    async def _addresses(self, stream: StreamTransport) -> Sequence[Address]:
        """Those of its host that may be dialled."""
        target, lists = cast("Target", stream.target), self._allow_lists(stream)
        found = await self._resolver.resolve(target.host, stream.get_extra_info("tube_id"))
        return [unmapped(address) for address in found if all(each.permits(target, address) for each in lists)]

    def _allow_lists(self, stream: StreamTransport) -> Sequence[AllowList]:
        of_ticket = self._allow_of(stream.get_extra_info("tube_id"))
        return (self._allow,) if of_ticket is None else (self._allow, of_ticket)

    def _log_refused(self, stream: StreamTransport) -> None:
        log_event(log, logging.WARNING, "stream-refused", **_about(stream), why="it is not in --allow")


def _about(stream: StreamTransport) -> dict[str, Field]:
    """What a line of the log says of a stream: whose it is, and what it wants."""
    about: dict[str, Field] = {"tube": stream.get_extra_info("tube_id"), "stream": stream.stream_id}
    if (holder := stream.get_extra_info("peer")) is not None:
        about |= {"ticket": holder.ticket, "key": holder.short_key}
    return about | {"target": str(stream.target)}
