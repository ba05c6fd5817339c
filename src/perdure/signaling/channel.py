"""One session's channel: a reliable channel, the keys of the moment, and the listener. Both ends have one."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from perdure.errors import ProtocolError
from perdure.eventlog import log_event
from perdure.signaling.envelope import MAX_PLAINTEXT_BYTES, EnvelopeRefusal, EnvelopeRefusedError
from perdure.signaling.messages import Message, decode_message, encode_message
from perdure.signaling.reliable_channel import HEAD_BYTES, ReliableChannel

if TYPE_CHECKING:
    from collections.abc import Callable

    from perdure.signaling.base import SignalingListener
    from perdure.signaling.envelope import DataKeys

_logger = logging.getLogger("perdure.signaling")

MAX_MESSAGE_BYTES = MAX_PLAINTEXT_BYTES - HEAD_BYTES

ACK_DELAY = 0.05
"""Seconds that an acknowledgement waits for a message to ride on, such as the answer to an offer, and for more to
acknowledge, such as the candidates behind it: without it half of all DATA is acknowledgements alone. So much later the
sender forgets, and a client knows that keys of before still work."""

MAX_OWED_ACKS = 32
"""Messages after which it waits no longer: a sender keeps `MAX_WAITING_MESSAGES`."""

MAX_UNHEARD_MESSAGES = 256
"""Delivered before a listener is attached; beyond, the oldest goes, as in `send`."""


class SealedChannel:
    """A `SignalingChannel`; its owner agrees the keys and carries the envelopes.

    Args:
        transmit: sends an envelope to the peer; called only while available.
        on_close: called once, by `close`.
    """

    def __init__(self, *, transmit: Callable[[bytes], None], on_close: Callable[[], None]) -> None:
        self._transmit = transmit
        self._on_close = on_close
        self._reliable = ReliableChannel()
        self._keys: DataKeys | None = None
        self._is_available = False
        self._is_closed = False
        self._listener: SignalingListener | None = None
        self._unheard: deque[Message] = deque(maxlen=MAX_UNHEARD_MESSAGES)
        self._ack_timer: asyncio.TimerHandle | None = None

    @property
    def available(self) -> bool:
        """Whether the rendezvous is connected, the peer present, and the keys agreed."""
        return self._is_available

    def attach(self, listener: SignalingListener) -> None:
        """Deliver to `listener` from now on; what came before is delivered first, in order, before this returns."""
        self._listener = listener
        while self._unheard and not self._is_closed:
            listener.signaling_message(self._unheard.popleft())

    def send(self, message: Message) -> None:
        """Queue `message` until the peer has it; after `close`, nothing.

        Raises:
            ValueError: it is too long for an envelope, or the peer would not read it.
        """
        encoded = encode_message(message)
        if len(encoded) > MAX_MESSAGE_BYTES:
            raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, not {len(encoded)}")
        try:
            decode_message(encoded)
        except ProtocolError as error:
            raise ValueError(str(error)) from error
        if not self._is_closed:
            self._reliable.add(encoded)
            self._flush()

    def close(self) -> None:
        """Forget what is queued and deliver nothing more. Twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        self._is_available = False
        self._listener = None
        self._unheard.clear()
        self._on_close()

    # For the owner.

    @property
    def wants_new_keys(self) -> bool:
        """Whether a message is missing, so that a client should knock."""
        return self._reliable.has_gap

    @property
    def sealed_seq(self) -> int:
        """The newest message that was sent; 0 before any under keys that are new."""
        return self._reliable.sealed_seq

    @property
    def acked_seq(self) -> int:
        """The newest message that the peer says it has."""
        return self._reliable.acked_seq

    def peer_reachable(self, keys: DataKeys) -> None:
        """The peer can be reached. Under new keys, what it has not acknowledged is sealed and sent again."""
        if self._is_closed:
            return
        if keys is not self._keys:
            self._keys = keys
            self._reliable.begin_again()
        was_available, self._is_available = self._is_available, True
        self._flush()
        if not was_available and self._listener is not None:
            self._listener.signaling_available(True)

    def peer_returned(self, keys: DataKeys) -> None:
        """`peer_reachable`, and it may have been away: what it has not acknowledged is sent again, under any keys."""
        if not self._is_available:
            self._reliable.send_again()
        self.peer_reachable(keys)

    def peer_unreachable(self) -> None:
        """The peer cannot be reached now; the keys still open what is under way."""
        was_available, self._is_available = self._is_available, False
        if was_available and self._listener is not None:
            self._listener.signaling_available(False)

    def restart(self) -> None:
        """The peer's process is a new one: drop what was queued for the old, then tell the listener."""
        self._reliable = ReliableChannel()
        self._keys = None
        if self._listener is not None:
            self._listener.signaling_peer_restarted()

    def handle_envelope(self, envelope: bytes) -> bool:
        """Open a DATA envelope under the keys, and `handle_body` it.

        Raises:
            EnvelopeRefusedError: see `EnvelopeRefusal`.
        """
        if self._keys is None:
            raise EnvelopeRefusedError(EnvelopeRefusal.UNKNOWN_EPOCH)
        return self.handle_body(self._keys.open(envelope))

    def handle_body(self, body: bytes) -> bool:
        """Deliver the message of an opened body, and acknowledge it soon. Returns whether the peer asks for new keys.

        Raises:
            EnvelopeRefusedError: MALFORMED: the peer is authentic, but its body or message cannot be read.
        """
        if self._is_closed:
            return False
        try:
            encoded, asks_for_resync = self._reliable.handle_body(body)
            message = None if encoded is None else decode_message(encoded)
        except ProtocolError as error:
            log_event(_logger, logging.WARNING, "unreadable-message", why=str(error))
            raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED) from error
        if message is not None and self._listener is not None:
            self._listener.signaling_message(message)
        elif message is not None:
            self._unheard.append(message)
        owed_acks = self._reliable.owed_acks
        if self._reliable.has_gap or owed_acks >= MAX_OWED_ACKS:
            self._flush()
        elif owed_acks and self._ack_timer is None:
            self._ack_timer = asyncio.get_running_loop().call_later(ACK_DELAY, self._flush)
        return asks_for_resync

    def _flush(self) -> None:
        if self._ack_timer is not None:
            self._ack_timer.cancel()
            self._ack_timer = None
        if self._is_available and self._keys is not None:
            for body in self._reliable.bodies():
                self._transmit(self._keys.seal(body))
