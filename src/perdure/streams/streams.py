"""The streams of one tube: opened and accepted here, and told what the session says of them."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, assert_never

from perdure.session import (
    StreamAccepted,
    StreamData,
    StreamEvent,
    StreamFinished,
    StreamOpened,
    StreamReset,
    StreamWritable,
)
from perdure.streams.arrivals import Arrivals
from perdure.streams.orphans import Orphans
from perdure.streams.target import parse_target
from perdure.streams.transport import StreamTransport
from perdure.tube.log import log_stream_refused, log_user_failed
from perdure.wire import ResetCode

if TYPE_CHECKING:
    from perdure.admission import Holder
    from perdure.streams.target import AnyTarget
    from perdure.tube.carrier_session import CarrierSession

Incoming = Callable[[StreamTransport], None]
"""Takes a stream that the peer opened: gives it a protocol (`start`), and calls `accept` or `refuse`, now or later.
What it raises refuses the stream."""


class Streams:
    """The streams of one tube.

    Args:
        incoming: takes the streams that the peer opens; without it they are refused.
        holder: at a gateway, who is at the other end.
    """

    __slots__ = (
        "_arrivals",
        "_carriers",
        "_lingering",
        "_open",
        "_orphans",
        "_session",
        "holder",
        "incoming",
        "tube_id",
    )

    def __init__(
        self, tube_id: str, carriers: CarrierSession, *, incoming: Incoming | None, holder: Holder | None = None
    ) -> None:
        self.tube_id = tube_id
        self._carriers = carriers
        self._session = carriers.session
        self.incoming = incoming
        self.holder = holder
        self._open: dict[int, StreamTransport] = {}
        self._lingering: tuple[StreamTransport, ...] = ()
        """Streams that the session has forgotten, and whose protocol has not read everything."""
        self._arrivals: Arrivals | None = None
        self._orphans: Orphans | None = None
        carriers.consume_by(self)

    def __len__(self) -> int:
        return len(self._open) + len(self._lingering)

    def __iter__(self) -> Iterator[StreamTransport]:
        """Those that the session carries."""
        return iter(self._open.values())

    def open(self, target: AnyTarget) -> StreamTransport:
        """A new stream to `target`. It may be written to at once; `start` gives it its protocol.

        Raises:
            RuntimeError: the tube has ended.
            ConnectionRefusedError: it carries as many streams as it may.
        """
        if (count := max(len(self), len(self._session.streams))) >= self._session.streams.max_streams:
            text = f"{target}: the tube carries {count} streams already, as many as it may"
            raise ConnectionRefusedError(errno.ECONNREFUSED, text)
        stream_id = self._session.open_stream(target.encode())
        transport = self._open[stream_id] = StreamTransport(self, stream_id, target, is_ours=True)
        self._carriers.schedule_turn_behind_first_bytes()
        return transport

    def abort_all(self) -> None:
        """End all streams now; what has not left is dropped."""
        for transport in list(self._open.values()):
            transport.abort()

    # For StreamTransport.

    def accept(self, stream_id: int) -> None:
        self._session.accept(stream_id)
        self._carriers.schedule_turn()

    def write(self, stream_id: int, data: bytes) -> bool:
        """Take `data`; whether there is room for more."""
        has_room = self._session.write(stream_id, data)
        self._carriers.schedule_turn()
        return has_room

    def finish(self, stream_id: int) -> None:
        self._session.finish(stream_id)
        self._carriers.schedule_turn()

    def consume(self, stream_id: int, count: int) -> None:
        """The protocol got `count` bytes: the peer may send as many more."""
        self._session.consume(stream_id, count)
        self._carriers.schedule_turn()

    def close(self, transport: StreamTransport, *, unread: bool, is_heard_out: bool) -> None:
        """Finish the stream. With bytes `unread`, reset it behind what was written, unless the peer has finished."""
        stream_id = self._let_go(transport)
        if not transport.is_finished:
            self._session.finish(stream_id)
        if unread and not is_heard_out:
            self._session.reset(stream_id, ResetCode.ABORTED)
        else:
            self._session.consume(stream_id)
        if not is_heard_out:
            self._orphans = self._orphans or Orphans(
                self._reset_orphan, lambda: self._session.is_resumed, self._carriers.loop.call_later
            )
            self._orphans.add(stream_id)
        self._carriers.schedule_turn()

    def reset(self, transport: StreamTransport, code: ResetCode) -> None:
        self._session.reset(self._let_go(transport), code)
        self._carriers.schedule_turn()

    def abort(self, transport: StreamTransport, code: ResetCode) -> None:
        self._carriers.handle(self._session.abort(self._let_go(transport), code))
        self._carriers.schedule_turn()

    def lost(self, transport: StreamTransport) -> None:
        """Its protocol knows now."""
        if self._lingering:
            self._lingering = tuple(each for each in self._lingering if each is not transport)

    def held_bytes(self, stream_id: int) -> int:
        return self._session.streams.held_bytes(stream_id)

    def write_limits(self, stream_id: int) -> tuple[int, int]:
        return self._session.streams.write_limits_of(stream_id)

    def set_write_limits(self, stream_id: int, high: int | None, low: int | None) -> None:
        self._session.streams.set_write_limits(stream_id, high, low)

    def extra_info(self, transport: StreamTransport, name: str, default: Any) -> Any:
        match name:
            case "tube_id":
                return self.tube_id
            case "peer":
                return default if self.holder is None else self.holder
            case "peer_address":
                path = self._carriers.path
                return default if path is None else path.remote_address
            case "target" | "peername":
                if name == "peername" and not transport.is_ours:
                    return default
                return transport.target.peername
            case _:
                return default

    def user_failed(self, transport: StreamTransport, error: BaseException) -> None:
        log_user_failed(self.tube_id, transport.stream_id, error)

    def _let_go(self, transport: StreamTransport) -> int:
        self._open.pop(transport.stream_id, None)
        if self._arrivals is not None:
            self._arrivals.drop(transport)
        self.lost(transport)
        return transport.stream_id

    # For CarrierSession.

    def stream_event(self, event: StreamEvent) -> None:
        transport = self._open.get(event.stream_id)
        match event:
            case StreamData(stream_id, data):
                if transport is not None:
                    transport.data_came(data)
                else:  # closed here, and the peer goes on: as TCP, a reset behind what was written
                    self._reset_orphan(stream_id)
            case StreamWritable():
                if transport is not None:
                    transport.has_room()
            case StreamAccepted():
                if transport is not None:
                    transport.was_accepted()
            case StreamFinished():
                if transport is not None:
                    transport.eof_came()
            case StreamReset(_, code):
                if transport is not None:
                    self._lose(transport, code)
            case StreamOpened(stream_id, target):
                self._opened(stream_id, target)
            case _:
                assert_never(event)

    def stream_forgotten(self, stream_id: int) -> None:
        if self._orphans is not None:
            self._orphans.discard(stream_id)
        if (transport := self._open.pop(stream_id, None)) is not None:
            transport.has_room()

    def _reset_orphan(self, stream_id: int) -> None:
        self._session.reset(stream_id, ResetCode.ABORTED)
        self._carriers.schedule_turn()

    def session_ended(self) -> None:
        if self._orphans is not None:
            self._orphans.close()
        if self._arrivals is not None:
            self._arrivals.close()
        while self._open:  # one that is told may end others
            self._lose(next(iter(self._open.values())), ResetCode.SESSION_LOST)

    def _lose(self, transport: StreamTransport, code: ResetCode) -> None:
        self._open.pop(transport.stream_id, None)  # another stream's protocol may have ended it just now
        if self._arrivals is not None and transport.is_idle and self._arrivals.drop(transport):
            return  # nobody knows of it, and nothing came of it
        self._lingering = (*self._lingering, transport)
        transport.was_reset(code)
        if transport.is_idle:
            self.lost(transport)

    def _opened(self, stream_id: int, target: bytes) -> None:
        try:
            wanted = parse_target(target.decode())
        except ValueError:
            self._refuse(stream_id, ResetCode.NOT_ALLOWED, "the target cannot be read")
            return
        if self.incoming is None:
            self._refuse(stream_id, ResetCode.NOT_ALLOWED, "no streams are taken here")
            return
        if len(self) >= self._session.streams.max_streams:
            self._refuse(stream_id, ResetCode.LIMIT, "as many streams as may be are open, or not read to their end")
            return
        transport = self._open[stream_id] = StreamTransport(self, stream_id, wanted, is_ours=False)
        self._arrivals = self._arrivals or Arrivals(self._take, self._carriers.loop)
        self._arrivals.add(transport)

    def _take(self, transport: StreamTransport) -> None:
        try:
            assert self.incoming is not None
            self.incoming(transport)
        except (Exception, asyncio.CancelledError) as error:  # nothing is awaited here: it is the application's own
            log_user_failed(self.tube_id, transport.stream_id, error)
            transport.refuse(ResetCode.NOT_ALLOWED)

    def _refuse(self, stream_id: int, code: ResetCode, why: str) -> None:
        log_stream_refused(self.tube_id, stream_id, why)
        self._session.reset(stream_id, code)
        self._carriers.schedule_turn()
