"""One session's channel: a reliable channel, its timer, and the listener. Both ends have one, whatever carries it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import TYPE_CHECKING

import msgspec

from perdure.errors import ProtocolError
from perdure.eventlog import log_event
from perdure.signaling.base import MAX_WAITING_MESSAGES
from perdure.signaling.envelope import MAX_PLAINTEXT_BYTES
from perdure.signaling.messages import Bye, IceServers, check_message
from perdure.signaling.reliable_channel import HEAD_BYTES, Body, ReliableChannel, encode_body

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from perdure.signaling.base import SignalingListener
    from perdure.signaling.messages import ChannelMessage, Message, RTCIceServer

_logger = logging.getLogger("perdure.signaling")

MAX_MESSAGE_BYTES = MAX_PLAINTEXT_BYTES - HEAD_BYTES


def check_sendable(message: ChannelMessage) -> None:
    """Raise `ValueError` where the peer would not read `message`."""
    try:
        check_message(message)
    except ProtocolError as error:
        raise ValueError(str(error)) from error
    if (size := len(encode_body(Body(message=message)))) > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message has at most {MAX_MESSAGE_BYTES} bytes, not {size}")


class PeerChannel:
    """A `SignalingChannel`; its owner carries the bodies.

    Args:
        transmit: sends a body to the peer; called only while available.
        on_close: called once, by `close`.
        on_resent: called where messages were sent again as the peer acknowledged nothing; with how often in a row.
        on_ice_servers: called with the ICE servers that the peer names; by default they are ignored.
        on_doubt: called by `doubt`.
    """

    def __init__(
        self,
        *,
        transmit: Callable[[Body], None],
        on_close: Callable[[], None],
        on_resent: Callable[[int], None] = lambda times: None,
        on_ice_servers: Callable[[Sequence[RTCIceServer]], None] = lambda servers: None,
        on_doubt: Callable[[], None] = lambda: None,
    ) -> None:
        self._transmit = transmit
        self._on_close = on_close
        self._on_resent = on_resent
        self._on_ice_servers = on_ice_servers
        self._on_doubt = on_doubt
        self._reliable = ReliableChannel()
        self._is_available = False
        self._is_closed = False
        self._has_peer_ended = False
        """Whether it has said so."""
        self._listener: SignalingListener | None = None
        self._unheard: list[Message] = []
        """Came before a listener was attached; beyond that, the oldest goes, as in `send`."""
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_at = math.inf
        self._settled = asyncio.Event()
        """Set where the peer has all messages, or cannot be reached."""

    @property
    def available(self) -> bool:
        """Whether the peer can be reached now."""
        return self._is_available

    def attach(self, listener: SignalingListener) -> None:
        """Deliver to `listener` from now on; what came before is delivered first, in order, before this returns."""
        self._listener = listener
        while self._unheard and not self._is_closed:
            listener.signaling_message(self._unheard.pop(0))

    def send(self, message: ChannelMessage) -> None:
        """Queue `message` until the peer has it; after `close`, nothing.

        Raises:
            ValueError: the peer would not read it.
        """
        check_sendable(message)
        if not self._is_closed:
            self._reliable.add(message)
            self._flush()

    def doubt(self) -> None:
        """See `SignalingChannel.doubt`; after `close`, nothing."""
        if not self._is_closed:
            self._on_doubt()

    def close(self) -> None:
        """Deliver nothing more; what was sent before still goes out. Twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        self._listener = None
        self._unheard.clear()
        self._on_close()

    # For the owner.

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def speak(self) -> None:
        """Send something soon, whatever it is: the peer waits for it."""
        self._reliable.owe_ack(self._now())

    def peer_reachable(self) -> None:
        """The peer can be reached, maybe again: what it has not acknowledged is sent again."""
        was_available, self._is_available = self._is_available, True
        self._reliable.send_again(self._now())
        self._flush()
        if not was_available and self._listener is not None:
            self._listener.signaling_available(True)

    def peer_unreachable(self) -> None:
        """The peer cannot be reached now."""
        was_available, self._is_available = self._is_available, False
        self._disarm()
        self._settled.set()
        if was_available and self._listener is not None:
            self._listener.signaling_available(False)

    def restart(self) -> None:
        """The peer's process is a new one: drop what was queued for the old, then tell the listener."""
        self._reliable = ReliableChannel()
        if self._listener is not None:
            self._listener.signaling_peer_restarted()

    def handle_body(self, body: Body) -> None:
        """Deliver the message of a body, and acknowledge it soon.

        Raises:
            ProtocolError: the peer is authentic, but its numbers cannot be.
        """
        is_last = isinstance(body.message, Bye)
        if is_last and self._is_closed:  # both ends have ended: the peer need not say again what came before
            body = msgspec.structs.replace(body, first=body.seq)
        elif self._is_closed:  # nobody would read it: who goes on talking is not told that it was read
            body = Body(ack=body.ack, missing=body.missing)
        message = self._reliable.handle_body(body, self._now())
        if is_last:
            self._reliable.owe_ack(self._now())  # at once: a process may wait for it before it ends
        self._has_peer_ended = self._has_peer_ended or isinstance(message, Bye)
        if self._is_settled:
            self._settled.set()
        if isinstance(message, IceServers):
            self._on_ice_servers(message.ice_servers)
        elif message is not None and self._listener is not None:
            self._listener.signaling_message(message)
        elif message is not None and not self._is_closed:
            self._unheard.append(message)
            del self._unheard[:-MAX_WAITING_MESSAGES]
        self._flush()

    async def settled(self, timeout: float) -> None:
        """Wait until the peer has all that was sent: at most `timeout` seconds, and only while it can be reached and
        has not said `Bye`, behind which it reads nothing."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._is_available and not self._is_settled:
                    self._settled.clear()
                    await self._settled.wait()

    def end(self) -> None:
        """Send nothing more."""
        self._is_available = False
        self._settled.set()
        self._disarm()

    @property
    def _is_settled(self) -> bool:
        return self._reliable.is_settled or self._has_peer_ended

    def _flush(self) -> None:
        if not self._is_available:
            return
        reliable, now = self._reliable, self._now()
        resent = reliable.resent
        for body in reliable.bodies(now):
            self._transmit(body)
        self._arm()
        if reliable.resent > resent:
            log_event(_logger, logging.DEBUG, "messages-sent-again", times=reliable.resent)
            self._on_resent(reliable.resent)

    def _arm(self) -> None:
        at = self._reliable.next_deadline
        if at < self._wakes_at:
            self._disarm()
            self._wakes_at = at
            self._timer = asyncio.get_running_loop().call_at(at, self._wake)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._wakes_at = None, math.inf

    def _wake(self) -> None:
        self._timer, self._wakes_at = None, math.inf
        self._flush()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
