"""A gateway's queue of knocks on the event loop: each is opened in its turn, one in a turn of the loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from perdure.signaling.envelope import AnsweringGateway, EnvelopeRefusal, EnvelopeRefusedError, ephemeral_of
from perdure.signaling.knock_queue import MAX_KNOCK_BYTES, KnockQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey


class KnockTurns:
    """Opens knocks.

    Args:
        key: the gateway's.
        answer: called with the peer id that a knock came from, and the knock; may raise `EnvelopeRefusedError`.
        refused: called where one was refused.
    """

    def __init__(
        self,
        key: Callable[[], X25519PrivateKey],
        *,
        answer: Callable[[str, AnsweringGateway], None],
        refused: Callable[[EnvelopeRefusal], None],
    ) -> None:
        self._key = key
        self._answer = answer
        self._refused = refused
        self._queue = KnockQueue()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, sender: str, envelope: bytes, *, is_proved: bool) -> None:
        """Answer a knock when its turn has come.

        Args:
            is_proved: whether a client has proved itself under this peer id.

        Raises:
            EnvelopeRefusedError: it is too long, or was opened before.
        """
        if len(envelope) > MAX_KNOCK_BYTES:
            raise EnvelopeRefusedError(EnvelopeRefusal.MALFORMED)
        self._check_is_new(envelope)
        if not self._queue.add(sender, envelope, is_proved=is_proved):
            self._refused(EnvelopeRefusal.CROWDED)
        if self._timer is None:
            self._arm()

    def drop(self, peer_id: str) -> None:
        """The peer has gone."""
        self._queue.drop(peer_id)

    def clear(self) -> None:
        """All peers have gone."""
        self._queue.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_is_new(self, envelope: bytes) -> None:
        if self._queue.was_opened(ephemeral_of(envelope)):
            raise EnvelopeRefusedError(EnvelopeRefusal.REPLAYED)

    def _arm(self) -> None:
        loop = asyncio.get_running_loop()
        delay = self._queue.delay(loop.time())
        self._timer = None if delay is None else loop.call_later(delay, self._take)

    def _take(self) -> None:
        self._timer = None
        try:
            if (taken := self._queue.take(asyncio.get_running_loop().time())) is not None:
                self._open(*taken)
        finally:  # what `answer` raises, its owner's mistake, leaves no knock waiting
            if self._timer is None:
                self._arm()

    def _open(self, sender: str, envelope: bytes) -> None:
        try:
            self._check_is_new(envelope)  # a copy, as from another peer, may have had its turn meanwhile
            asked = AnsweringGateway(self._key(), envelope)
            self._queue.opened(ephemeral_of(envelope))
            self._answer(sender, asked)
        except EnvelopeRefusedError as error:
            self._refused(error.refusal)
