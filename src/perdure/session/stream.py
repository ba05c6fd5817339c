"""One stream of a session: what it owes the peer, and what the peer owes it.

Rules:
1. Every frame is idempotent, so a carrier may be lost between any two bytes and everything be said again, and what
   comes late on a carrier that was left does no harm.
2. A FIN counts as one offset after the last byte, as in TCP, so that an ACK covers it.
3. OPEN is answered by an ACK, and by ACCEPT or RESET when its user has decided. Each RESUME says which streams
   were accepted, so that an ACCEPT may be lost.
4. No end overtakes the bytes before it. FIN and RESET are sent once every byte accepted before them was sent on this
   carrier, which delivers in order; RESET also follows the FIN, and the ACCEPT.
5. RESET ends both directions. On each carrier the unacknowledged bytes are sent again and then the RESET, until the
   peer says GONE (or RESET, when they cross).
6. A stream that was reset here reads no more: what comes within the credit is acknowledged and dropped, and the credit
   does not grow. It is forgotten when the peer says GONE or RESET, never because both FINs were acknowledged.
7. `abort` drops what is held, so that RESET is due at once. The peer's RESET does the same: it reads no more.
8. RESET waits for an answer as a FIN does. Bytes of a reset stream that wait for credit wait for none, as those of any
   stream: they are no sign of a bad path. `linger` says how long they may.
"""

from __future__ import annotations

from perdure.errors import ProtocolError
from perdure.session.send_buffer import SendBuffer
from perdure.wire import INITIAL_CREDIT_BYTES, Accept, Ack, Frame, Open, Reset, ResetCode, StreamPosition, Window


class Stream:
    """The state of one stream. `stream_id` is odd where the session's initiator opened it."""

    __slots__ = (
        "_accept_told",
        "_ack_told",
        "_consumed",
        "_fin_acked",
        "_fin_sent",
        "_fin_wanted",
        "_limit_granted",
        "_limit_told",
        "_open_told",
        "_repeats_window",
        "_reset_told",
        "accepted",
        "awaiting_since",
        "buffer",
        "fin_received",
        "is_open_repeated",
        "mine",
        "open_acknowledged",
        "received",
        "reset_code",
        "send_limit",
        "stream_id",
        "target",
        "write_limits",
    )

    def __init__(self, stream_id: int, target: bytes, *, mine: bool, window_bytes: int, send_limit: int) -> None:
        """
        Args:
            window_bytes: the credit that an opener grants at once; an acceptor grants it with `accept`.
            send_limit: the peer's credit so far.
        """
        self.stream_id = stream_id
        self.target = target
        self.mine = mine
        self.buffer = SendBuffer()
        self.send_limit = send_limit
        self.accepted = False
        self.received = 0
        self.fin_received = False
        self.reset_code: ResetCode | None = None
        self.awaiting_since: float | None = None
        """Since when something sent here waits for its first, or its next, acknowledgement."""
        self.write_limits: tuple[int, int] | None = None
        """Low and high, where the stream's user wants less to be held than the tube allows."""
        self.open_acknowledged = not mine
        self._accept_told = mine
        self.is_open_repeated = False
        """The OPEN was lost with a carrier, and is said again."""
        self._open_told = not mine
        self._consumed = 0
        self._limit_granted = window_bytes if mine else INITIAL_CREDIT_BYTES
        self._limit_told = self._limit_granted
        self._ack_told = -1 if not mine else 0
        self._fin_wanted = False
        self._fin_sent = False
        self._fin_acked = False
        self._reset_told = False
        self._repeats_window = False
        """The credit was told on a carrier that was left, and may be lost with it."""

    # What the driver does.

    def accept(self, window_bytes: int) -> None:
        """Grant a full window; the peer learns that its stream was accepted."""
        self.accepted = True
        self._limit_granted = max(self._limit_granted, self._consumed + window_bytes)

    def finish(self) -> None:
        """Send a FIN behind what was written."""
        self._fin_wanted = True

    def reset(self, code: ResetCode) -> None:
        """Send RESET behind what was written; read no more."""
        self.reset_code = code
        self._limit_granted = self._limit_told  # what the peer has not heard of is taken back

    def abort(self, code: ResetCode) -> None:
        """Drop what is held; send RESET next. The code of an earlier `reset` stands."""
        if self.reset_code is None:
            self.reset_code = code
        self.buffer.clear()
        self._fin_wanted = False
        self._limit_granted = self._limit_told

    def consume(self, count: int, window_bytes: int) -> None:
        """`count` received bytes have gone on; the peer's credit grows up to a window of `window_bytes`."""
        if not 0 <= count <= self.received - self._consumed:
            raise ValueError(
                f"stream {self.stream_id}: {count} bytes consumed, of {self.received - self._consumed} that came"
            )
        self._consumed += count
        if (self.accepted or self.mine) and not self.fin_received:
            limit = self._consumed + window_bytes
            if limit - self._limit_granted >= window_bytes // 4:
                self._limit_granted = limit

    @property
    def credit_bytes(self) -> int:
        """Bytes that the peer may have sent, and that have not gone on."""
        return self._limit_told - self._consumed

    @property
    def unconsumed_bytes(self) -> int:
        """Bytes that came and have not gone on."""
        return self.received - self._consumed

    # What is due to the peer.

    @property
    def open_told(self) -> bool:
        """Whether the peer may have heard of this stream."""
        return self._open_told or self.is_open_repeated

    @property
    def is_finished(self) -> bool:
        """Whether nothing more may be written."""
        return self._fin_wanted or self.reset_code is not None

    @property
    def has_data(self) -> bool:
        """Whether DATA or a FIN can be sent now."""
        if not self._open_told:
            return False
        buffer = self.buffer
        if buffer.sent < buffer.end:
            return buffer.sent < self.send_limit
        return self._fin_wanted and not self._fin_sent

    @property
    def waits_for_credit(self) -> bool:
        """Whether all that the peer's credit allows was sent, and bytes are left."""
        return self.buffer.end > self.buffer.sent >= self.send_limit

    @property
    def has_control(self) -> bool:
        """Whether OPEN, ACCEPT, RESET or WINDOW is due; an ACK alone may wait."""
        if not self._open_told or self._window_is_due or self.accept_is_due:
            return True
        return self.reset_code is not None and self._reset_is_due

    @property
    def _window_is_due(self) -> bool:
        return self._limit_granted > self._limit_told or (self._repeats_window and self.reset_code is None)

    @property
    def accept_is_due(self) -> bool:
        return self.accepted and not self._accept_told and not self._reset_told

    @property
    def _reset_is_due(self) -> bool:
        """Whether the RESET of a stream that was reset can be sent now: everything before it was."""
        if self._reset_told or not self._open_told:
            return False
        return self.buffer.sent == self.buffer.end and self._fin_sent >= self._fin_wanted

    @property
    def received_position(self) -> int:
        return self.received + self.fin_received

    @property
    def has_ack(self) -> bool:
        return self.received + self.fin_received > self._ack_told and not self._reset_told

    @property
    def unacknowledged_bytes(self) -> int:
        """Bytes that came and have no ACK; behind a carrier that was left, all that ever came."""
        return self.received - self._ack_told

    @property
    def accept_may_wait(self) -> bool:
        """Whether ACCEPT is all that is due, and may go with the ACK that is owed: bytes came before it, so nobody
        waits for it, and the credit lasts a while."""
        if not self.has_ack or not self.accept_is_due or not 0 < self.received < INITIAL_CREDIT_BYTES // 2:
            return False
        return self.reset_code is None and not self._repeats_window

    def take_control(self, now: float) -> list[Frame]:
        """The control frames that are due, ACK included; they count as told."""
        frames: list[Frame] = []
        if not self._open_told:
            frames.append(Open(self.stream_id, self._limit_granted, self.target))
            self._open_told = True
            self._told_limit()
            self._await(now)
        if self.has_ack and (self.reset_code is None or not self._reset_is_due):
            self._ack_told = self.received_position
            frames.append(Ack(self.stream_id, self._ack_told))
        if self.accept_is_due:
            self._accept_told = True
            self._told_limit()
            frames.append(Accept(self.stream_id, self._limit_granted))
        if self._window_is_due:
            self._told_limit()
            frames.append(Window(self.stream_id, self._limit_granted))
        if self.reset_code is not None and (code := self.take_reset(now)) is not None:
            frames.append(Reset(self.stream_id, code))
        return frames

    def take_data(self, most_bytes: int, now: float) -> tuple[int, list[memoryview]]:
        """Offset and parts of the next DATA frame, within credit; no parts where nothing may be sent."""
        offset = self.buffer.sent
        parts = self.buffer.take(min(most_bytes, self.send_limit - offset))
        if parts:
            self._await(now)
        return offset, parts

    def take_fin(self, now: float) -> int | None:
        """The offset of a FIN that is due now."""
        if not self._fin_wanted or self._fin_sent or self.buffer.sent < self.buffer.end:
            return None
        self._fin_sent = True
        self.buffer.furthest = self.buffer.end + 1
        self._await(now)
        return self.buffer.end

    def take_reset(self, now: float) -> ResetCode | None:
        """The code of a RESET that is due now."""
        if self.reset_code is None or not self._reset_is_due:
            return None
        self._reset_told = True
        self._await(now)
        return self.reset_code

    # What the peer says.

    def receive_data(self, offset: int, payload: memoryview) -> memoryview | None:
        """The part of `payload` that is new, if any."""
        end = offset + len(payload)
        if offset > self.received:
            raise ProtocolError(f"stream {self.stream_id}: DATA at {offset} leaves a gap behind {self.received}")
        if end <= self.received:
            return None
        if self.fin_received:
            raise ProtocolError(f"stream {self.stream_id}: DATA up to {end} behind its FIN at {self.received}")
        if end > self._limit_told:
            raise ProtocolError(f"stream {self.stream_id}: DATA up to {end} is over its credit of {self._limit_told}")
        fresh = payload[self.received - offset :]
        self.received = end
        return fresh

    def receive_fin(self, offset: int) -> bool:
        """Whether this FIN is new."""
        if offset > self.received or (self.fin_received and offset != self.received):
            raise ProtocolError(f"stream {self.stream_id}: FIN at {offset}, received {self.received}")
        if offset < self.received:
            raise ProtocolError(f"stream {self.stream_id}: FIN at {offset} cuts off what was received")
        if self.fin_received:
            return False
        self.fin_received = True
        return True

    def receive_ack(self, position: int, now: float) -> bool:
        """The peer has everything below `position`, whichever carrier brought it; whether that is news."""
        if position > self.buffer.furthest:
            raise ProtocolError(f"stream {self.stream_id}: ACK of {position}, sent {self.buffer.furthest}")
        before = self.buffer.acknowledged + self._fin_acked
        if position > self.buffer.end:
            self._fin_acked = self._fin_sent = True
        self.buffer.acknowledge(min(position, self.buffer.end))
        if position <= before and self.open_acknowledged:
            return False
        self._progress(now)
        return True

    def receive_window(self, limit: int) -> bool:
        """The peer's credit; whether it has grown."""
        before, self.send_limit = self.send_limit, max(self.send_limit, limit)
        return limit > before

    def receive_accept(self) -> bool:
        """The peer takes the stream that was opened here; whether that is news."""
        was_accepted, self.accepted = self.accepted, True
        return not was_accepted

    # Across carriers.

    def take_position(self) -> StreamPosition:
        """What a RESUME says of this stream; from here it counts as told."""
        self._ack_told = self.received_position
        self._told_limit()
        self._accept_told = self.mine or self.accepted
        return StreamPosition(self.stream_id, self._ack_told, self._limit_told, self._accept_told and not self.mine)

    def peek_position(self) -> StreamPosition:
        """The same for a carrier beside the current one, which may never be used: nothing counts as told by it, so only
        the credit that was told before is in it."""
        is_accepted = self._accept_told and not self.mine
        return StreamPosition(self.stream_id, self.received_position, self._limit_told, is_accepted)

    def known_position(self) -> StreamPosition | None:
        """What the peer has for certain; `None`: not even the OPEN."""
        if not self.open_acknowledged:
            return None
        return StreamPosition(self.stream_id, self.buffer.acknowledged + self._fin_acked, self.send_limit, False)

    def repeat(self) -> None:
        """The carrier is left: say again what was told on it, as it may be lost."""
        if self.received_position or not self.mine:
            self._ack_told = -1
        self._accept_told = self.mine
        self._repeats_window = True

    def carrier_lost(self) -> None:
        """Nothing is under way any more."""
        self.awaiting_since = None

    def resume(self, position: StreamPosition | None, now: float) -> tuple[int, bool]:
        """Go on from what the peer has: bytes to send again, and whether the peer accepted the stream meanwhile.

        `None` where the peer has not seen the OPEN.
        """
        accepted = False
        under_way = self.buffer.sent
        if position is None:
            self.is_open_repeated |= self._open_told
            self._open_told = False
        else:
            self.open_acknowledged = self._open_told = True
            self.receive_ack(position.received, now)
            self.receive_window(position.window)
            accepted = self.mine and position.is_accepted and self.receive_accept()
        self.awaiting_since = None
        self.buffer.rewind()
        self._fin_sent = self._fin_acked
        self._reset_told = False
        return under_way - self.buffer.sent, accepted

    @property
    def has_ended_both_ways(self) -> bool:
        """Whether both ends have said their last word, acknowledged or not."""
        return self.buffer.furthest > self.buffer.end and self.fin_received

    @property
    def has_ended(self) -> bool:
        """Whether both ends have said their last word, and the peer has all of ours."""
        return self._fin_acked and self.fin_received

    @property
    def is_done(self) -> bool:
        """Whether both directions ended and the peer knows: the stream can be forgotten. One that was reset waits for
        the peer's GONE."""
        return self.has_ended and self._consumed == self.received and not self.has_ack and self.reset_code is None

    @property
    def is_settled(self) -> bool:
        """Whether the peer has all that this end accepted for the stream, its ends included."""
        return not self.buffer and self._fin_acked >= self._fin_wanted and self.reset_code is None

    def acknowledge_open(self, now: float) -> bool:
        """Any word of the peer about a stream opened here shows that it has the OPEN; whether that is news."""
        if self.open_acknowledged:
            return False
        self._progress(now)
        return True

    def _told_limit(self) -> None:
        self._limit_told = self._limit_granted
        self._repeats_window = False

    def _await(self, now: float) -> None:
        if self.awaiting_since is None:
            self.awaiting_since = now

    def _progress(self, now: float) -> None:
        self.open_acknowledged = self._open_told = True  # also where it was to be said again
        waiting = self.buffer.sent > self.buffer.acknowledged or (self._fin_sent and not self._fin_acked)
        self.awaiting_since = now if waiting or self._reset_told else None
