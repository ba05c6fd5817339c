"""Signaling through the carrier itself: what a SIGNAL holds, and how many there may be. Pure.

1. A SIGNAL is the JSON of one message about the next carrier, as the reliable channel has it, without a number.
2. Nobody sends it again. Each message goes every way that there is, and the first copy counts: a description is known
   by its generation, a candidate by its text.
3. An end says fewer than the other one takes, so that those which a slow path has held up may come all at once.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from perdure.errors import ProtocolError
from perdure.nesting import check_json
from perdure.signaling.messages import Answer, Candidate, Offer, Withdraw, check_message, read_message
from perdure.signaling.rate import TokenBucket
from perdure.wire import MAX_SIGNAL_BYTES

InBandMessage: TypeAlias = Offer | Answer | Candidate | Withdraw
"""What is said so. `Bye` is not: CLOSE ends a session on a carrier that works."""

DESCRIPTION_COST = 32
"""An offer costs the other end a peer connection, which holds the event loop up for 1.3 to 2.5 ms (measured); a
candidate some 0.05 ms."""

SAID_AT_ONCE = 512
SAID_A_SECOND = 16
"""Messages, a description counted as `DESCRIPTION_COST`: twelve new carriers in a row with 8 candidates each, and one
in 2.5 s for ever. What is more goes through the rendezvous alone."""

HEARD_AT_ONCE = 1024
HEARD_A_SECOND = 32
"""More than what is said in the 30 s after which a silent carrier is lost in any case. 32 offers in one message hold
the event loop up for some 60 ms, once; then it is one a second."""

_encoder = msgspec.json.Encoder()


class InBandSignals:
    """Those of one tube, both ways."""

    __slots__ = ("_heard", "_said")

    def __init__(self, now: float) -> None:
        self._said = TokenBucket(SAID_A_SECOND, SAID_AT_ONCE, now=now)
        self._heard = TokenBucket(HEARD_A_SECOND, HEARD_AT_ONCE, now=now)

    def write(self, message: InBandMessage, now: float) -> bytes | None:
        """What a SIGNAL of `message` holds; `None`: it does not go this way, as it is too long or one too many."""
        body = _encoder.encode(message)
        return body if len(body) <= MAX_SIGNAL_BYTES and self._said.take(now, _cost(message)) else None

    def read(self, body: bytes, now: float) -> InBandMessage | None:
        """What the peer says; `None`: something of a later version, or what is not said so.

        Raises:
            ProtocolError: it cannot be read, a field is out of its bounds, or it is one too many.
        """
        try:
            check_json(body)
            message = read_message(body)
        except (msgspec.MsgspecError, ValueError) as error:
            raise ProtocolError(f"a SIGNAL cannot be read: {error}") from error
        if message is None:
            raise ProtocolError("a SIGNAL has no message")
        check_message(message)
        if not self._heard.take(now, _cost(message)):
            raise ProtocolError("more SIGNALs than are read")
        return message if isinstance(message, InBandMessage) else None


def _cost(message: object) -> int:
    return DESCRIPTION_COST if isinstance(message, Offer | Answer) else 1
