"""What runs over the tubes: streams of bytes both ways, and the ledger that knows what each must hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, cast

from perdure.config import SMALLEST_SHARE_BYTES
from perdure.errors import PerdureError
from perdure.tube.clock import clock
from perdure.wire import ResetCode
from perdure_lab.scenario.results import SILENCE_FLOOR

if TYPE_CHECKING:
    from perdure.config import ResourceLimits
    from perdure.manager import TunnelConnectionManager
    from perdure.streams.transport import StreamTransport


MOST_WRITTEN_BYTES = 16 * 1024
"""At once."""


_PERIOD = 2**20
_NOISE = 2 * Random("what is said").randbytes(_PERIOD)
_STRIDE = 65537
"""Of two streams each begins so far behind the other in the noise: a byte that is lost, doubled, swapped or another
stream's shows, as in the lab's `position.coded`, which takes 190 times as long."""


def said(stream: int, offset: int, count: int) -> bytes:
    """The bytes of `stream` from `offset` on, at most 1 MiB."""
    begin = (stream * _STRIDE + offset) % _PERIOD
    return _NOISE[begin : begin + count]


@dataclass(slots=True)
class Course:
    """One direction of a stream."""

    number: int
    sent_bytes: int = 0
    received_bytes: int = 0
    silent_since: float = 0.0
    """Since when no byte has come, while some are on their way."""
    is_finished: bool = False
    """Whether its writer has finished."""
    is_heard_out: bool = False
    """Whether its reader has heard of that."""
    is_paused: bool = False
    """Its reader reads nothing now."""
    was_dropped: bool = False
    """Its writer aborted: what had not left by then need not arrive."""


@dataclass(slots=True)
class StreamRecord:
    """A stream with its two directions."""

    up: Course
    down: Course
    was_reset: bool = False
    """Either end reset the stream, or lost it."""

    @property
    def is_over(self) -> bool:
        """Whether neither end has anything left to say of it."""
        return self.was_reset or (self.up.is_heard_out and self.down.is_heard_out)


class Ledger:
    """Every stream of a simulation.

    Args:
        violated: told of what must not be.
        limits: what both ends may hold.
        now: the world's time.
    """

    def __init__(self, violated: Callable[[str], None], limits: ResourceLimits, now: Callable[[], float]) -> None:
        self.violated = violated
        self.limits = limits
        self.now = now
        self.silences: list[float] = []
        """Seconds in which bytes were on their way in a stream and none came; each that has ended, from `SILENCE_FLOOR`
        on."""
        self.records: dict[tuple[str, int], StreamRecord] = {}
        self.heard_at: dict[TunnelConnectionManager, float] = {}
        """When each end of a tube last got bytes, by the tubes' clock there."""
        self._ends: dict[str, list[TunnelConnectionManager]] = {}

    def tube_created(self, manager: TunnelConnectionManager) -> None:
        """One end of a tube."""
        self._ends.setdefault(manager.tube_id, []).append(manager)

    def ends_of(self, tube_id: str) -> list[TunnelConnectionManager]:
        """Both ends of a tube, as far as they were made."""
        return self._ends.get(tube_id, [])

    def record(self, tube_id: str, stream_id: int) -> StreamRecord:
        """That of a stream, which both ends know by the same name."""
        key = (tube_id, stream_id)
        found = self.records.get(key)
        if found is None:
            number = 2 * len(self.records)
            found = self.records[key] = StreamRecord(Course(number), Course(number + 1))
        return found


@dataclass(eq=False)
class Workload(asyncio.Protocol):
    """One end of a stream: a protocol that writes, checks what it reads, and says so where it is wrong.

    `StreamTransport.start` gives it its transport.
    """

    ledger: Ledger
    manager: TunnelConnectionManager
    record: StreamRecord
    is_client: bool
    backlog_bytes: int = 0
    """To be written as soon as there is room."""
    is_finishing: bool = False
    is_open: bool = True
    """Whether neither end has reset the stream, and this end has not closed it."""
    is_forbidden: bool = False
    """Its target is none that the gateway allows."""
    reads_after: float = 0.0
    """Seconds for which it reads nothing, once it has read something."""
    transport: StreamTransport = field(init=False)
    waits_for_room: bool = field(default=False, init=False)
    is_lost: bool = field(default=False, init=False)
    """Whether it was told that its connection is lost."""
    is_unanswered: bool = field(default=False, init=False)
    """Whether it waits for the other end to take the stream."""
    on_heard: Callable[[int], None] | None = None
    """Told how many bytes have come."""
    _catches_up: bool = field(default=False, init=False)
    """Whether it has just begun to read again, and gets what had been waiting."""
    _paused_at: float = field(default=0.0, init=False)
    """When it stopped reading, by the tubes' clock."""
    _unread_bytes: int = field(default=0, init=False)
    """What had been waiting then."""

    @property
    def stream_id(self) -> int:
        return self.transport.stream_id

    @property
    def mine(self) -> Course:
        return self.record.up if self.is_client else self.record.down

    @property
    def theirs(self) -> Course:
        return self.record.down if self.is_client else self.record.up

    @property
    def speaks(self) -> bool:
        """Whether it may write more."""
        return self.is_open and not self.is_finishing

    @property
    def is_alive(self) -> bool:
        """Whether anything may still happen to its stream."""
        return self.is_open and not self.record.is_over

    def say(self, count: int) -> None:
        """Write `count` more bytes."""
        if self.speaks:
            self.backlog_bytes += count
            self._write()

    def finish(self) -> None:
        """Write no more."""
        self.is_finishing = True
        self._write()

    def reset(self) -> None:
        """End the stream behind what was written."""
        self._end()
        self.transport.reset()

    def abort(self) -> None:
        """End the stream now."""
        self._end()
        self.mine.was_dropped = True
        self.transport.abort()

    async def check_acceptance(self) -> None:
        """Wait until the other end takes the stream, or declines it."""
        self.is_unanswered = True
        try:
            await self.transport.wait_accepted()
        except (PerdureError, OSError):
            pass  # `connection_lost` tells why, and checks it
        else:
            if self.is_forbidden:
                self._violated("was accepted, whose target is not allowed")
        finally:
            self.is_unanswered = False

    def _end(self) -> None:
        self.record.was_reset = True
        self.is_open = False

    def _write(self) -> None:
        mine = self.mine
        while self.is_open and self.backlog_bytes and not self.waits_for_room:
            count = min(self.backlog_bytes, MOST_WRITTEN_BYTES)
            data = said(mine.number, mine.sent_bytes, count)
            self.backlog_bytes -= count
            if mine.sent_bytes == mine.received_bytes:
                mine.silent_since = self.ledger.now()
            mine.sent_bytes += count
            self.transport.write(data)
            if not self.waits_for_room:
                self._check_room()
        if self.is_open and self.is_finishing and not self.backlog_bytes and not mine.is_finished:
            mine.is_finished = True
            self.transport.write_eof()
            self._close_when_over()

    def _close_when_over(self) -> None:
        """Let go of the stream once both ends have finished; nothing more is heard of it."""
        if self.is_open and self.mine.is_finished and self.theirs.is_heard_out:
            self.is_open = False
            self.transport.close()

    # What is checked.

    def _violated(self, what: str) -> None:
        self.ledger.violated(f"stream {self.stream_id} {what}")

    def _check_open(self, what: str) -> None:
        if not self.is_open:
            self._violated(f"hears {what} behind its end")

    def _check_room(self) -> None:
        """Who was told to go on must have had room. What the peer has not heard is held at least, unless that
        acknowledges it unheard: it has not taken the stream yet, or has reset it, or its reader has paused. One whose
        tube has ended is told too, so that it waits for nothing, and what it writes is dropped."""
        if not self.manager.is_open:
            return
        limits, mine, held = self.ledger.limits, self.mine, self.transport.get_write_buffer_size()
        if not (self.is_forbidden or self.is_unanswered or self.record.was_reset or mine.is_paused):
            unheard = mine.sent_bytes - mine.received_bytes
            if held < unheard:
                self._violated(f"holds {held} bytes, and {unheard} were not heard")
            held = unheard
        if held < SMALLEST_SHARE_BYTES:
            return
        is_full = self.manager.metrics.bytes_buffered >= limits.session_buffer_bytes
        if is_full or held >= limits.stream_buffer_bytes:
            self._violated(f"may go on, and {held} bytes are held")

    def _check_loss(self, code: ResetCode | None, error: Exception | None) -> None:
        theirs = self.theirs
        is_told = isinstance(error, ConnectionResetError) or (error is None and theirs.is_heard_out)
        if code is None or not is_told:
            self._violated(f"is lost without a word: {error!r}")
        elif not self._may_be_reset(code):
            self._violated(f"was reset for no reason: {code.name}")
        elif code is ResetCode.ABORTED and not theirs.was_dropped:  # what was written before it came before it
            if theirs.received_bytes != theirs.sent_bytes:
                self._violated(f"was reset after {theirs.received_bytes} of {theirs.sent_bytes} bytes")
            elif theirs.is_finished and not theirs.is_heard_out:
                self._violated("was reset before its end has come")

    def _may_be_reset(self, code: ResetCode) -> bool:
        match code:
            case ResetCode.SESSION_LOST:  # which may be heard before the other end's CLOSE, or its good-bye
                return not all(end.is_open for end in self.ledger.ends_of(self.manager.tube_id))
            case ResetCode.ABORTED:
                return self.record.was_reset  # by the other end
            case ResetCode.NOT_ALLOWED:
                return self.is_forbidden
            case _:
                return False

    # asyncio.Protocol.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("StreamTransport", transport)

    def data_received(self, data: bytes) -> None:
        ledger, theirs, now = self.ledger, self.theirs, self.ledger.now()
        self._check_open("bytes")
        if theirs.is_paused:
            self._violated("hears bytes while it reads none")
        if theirs.is_heard_out:
            self._violated("hears bytes behind the other's end")
        if data != said(theirs.number, theirs.received_bytes, len(data)):
            self._violated(f"hears other bytes than were sent at {theirs.received_bytes}")
        theirs.received_bytes += len(data)
        if theirs.received_bytes > theirs.sent_bytes:
            self._violated("hears more bytes than were sent")
        since, theirs.silent_since = theirs.silent_since, now
        if now - since >= SILENCE_FLOOR:
            ledger.silences.append(now - since)
        if self._catches_up:
            self._unread_bytes += len(data)
            if self._unread_bytes > ledger.limits.stream_window_bytes:
                self._violated(f"gets {self._unread_bytes} bytes that came beyond what was read")
            heard_at = self._paused_at  # or later
        else:
            heard_at = clock()
            if self.reads_after:
                self._pause()
        if self.manager.is_open:  # what comes while its tube is closing does not keep that alive
            ledger.heard_at[self.manager] = max(heard_at, ledger.heard_at.get(self.manager, 0.0))
        if self.on_heard is not None:
            self.on_heard(len(data))

    def _pause(self) -> None:
        self.theirs.is_paused, self._paused_at = True, clock()
        self.transport.pause_reading()
        asyncio.get_running_loop().call_later(self.reads_after, self._resume)

    def _resume(self) -> None:
        theirs = self.theirs
        theirs.is_paused, self._catches_up = False, True
        theirs.silent_since = self.ledger.now()
        self._unread_bytes = 0
        self.transport.resume_reading()
        asyncio.get_running_loop().call_soon(self._caught_up)  # behind what that gives it

    def _caught_up(self) -> None:
        self._catches_up = False

    def eof_received(self) -> bool:
        theirs = self.theirs
        self._check_open("the other's end")
        if theirs.is_paused:
            self._violated("hears the other's end while it reads nothing")
        if theirs.is_heard_out or not theirs.is_finished or theirs.received_bytes != theirs.sent_bytes:
            self._violated(f"hears the end after {theirs.received_bytes} of {theirs.sent_bytes} bytes")
        theirs.is_heard_out = True
        self._close_when_over()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        code = self.transport.reset_code
        if self.is_lost:
            self._violated("is lost twice")
        self.is_lost = True
        if self.is_open:
            self._check_loss(code, error)
            self._end()

    def pause_writing(self) -> None:
        self._check_open("that there is no room")
        if self.waits_for_room:
            self._violated("is told twice that there is no room")
        self.waits_for_room = True

    def resume_writing(self) -> None:
        self._check_open("of room")
        if not self.waits_for_room:
            self._violated("is told of room for which it did not wait")
        self.waits_for_room = False
        self._write()
