"""What a session owes its peer, and the order in which it goes out.

Rules:
1. Replies go first, then control, then acknowledgements, then data.
2. A WINDOW, an ACCEPT or a SIGNAL is followed by a PING, as nothing else would answer it on a path that has died; data
   in the same message has an answer of its own, and saves the PING.
3. A lone acknowledgement waits `ACK_DELAY` for company, one of bulk `BULK_ACK_DELAY`; and so does an ACCEPT for which
   the peer does not wait (`Stream.accept_may_wait`). OPEN, RESET, WINDOW and a long overdue one do not wait.
4. A stream's FIN and RESET follow its last byte, in the same message where there is room.
5. Data goes as `data_queue` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from perdure.errors import ProtocolError
from perdure.session.data_queue import DataQueue, Parts, pop_first
from perdure.session.linger import Linger
from perdure.session.message_length import FIRST_MESSAGE_BYTES, next_length
from perdure.wire import (
    MAX_MESSAGE_BYTES,
    MAX_MESSAGE_FRAMES,
    MAX_STREAMS,
    MAX_TARGET_BYTES,
    Accept,
    Frame,
    Open,
    Ping,
    ResetCode,
    Signal,
    Window,
    encode_frame,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from perdure.session.stream import Stream
    from perdure.session.stream_table import StreamTable
    from perdure.session.traffic import Traffic

ACK_DELAY = 0.02
"""Seconds that an ACK waits for company: below RFC 9000's 25 ms, and far below any timeout that waits for it."""

BULK_ACK_BYTES = 16 * 1024
BULK_ACK_DELAY = 0.005
"""Seconds that the ACK of so many bytes waits. With 20 ms their sender goes on in bursts, behind which a keystroke
queues; below 5 ms there are more ACKs than `ACK_EVERY_BYTES` makes of fast bulk."""

ACK_EVERY_BYTES = 512 * 1024
"""The ACK of so many goes out at once."""

MAX_REPLIES = 2 * MAX_STREAMS
"""GONE, PONG and refusals that wait to be sent: room for every stream's end at once; more breaks the protocol."""

_CONTROL_ROOM = MAX_TARGET_BYTES + 64
"""Room that the largest control frames of one stream may need at the end of a message."""

_MAX_CONTROL_FRAMES = MAX_MESSAGE_FRAMES // 2 - 16


class Outbox(DataQueue):
    """The queues of one session. A stream is in those that its state asks for, once in each."""

    __slots__ = (
        "_acks",
        "_control",
        "_grant_unproved",
        "_linger",
        "_ping_proves_grant",
        "_ping_token",
        "_ping_wanted",
        "_replies",
        "ack_at",
        "message_bytes",
        "ping_sent_at",
    )

    def __init__(self, streams: StreamTable, traffic: Traffic) -> None:
        self.ack_at: float | None = None
        """When the acknowledgements that wait have waited long enough."""
        self.ping_sent_at: float | None = None
        """When the PING was sent that has no answer yet."""
        self.message_bytes = FIRST_MESSAGE_BYTES
        """How long a message with data may be, as the path answers now."""
        super().__init__(streams, traffic)
        self._linger: Linger | None = None
        self._replies: list[Frame] = []
        self._control: dict[int, None] = {}
        self._acks: dict[int, None] = {}
        self._ping_token = 0
        self._ping_wanted = False
        self._grant_unproved = False
        """A WINDOW, an ACCEPT or a SIGNAL was sent behind the last PING and the last data. Nothing answers it: where
        the peer waits for it and the path has died, neither end would expect an answer, and neither would notice. So a
        PING follows it."""
        self._ping_proves_grant = False
        """The PING that has no answer yet is such a one."""

    def schedule(self, stream: Stream) -> None:
        """Put a stream into the queues that its state asks for."""
        owes_long_ack = stream.has_ack and stream.unacknowledged_bytes >= ACK_EVERY_BYTES
        if (stream.has_control and not stream.accept_may_wait) or owes_long_ack:
            self._control[stream.stream_id] = None
        elif stream.has_ack:
            self._acks[stream.stream_id] = None
        if stream.has_data:
            self._sendable[stream.stream_id] = None

    def end_stream(self, stream: Stream) -> None:
        """`stream` was reset: RESET goes behind its bytes, which do not wait for ever. Of a stream without any that the
        peer has not heard of, nothing is said."""
        self._streams.stop_waiting(stream)
        if stream.buffer:
            if self._linger is None:
                self._linger = Linger(self._streams)
            self._linger.watch(stream)
        if stream.open_told or stream.buffer:
            self.schedule(stream)
        else:
            self._streams.forget(stream)

    @property
    def next_deadline(self) -> float | None:
        """When `handle_timeout` is due."""
        if self._linger is None or self._linger.due_at is None:
            return self.ack_at
        return self._linger.due_at if self.ack_at is None else min(self.ack_at, self._linger.due_at)

    def handle_timeout(self, now: float) -> None:
        """Let go out what has waited long enough."""
        if self.ack_at is not None and now >= self.ack_at:
            self.release_acks()
        for stream in self._linger.take_due(now) if self._linger is not None else ():
            self._streams.abort(stream, ResetCode.ABORTED)
            self.schedule(stream)

    def owes_ack(self, stream: Stream, now: float) -> None:
        """More bytes of `stream` came, and nothing else is due: as `schedule` and `acknowledge_by`, in less time."""
        if stream.unacknowledged_bytes >= ACK_EVERY_BYTES:
            self._control[stream.stream_id] = None
        else:
            self._acks[stream.stream_id] = None
        self.acknowledge_by(now, stream)

    def acknowledge_by(self, now: float, stream: Stream) -> None:
        """An acknowledgement of `stream` is owed since `now`."""
        at = now + (BULK_ACK_DELAY if stream.unacknowledged_bytes >= BULK_ACK_BYTES else ACK_DELAY)
        if self.ack_at is None or at < self.ack_at:
            self.ack_at = at

    def release_acks(self) -> None:
        """The acknowledgements that wait go out with the next message."""
        self._control.update(self._acks)
        self._acks.clear()
        self.ack_at = None

    def reply(self, frame: Frame) -> None:
        """Answer the peer. Raises `ProtocolError` where it causes more answers than go out."""
        if len(self._replies) >= MAX_REPLIES:
            raise ProtocolError("more frames that ask for a reply than are read here")
        self._replies.append(frame)

    def signal(self, body: bytes) -> bool:
        """Say this of signaling, and ask for a sign of life, as nothing else answers it. False: it is too long for a
        message of the peer's, or too much waits."""
        frame = Signal(body)
        if not _fits(frame, self._streams.max_message_bytes) or len(self._replies) >= MAX_REPLIES:
            return False
        self._replies.append(frame)
        self._grant_unproved = True
        return True

    @property
    def has_due(self) -> bool:
        """Whether `fill` has anything to do."""
        if self._control or self._replies or self._ping_wanted or self._linger is not None:
            return True
        return self.may_send_data

    @property
    def reply_count(self) -> int:
        """How many replies wait."""
        return len(self._replies)

    def replies_since(self, count: int) -> list[Frame]:
        """The replies that wait, without the first `count`."""
        return self._replies[count:]

    def reply_again(self, frames: Iterable[Frame]) -> None:
        """They were said on a carrier that was left, or wait."""
        waiting = set(self._replies)
        self._replies += [frame for frame in frames if frame not in waiting]

    def ping(self) -> None:
        """Ask for a sign of life, unless one is asked for already."""
        self._ping_wanted = self.ping_sent_at is None

    def awaiting_since(self) -> float | None:
        """Since when the oldest thing that was sent waits for an answer. A peer that takes longer to acknowledge than
        usual is given that time before the wait begins."""
        more = self._streams.late_ack_delay
        waits = [stream.awaiting_since + more for stream in self._streams if stream.awaiting_since is not None]
        if self.ping_sent_at is not None:
            waits.append(self.ping_sent_at)
        return min(waits, default=None)

    @property
    def awaits_only_ping(self) -> bool:
        """Whether a PING waits for its answer, no WINDOW with it, and nothing of any stream."""
        if self.ping_sent_at is None or self._ping_proves_grant or self._grant_unproved:
            return False
        return all(stream.awaiting_since is None for stream in self._streams)

    def take_pong(self, token: int, now: float) -> float | None:
        """The round trip in seconds, if this answers our PING."""
        if token != self._ping_token or self.ping_sent_at is None:
            return None
        round_trip = now - self.ping_sent_at
        self.ping_sent_at = None
        self._ping_wanted = self._grant_unproved
        return round_trip

    def learn(self, answer_delay: float) -> None:
        """An acknowledgement came `answer_delay` seconds after it was due to come."""
        self.message_bytes = next_length(self.message_bytes, answer_delay, self._streams.max_message_bytes)

    def limit_messages(self, size: int) -> None:
        """The peer takes at most `size` bytes at once. A SIGNAL that is longer now is lost."""
        self._streams.max_message_bytes = min(MAX_MESSAGE_BYTES, size)
        self._replies = [reply for reply in self._replies if not isinstance(reply, Signal) or _fits(reply, size)]
        self.message_bytes = min(self.message_bytes, self._streams.max_message_bytes)

    def forget_under_way(self, *, keeps_replies: bool = False) -> None:
        """The carrier is gone, and with it what was asked and answered on it. `keeps_replies`: not what was asked on
        the one that takes its place."""
        if not keeps_replies:
            self._replies.clear()
        self._ping_wanted = self._grant_unproved = False
        self.ping_sent_at = None
        if self._linger is not None:
            self._linger.carrier_lost()
        self.message_bytes = min(self.message_bytes, FIRST_MESSAGE_BYTES)
        self._traffic.forget_under_way()
        for stream in self._streams:
            stream.carrier_lost()

    def clear_queues(self) -> None:
        """Before every stream is scheduled anew."""
        self._control.clear()
        self._acks.clear()
        self._sendable.clear()
        self.ack_at = None

    def fill(self, parts: Parts, room: int, now: float) -> None:
        """Append what is due, at most `room` bytes."""
        if self._linger is not None:
            self._linger.look(now)
            if self._linger.is_empty:
                self._linger = None
        if self._control or self._replies or self._ping_wanted:
            room -= self._add_control(parts, room, now)
        if parts or self.may_send_data:
            self.release_acks()
            if self._control:
                room -= self._add_control(parts, room, now)
        told = len(parts)
        for stream in self.add_data(parts, room - (self._streams.max_message_bytes - self.message_bytes), now):
            self.schedule(stream)
        if self._grant_unproved and len(parts) > told:
            self._grant_unproved = any(isinstance(reply, Signal) for reply in self._replies)  # goes out behind the data
        elif self._grant_unproved:
            self.ping()
            self._add_control(parts, room, now)

    def _add_control(self, parts: Parts, room: int, now: float) -> int:
        if self._ping_wanted:
            self._ping_proves_grant = self._grant_unproved
            self._ping_wanted = self._grant_unproved = False
            self._ping_token += 1
            self.ping_sent_at = now
            self._replies.append(Ping(self._ping_token))
        size = self._add_replies(parts, room) if self._replies else 0
        while self._control and size + _CONTROL_ROOM < room and len(parts) < _MAX_CONTROL_FRAMES:
            stream = self._streams.get(pop_first(self._control))
            if stream is None:
                continue
            for frame in stream.take_control(now):
                parts.append(encode_frame(frame))
                size += len(parts[-1])
                if isinstance(frame, Window | Accept):
                    self._grant_unproved = True
                elif isinstance(frame, Open) and not stream.is_open_repeated:
                    self._traffic.opened(now)
            if stream.is_done:
                self._streams.forget(stream)
            else:
                self.schedule(stream)
        return size

    def _add_replies(self, parts: Parts, room: int) -> int:
        size = told = 0
        while told < len(self._replies) and len(parts) < _MAX_CONTROL_FRAMES:
            reply = encode_frame(self._replies[told])
            if size + len(reply) > room:
                break
            parts.append(reply)
            size += len(reply)
            told += 1
        del self._replies[:told]
        return size


def _fits(signal: Signal, size: int) -> bool:
    return len(encode_frame(signal)) <= size
