"""What runs over the tubes: streams of bytes both ways, and the ledger that knows what each must hear."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from perdure.config import SMALLEST_SHARE_BYTES
from perdure.tube.clock import clock
from perdure.wire import ResetCode
from perdure_lab.scenario.results import SILENCE_FLOOR

if TYPE_CHECKING:
    from perdure.config import ResourceLimits
    from perdure.manager import TunnelConnectionManager
    from perdure.tube import Link


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


@dataclass(slots=True)
class Conversation:
    """A stream with its two directions."""

    up: Course
    down: Course
    was_reset: bool = False
    """Either end heard `stream_reset`, or reset it."""

    @property
    def is_over(self) -> bool:
        """Whether neither end has anything left to say of it."""
        return self.was_reset or (self.up.is_heard_out and self.down.is_heard_out)


NOT_BEGUN = Conversation(Course(0), Course(0))
"""Of a workload whose stream has no id yet."""


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
        self.conversations: dict[tuple[str, int], Conversation] = {}
        self.heard_at: dict[TunnelConnectionManager, float] = {}
        """When each end of a tube last got bytes, by the tubes' clock there."""

    def conversation(self, tube_id: str, stream_id: int) -> Conversation:
        """That of a stream, which both ends know by the same name."""
        key = (tube_id, stream_id)
        found = self.conversations.get(key)
        if found is None:
            number = 2 * len(self.conversations)
            found = self.conversations[key] = Conversation(Course(number), Course(number + 1))
        return found


@dataclass(eq=False)
class Workload:
    """One end of a stream: a `StreamSink` that writes, checks what it reads, and says so where it is wrong."""

    ledger: Ledger
    manager: TunnelConnectionManager
    conversation: Conversation
    is_client: bool
    stream_id: int = 0
    backlog_bytes: int = 0
    """To be written as soon as there is room."""
    is_finishing: bool = False
    is_open: bool = True
    is_forbidden: bool = False
    """Its target is none that the gateway allows."""
    reads_after: float = 0.0
    """Seconds for which what came waits until it is read."""
    unread_bytes: int = field(default=0, init=False)
    waits_for_room: bool = field(default=False, init=False)
    on_heard: Callable[[int], None] | None = None
    """Told how many bytes have come."""

    @property
    def streams(self) -> Link:
        return self.manager.streams

    @property
    def mine(self) -> Course:
        return self.conversation.up if self.is_client else self.conversation.down

    @property
    def theirs(self) -> Course:
        return self.conversation.down if self.is_client else self.conversation.up

    @property
    def speaks(self) -> bool:
        """Whether it may write more."""
        return self.is_open and not self.is_finishing

    @property
    def is_alive(self) -> bool:
        """Whether anything may still happen to its stream."""
        return self.is_open and not self.conversation.is_over

    def say(self, count: int) -> None:
        """Write `count` more bytes."""
        if self.speaks:
            self.backlog_bytes += count
            self._write()

    def finish(self) -> None:
        """Write no more."""
        self.is_finishing = True
        self._write()

    def reset(self, code: ResetCode) -> None:
        self.conversation.was_reset = True
        self.is_open = False
        self.streams.reset(self.stream_id, code)

    def _write(self) -> None:
        mine = self.mine
        while self.is_open and self.backlog_bytes and not self.waits_for_room:
            count = min(self.backlog_bytes, MOST_WRITTEN_BYTES)
            data = said(mine.number, mine.sent_bytes, count)
            self.backlog_bytes -= count
            if mine.sent_bytes == mine.received_bytes:
                mine.silent_since = self.ledger.now()
            mine.sent_bytes += count
            self.waits_for_room = not self.streams.write(self.stream_id, data)
            if not self.waits_for_room:
                self._check_room()
        if self.is_open and self.is_finishing and not self.backlog_bytes and not mine.is_finished:
            mine.is_finished = True
            self.streams.finish(self.stream_id)

    def _check_room(self) -> None:
        """Who was told to go on must have had room. What the peer has not heard is held at least, unless that
        acknowledges it unread: it has reset the stream, or the target is not allowed."""
        limits, theirs = self.ledger.limits, self.mine.sent_bytes - self.mine.received_bytes
        is_full = self.streams.session.buffered_bytes >= limits.session_buffer_bytes
        is_read = not self.is_forbidden and not self.conversation.was_reset
        if is_read and theirs >= (SMALLEST_SHARE_BYTES if is_full else limits.stream_buffer_bytes):
            self.ledger.violated(f"stream {self.stream_id}: {theirs} bytes are held, and it may go on")

    # StreamSink.

    def _check_open(self, what: str) -> None:
        if not self.is_open:
            self.ledger.violated(f"stream {self.stream_id}: {what} behind its end")

    def stream_accepted(self) -> None:
        self._check_open("it was accepted")
        if self.is_forbidden:
            self.ledger.violated(f"stream {self.stream_id} was accepted, whose target is not allowed")

    def stream_data(self, data: memoryview) -> None:
        theirs = self.theirs
        self._check_open("bytes")
        if theirs.is_heard_out:
            self.ledger.violated(f"stream {self.stream_id}: bytes behind the end")
        if bytes(data) != said(theirs.number, theirs.received_bytes, len(data)):
            self.ledger.violated(f"stream {self.stream_id}: other bytes than were sent at {theirs.received_bytes}")
        theirs.received_bytes += len(data)
        self.ledger.heard_at[self.manager] = clock()
        since, theirs.silent_since = theirs.silent_since, self.ledger.now()
        if theirs.silent_since - since >= SILENCE_FLOOR:
            self.ledger.silences.append(theirs.silent_since - since)
        if theirs.received_bytes > theirs.sent_bytes:
            self.ledger.violated(f"stream {self.stream_id}: more bytes than were sent")
        self.unread_bytes += len(data)
        if self.unread_bytes > self.ledger.limits.stream_window_bytes:
            self.ledger.violated(f"stream {self.stream_id}: {self.unread_bytes} bytes came beyond what was read")
        if self.reads_after:
            asyncio.get_running_loop().call_later(self.reads_after, self._read, len(data))
        else:
            self._read(len(data))
        if self.on_heard is not None:
            self.on_heard(len(data))

    def _read(self, count: int) -> None:
        self.unread_bytes -= count
        if self.is_open:
            self.streams.consume(self.stream_id, count)

    def stream_finished(self) -> None:
        theirs = self.theirs
        self._check_open("the other's end")
        if theirs.is_heard_out or not theirs.is_finished or theirs.received_bytes != theirs.sent_bytes:
            text = f"the end after {theirs.received_bytes} of {theirs.sent_bytes} bytes"
            self.ledger.violated(f"stream {self.stream_id}: {text}")
        theirs.is_heard_out = True

    def stream_reset(self, code: ResetCode) -> None:
        self._check_open("a reset")
        if not self._may_be_reset(code):
            self.ledger.violated(f"stream {self.stream_id} was reset for no reason: {code.name}")
        if code is ResetCode.ABORTED:
            self._check_heard_out()
        self.is_open = False
        self.conversation.was_reset = True

    def _may_be_reset(self, code: ResetCode) -> bool:
        match code:
            case ResetCode.SESSION_LOST:
                return self.manager.state.is_final
            case ResetCode.ABORTED:
                return self.conversation.was_reset  # by the other end
            case ResetCode.NOT_ALLOWED:
                return self.is_forbidden
            case _:
                return False

    def _check_heard_out(self) -> None:
        """The other end has reset the stream, and this one has not: what was written before came before."""
        theirs = self.theirs
        if theirs.received_bytes != theirs.sent_bytes:
            text = f"reset after {theirs.received_bytes} of {theirs.sent_bytes} bytes"
            self.ledger.violated(f"stream {self.stream_id}: {text}")
        elif theirs.is_finished and not theirs.is_heard_out:
            self.ledger.violated(f"stream {self.stream_id}: reset before its end has come")

    def stream_writable(self) -> None:
        self._check_open("room")
        self.waits_for_room = False
        self._write()
