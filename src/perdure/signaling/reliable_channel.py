"""What two ends say over one session: messages numbered end to end, so that none is lost or repeated. Pure.

1. A body is JSON: `seq`, `first`, `ack` and a `message`. `seq` counts 1, 2, 3 …, whatever keys or connections there
   are; it is 0, and left out, where there is no message.
2. `ack` is the highest message taken; it rides on every body, and goes alone where no message goes within
   `ACK_DELAY`.
3. A sender keeps a message until it is acknowledged. It sends again what is not, from the oldest on, when the peer
   can be reached again, and when nothing was acknowledged for a while: then `RESENT_AT_ONCE`, and with each
   acknowledgement twice as many. At most `WINDOW` messages are under way.
4. A message is taken when it is the next one; any other is dropped. Where one before it is missing, that is said at
   once. `first` is the oldest message that the sender still keeps: what lies below, nobody awaits.
5. A newer description makes older ones of its sender worthless, and newer ICE servers older ones: those not sent yet
   are dropped.
6. A message of an unknown kind is taken like any other, and goes no further.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import msgspec

from perdure.errors import ProtocolError
from perdure.nesting import check_json
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.messages import (
    Answer,
    Bye,
    ChannelMessage,
    IceServers,
    Offer,
    UnknownMessage,
    check_message,
    read_message,
)

ACK_DELAY = 0.05
"""Seconds that an acknowledgement waits for a message to ride on, such as the answer to an offer, and for more to
acknowledge, such as the candidates behind it: without it half of all bodies are acknowledgements alone."""

MAX_OWED_ACKS = 16
"""Messages after which it waits no longer: half a window, so that a sender never stands still."""

WINDOW = 32
"""Messages under way: an offer and the candidates of a machine with many addresses."""

RESEND_AFTER = 1.0
RESEND_AFTER_AT_MOST = 10.0
"""Seconds without progress; doubled each time. A rendezvous loses nothing between two who are connected to it, so this
is for one that misbehaves. A round trip through it takes some 0.2 s, far away 0.6 s."""

RESENT_AT_ONCE = 8
"""Messages that are sent again where nothing was acknowledged for a while: an offer, and most machines' candidates. Who
acknowledges nothing gets no more; a window of long messages is 0.5 MiB."""

MISSING_INTERVAL = 0.2
"""Seconds between two times that a peer which misses something gets it again: what follows a gap tells of it each."""

HEAD_BYTES = 160
"""More than a body adds around its message: four names, and three numbers of at most 16 digits."""

_MAX_NUMBER = 2**53 - 1
"""The largest that JavaScript holds exactly; see `wire`."""


class Body(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is sealed, or what the application carries; other fields are ignored."""

    seq: int = 0
    first: int = 0
    ack: int = 0
    message: ChannelMessage | UnknownMessage | None = None
    missing: bool = False
    """Whether the sender of this awaits a message before one that has come: it is to be sent again now."""


class _Read(msgspec.Struct):
    """A body as it comes; the message is read by itself."""

    seq: int = 0
    first: int = 0
    ack: int = 0
    message: msgspec.Raw = msgspec.Raw()
    missing: bool = False


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(_Read)


def encode_body(body: Body) -> bytes:
    """UTF-8 JSON."""
    return _encoder.encode(body)


def decode_body(data: bytes | str) -> Body:
    """Parse what the peer sent.

    Raises:
        ProtocolError: not a body, or a field is out of its bounds.
    """
    try:
        check_json(data)
        read = _decoder.decode(data)
        body = Body(read.seq, read.first, read.ack, read_message(read.message), read.missing)
    except (msgspec.MsgspecError, ValueError) as error:
        raise ProtocolError(f"a signaling message cannot be read: {error}") from error
    check_body(body)
    return body


def check_body(body: Body) -> None:
    """Raise `ProtocolError` where a field is out of its bounds."""
    if not all(0 <= number <= _MAX_NUMBER for number in (body.seq, body.first, body.ack)):
        raise ProtocolError("the numbers of a signaling message are out of range")
    if body.first > body.seq or (body.seq > 0) != (body.message is not None):
        raise ProtocolError("the numbers of a signaling message cannot be")
    if body.message is not None:
        check_message(body.message)


class ReliableChannel:
    """One end's numbers and unacknowledged messages of a session. Times are those of one clock, in seconds."""

    def __init__(self) -> None:
        self._waiting: list[ChannelMessage] = []
        """Not numbered yet."""
        self._unacked: OrderedDict[int, ChannelMessage] = OrderedDict()
        self._last_seq = 0
        self._sent_seq = 0
        self._most_under_way = WINDOW
        """Fewer than that behind a time without acknowledgements."""
        self._taken_seq = 0
        self._owed_acks = 0
        self._ack_at = math.inf
        self._resend_at = math.inf
        self._resend_after = RESEND_AFTER
        self._asked_at = -math.inf
        """When the peer last missed something, and got it again."""
        self._is_missing = False
        self.resent = 0
        """How often in a row something was sent again because nothing was acknowledged."""
        self.dropped = 0
        """Messages that the bound threw away."""

    @property
    def is_settled(self) -> bool:
        """Whether the peer has all messages."""
        return not self._waiting and not self._unacked

    @property
    def next_deadline(self) -> float:
        """When `bodies` has something; infinite where only `add` and `handle_body` give it something."""
        return min(self._ack_at, self._resend_at)

    def add(self, message: ChannelMessage) -> None:
        """Queue a message for the peer."""
        if isinstance(message, Offer | Answer | IceServers):
            self._waiting = [each for each in self._waiting if not _is_worthless(each, message)]
        self._waiting.append(message)
        if len(self._waiting) + len(self._unacked) > MAX_WAITING_MESSAGES:
            self.dropped += 1
            if self._unacked:
                self._unacked.popitem(last=False)
            else:
                self._waiting.pop(0)

    def owe_ack(self, now: float) -> None:
        """The peer waits for a body, whatever is in it."""
        self._ack_at = now
        self._owed_acks = max(1, self._owed_acks)

    def send_again(self, now: float) -> None:
        """What the peer has not acknowledged may be lost: `bodies` starts at the oldest of it."""
        self._sent_seq, self._most_under_way = 0, WINDOW
        self._resend_after = RESEND_AFTER
        self._resend_at = now + RESEND_AFTER if self._unacked else math.inf

    def bodies(self, now: float) -> list[Body]:
        """The bodies to send now, in order."""
        if now >= self._resend_at:
            self._sent_seq, self._most_under_way = 0, RESENT_AT_ONCE
            self._resend_after = min(RESEND_AFTER_AT_MOST, self._resend_after * 2)
            self.resent += 1
        while self._waiting and len(self._unacked) < WINDOW:
            self._last_seq += 1
            self._unacked[self._last_seq] = self._waiting.pop(0)
        unsent = [seq for seq in list(self._unacked)[: self._most_under_way] if seq > self._sent_seq]
        if not unsent and now < self._ack_at and self._owed_acks < MAX_OWED_ACKS:
            return []
        if unsent:
            self._sent_seq = unsent[-1]
            self._resend_at = now + self._resend_after
        elif not self._unacked:
            self._resend_at = math.inf
        self._owed_acks, self._ack_at = 0, math.inf
        missing, self._is_missing = self._is_missing, False
        oldest = next(iter(self._unacked), 0)
        if not unsent:
            return [Body(ack=self._taken_seq, missing=missing)]
        return [Body(seq, oldest, self._taken_seq, self._unacked[seq], missing) for seq in unsent]

    def handle_body(self, body: Body, now: float) -> ChannelMessage | None:
        """Take a body of the peer: its message, if that is the next one.

        Raises:
            ProtocolError: it acknowledges what was never sent; nothing was taken.
        """
        if body.ack > self._last_seq:
            raise ProtocolError("a signaling message acknowledges what was not sent")
        acknowledged = [seq for seq in self._unacked if seq <= body.ack]
        for seq in acknowledged:
            del self._unacked[seq]
        if acknowledged:
            self._resend_after, self.resent = RESEND_AFTER, 0
            self._most_under_way = min(WINDOW, 2 * self._most_under_way)
            self._resend_at = now + RESEND_AFTER if self._unacked else math.inf
        if body.missing and now >= self._asked_at + MISSING_INTERVAL:
            self._sent_seq, self._asked_at, self._most_under_way = 0, now, WINDOW
        if body.message is None:
            return None
        self._owed_acks += 1
        self._ack_at = min(self._ack_at, now + ACK_DELAY)
        due = max(self._taken_seq + 1, body.first)
        if body.seq != due:
            if body.seq > due:
                self._is_missing, self._ack_at = True, now
            return None
        self._taken_seq = body.seq
        return None if isinstance(body.message, UnknownMessage) else body.message


def _is_worthless(message: ChannelMessage, newer: Offer | Answer | IceServers) -> bool:
    """Whether nobody needs `message` behind `newer`."""
    if isinstance(newer, IceServers):
        return isinstance(message, IceServers)
    return not isinstance(message, Bye | IceServers) and message.generation < newer.generation
