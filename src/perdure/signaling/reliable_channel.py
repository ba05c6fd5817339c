"""What is inside a sealed DATA envelope: messages numbered end to end, so that new keys lose and repeat none. Pure.

1. A body is `seq`, `first`, `ack`, `flags` and a message. `seq` counts 1, 2, 3 … through all changes of keys; it is 0
   where there is no message.
2. `first` is the oldest message that the sender still keeps: what lies below, acknowledged or dropped, nobody awaits.
3. A message is taken when it is the next one. One below is a duplicate; one above is a gap, and asks for new keys,
   under which the sender begins again at its oldest unacknowledged.
4. `ack` is the highest taken; it rides on every body, and goes alone where its owner has no message to carry it.
"""

from __future__ import annotations

import struct
from collections import OrderedDict

from perdure.errors import ProtocolError
from perdure.signaling.base import MAX_WAITING_MESSAGES

_HEAD = struct.Struct(">QQQB")
_ASKS_FOR_RESYNC = 1

HEAD_BYTES = _HEAD.size


class ReliableChannel:
    """One end's numbers and unacknowledged messages of a session."""

    def __init__(self) -> None:
        self._last_seq = 0
        self._unacked: OrderedDict[int, bytes] = OrderedDict()
        self._sealed_seq = 0
        self._acked_seq = 0
        self._taken_seq = 0
        self._owed_acks = 0
        self._has_gap = False
        self.dropped = 0
        """Messages that the bound threw away."""

    @property
    def sealed_seq(self) -> int:
        """The newest message that was sealed; after `begin_again` and `send_again`, 0."""
        return self._sealed_seq

    @property
    def acked_seq(self) -> int:
        """The newest message that the peer says it has."""
        return self._acked_seq

    @property
    def has_gap(self) -> bool:
        """Whether a message is missing that the peer still keeps; until `begin_again`."""
        return self._has_gap

    @property
    def owed_acks(self) -> int:
        """How many messages have come that no body has acknowledged."""
        return self._owed_acks

    def add(self, message: bytes) -> None:
        """Queue an encoded message."""
        self._last_seq += 1
        self._unacked[self._last_seq] = message
        if len(self._unacked) > MAX_WAITING_MESSAGES:
            self._unacked.popitem(last=False)
            self.dropped += 1

    def begin_again(self) -> None:
        """New keys: `bodies` starts at the oldest unacknowledged message, and has at least one body."""
        self._sealed_seq = 0
        self._owed_acks = max(1, self._owed_acks)
        self._has_gap = False

    def send_again(self) -> None:
        """What the peer has not acknowledged may be lost: `bodies` starts at the oldest of it."""
        self._sealed_seq = 0

    def bodies(self) -> list[bytes]:
        """The bodies to seal and send now, in order: the unsealed messages, or the acknowledgement owed."""
        unsealed = [seq for seq in self._unacked if seq > self._sealed_seq]
        if not unsealed and not self._owed_acks:
            return []
        self._owed_acks = 0
        self._sealed_seq = self._last_seq
        return [self._body(seq, self._unacked[seq]) for seq in unsealed] or [self._body(0, b"")]

    def handle_body(self, body: bytes) -> tuple[bytes | None, bool]:
        """Take an opened body: its message, if it is the next one, and whether the peer asks for new keys.

        Raises:
            ProtocolError: its numbers cannot be; nothing was taken.
        """
        if len(body) < _HEAD.size:
            raise ProtocolError("a sealed body is too short")
        seq, first, ack, flags = _HEAD.unpack_from(body)
        if ack > self._last_seq or first > seq > 0:
            raise ProtocolError("the numbers of a sealed body cannot be")
        self._acked_seq = max(self._acked_seq, ack)
        while self._unacked and next(iter(self._unacked)) <= ack:
            self._unacked.popitem(last=False)
        asks_for_resync = bool(flags & _ASKS_FOR_RESYNC)
        if seq == 0:
            return None, asks_for_resync
        self._owed_acks += 1
        if seq == max(self._taken_seq + 1, first):
            self._taken_seq = seq
            return body[_HEAD.size :], asks_for_resync
        self._has_gap |= seq > self._taken_seq
        return None, asks_for_resync

    def _body(self, seq: int, message: bytes) -> bytes:
        first = next(iter(self._unacked), self._last_seq + 1)
        flags = _ASKS_FOR_RESYNC if self._has_gap else 0
        return _HEAD.pack(seq, first if seq else 0, self._taken_seq, flags) + message
